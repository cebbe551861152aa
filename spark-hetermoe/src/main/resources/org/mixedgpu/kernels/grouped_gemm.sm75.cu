// The products of grouped_gemm.cu on the tensor cores of sm_75 and later; T is BF16 (sm_80) or F16.
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
// ldmatrix turns them. Numerics: products in T, sums in F32 in order of the summed index, so the
// grid does not change bits. Source: own; mma.sync as in the PTX manual.

#include "grouped_tiles.cuh"

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
  return (row * units + (unit ^ (units >= 8 ? row & 7 : row >> 1 & 3))) * 16;
}

/** This thread's part of a tile of ROWS by COLS on its way to shared memory, zeros outside. */
template <int ROWS, int COLS>
struct Move {
  static const int EACH = ROWS * COLS / 8 / THREADS;
#if ARCH < 80
  uint4 held[EACH];
#endif

  DEVICE void take(u32 to, const View& v, int row0, int col0) {
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      int at = threadIdx.x + i * THREADS;
      int row = row0 + at / (COLS / 8);
      int col = col0 + at % (COLS / 8) * 8;
      bool inside = row < v.rows && col < v.cols;
      const T* from = inside ? v.at + row * v.stride + col : v.at;
#if ARCH >= 80
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                       to + unitAt<COLS>(at / (COLS / 8), at % (COLS / 8))),
                   "l"(from),
                   "r"(inside ? 16 : 0)
                   : "memory");
#else
      held[i] = inside ? load16(from) : make_uint4(0, 0, 0, 0);
#endif
    }
  }

  DEVICE void put(u32 to) const {
#if ARCH < 80
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      int at = threadIdx.x + i * THREADS;
      asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(
                       to + unitAt<COLS>(at / (COLS / 8), at % (COLS / 8))),
                   "r"(held[i].x),
                   "r"(held[i].y),
                   "r"(held[i].z),
                   "r"(held[i].w)
                   : "memory");
    }
#endif
  }
};

DEVICE void commit() {
#if ARCH >= 80
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int LEFT>
DEVICE void await() {
#if ARCH >= 80
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}

DEVICE void matrices(u32 (&x)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(address)
               : "memory");
}

DEVICE void matricesTurned(u32 (&x)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(address)
               : "memory");
}

#if ARCH >= 80
#define MMA(TYPES)                                                                                 \
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPES                                      \
               ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"              \
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                    \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))

DEVICE void multiply(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1, Bf16) {
  MMA("bf16.bf16");
}

DEVICE void multiply(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1, F16) {
  MMA("f16.f16");
}
#else
DEVICE void half(float (&c)[4], u32 a0, u32 a1, u32 b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6},"
               " {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a0), "r"(a1), "r"(b));
}

DEVICE void multiply(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1, F16) {
  half(c, a[0], a[1], b0);
  half(c, a[2], a[3], b1);
}
#endif

/** sums += the product of one stage; SUM_IN_COLS says how each operand lies in it. */
template <bool A_COLS, bool B_COLS>
DEVICE void multiplyStage(float (&sums)[MI][NI][4], u32 a, u32 b) {
  int lane = threadIdx.x % 32;
  int m0 = threadIdx.x / 32 / WARPS_N * WM;
  int n0 = threadIdx.x / 32 % WARPS_N * WN;
#pragma unroll
  for (int k = 0; k < BK; k += 16) {
    u32 left[MI][4];
    u32 right[NI / 2][4];
#pragma unroll
    for (int i = 0; i < MI; i++) {
      int m = m0 + i * 16;
      if (A_COLS) {
        matrices(left[i], a + unitAt<BK>(m + lane % 16, k / 8 + lane / 16));
      } else {
        matricesTurned(
            left[i], a + unitAt<BM>(k + lane / 16 * 8 + lane % 8, m / 8 + lane / 8 % 2));
      }
    }
#pragma unroll
    for (int j = 0; j < NI / 2; j++) {
      int n = n0 + j * 16;
      if (B_COLS) {
        matrices(right[j], b + unitAt<BK>(n + lane / 16 * 8 + lane % 8, k / 8 + lane / 8 % 2));
      } else {
        matricesTurned(right[j], b + unitAt<BN>(k + lane % 16, n / 8 + lane / 16));
      }
    }
#pragma unroll
    for (int i = 0; i < MI; i++) {
#pragma unroll
      for (int j = 0; j < NI; j++) {
        multiply(sums[i][j], left[i], right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1], T());
      }
    }
  }
}

/** sums = the tile at (m0, n0) of a·b over `length` summed indexes. */
template <bool A_COLS, bool B_COLS>
DEVICE void product(
    float (&sums)[MI][NI][4], const View& a, const View& b, int m0, int n0, int length) {
  extern __shared__ __align__(128) unsigned char ring[];
  u32 ring0 = (u32) __cvta_generic_to_shared(ring);
  int steps = (length + BK - 1) / BK;
  Move<A_COLS ? BM : BK, A_COLS ? BK : BM> moveA;
  Move<B_COLS ? BN : BK, B_COLS ? BK : BN> moveB;
  auto take = [&](int step) {
    if (step < steps) {
      u32 to = ring0 + step % STAGES * (A_BYTES + B_BYTES);
      moveA.take(to, a, A_COLS ? m0 : step * BK, A_COLS ? step * BK : m0);
      moveB.take(to + A_BYTES, b, B_COLS ? n0 : step * BK, B_COLS ? step * BK : n0);
    }
    commit();
  };
  auto land = [&](int step) {
    if (step < steps) {
      u32 to = ring0 + step % STAGES * (A_BYTES + B_BYTES);
      moveA.put(to);
      moveB.put(to + A_BYTES);
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
    await<STAGES - 2>();
    __syncthreads();
    take(step + STAGES - 1);
    u32 from = ring0 + step % STAGES * (A_BYTES + B_BYTES);
    multiplyStage<A_COLS, B_COLS>(sums, from, from + A_BYTES);
    land(step + STAGES - 1);
  }
  await<0>();
  __syncthreads();  // the next tile begins with any stage
}

/** Stores this thread's part of the tile at (m0, n0) to out[rows, cols], two elements at a time. */
DEVICE void put(T* out, const float (&sums)[MI][NI][4], int m0, int n0, int rows, int cols) {
  int lane = threadIdx.x % 32;
  m0 += threadIdx.x / 32 / WARPS_N * WM + lane / 4;
  n0 += threadIdx.x / 32 % WARPS_N * WN + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < MI * 2; i++) {
    int row = m0 + i * 8;
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
  int lane = threadIdx.x % 32;
  m0 += threadIdx.x / 32 / WARPS_N * WM + lane / 4;
  n0 += threadIdx.x / 32 % WARPS_N * WN + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < MI * 2; i++) {
    int row = m0 + i * 8;
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
