// Rows by index: gather, combine, scatter-add, and the backward pass of combine.
//
//   gatherRows            out[i] = in[index[i]], zeros where the index is refused
//   combineRows           out[r] (+)= Σ_j weights[r,j] · slots[slotOf[r,j]], in order of j
//   combineRowsBackward   dSlots[slotOf[r,j]] = weights[r,j] · dOut[r],
//                         dWeights[r,j] = Σ_c dOut[r,c] · slots[slotOf[r,j],c]
//   scatterRuns           table[key] += Σ dOut[order[p]] over the run of positions p with that key;
//                         runs of at most 32, in order of p. scatterLongRuns does the others
//
// Shapes: matrices [rows, width] of T; weights, dWeights and table F32; indexes I32. For the scatter,
// keys [n] ascend and order is what sorted them stably (sort.cu); keys outside the table are skipped.
// Launch: 256 threads; a row is for `lanes` neighbouring threads, a power of two up to 256.
// gatherRows, combineRows, scatterRuns: grid.x = rows (positions) / (256 / lanes), where scatterRuns
// has at least 32 lanes. combineRowsBackward: grid.x = choices / (256 / lanes), at most 32 lanes.
// scatterLongRuns: grid.x = positions / 512, grid.y = slabs of 32 accesses; 512 threads. The scatter
// accesses four columns at a time where table and dOut allow it.
// Numerics: F32 inside; sums in an order given by the operands alone, no atomics.
// Aliasing: dSlots may be slots.
// Source: own. Any width and alignment: by 16 bytes where all rows start at such, else by elements.

template <typename A>
DEVICE void gatherRowsBy(
    T* out, const T* in, const int* index, i64 rows, i64 width, i64 limit, int lanes, int* faults) {
  Lanes at(lanes);
  i64 r = (i64) blockIdx.x * at.rows + at.row;
  if (r >= rows) {
    return;
  }
  int from = index[r];
  bool found = from >= 0 && from < limit;
  if (!found && at.lane == 0) {
    fault(faults, GATHER_ROWS_INDEX, r, from, limit);
  }
  const T* source = in + (found ? from : 0) * width;
  T* to = out + r * width;
  for (i64 c = at.lane * A::N; c < width; c += AHEAD * lanes * A::N) {
    typename A::Raw raw[AHEAD];
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      i64 i = c + u * lanes * A::N;
      raw[u] = typename A::Raw();
      if (i < width && found) {
        raw[u] = A::load(source + i);
      }
    }
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      i64 i = c + u * lanes * A::N;
      if (i < width) {
        A::store(to + i, raw[u]);
      }
    }
  }
}

extern "C" __global__ void gatherRows(
    T* out, const T* in, const int* index, i64 rows, i64 width, i64 limit, int lanes, int* faults) {
  if (wideRows(in, width) && aligned16(out)) {
    gatherRowsBy<Wide<T> >(out, in, index, rows, width, limit, lanes, faults);
  } else {
    gatherRowsBy<Single<T> >(out, in, index, rows, width, limit, lanes, faults);
  }
}

template <typename A>
DEVICE void combineRowsBy(
    T* out,
    const T* slots,
    const int* slotOf,
    const float* weights,
    int accumulate,
    i64 rows,
    int k,
    i64 width,
    int lanes,
    int* faults) {
  Lanes at(lanes);
  i64 r = (i64) blockIdx.x * at.rows + at.row;
  if (r >= rows) {
    return;
  }
  i64 limit = rows * k;
  const int* chosen = slotOf + r * k;
  for (int j = at.lane; j < k; j += lanes) {
    within(faults, COMBINE_ROWS_SLOT, r * k + j, chosen[j], limit);
  }
  for (i64 c = at.lane * A::N; c < width; c += lanes * A::N) {
    Pack<T> sum;
#pragma unroll
    for (int l = 0; l < A::N; l++) {
      sum.at[l] = 0.0f;
    }
    if (accumulate) {
      sum = A::floats(A::load(out + r * width + c));
    }
    for (int j = 0; j < k; j += AHEAD) {
      typename A::Raw raw[AHEAD];
      float weight[AHEAD];
#pragma unroll
      for (int u = 0; u < AHEAD; u++) {
        raw[u] = typename A::Raw();
        weight[u] = 0.0f;
        if (j + u < k) {
          int slot = chosen[j + u];
          if (slot >= 0 && slot < limit) {
            raw[u] = A::load(slots + slot * width + c);
            weight[u] = weights == 0 ? 1.0f : weights[r * k + j + u];
          }
        }
      }
#pragma unroll
      for (int u = 0; u < AHEAD; u++) {
        if (j + u < k) {
          Pack<T> x = A::floats(raw[u]);
#pragma unroll
          for (int l = 0; l < A::N; l++) {
            sum.at[l] += weight[u] * x.at[l];
          }
        }
      }
    }
    A::store(out + r * width + c, A::raw(sum));
  }
}

extern "C" __global__ void combineRows(
    T* out,
    const T* slots,
    const int* slotOf,
    const float* weights,
    int accumulate,
    i64 rows,
    int k,
    i64 width,
    int lanes,
    int* faults) {
  if (wideRows(slots, width) && aligned16(out)) {
    combineRowsBy<Wide<T> >(
        out, slots, slotOf, weights, accumulate, rows, k, width, lanes, faults);
  } else {
    combineRowsBy<Single<T> >(
        out, slots, slotOf, weights, accumulate, rows, k, width, lanes, faults);
  }
}

template <typename A>
DEVICE void combineRowsBackwardBy(
    T* dSlots,
    float* dWeights,
    const T* dOut,
    const T* slots,
    const int* slotOf,
    const float* weights,
    i64 choices,
    int k,
    i64 width,
    int lanes,
    int* faults) {
  Lanes at(lanes);
  i64 choice = (i64) blockIdx.x * at.rows + at.row;
  bool valid = choice < choices;
  int slot = valid ? slotOf[choice] : 0;
  if (valid && (slot < 0 || slot >= choices)) {
    if (at.lane == 0) {
      fault(faults, COMBINE_ROWS_BACKWARD_SLOT, choice, slot, choices);
    }
    slot = 0;
    valid = false;
  }
  // Threads without a slot stay for the sum.
  i64 end = valid ? width : 0;
  float weight = valid ? weights[choice] : 0.0f;
  const T* d = dOut + (valid ? choice / k : 0) * width;
  i64 row = slot * width;
  float dot = 0.0f;
  for (i64 c = at.lane * A::N; c < end; c += AHEAD * lanes * A::N) {
    typename A::Raw gradient[AHEAD];
    typename A::Raw value[AHEAD];
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      i64 i = c + u * lanes * A::N;
      if (i < end) {
        gradient[u] = A::load(d + i);
        value[u] = A::load(slots + row + i);
      }
    }
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      i64 i = c + u * lanes * A::N;
      if (i < end) {
        Pack<T> g = A::floats(gradient[u]);
        Pack<T> x = A::floats(value[u]);
#pragma unroll
        for (int l = 0; l < A::N; l++) {
          dot += g.at[l] * x.at[l];
          g.at[l] *= weight;
        }
        A::store(dSlots + row + i, A::raw(g));
      }
    }
  }
  dot = sumOf(dot, lanes);
  if (choice < choices && at.lane == 0) {
    dWeights[choice] = dot;
  }
}

extern "C" __global__ void combineRowsBackward(
    T* dSlots,
    float* dWeights,
    const T* dOut,
    const T* slots,
    const int* slotOf,
    const float* weights,
    i64 choices,
    int k,
    i64 width,
    int lanes,
    int* faults) {
  if (wideRows(dSlots, width) && aligned16(slots) && aligned16(dOut)) {
    combineRowsBackwardBy<Wide<T> >(
        dSlots, dWeights, dOut, slots, slotOf, weights, choices, k, width, lanes, faults);
  } else {
    combineRowsBackwardBy<Single<T> >(
        dSlots, dWeights, dOut, slots, slotOf, weights, choices, k, width, lanes, faults);
  }
}

// --- scatter -------------------------------------------------------------------------------------

#define LONGEST_SHORT_RUN 32
#define LONG_RUN_WARPS 16

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

DEVICE void store(float* p, const float (&x)[4]) {
  store4(p, x);
}

DEVICE void store(float* p, const float (&x)[1]) {
  *p = x[0];
}

DEVICE bool inFours(const float* table, const T* dOut, i64 width) {
  return width % 4 == 0 && aligned16(table) && aligned4(dOut);
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
  int key = keys[p];
  if (key >= tableRows || (p > 0 && keys[p - 1] == key)) {
    return;
  }
  i64 ahead = p + 1 + threadIdx.x % 32;
  u32 same = __ballot_sync(0xFFFFFFFFu, ahead < n && keys[ahead] == key);
  if (same == 0xFFFFFFFFu) {
    return;
  }
  i64 last = p + __ffs(~same);
  float* to = table + key * width;
  i64 step = lanes * N;
  for (i64 c = at.lane * N; c < width; c += AHEAD * step) {
    float sum[AHEAD][N];
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      if (c + u * step < width) {
        load(sum[u], to + c + u * step);
      }
    }
    for (i64 q = p; q < last; q++) {
      const T* from = dOut + order[q] * width + c;
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

/** The long run that a warp's position is the first multiple of 32 in; empty if there is none. */
DEVICE void findLongRun(
    const int* keys, i64 n, i64 tableRows, i64 p, i64& first, i64& last) {
  first = 0;
  last = 0;
  if (p >= n) {
    return;
  }
  int key = keys[p];
  if (key >= tableRows || (p > 0 && keys[p - LONGEST_SHORT_RUN] == key)) {
    return;
  }
  i64 before = p - 1 - threadIdx.x % 32;
  u32 same = __ballot_sync(0xFFFFFFFFu, before >= 0 && keys[before] == key);
  i64 start = p - (__ffs(~same) - 1);
  if (start + LONGEST_SHORT_RUN >= n || keys[start + LONGEST_SHORT_RUN] != key) {
    return;
  }
  i64 low = start + LONGEST_SHORT_RUN + 1;
  i64 high = n;
  while (low < high) {
    i64 middle = (low + high) / 2;
    if (keys[middle] == key) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  first = start;
  last = low;
}

template <int N>
DEVICE void scatterLongRunsBy(
    float* table, const T* dOut, const int* keys, const int* order, i64 n, i64 width, i64 tableRows) {
  __shared__ i64 firsts[LONG_RUN_WARPS];
  __shared__ i64 lasts[LONG_RUN_WARPS];
  __shared__ float shared[LONG_RUN_WARPS][N][32];
  int lane = threadIdx.x % 32;
  int warp = threadIdx.x / 32;
  i64 first;
  i64 last;
  i64 candidate = (i64) blockIdx.x * LONG_RUN_WARPS + warp;
  findLongRun(keys, n, tableRows, candidate * LONGEST_SHORT_RUN, first, last);
  if (lane == 0) {
    firsts[warp] = first;
    lasts[warp] = last;
  }
  __syncthreads();
  i64 c = ((i64) blockIdx.y * 32 + lane) * N;
  // All warps together do one run after another.
  for (int run = 0; run < LONG_RUN_WARPS; run++) {
    first = firsts[run];
    last = lasts[run];
    if (first == last) {
      continue;
    }
    float sum[N] = {};
    for (i64 p = first + warp; p < last; p += LONG_RUN_AHEAD * LONG_RUN_WARPS) {
      float x[LONG_RUN_AHEAD][N] = {};
#pragma unroll
      for (int u = 0; u < LONG_RUN_AHEAD; u++) {
        if (p + u * LONG_RUN_WARPS < last && c < width) {
          load(x[u], dOut + order[p + u * LONG_RUN_WARPS] * width + c);
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
    __syncthreads();
#pragma unroll
    for (int l = 0; l < N; l++) {
      shared[warp][l][lane] = sum[l];
    }
    __syncthreads();
    if (warp < N && c + warp < width) {
      float all = 0.0f;
      for (int w = 0; w < LONG_RUN_WARPS; w++) {
        all += shared[w][warp][lane];
      }
      table[keys[first] * width + c + warp] += all;
    }
  }
}

extern "C" __global__ void __launch_bounds__(32 * LONG_RUN_WARPS) scatterLongRuns(
    float* table,
    const T* dOut,
    const int* keys,
    const int* order,
    i64 n,
    i64 width,
    i64 tableRows) {
  if (inFours(table, dOut, width)) {
    scatterLongRunsBy<4>(table, dOut, keys, order, n, width, tableRows);
  } else {
    scatterLongRunsBy<1>(table, dOut, keys, order, n, width, tableRows);
  }
}
