// The products of grouped_gemm.cu on Hopper's asynchronous tensor cores, but for the weight
// gradient, which is in grouped_gradient.sm90.cu; compiled for sm_90a.
//
//   grouped_nt   out[r,n] = sum_k in[r,k] w[e,n,k]   r in group e   (forward)
//   grouped_nn   out[r,k] = sum_n in[r,n] w[e,n,k]   r in group e   (data gradient)
//
//   out: T, rows dense; offsets: I32 [experts+1] on the device
//   in: a tensor map of T [rows,·], w: of T [experts,n,k], boxes of 64 rows by 64 columns with the
//   128-byte swizzle
//   assumes T BF16 or F16, n and k multiples of 8, pointers multiples of 16 bytes
//
// Rows outside all groups are not written. Defines and what runs beside what: grouped_hopper.cuh.
// Launch: 384 threads; one block per multiprocessor in x; STAGES * (BM + BN) * 128 + 1024 bytes of
// dynamic shared memory.
//
// Numerics: products in T, sums in F32 by the tensor core in a fixed order, so the grid does not
// change bits. Source: own; instructions as in the PTX manual (wgmma, cp.async.bulk.tensor,
// mbarrier).

#ifndef BM
#define BM 128
#define BN 256
#define STAGES 4
#define PINGPONG 0
#endif

#include "hopper.cuh"
#include "grouped_tiles.cuh"
#include "grouped_hopper.cuh"

/** Four threads' four words each, exchanged: thread q gets word q of all. */
DEVICE void exchange(u32 (&x)[4]) {
  int q = threadIdx.x % 4;
#pragma unroll
  for (int s = 1; s < 4; s *= 2) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
      if ((j & s) == 0) {
        u32 got = __shfl_xor_sync(0xFFFFFFFFu, q & s ? x[j] : x[j + s], s);
        if (q & s) {
          x[j] = got;
        } else {
          x[j + s] = got;
        }
      }
    }
  }
}

/** Stores this warpgroup's part as T; (m0, n0) is where it begins in out[rows, cols]. */
DEVICE void store(const Sums& sums, T* out, int m0, int n0, int rows, int cols) {
  int lane = threadIdx.x % 32;
  m0 += threadIdx.x % 128 / 32 * 16 + lane / 4;
  n0 += lane % 4 * 8;
#pragma unroll
  for (int i = 0; i < REPEAT * 2; i++) {
    int row = m0 + i / 2 * 64 + i % 2 * 8;
    T* to = out + (i64) row * cols;
#pragma unroll
    for (int j = 0; j < BN / 8; j += 4) {
      u32 x[4];
#pragma unroll
      for (int l = 0; l < 4; l++) {
        x[l] = packPair(sums[i / 2][j + l][i % 2 * 2], sums[i / 2][j + l][i % 2 * 2 + 1], T());
      }
      exchange(x);
      int col = n0 + j * 8;
      if (row < rows && col < cols) {
        store16(to + col, make_uint4(x[0], x[1], x[2], x[3]));
      }
    }
  }
}

/** out[rows_e, cols] = in[rows_e, length] · w[e], transposed or not: forward or data gradient. */
template <bool TRANSPOSED>
struct RowsTimesWeights {
  T* out;
  int cols;
  int length;

  DEVICE Place place(const Tile& tile) const {
    Place place;
    place.aRow = tile.begin + tile.m * BM;
    place.aCol = 0;
    place.bRow = TRANSPOSED ? tile.n * BN : 0;
    place.bCol = TRANSPOSED ? 0 : tile.n * BN;
    place.bMatrix = tile.expert;
    place.steps = (length + BK - 1) / BK;
    return place;
  }

  DEVICE void write(const Sums& sums, const Tile& tile, int m0, u32, int) const {
    T* to = out + (i64) tile.begin * cols;
    store(sums, to, m0, tile.n * BN, tile.end - tile.begin, cols);
  }

  /** A tensor map has no dimension of 0, so there is always something to sum. */
  DEVICE void clear(const Tile&, int, u32, int) const {}
};

KERNEL grouped_nt(
    T* out,
    const __grid_constant__ TensorMap in,
    const __grid_constant__ TensorMap w,
    const int* offsets,
    int rows,
    int experts,
    int n,
    int k,
    int* faults) {
  TileWalk<TILE_BAND> walk = rowTiles<TILE_BAND>(offsets, experts, rows, n, BM, BN, faults);
  RowsTimesWeights<true> op = {out, n, k};
  run<false, false>(walk, in, w, op);
}

KERNEL grouped_nn(
    T* out,
    const __grid_constant__ TensorMap in,
    const __grid_constant__ TensorMap w,
    const int* offsets,
    int rows,
    int experts,
    int n,
    int k,
    int* faults) {
  TileWalk<TILE_BAND> walk = rowTiles<TILE_BAND>(offsets, experts, rows, k, BM, BN, faults);
  RowsTimesWeights<false> op = {out, k, n};
  run<false, true>(walk, in, w, op);
}
