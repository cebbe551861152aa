// Rows added to the rows of a table, where several may go to one: the backward pass of a lookup.
//
//   scatterRuns       table[key] += Σ dOut[order[p]] over the run of positions p with that key; runs
//                     of at most 32, in order of p
//   scatterLongRuns   the same for the other runs: 16 warps take every 16th row each, then their
//                     sums are added in order
//
// Shapes: dOut [n, width] of T; table [tableRows, width] F32; keys [n] and order [n] I32: keys ascend
// and order is what sorted them stably (sort.cu). Keys outside the table are skipped.
// Launch: scatterRuns: 256 threads; a position is for `lanes` neighbouring threads, a power of two
// from 32 to 256; grid.x = n / (256 / lanes). scatterLongRuns: 512 threads, grid.x = n / 512, grid.y =
// slabs of 32 accesses.
// Numerics: F32; sums in an order given by the operands alone, no atomics.
// Source: own. By four columns where the width and both addresses allow it, else one by one.

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
