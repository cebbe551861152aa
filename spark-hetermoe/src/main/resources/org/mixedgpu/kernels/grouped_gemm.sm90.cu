// The products of grouped_gemm.cu on Hopper's asynchronous tensor cores; compiled for sm_90a.
//
//   grouped_nt   out[r,n] = sum_k in[r,k] w[e,n,k]      r in group e           (forward)
//   grouped_nn   out[r,k] = sum_n in[r,n] w[e,n,k]      r in group e           (data gradient)
//   grouped_tn   dW[e,n,k] += sum_r dOut[r,n] in[r,k]   over r in group e      (weight gradient)
//
//   out: T, rows dense; offsets: I32 [experts+1] on the device
//   in, dOut: tensor maps of T [rows,·], w: of T [experts,n,k], boxes of 64 rows by 64; dW: of F32
//   [experts,n,k], boxes of 64 rows by 32; all with the 128-byte swizzle
//   assumes T BF16 or F16, n and k multiples of 8, pointers multiples of 16 bytes
//
// Rows outside all groups are not written. Launch: 384 threads; one block per multiprocessor in x;
// STAGES * (BM + BN) * 128 + 1024 bytes of dynamic shared memory, for grouped_tn 32768 more.
//
// One warp keeps a ring of STAGES filled through the copy engine; two warpgroups multiply. Either
// both share a tile of BM by BN, a half of its rows each, or (PINGPONG) each has tiles of its own,
// so that one multiplies while the other stores results; grouped_tn is for the former only. A unit
// of 64 by 64 elements is 8 KiB of shared memory whichever way its operand lies. The last tile of a
// group reads on into the next group; those rows' results are not stored. Where rows are what is
// summed over, those that are not the group's are set to zero in shared memory. The copy engine
// adds sums to the weight gradient, so that the old values need not come here; each element is
// added to once, so nothing depends on an order.
//
// Numerics: products in T, sums in F32 by the tensor core in a fixed order, so the grid does not
// change bits. Source: own; instructions as in the PTX manual (wgmma, cp.async.bulk.tensor,
// mbarrier).

#include "grouped_tiles.cuh"

#ifndef BM
#define BM 128
#define BN 256
#define STAGES 4
#define PINGPONG 0
#endif

static const int TILE_BAND = 16;
static const int BK = 64;
static const int THREADS = 384;
static const int UNIT = 64 * BK * 2;
static const int STRIP = 64 * 32 * 4;
static const int A_UNITS = BM / 64;
static const int B_UNITS = BN / 64;
static const int STAGE_BYTES = (A_UNITS + B_UNITS) * UNIT;
static const int REPEAT = PINGPONG ? BM / 64 : BM / 128;  // 64-row products of a warpgroup
static const int RELEASES = PINGPONG ? 1 : 2;             // warpgroups that use a stage

struct __align__(64) TensorMap {
  unsigned char bytes[128];
};

typedef float Sums[REPEAT][BN / 8][4];

// --- barriers and copies -------------------------------------------------------------------------

DEVICE u32 sharedAddress(const void* p) {
  return (u32) __cvta_generic_to_shared(p);
}

DEVICE void await(u32 barrier, u32 parity) {
  u32 done = 0;
  while (done == 0) {
    asm volatile(
        "{\n .reg .pred p;\n mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        " selp.u32 %0, 1, 0, p;\n}"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
  }
}

DEVICE void expect(u32 barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}

DEVICE void arrive(u32 barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/** Brings the unit at (col, row, depth) to shared memory. */
DEVICE void copy(u32 to, const TensorMap* map, u32 barrier, int col, int row, int depth) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(to),
      "l"(map),
      "r"(barrier),
      "r"(col),
      "r"(row),
      "r"(depth)
      : "memory");
}

// --- tensor cores --------------------------------------------------------------------------------

/**
 * An operand in shared memory, 128-byte swizzle. Summed index contiguous: groups of 8 rows are 1024
 * bytes apart. Other index contiguous: groups of 8 summed indexes are, and units of 64 others UNIT.
 */
DEVICE u64 operand(u32 address, bool turned) {
  u64 units = turned ? UNIT >> 4 : 1;
  return (u64) 1 << 62 | (u64) (1024 >> 4) << 32 | units << 16 | (u64) ((address & 0x3FFFF) >> 4);
}

#if defined(T_BF16)
#define TYPES "bf16.bf16"
#elif defined(T_F16)
#define TYPES "f16.f16"
#else
#error "T must be BF16 or F16"
#endif

#define F4(j) "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])
#define F16X4(j) F4(j), F4(j + 1), F4(j + 2), F4(j + 3)
#define F32X4(j) F16X4(j), F16X4(j + 4)

#define SUMS_192 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"

#define SUMS_256 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, " \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, " \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, " \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, " \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

/** c[64, BN] (+)= a[64, 16] · b[16, BN], begun only; A_TURNED and B_TURNED as in operand(). */
template <bool A_TURNED, bool B_TURNED>
DEVICE void multiply(float (&c)[BN / 8][4], u64 a, u64 b, bool add) {
#if BN == 192
  asm volatile(
      "{\n .reg .pred p;\n setp.ne.b32 p, %98, 0;\n"
      " wgmma.mma_async.sync.aligned.m64n192k16.f32." TYPES
      " {" SUMS_192 "}, %96, %97, p, 1, 1, %99, %100;\n}"
      : F32X4(0), F32X4(8), F32X4(16)
      : "l"(a), "l"(b), "r"((int) add), "n"(A_TURNED), "n"(B_TURNED));
#elif BN == 256
  asm volatile(
      "{\n .reg .pred p;\n setp.ne.b32 p, %130, 0;\n"
      " wgmma.mma_async.sync.aligned.m64n256k16.f32." TYPES
      " {" SUMS_256 "}, %128, %129, p, 1, 1, %131, %132;\n}"
      : F32X4(0), F32X4(8), F32X4(16), F32X4(24)
      : "l"(a), "l"(b), "r"((int) add), "n"(A_TURNED), "n"(B_TURNED));
#endif
}

DEVICE void begin() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

DEVICE void commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int LEFT>
DEVICE void finish() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

// --- the ring ------------------------------------------------------------------------------------

struct Ring {
  u32 stages;
  u32 full;
  u32 empty;
  u32 turns;  // where each warpgroup of two that take turns waits for its own
  int stage;
  u32 phase;

  DEVICE void next() {
    stage++;
    if (stage == STAGES) {
      stage = 0;
      phase ^= 1;
    }
  }

  /** Past stages that the other warpgroup works on. */
  DEVICE void skip(int steps) {
    int to = stage + steps;
    phase ^= to / STAGES & 1;
    stage = to % STAGES;
  }

  DEVICE u32 left() const {
    return stages + stage * STAGE_BYTES;
  }

  DEVICE u32 right() const {
    return left() + A_UNITS * UNIT;
  }

  DEVICE u32 fullBarrier() const {
    return full + stage * 8;
  }

  DEVICE u32 emptyBarrier() const {
    return empty + stage * 8;
  }
};

/** Where a tile's operands begin in their tensors. */
struct Place {
  int aRow, aCol;
  int bRow, bCol, bDepth;
  int steps;
};

/** Fills the ring with one tile's operands. One thread. */
template <bool A_TURNED, bool B_TURNED>
DEVICE void produce(Ring& ring, const TensorMap* a, const TensorMap* b, const Place& place) {
  for (int step = 0; step < place.steps; step++) {
    await(ring.emptyBarrier(), ring.phase ^ 1);
    expect(ring.fullBarrier(), STAGE_BYTES);
    int sum = step * BK;
#pragma unroll
    for (int i = 0; i < A_UNITS; i++) {
      int col = place.aCol + (A_TURNED ? i * 64 : sum);
      int row = place.aRow + (A_TURNED ? sum : i * 64);
      copy(ring.left() + i * UNIT, a, ring.fullBarrier(), col, row, 0);
    }
#pragma unroll
    for (int i = 0; i < B_UNITS; i++) {
      int col = place.bCol + (B_TURNED ? i * 64 : sum);
      int row = place.bRow + (B_TURNED ? sum : i * 64);
      copy(ring.right() + i * UNIT, b, ring.fullBarrier(), col, row, place.bDepth);
    }
    ring.next();
  }
}

/** A warpgroup's products are over for all of it when they are for one thread. */
DEVICE void release(u32 barrier) {
  if (threadIdx.x % 128 == 0) {
    arrive(barrier);
  }
}

/** Zeros rows [rows, 64) of all units of the current stage, by both warpgroups. */
DEVICE void zeroTail(const Ring& ring, int rows) {
  int units = (BK - rows) * 8;
  for (int i = threadIdx.x - 128; i < units * (A_UNITS + B_UNITS); i += 256) {
    u32 at = ring.left() + i / units * UNIT + rows * 128 + i % units * 16;
    asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(at), "r"(0) : "memory");
  }
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  asm volatile("bar.sync 1, 256;" ::: "memory");
}

/** sums = this warpgroup's part of one tile; lastRows is how much of the last step counts. */
template <bool A_TURNED, bool B_TURNED>
DEVICE void consume(Sums& sums, Ring& ring, int steps, int lastRows, int group) {
  u32 before = 0;
  for (int step = 0; step < steps; step++) {
    await(ring.fullBarrier(), ring.phase);
    // Every warp by itself: one that is slow to see its own turn must not miss it.
    if (PINGPONG && step == steps - 1 && threadIdx.x % 32 == 0) {
      arrive(ring.turns + (1 - group) * 8);
    }
    if (A_TURNED && step == steps - 1 && lastRows < BK) {
      zeroTail(ring, lastRows);
    }
    u32 left = ring.left() + (PINGPONG ? 0 : group * REPEAT * UNIT);
    u32 right = ring.right();
    begin();
#pragma unroll
    for (int k = 0; k < BK / 16; k++) {
      u64 b = operand(right + k * (B_TURNED ? 16 * 128 : 32), B_TURNED);
#pragma unroll
      for (int i = 0; i < REPEAT; i++) {
        u64 a = operand(left + i * UNIT + k * (A_TURNED ? 16 * 128 : 32), A_TURNED);
        multiply<A_TURNED, B_TURNED>(sums[i], a, b, step > 0 || k > 0);
      }
    }
    commit();
    finish<1>();
    if (step > 0) {
      release(before);
    }
    before = ring.emptyBarrier();
    ring.next();
  }
  finish<0>();
#pragma unroll
  for (int i = 0; i < REPEAT * BN / 2; i++) {
    // What reads the sums must not be moved to before the wait.
    asm volatile("" : "+f"(sums[i / (BN / 2)][i / 4 % (BN / 8)][i % 4])::"memory");
  }
  release(before);
}

// --- results -------------------------------------------------------------------------------------

/** Four threads' four words each, turned: thread q gets word q of all. */
DEVICE void turn(u32 (&x)[4]) {
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
      turn(x);
      int col = n0 + j * 8;
      if (row < rows && col < cols) {
        store16(to + col, make_uint4(x[0], x[1], x[2], x[3]));
      }
    }
  }
}

/**
 * Adds this warpgroup's part to matrix `depth` of a stack, by strips of 32 columns through two
 * buffers in shared memory; (m0, n0) is where it begins. What lies outside the matrix is left out.
 */
DEVICE void add(
    const Sums& sums, const TensorMap* to, u32 buffers, int m0, int n0, int depth, int group) {
  int thread = threadIdx.x % 128;
  int q = thread % 4;
  int row0 = thread / 32 * 16 + thread % 32 / 4;
  buffers += group * 2 * STRIP;
#pragma unroll
  for (int strip = 0; strip < REPEAT * BN / 32; strip++) {
    int i = strip / (BN / 32);
    int j0 = strip % (BN / 32) * 4;
    u32 buffer = buffers + strip % 2 * STRIP;
    if (thread == 0) {
      asm volatile("cp.async.bulk.wait_group.read 1;" ::: "memory");
    }
    asm volatile("bar.sync %0, 128;" ::"r"(2 + group) : "memory");
#pragma unroll
    for (int j = 0; j < 8; j++) {
      int row = row0 + j % 2 * 8;
      u32 at = buffer + row * 128 + ((j / 2 * 2 + q / 2) ^ (row & 7)) * 16 + q % 2 * 8;
      const float* sum = sums[i][j0 + j / 2] + j % 2 * 2;
      asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(at), "f"(sum[0]), "f"(sum[1])
                   : "memory");
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    asm volatile("bar.sync %0, 128;" ::"r"(2 + group) : "memory");
    if (thread == 0) {
      asm volatile(
          "cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.tile.bulk_group"
          " [%0, {%1, %2, %3}], [%4];" ::"l"(to),
          "r"(n0 + j0 * 8),
          "r"(m0 + i * 64),
          "r"(depth),
          "r"(buffer)
          : "memory");
      asm volatile("cp.async.bulk.commit_group;" ::: "memory");
    }
  }
}

// --- kernels -------------------------------------------------------------------------------------

/** The body of all three: place(tile) says where its operands are, write(..) takes its sums. */
template <bool A_TURNED, bool B_TURNED, typename Places, typename Write>
DEVICE void run(
    TileWalk<TILE_BAND>& walk,
    const TensorMap* a,
    const TensorMap* b,
    Places place,
    Write write) {
  extern __shared__ unsigned char dynamic[];
  __shared__ __align__(8) u64 barriers[2 * STAGES + 2];
  Ring ring;
  ring.stages = (sharedAddress(dynamic) + 1023) & ~1023u;
  ring.full = sharedAddress(barriers);
  ring.empty = ring.full + STAGES * 8;
  ring.turns = ring.empty + STAGES * 8;
  ring.stage = 0;
  ring.phase = 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) {
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(ring.full + i * 8));
      asm volatile(
          "mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(ring.empty + i * 8), "n"(RELEASES));
    }
    for (int i = 0; i < 2; i++) {
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 4;" ::"r"(ring.turns + i * 8));
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  Tile tile;
  if (threadIdx.x < 128) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x < 32) {
      for (int t = blockIdx.x; walk.find(t, tile); t += gridDim.x) {
        if (threadIdx.x == 0) {
          produce<A_TURNED, B_TURNED>(ring, a, b, place(tile));
        }
        __syncwarp();
      }
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    int group = threadIdx.x / 128 - 1;
    int count = 0;
    for (int t = blockIdx.x; walk.find(t, tile); t += gridDim.x) {
      int steps = place(tile).steps;
      int turn = count++;
      if (PINGPONG && turn % 2 != group) {
        ring.skip(steps);
        continue;
      }
      int m0 = tile.m * BM + (PINGPONG ? 0 : group * REPEAT * 64);
      int lastRows = tile.end - tile.begin - (steps - 1) * BK;
      Sums sums;
      if (PINGPONG && turn > 0) {
        // A stage's phases look alike, so none may be waited for before all earlier ones are over.
        await(ring.turns + group * 8, (turn - 1) / 2 & 1);
      }
      consume<A_TURNED, B_TURNED>(sums, ring, steps, lastRows, group);
      write(sums, tile, m0, ring.stages + STAGES * STAGE_BYTES, group);
    }
    // Shared memory may not go before the copy engine has read it.
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
  }
}

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS, 1)

/** out[rows_e, cols] = in[rows_e, length] · w[e], transposed or not: forward or data gradient. */
template <bool TRANSPOSED>
DEVICE void rowsTimesWeights(
    T* out,
    const TensorMap* in,
    const TensorMap* w,
    const int* offsets,
    int rows,
    int experts,
    int cols,
    int length,
    int* faults) {
  TileWalk<TILE_BAND> walk = tileWalk<TILE_BAND>(
      offsets,
      experts,
      rows,
      BM,
      0,
      (cols + BN - 1) / BN,
      faults,
      GROUPED_MATMUL_OFFSETS);
  run<false, !TRANSPOSED>(
      walk,
      in,
      w,
      [=](const Tile& tile) {
        Place place;
        place.aRow = tile.begin + tile.m * BM;
        place.aCol = 0;
        place.bRow = TRANSPOSED ? tile.n * BN : 0;
        place.bCol = TRANSPOSED ? 0 : tile.n * BN;
        place.bDepth = tile.expert;
        place.steps = (length + BK - 1) / BK;
        return place;
      },
      [=](const Sums& sums, const Tile& tile, int m0, u32 buffers, int group) {
        T* to = out + (i64) tile.begin * cols;
        store(sums, to, m0, tile.n * BN, tile.end - tile.begin, cols);
      });
}

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
  rowsTimesWeights<true>(out, &in, &w, offsets, rows, experts, n, k, faults);
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
  rowsTimesWeights<false>(out, &in, &w, offsets, rows, experts, k, n, faults);
}

#if !PINGPONG
KERNEL grouped_tn(
    const __grid_constant__ TensorMap dW,
    const __grid_constant__ TensorMap dOut,
    const __grid_constant__ TensorMap in,
    const int* offsets,
    int rows,
    int experts,
    int n,
    int k,
    int* faults) {
  TileWalk<TILE_BAND> walk = tileWalk<TILE_BAND>(
      offsets,
      experts,
      rows,
      0,
      (n + BM - 1) / BM,
      (k + BN - 1) / BN,
      faults,
      GROUPED_MATMUL_WEIGHT_GRADIENT_OFFSETS);
  const TensorMap* to = &dW;
  run<true, true>(
      walk,
      &dOut,
      &in,
      [=](const Tile& tile) {
        Place place;
        place.aRow = tile.begin;
        place.aCol = tile.m * BM;
        place.bRow = tile.begin;
        place.bCol = tile.n * BN;
        place.bDepth = 0;
        place.steps = (tile.end - tile.begin + BK - 1) / BK;
        return place;
      },
      [=](const Sums& sums, const Tile& tile, int m0, u32 buffers, int group) {
        add(sums, to, buffers, m0, tile.n * BN, tile.expert, group);
      });
}
#endif
