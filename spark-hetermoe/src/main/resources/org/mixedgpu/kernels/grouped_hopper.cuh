// What the grouped products for Hopper share: the ring of operands, the tensor cores, who does what.
//
// Defines: BM and BN, rows and columns of a tile; STAGES of the ring; PINGPONG, 0 or 1.
//
// One warp keeps a ring of STAGES filled through the copy engine; two warpgroups multiply. Either
// both share a tile of BM by BN, a half of its rows each, or (PINGPONG) each has tiles of its own,
// so that one multiplies while the other stores results. A unit of 64 by 64 elements is 8 KiB of
// shared memory whichever way its operand lies. The last tile of a group reads on into the next
// group; those rows' results are not stored. Where rows are what is summed over, those that are not
// the group's are set to zero in shared memory.

#if !defined(BM) || !defined(BN) || !defined(STAGES) || !defined(PINGPONG)
#error "BM, BN, STAGES and PINGPONG must be defined"
#endif

constexpr int TILE_BAND = 16;
constexpr int BK = 64;
constexpr int THREADS = 384;
constexpr u32 UNIT = 64 * BK * 2;
constexpr int A_UNITS = BM / 64;
constexpr int B_UNITS = BN / 64;
constexpr u32 STAGE_BYTES = (A_UNITS + B_UNITS) * UNIT;
constexpr int REPEAT = PINGPONG ? BM / 64 : BM / 128;  // 64-row products of a warpgroup
constexpr int SHARERS = PINGPONG ? 1 : 2;              // warpgroups that use a stage

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS, 1)

typedef float Sums[REPEAT][BN / 8][4];

/** c[64, BN] (+)= a[64, 16] · b[16, BN], begun only; A_TURNED and B_TURNED as in operand(). */
template <bool A_TURNED, bool B_TURNED>
DEVICE void multiply(float (&c)[BN / 8][4], u64 a, u64 b, bool add) {
#if BN == 128
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n" WGMMA(128) "{" REGISTERS64
               "}, %64, %65, p, 1, 1, %67, %68;\n}"
               : QUADS8(c, 0), QUADS8(c, 8)
               : "l"(a), "l"(b), "r"((int) add), "n"(A_TURNED), "n"(B_TURNED));
#elif BN == 192
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %98, 0;\n" WGMMA(192) "{" REGISTERS96
               "}, %96, %97, p, 1, 1, %99, %100;\n}"
               : QUADS8(c, 0), QUADS8(c, 8), QUADS8(c, 16)
               : "l"(a), "l"(b), "r"((int) add), "n"(A_TURNED), "n"(B_TURNED));
#elif BN == 256
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n" WGMMA(256) "{" REGISTERS128
               "}, %128, %129, p, 1, 1, %131, %132;\n}"
               : QUADS8(c, 0), QUADS8(c, 8), QUADS8(c, 16), QUADS8(c, 24)
               : "l"(a), "l"(b), "r"((int) add), "n"(A_TURNED), "n"(B_TURNED));
#else
#error "BN must be 128, 192 or 256"
#endif
}

/** An operand; turned: its units lie by rows of the summed index. */
DEVICE u64 operand(u32 address, bool turned) {
  return describe(address, turned ? UNIT : 16);
}

// --- the ring ------------------------------------------------------------------------------------

struct Ring {
  u32 stages;
  u32 full;
  u32 empty;
  u32 turns;  // where each warpgroup of two that take turns waits for its own
  int stage;
  u32 phase;

  /** All threads call; the stages begin at a multiple of 1024 in shared memory. */
  DEVICE Ring(u32 memory, u32 barriers) {
    stages = (memory + 1023) & ~1023u;
    full = barriers;
    empty = full + STAGES * 8;
    turns = empty + STAGES * 8;
    stage = 0;
    phase = 0;
    if (threadIdx.x == 0) {
      for (int i = 0; i < STAGES; i++) {
        initBarrier(full + i * 8, 1);
        initBarrier(empty + i * 8, SHARERS);
      }
      initBarrier(turns, 4);
      initBarrier(turns + 8, 4);
      fenceAsync();
    }
    __syncthreads();
  }

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

  /** What lies behind all stages. */
  DEVICE u32 behind() const {
    return stages + STAGES * STAGE_BYTES;
  }

  DEVICE u32 fullBarrier() const {
    return full + stage * 8;
  }

  DEVICE u32 emptyBarrier() const {
    return empty + stage * 8;
  }
};

/** Where a tile's operands begin in their tensors, and how often 64 elements are summed. */
struct Place {
  int aRow, aCol;
  int bRow, bCol, bMatrix;
  int steps;
};

/** Fills the ring with one tile's operands. One thread. */
template <bool A_TURNED, bool B_TURNED>
DEVICE void produce(Ring& ring, const TensorMap& a, const TensorMap& b, const Place& place) {
  // Unrolled it needs more registers than are left to it.
#pragma unroll 1
  for (int step = 0; step < place.steps; step++) {
    await(ring.emptyBarrier(), ring.phase ^ 1);
    expectBytes(ring.fullBarrier(), STAGE_BYTES);
    int sum = step * BK;
#pragma unroll
    for (int i = 0; i < A_UNITS; i++) {
      int col = place.aCol + (A_TURNED ? i * 64 : sum);
      int row = place.aRow + (A_TURNED ? sum : i * 64);
      loadTile(ring.left() + i * UNIT, a, ring.fullBarrier(), col, row, 0);
    }
#pragma unroll
    for (int i = 0; i < B_UNITS; i++) {
      int col = place.bCol + (B_TURNED ? i * 64 : sum);
      int row = place.bRow + (B_TURNED ? sum : i * 64);
      loadTile(ring.right() + i * UNIT, b, ring.fullBarrier(), col, row, place.bMatrix);
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

/** Waits for the warpgroup that calls. */
DEVICE void together(int group) {
  turn(2 + group, 128);
}

/** Lets the other warpgroup have its turn, when all threads of it have seen that it is their own. */
DEVICE void passTurn(const Ring& ring, int group) {
  if (PINGPONG) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
      arrive(ring.turns + (1 - group) * 8);
    }
  }
}

/** Zeros rows [rows, 64) of all units of the current stage, by all warpgroups that use it. */
DEVICE void zeroTail(const Ring& ring, int rows, int group) {
  const float zeros[4] = {};
  int pieces = (BK - rows) * 8;
  int thread = PINGPONG ? threadIdx.x % 128 : threadIdx.x - 128;
  for (int i = thread; i < pieces * (A_UNITS + B_UNITS); i += SHARERS * 128) {
    storeShared4(ring.left() + i / pieces * UNIT + rows * 128 + i % pieces * 16, zeros);
  }
  fenceAsync();
  if (PINGPONG) {
    together(group);
  } else {
    turn(1, 256);
  }
}

/**
 * sums = this warpgroup's part of one tile, of at least one step; lastRows is how much of the last
 * one counts where the operands are turned.
 */
template <bool A_TURNED, bool B_TURNED>
DEVICE void consume(Sums& sums, Ring& ring, int steps, int lastRows, int group) {
  u32 before = 0;
#pragma unroll 1
  for (int step = 0; step < steps; step++) {
    await(ring.fullBarrier(), ring.phase);
    if (step == steps - 1) {
      passTurn(ring, group);
      if (A_TURNED && lastRows < BK) {
        zeroTail(ring, lastRows, group);
      }
    }
    u32 left = ring.left() + (PINGPONG ? 0 : group * REPEAT * UNIT);
    u32 right = ring.right();
    fenceProducts();
#pragma unroll
    for (int k = 0; k < BK / 16; k++) {
      u64 b = operand(right + k * (B_TURNED ? 16 * 128 : 32), B_TURNED);
#pragma unroll
      for (int i = 0; i < REPEAT; i++) {
        u64 a = operand(left + i * UNIT + k * (A_TURNED ? 16 * 128 : 32), A_TURNED);
        multiply<A_TURNED, B_TURNED>(sums[i], a, b, step > 0 || k > 0);
      }
    }
    commitProducts();
    awaitProducts<1>();
    if (step > 0) {
      release(before);
    }
    before = ring.emptyBarrier();
    ring.next();
  }
  awaitProducts<0>();
#pragma unroll
  for (int i = 0; i < REPEAT; i++) {
    pin(sums[i]);
  }
  release(before);
}

// --- the body of all kernels ---------------------------------------------------------------------

/**
 * All tiles of this block. op.place(tile) says where a tile's operands are; op.write(sums, tile, m0,
 * memory, group) takes a warpgroup's sums, whose rows begin at m0, and op.clear(tile, m0, memory,
 * group) is instead of it where there is nothing to sum. memory: what lies behind the ring.
 */
template <bool A_TURNED, bool B_TURNED, typename Op>
DEVICE void run(
    TileWalk<TILE_BAND>& walk, const TensorMap& a, const TensorMap& b, const Op& op) {
  extern __shared__ unsigned char dynamic[];
  __shared__ __align__(8) u64 barriers[2 * STAGES + 2];
  Ring ring(
      (u32) __cvta_generic_to_shared(dynamic), (u32) __cvta_generic_to_shared(barriers));
  Tile tile;
  if (threadIdx.x < 128) {
    lowerRegisters<40>();
    if (threadIdx.x < 32) {
      for (int t = blockIdx.x; walk.find(t, tile); t += gridDim.x) {
        if (threadIdx.x == 0) {
          produce<A_TURNED, B_TURNED>(ring, a, b, op.place(tile));
        }
        __syncwarp();
      }
    }
  } else {
    raiseRegisters<232>();
    int group = threadIdx.x / 128 - 1;
    int count = 0;
    for (int t = blockIdx.x; walk.find(t, tile); t += gridDim.x) {
      int steps = op.place(tile).steps;
      int turn = count++;
      if (PINGPONG && turn % 2 != group) {
        ring.skip(steps);
        continue;
      }
      int m0 = tile.m * BM + (PINGPONG ? 0 : group * REPEAT * 64);
      if (PINGPONG && turn > 0) {
        // A stage's phases look alike, so none may be waited for before all earlier ones are over.
        await(ring.turns + group * 8, (turn - 1) / 2 & 1);
      }
      if (steps == 0) {
        passTurn(ring, group);
        op.clear(tile, m0, ring.behind(), group);
        continue;
      }
      Sums sums;
      int lastRows = tile.end - tile.begin - (steps - 1) * BK;
      consume<A_TURNED, B_TURNED>(sums, ring, steps, lastRows, group);
      op.write(sums, tile, m0, ring.behind(), group);
    }
    // Shared memory may not go before the copy engine has read it.
    finishStores();
  }
}
