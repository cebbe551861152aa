// Rows added to the rows of a table, where several may go to one: the backward pass of a lookup.
//
//   scatterRuns   table[key] += Σ dOut[order[p]] over the run of positions p with that key
//
// Shapes: dOut [n, width] of T; table [tableRows, width] F32; keys [n] and order [n] I32: keys ascend
// and order is what sorted them stably (sort.cu). Keys outside the table are skipped.
// Launch: 256 threads; a position is for `lanes` neighbouring threads, its group, a power of two from
// 32 to 256; grid.x = n / (256 / lanes).
//
// Every group finds out from the keys around its position what its run is. A run of at most 32 is
// added by the group of its first position, in order of p. The groups of a longer one share its
// columns by strips: eight lanes side by side take every (lanes / 8)th row, then their sums are added
// in order.
//
// Numerics: F32; sums in an order given by the operands alone, no atomics.
// Source: own. By four columns where the width and both addresses allow it, else one by one.

#define LONGEST_SHORT_RUN 32
#define STRIP_LANES 8

/** Rows of a long run that a thread has in flight. */
#define LONG_RUN_AHEAD 8

/** Four elements or one: of T, and of the F32 table, neighbouring lanes then have neighbours. */
template <typename S>
DEVICE void load(float (&x)[4], const S* p) {
  load4(x, p);
}

template <typename S>
DEVICE void load(float (&x)[1], const S* p) {
  x[0] = widen(*p);
}

/** By one instruction for sure: the compiler cuts some of several such stores into four each. */
DEVICE void store(float* p, const float (&x)[4]) {
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(p),
               "f"(x[0]),
               "f"(x[1]),
               "f"(x[2]),
               "f"(x[3])
               : "memory");
}

DEVICE void store(float* p, const float (&x)[1]) {
  *p = x[0];
}

DEVICE bool inFours(const float* table, const T* dOut, i64 width) {
  return width % 4 == 0 && aligned16(table) && aligned4(dOut);
}

/** Lanes from the first on for which this holds; all of the warp call. */
DEVICE int leading(bool holds) {
  u32 not_ = ~__ballot_sync(0xFFFFFFFFu, holds);
  return not_ == 0 ? 32 : __ffs(not_) - 1;
}

/** Adds `count` rows; lane q of each warp has the number of the q-th. */
template <int N>
DEVICE void addShortRun(
    float* to, const T* dOut, int row, int count, i64 width, int lane, int lanes) {
  i64 step = lanes * N;
  // All lanes stay in the loop, for they give each other the rows.
  for (i64 begin = 0; begin < width; begin += AHEAD * step) {
    i64 c = begin + lane * N;
    float sum[AHEAD][N];
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      if (c + u * step < width) {
        load(sum[u], to + c + u * step);
      }
    }
    for (int q = 0; q < count; q++) {
      const T* from = dOut + __shfl_sync(0xFFFFFFFFu, row, q) * width + c;
      float x[AHEAD][N];
#pragma unroll
      for (int u = 0; u < AHEAD; u++) {
        if (c + u * step < width) {
          load(x[u], from + u * step);
        }
      }
#pragma unroll
      for (int u = 0; u < AHEAD; u++) {
#pragma unroll
        for (int l = 0; l < N; l++) {
          sum[u][l] += x[u][l];
        }
      }
    }
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      if (c + u * step < width) {
        store(to + c + u * step, sum[u]);
      }
    }
  }
}

/** Waits for all threads of the group. */
DEVICE void together(const Lanes& at, int lanes) {
  asm volatile("bar.sync %0, %1;" ::"r"(1 + at.row), "r"(lanes) : "memory");
}

/** Adds the columns of one strip, over positions [first, last). */
template <int N>
DEVICE void addStrip(
    float* to,
    const T* dOut,
    const int* order,
    i64 first,
    i64 last,
    i64 width,
    i64 begin,
    const Lanes& at,
    int lanes) {
  __shared__ float shared[N][256];
  int apart = lanes / STRIP_LANES;
  i64 c = begin + at.lane % STRIP_LANES * N;
  float sum[N] = {};
  for (i64 p = first + at.lane / STRIP_LANES; p < last; p += LONG_RUN_AHEAD * apart) {
    int rows[LONG_RUN_AHEAD];
#pragma unroll
    for (int u = 0; u < LONG_RUN_AHEAD; u++) {
      rows[u] = p + u * apart < last ? order[p + u * apart] : -1;
    }
    float x[LONG_RUN_AHEAD][N] = {};
#pragma unroll
    for (int u = 0; u < LONG_RUN_AHEAD; u++) {
      if (rows[u] >= 0 && c < width) {
        load(x[u], dOut + rows[u] * width + c);
      }
    }
#pragma unroll
    for (int u = 0; u < LONG_RUN_AHEAD; u++) {
#pragma unroll
      for (int l = 0; l < N; l++) {
        sum[l] += x[u][l];
      }
    }
  }
#pragma unroll
  for (int l = 0; l < N; l++) {
    shared[l][threadIdx.x] = sum[l];
  }
  together(at, lanes);
  int column = at.lane;
  if (column < STRIP_LANES * N && begin + column < width) {
    const float* part = shared[column % N] + at.row * lanes + column / N;
    float all = 0.0f;
    for (int w = 0; w < apart; w++) {
      all += part[w * STRIP_LANES];
    }
    to[begin + column] += all;
  }
  together(at, lanes);
}

template <int N>
DEVICE void scatterRunsBy(
    float* table,
    const T* dOut,
    const int* keys,
    const int* order,
    i64 n,
    i64 width,
    i64 tableRows,
    int lanes) {
  Lanes at(lanes);
  i64 p = (i64) blockIdx.x * at.rows + at.row;
  if (p >= n) {
    return;
  }
  // All that a short run needs to know is asked for at once.
  int lane = threadIdx.x % 32;
  int key = keys[p];
  int row = p + lane < n ? order[p + lane] : 0;
  int after = leading(p + 1 + lane < n && keys[p + 1 + lane] == key);
  int before = leading(p - 1 - lane >= 0 && keys[p - 1 - lane] == key);
  if (key >= tableRows) {
    return;
  }
  float* to = table + key * width;
  if (before + 1 + after <= LONGEST_SHORT_RUN) {
    if (before == 0) {
      addShortRun<N>(to, dOut, row, after + 1, width, at.lane, lanes);
    }
    return;
  }
  i64 strips = (width + STRIP_LANES * N - 1) / (STRIP_LANES * N);
  i64 first = p - before;
  while (before == 32 && p - first < strips) {
    i64 q = first - 1 - lane;
    before = leading(q >= 0 && keys[q] == key);
    first -= before;
  }
  if (p - first >= strips) {
    return;
  }
  i64 last = p + 1 + after;
  i64 high = after < 32 ? last : n;
  while (last < high) {
    i64 middle = (last + high) / 2;
    if (keys[middle] == key) {
      last = middle + 1;
    } else {
      high = middle;
    }
  }
  for (i64 strip = p - first; strip < strips; strip += last - first) {
    addStrip<N>(to, dOut, order, first, last, width, strip * STRIP_LANES * N, at, lanes);
  }
}

extern "C" __global__ void __launch_bounds__(256) scatterRuns(
    float* table,
    const T* dOut,
    const int* keys,
    const int* order,
    i64 n,
    i64 width,
    i64 tableRows,
    int lanes) {
  if (inFours(table, dOut, width)) {
    scatterRunsBy<4>(table, dOut, keys, order, n, width, tableRows, lanes);
  } else {
    scatterRunsBy<1>(table, dOut, keys, order, n, width, tableRows, lanes);
  }
}
