// Products of mixture-of-experts layers, one per group of rows; any T, any sizes.
//
//   grouped_nt   out[r,n] = sum_k in[r,k] w[e,n,k]        r in group e         (forward)
//   grouped_nn   out[r,k] = sum_n in[r,n] w[e,n,k]        r in group e         (data gradient)
//   grouped_tn   dW[e,n,k] (+)= sum_r dOut[r,n] in[r,k]   over r in group e    (weight gradient)
//
//   in, dOut, out, w: T, rows dense; dW: F32; offsets: I32 [experts+1] on the device
//
// Rows outside all groups are not written; accumulate 0 overwrites all of dW, with zeros where a
// group is empty. Launch: TILE_THREADS threads, any number of blocks in x (the useful number is
// that of the tiles); no dynamic shared memory. Numerics: products and sums in F32 in order of the
// summed index, so the grid does not change bits. Source: own; the classic tiling, an 8x8 patch of
// the result per thread.

#include "grouped_tiles.cuh"

static const int BM = 128;
static const int BN = 128;
static const int BK = 8;
static const int TILE_THREADS = 256;
static const int PAD = 4;  // keeps float4 reads aligned and spreads the banks
static const int EACH = BM * BK / TILE_THREADS;

/** A row-major matrix of which a product reads tiles. */
struct View {
  const T* at;
  i64 stride;
  int rows;
  int cols;
};

DEVICE View view(const T* at, i64 stride, int rows, int cols) {
  View v;
  v.at = at;
  v.stride = stride;
  v.rows = rows;
  v.cols = cols;
  return v;
}

/**
 * One operand's tile of BK summed indexes by 128 others, taken through registers into shared memory
 * as [BK][128]. SUM_IN_COLS says which way the matrix lies.
 */
template <bool SUM_IN_COLS>
struct Loader {
  float held[EACH];

  DEVICE int sumAt(int i) const {
    return SUM_IN_COLS ? threadIdx.x % BK : threadIdx.x / BM + i * (TILE_THREADS / BM);
  }

  DEVICE int otherAt(int i) const {
    return SUM_IN_COLS ? threadIdx.x / BK + i * (TILE_THREADS / BK) : threadIdx.x % BM;
  }

  DEVICE void take(const View& v, int other0, int sum0) {
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      int other = other0 + otherAt(i);
      int sum = sum0 + sumAt(i);
      int row = SUM_IN_COLS ? other : sum;
      int col = SUM_IN_COLS ? sum : other;
      held[i] = row < v.rows && col < v.cols ? widen(v.at[row * v.stride + col]) : 0.0f;
    }
  }

  DEVICE void put(float (*tile)[BM + PAD]) const {
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      tile[sumAt(i)][otherAt(i)] = held[i];
    }
  }
};

DEVICE void fetch(float* to, const float* row, int at) {
  float4 low = *reinterpret_cast<const float4*>(row + at);
  float4 high = *reinterpret_cast<const float4*>(row + 64 + at);
  to[0] = low.x;
  to[1] = low.y;
  to[2] = low.z;
  to[3] = low.w;
  to[4] = high.x;
  to[5] = high.y;
  to[6] = high.z;
  to[7] = high.w;
}

/** sums = the tile at (m0, n0) of a·b, where a and b lie as A_COLS and B_COLS say. */
template <bool A_COLS, bool B_COLS>
DEVICE void product(
    float (&sums)[8][8], const View& a, const View& b, int m0, int n0, int length) {
  __shared__ __align__(16) float left[2][BK][BM + PAD];
  __shared__ __align__(16) float right[2][BK][BN + PAD];
  int x = threadIdx.x % 16 * 4;
  int y = threadIdx.x / 16 * 4;
  Loader<A_COLS> fromA;
  Loader<B_COLS> fromB;
#pragma unroll
  for (int i = 0; i < 64; i++) {
    sums[i / 8][i % 8] = 0;
  }
  fromA.take(a, m0, 0);
  fromB.take(b, n0, 0);
  int stage = 0;
  for (int k0 = 0; k0 < length; k0 += BK) {
    fromA.put(left[stage]);
    fromB.put(right[stage]);
    __syncthreads();
    if (k0 + BK < length) {
      fromA.take(a, m0, k0 + BK);
      fromB.take(b, n0, k0 + BK);
    }
#pragma unroll 4
    for (int k = 0; k < BK; k++) {
      float p[8];
      float q[8];
      fetch(p, left[stage][k], y);
      fetch(q, right[stage][k], x);
#pragma unroll
      for (int i = 0; i < 64; i++) {
        sums[i / 8][i % 8] = fmaf(p[i / 8], q[i % 8], sums[i / 8][i % 8]);
      }
    }
    stage ^= 1;
  }
  __syncthreads();  // the next tile begins with either stage
}

/** Stores this thread's patch of the tile at (m0, n0) to out[rows, cols], or adds it. */
template <typename S>
DEVICE void put(
    S* out, const float (&sums)[8][8], int m0, int n0, int rows, int cols, bool accumulate) {
#pragma unroll
  for (int i = 0; i < 8; i++) {
    int row = m0 + threadIdx.x / 16 * 4 + i % 4 + i / 4 * 64;
    S* to = out + (i64) row * cols;
    float old[8];
#pragma unroll
    for (int j = 0; j < 8; j++) {
      int col = n0 + threadIdx.x % 16 * 4 + j % 4 + j / 4 * 64;
      old[j] = accumulate && row < rows && col < cols ? widen(to[col]) : 0;
    }
#pragma unroll
    for (int j = 0; j < 8; j++) {
      int col = n0 + threadIdx.x % 16 * 4 + j % 4 + j / 4 * 64;
      if (row < rows && col < cols) {
        to[col] = narrow<S>(old[j] + sums[i][j]);
      }
    }
  }
}

/** out[rows_e, cols] = in[rows_e, length] · w[e], transposed or not: forward or data gradient. */
template <bool TRANSPOSED>
DEVICE void rowsTimesWeights(
    T* out,
    const T* in,
    const T* w,
    const int* offsets,
    int rows,
    int experts,
    int cols,
    int length,
    int* faults) {
  TileWalk<8> walk = rowTiles<8>(offsets, experts, rows, cols, BM, BN, faults);
  Tile tile;
  for (int t = blockIdx.x; walk.find(t, tile); t += gridDim.x) {
    float sums[8][8];
    int height = tile.end - tile.begin;
    const T* expert = w + (i64) tile.expert * cols * length;
    View a = view(in + (i64) tile.begin * length, length, height, length);
    View b = TRANSPOSED ? view(expert, length, cols, length) : view(expert, cols, length, cols);
    product<true, TRANSPOSED>(sums, a, b, tile.m * BM, tile.n * BN, length);
    T* to = out + (i64) tile.begin * cols;
    put(to, sums, tile.m * BM, tile.n * BN, height, cols, false);
  }
}

extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2) grouped_nt(
    T* out,
    const T* in,
    const T* w,
    const int* offsets,
    int rows,
    int experts,
    int n,
    int k,
    int* faults) {
  rowsTimesWeights<true>(out, in, w, offsets, rows, experts, n, k, faults);
}

extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2) grouped_nn(
    T* out,
    const T* in,
    const T* w,
    const int* offsets,
    int rows,
    int experts,
    int n,
    int k,
    int* faults) {
  rowsTimesWeights<false>(out, in, w, offsets, rows, experts, k, n, faults);
}

extern "C" __global__ void __launch_bounds__(TILE_THREADS, 2) grouped_tn(
    float* dW,
    const T* dOut,
    const T* in,
    const int* offsets,
    int rows,
    int experts,
    int n,
    int k,
    int accumulate,
    int* faults) {
  TileWalk<8> walk = gradientTiles<8>(offsets, experts, rows, n, k, BM, BN, accumulate, faults);
  Tile tile;
  for (int t = blockIdx.x; walk.find(t, tile); t += gridDim.x) {
    float sums[8][8];
    int length = tile.end - tile.begin;
    View a = view(dOut + (i64) tile.begin * n, n, length, n);
    View b = view(in + (i64) tile.begin * k, k, length, k);
    product<false, false>(sums, a, b, tile.m * BM, tile.n * BN, length);
    float* to = dW + (i64) tile.expert * n * k;
    put(to, sums, tile.m * BM, tile.n * BN, n, k, accumulate);
  }
}
