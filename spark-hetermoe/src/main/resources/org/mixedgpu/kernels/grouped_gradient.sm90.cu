// The weight gradient of grouped_gemm.cu on Hopper's asynchronous tensor cores; compiled for sm_90a.
//
//   grouped_tn   dW[e,n,k] (+)= sum_r dOut[r,n] in[r,k]   over r in group e
//
//   dW: a tensor map of F32 [experts,n,k], boxes of 64 rows by 32 columns; dOut, in: of T [rows,·],
//   boxes of 64 rows by 64 columns; all with the 128-byte swizzle; offsets: I32 [experts+1] on the
//   device
//   assumes T BF16 or F16, n and k multiples of 8, pointers multiples of 16 bytes
//
// accumulate 0 overwrites all of dW, with zeros where a group is empty. Defines: those of
// grouped_hopper.cuh, which says what runs beside what, and STRIPS. Launch: 384 threads; one block
// per multiprocessor in x; STAGES * (BM + BN) * 128 + STRIPS * 16384 + 1024 bytes of dynamic shared
// memory.
//
// Sums leave through STRIPS buffers of each warpgroup, 64 rows by 32 columns, which the copy engine
// stores, or adds to what is there, so that old values need not come here. It reads them while the
// next tile is multiplied; a buffer is waited for only when it is to be written again. Each element
// is added to once, so nothing depends on an order.
//
// Numerics: products in T, sums in F32 by the tensor core in a fixed order, so neither the grid nor
// the tiles change bits. Source: own; instructions as in the PTX manual (wgmma,
// cp.async.bulk.tensor, cp.reduce.async.bulk.tensor, mbarrier).

#ifndef BM
#define BM 128
#define BN 256
#define STAGES 3
#define PINGPONG 0
#define STRIPS 4
#endif

#include "hopper.cuh"
#include "grouped_tiles.cuh"
#include "grouped_hopper.cuh"

constexpr u32 STRIP = 64 * 32 * 4;

// Every tile begins with the same buffer.
static_assert(REPEAT * BN / 32 % STRIPS == 0, "a warpgroup's strips of a tile, in whole rounds");

/** Results on their way to the matrices of a stack; what lies outside a matrix is left out. */
struct WeightGradient {
  const TensorMap* dW;
  bool accumulate;

  DEVICE Place place(const Tile& tile) const {
    Place place;
    place.aRow = tile.begin;
    place.aCol = tile.m * BM;
    place.bRow = tile.begin;
    place.bCol = tile.n * BN;
    place.bMatrix = 0;
    place.steps = (tile.end - tile.begin + BK - 1) / BK;
    return place;
  }

  /** A warpgroup's buffer of a strip. */
  DEVICE static u32 bufferOf(int strip, u32 memory, int group) {
    return memory + (group * STRIPS + strip % STRIPS) * STRIP;
  }

  /** One thread; the strip's buffer may be written again when its stores are awaited. */
  DEVICE void send(u32 buffer, int strip, const Tile& tile, int m0) const {
    int col = tile.n * BN + strip % (BN / 32) * 32;
    int row = m0 + strip / (BN / 32) * 64;
    if (accumulate) {
      addTile(*dW, buffer, col, row, tile.expert);
    } else {
      storeTile(*dW, buffer, col, row, tile.expert);
    }
    commitStores();
  }

  DEVICE void write(const Sums& sums, const Tile& tile, int m0, u32 memory, int group) const {
    int thread = threadIdx.x % 128;
    int q = thread % 4;
    int row0 = thread / 32 * 16 + thread % 32 / 4;
#pragma unroll
    for (int strip = 0; strip < REPEAT * BN / 32; strip++) {
      u32 buffer = bufferOf(strip, memory, group);
      if (thread == 0) {
        awaitStores<STRIPS - 1>();
      }
      together(group);
#pragma unroll
      for (int j = 0; j < 8; j++) {
        int row = row0 + j % 2 * 8;
        const float* sum = sums[strip / (BN / 32)][strip % (BN / 32) * 4 + j / 2] + j % 2 * 2;
        storeShared2(
            buffer + row * 128 + ((j / 2 * 2 + q / 2) ^ (row & 7)) * 16 + q % 2 * 8,
            sum[0],
            sum[1]);
      }
      fenceAsync();
      together(group);
      if (thread == 0) {
        send(buffer, strip, tile, m0);
      }
    }
  }

  /** Zeros, all from one buffer. */
  DEVICE void clear(const Tile& tile, int m0, u32 memory, int group) const {
    const float zeros[4] = {};
    int thread = threadIdx.x % 128;
    u32 buffer = bufferOf(0, memory, group);
    if (thread == 0) {
      awaitStores();
    }
    together(group);
    for (int at = thread * 16; at < STRIP; at += 128 * 16) {
      storeShared4(buffer + at, zeros);
    }
    fenceAsync();
    together(group);
    if (thread == 0) {
      for (int strip = 0; strip < REPEAT * BN / 32; strip++) {
        send(buffer, strip, tile, m0);
      }
      // The next tile may begin with any buffer but waits for the last stores only.
      awaitStores();
    }
  }
};

KERNEL grouped_tn(
    const __grid_constant__ TensorMap dW,
    const __grid_constant__ TensorMap dOut,
    const __grid_constant__ TensorMap in,
    const int* offsets,
    int rows,
    int experts,
    int n,
    int k,
    int accumulate,
    int* faults) {
  TileWalk<TILE_BAND> walk =
      gradientTiles<TILE_BAND>(offsets, experts, rows, n, k, BM, BN, accumulate, faults);
  WeightGradient op = {&dW, accumulate != 0};
  run<true, true>(walk, dOut, in, op);
}
