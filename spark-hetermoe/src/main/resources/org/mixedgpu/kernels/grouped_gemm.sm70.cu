// The products of grouped_gemm.cu on the tensor cores of sm_70 and later; T is BF16 (sm_80) or F16.
//
//   grouped_nt   out[r,n] = sum_k in[r,k] w[e,n,k]        r in group e         (forward)
//   grouped_nn   out[r,k] = sum_n in[r,n] w[e,n,k]        r in group e         (data gradient)
//   grouped_tn   dW[e,n,k] (+)= sum_r dOut[r,n] in[r,k]   over r in group e    (weight gradient)
//
//   in, dOut, out, w: T, rows dense; dW: F32; offsets: I32 [experts+1] on the device
//   assumes n and k multiples of 8, pointers multiples of 16 bytes
//
// Rows outside all groups are not written; accumulate 0 overwrites all of dW, with zeros where a
// group is empty. Launch: WARPS_M * WARPS_N warps, as many blocks in x as fit the device at once,
// STAGES * (BM + BN) * BK * 2 bytes of dynamic shared memory. Tiles come through a ring of STAGES
// in shared memory, on sm_80 by cp.async, before by registers; both operands may lie either way,
// see tensor_cores.cuh. Numerics: products in T, sums in F32 in order of the summed index, so the
// grid does not change bits. Source: own; mma.sync as in the PTX manual.

#include "grouped_tiles.cuh"
#include "tensor_cores.cuh"

#ifndef BM
#define BM 128
#define BN 128
#define BK 32
#define STAGES (ARCH >= 80 ? 4 : 2)
#define WARPS_M 2
#define WARPS_N 2
#endif

static const int TILE_BAND = 16;
static const int THREADS = WARPS_M * WARPS_N * 32;
static const int WM = BM / WARPS_M;
static const int WN = BN / WARPS_N;
static const int MI = WM / 16;
static const int NI = WN / 8;
static const int A_BYTES = BM * BK * 2;
static const int B_BYTES = BN * BK * 2;

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

/** Where a unit of 16 bytes lies; permuted so that eight rows' same unit are in different banks. */
template <int COLS>
DEVICE u32 unitAt(int row, int unit) {
  const int units = COLS / 8;
  u32 turn = units >= 8 ? row & 7 : units == 4 ? row >> 1 & 3 : row >> 2 & 1;
  return (row * units + (unit ^ turn)) * 16;
}

/** This thread's part of a tile of ROWS by COLS on its way to shared memory, zeros outside. */
template <int ROWS, int COLS>
struct Move {
  static const int EACH = ROWS * COLS / 8 / THREADS;
  Piece<true> pieces[EACH];

  DEVICE void take(u32 to, const View& v, int row0, int col0) {
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      int at = threadIdx.x + i * THREADS;
      int row = row0 + at / (COLS / 8);
      int col = col0 + at % (COLS / 8) * 8;
      bool inside = row < v.rows && col < v.cols;
      u32 unit = unitAt<COLS>(at / (COLS / 8), at % (COLS / 8));
      pieces[i].take(to + unit, v.at, row * v.stride + col, inside);
    }
  }

  DEVICE void land(u32 to) const {
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      int at = threadIdx.x + i * THREADS;
      pieces[i].land(to + unitAt<COLS>(at / (COLS / 8), at % (COLS / 8)));
    }
  }
};

/** sums += the product of one stage; SUM_IN_COLS says how each operand lies in it. */
template <bool A_COLS, bool B_COLS>
DEVICE void multiplyStage(float (&sums)[MI][NI][4], u32 a, u32 b) {
  int m0 = threadIdx.x / 32 / WARPS_N * WM;
  int n0 = threadIdx.x / 32 % WARPS_N * WN;
#pragma unroll
  for (int k = 0; k < BK; k += 16) {
    Left<!A_COLS> left[MI];
    Right<!B_COLS> right[NI / 2];
#pragma unroll
    for (int i = 0; i < MI; i++) {
      int m = m0 + i * 16;
      load(left[i], [&](int row, int unit) {
        return a + (A_COLS ? unitAt<BK>(m + row, k / 8 + unit) : unitAt<BM>(k + row, m / 8 + unit));
      });
    }
#pragma unroll
    for (int j = 0; j < NI / 2; j++) {
      int n = n0 + j * 16;
      load(right[j], [&](int row, int unit) {
        return b + (B_COLS ? unitAt<BK>(n + row, k / 8 + unit) : unitAt<BN>(k + row, n / 8 + unit));
      });
    }
#pragma unroll
    for (int i = 0; i < MI; i++) {
#pragma unroll
      for (int j = 0; j < NI / 2; j++) {
        multiplyAdd(&sums[i][2 * j], left[i], right[j]);
      }
    }
  }
}

/** sums = the tile at (m0, n0) of a·b over `length` summed indexes. */
template <bool A_COLS, bool B_COLS>
DEVICE void product(
    float (&sums)[MI][NI][4], const View& a, const View& b, int m0, int n0, int length) {
  extern __shared__ __align__(128) unsigned char ring[];
  u32 ring0 = sharedAddress(ring);
  int steps = (length + BK - 1) / BK;
  Move<A_COLS ? BM : BK, A_COLS ? BK : BM> moveA;
  Move<B_COLS ? BN : BK, B_COLS ? BK : BN> moveB;
  auto take = [&](int step) {
    if (step < steps) {
      u32 to = ring0 + step % STAGES * (A_BYTES + B_BYTES);
      moveA.take(to, a, A_COLS ? m0 : step * BK, A_COLS ? step * BK : m0);
      moveB.take(to + A_BYTES, b, B_COLS ? n0 : step * BK, B_COLS ? step * BK : n0);
    }
    commitCopies();
  };
  auto land = [&](int step) {
    if (step < steps) {
      u32 to = ring0 + step % STAGES * (A_BYTES + B_BYTES);
      moveA.land(to);
      moveB.land(to + A_BYTES);
    }
  };
#pragma unroll
  for (int i = 0; i < MI * NI * 4; i++) {
    sums[i / 4 / NI][i / 4 % NI][i % 4] = 0;
  }
  for (int step = 0; step < STAGES - 1; step++) {
    take(step);
    land(step);
  }
  for (int step = 0; step < steps; step++) {
    awaitCopies<STAGES - 2>();
    __syncthreads();
    take(step + STAGES - 1);
    u32 from = ring0 + step % STAGES * (A_BYTES + B_BYTES);
    multiplyStage<A_COLS, B_COLS>(sums, from, from + A_BYTES);
    land(step + STAGES - 1);
  }
  awaitCopies<0>();
  __syncthreads();  // the next tile begins with any stage
}

/** Stores this thread's part of the tile at (m0, n0) to out[rows, cols], two elements at a time. */
DEVICE void put(T* out, const float (&sums)[MI][NI][4], int m0, int n0, int rows, int cols) {
  m0 += threadIdx.x / 32 / WARPS_N * WM + resultRow();
  n0 += threadIdx.x / 32 % WARPS_N * WN + resultColumn();
#pragma unroll
  for (int i = 0; i < MI * 2; i++) {
    int row = m0 + i / 2 * 16 + i % 2 * ROW_STEP;
#pragma unroll
    for (int j = 0; j < NI; j++) {
      int col = n0 + j * 8;
      if (row < rows && col < cols) {
        const float* sum = sums[i / 2][j] + i % 2 * 2;
        *reinterpret_cast<u32*>(out + (i64) row * cols + col) = packPair(sum[0], sum[1], T());
      }
    }
  }
}

/** The same in F32, or added; a row's old values are all asked for before one is used. */
DEVICE void put(
    float* out,
    const float (&sums)[MI][NI][4],
    int m0,
    int n0,
    int rows,
    int cols,
    bool accumulate) {
  m0 += threadIdx.x / 32 / WARPS_N * WM + resultRow();
  n0 += threadIdx.x / 32 % WARPS_N * WN + resultColumn();
#pragma unroll
  for (int i = 0; i < MI * 2; i++) {
    int row = m0 + i / 2 * 16 + i % 2 * ROW_STEP;
    float2* to = reinterpret_cast<float2*>(out + (i64) row * cols + n0);
    float2 old[NI];
#pragma unroll
    for (int j = 0; j < NI; j++) {
      old[j] = make_float2(0, 0);
      if (accumulate && row < rows && n0 + j * 8 < cols) {
        old[j] = to[j * 4];
      }
    }
#pragma unroll
    for (int j = 0; j < NI; j++) {
      if (row < rows && n0 + j * 8 < cols) {
        const float* sum = sums[i / 2][j] + i % 2 * 2;
        to[j * 4] = make_float2(old[j].x + sum[0], old[j].y + sum[1]);
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
  TileWalk<TILE_BAND> walk =
      rowTiles<TILE_BAND>(offsets, experts, rows, cols, BM, BN, faults);
  Tile tile;
  for (int t = blockIdx.x; walk.find(t, tile); t += gridDim.x) {
    float sums[MI][NI][4];
    int height = tile.end - tile.begin;
    const T* expert = w + (i64) tile.expert * cols * length;
    View a = view(in + (i64) tile.begin * length, length, height, length);
    View b = TRANSPOSED ? view(expert, length, cols, length) : view(expert, cols, length, cols);
    product<true, TRANSPOSED>(sums, a, b, tile.m * BM, tile.n * BN, length);
    put(out + (i64) tile.begin * cols, sums, tile.m * BM, tile.n * BN, height, cols);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS) grouped_nt(
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

extern "C" __global__ void __launch_bounds__(THREADS) grouped_nn(
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

extern "C" __global__ void __launch_bounds__(THREADS) grouped_tn(
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
  TileWalk<TILE_BAND> walk =
      gradientTiles<TILE_BAND>(offsets, experts, rows, n, k, BM, BN, accumulate, faults);
  Tile tile;
  for (int t = blockIdx.x; walk.find(t, tile); t += gridDim.x) {
    float sums[MI][NI][4];
    int length = tile.end - tile.begin;
    View a = view(dOut + (i64) tile.begin * n, n, length, n);
    View b = view(in + (i64) tile.begin * k, k, length, k);
    product<false, false>(sums, a, b, tile.m * BM, tile.n * BN, length);
    float* to = dW + (i64) tile.expert * n * k;
    put(to, sums, tile.m * BM, tile.n * BN, n, k, accumulate);
  }
}
