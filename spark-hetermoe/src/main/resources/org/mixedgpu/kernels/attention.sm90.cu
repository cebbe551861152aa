// Causal grouped-query attention for bf16 and fp16 on Hopper (compute capability 9.0, wgmma and TMA).
// Formulas, operands and their shapes are those of attention.cu.
//
// Defines: HEAD, 64 or 128; CONSUMERS, warpgroups that compute; OTHER, keys per step, 64 or 128;
// STAGES, tiles of K and of V on their way.
//   Persistent blocks of one warpgroup that loads (TMA) and CONSUMERS that compute, 64 queries of one
//   head each, all over the same keys. A warpgroup starts the scores of the next keys before it
//   multiplies the present probabilities with V, and the warpgroups take turns on the tensor cores,
//   so that the softmax of one runs beside the products of another.
// Launch: at most one block of (CONSUMERS + 1) · 128 threads per multiprocessor, any number of them;
// shared memory 1024 + 256 · HEAD · CONSUMERS · 64 / 64 ... see sharedBytes in CudaAttention.
// Tensor maps: rank 4, {HEAD, heads, rows, sequences}, boxes of 64 columns (128-byte swizzle) of one
// head and 64 rows (q, out) or OTHER rows (k, v): rows after a sequence's last read as 0 and are not
// written.
//
// Numerics: as in attention.sm80.cu. No atomics; every sum has a fixed order, whichever block does it.
// Source: own, after "FlashAttention-3" (arXiv 2407.08608).
// Assumes scale > 0 and 16-byte alignment of all operands.

#if !defined(HEAD) || !defined(CONSUMERS) || !defined(OTHER) || !defined(STAGES)
#error "HEAD, CONSUMERS, OTHER and STAGES must be defined"
#endif

#if defined(T_BF16)
#define WGMMA(N) "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 "
#elif defined(T_F16)
#define WGMMA(N) "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.f16.f16 "
#else
#error "the tensor cores take bf16 and fp16"
#endif

#define QUAD(d, i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define QUADS8(d, i)                                                                           \
  QUAD(d, i), QUAD(d, i + 1), QUAD(d, i + 2), QUAD(d, i + 3), QUAD(d, i + 4), QUAD(d, i + 5), \
      QUAD(d, i + 6), QUAD(d, i + 7)

constexpr int THREADS = (CONSUMERS + 1) * 128;
constexpr int OWN = CONSUMERS * 64;
constexpr int CHUNKS = HEAD / 64;
constexpr u32 OWN_BYTES = 64 * HEAD * 2;
constexpr u32 OWN_CHUNK = 64 * 128;
constexpr u32 OTHER_BYTES = OTHER * HEAD * 2;
constexpr u32 OTHER_CHUNK = OTHER * 128;
constexpr u32 LOADER_REGISTERS = CONSUMERS == 2 ? 24 : 32;
constexpr u32 CONSUMER_REGISTERS = CONSUMERS == 2 ? 240 : 160;
constexpr float LOG2E = 1.4426950408889634f;
constexpr float LN2 = 0.6931471805599453f;
// Less than any score, and still finite when two are subtracted.
constexpr float LOWEST = -1e30f;

/** What cuTensorMapEncodeTiled fills in. */
struct alignas(64) TensorMap {
  char bytes[128];
};

// --- instructions --------------------------------------------------------------------------------

DEVICE void initBarrier(u32 barrier, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

DEVICE void expectBytes(u32 barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}

DEVICE void arrive(u32 barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

DEVICE void await(u32 barrier, u32 parity) {
  asm volatile(
      "{\n.reg .pred done;\nAGAIN:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra READY;\nbra AGAIN;\nREADY:\n}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

/** Waits until `threads` threads have come to a barrier, by turn() or by passTurn(). */
DEVICE void turn(int barrier, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

DEVICE void passTurn(int barrier, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

DEVICE void loadTile(u32 to, const TensorMap& map, u32 barrier, int column, int head, int row, int sequence) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(to),
      "l"(&map),
      "r"(barrier),
      "r"(column),
      "r"(head),
      "r"(row),
      "r"(sequence)
      : "memory");
}

DEVICE void storeTile(const TensorMap& map, u32 from, int column, int head, int row, int sequence) {
  asm volatile(
      "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(&map),
      "r"(from),
      "r"(column),
      "r"(head),
      "r"(row),
      "r"(sequence)
      : "memory");
}

DEVICE void fenceProducts() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

DEVICE void commitProducts() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int PENDING>
DEVICE void awaitProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

/** Keeps the compiler from moving uses of registers that products write asynchronously. */
template <int N>
DEVICE void pin(float (&d)[N][4]) {
#pragma unroll
  for (int i = 0; i < N; i++) {
    asm volatile("" : "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])::"memory");
  }
}

DEVICE float power2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/** A tile with rows of 128 bytes, swizzled; leading: bytes from 64 columns to the next 64. */
DEVICE u64 describe(u32 at, u32 leading) {
  return (u64) ((at & 0x3FFFF) >> 4) | (u64) (leading >> 4) << 16 | (u64) (1024 >> 4) << 32 | 1ull << 62;
}

/** d[64, 64] = a · bᵀ, or added to d; both in shared memory, b stored [64][16]. */
DEVICE void multiplyAsync(float (&d)[8][4], u64 a, u64 b, int add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      WGMMA(64) "{"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31"
      "}, %32, %33, p, 1, 1, 0, 0;\n}"
      : QUADS8(d, 0)
      : "l"(a), "l"(b), "r"(add));
}

/** d[64, 64] += a · b; a in registers, b in shared memory, stored [16][64]. */
DEVICE void multiplyAddAsync(float (&d)[8][4], const u32 (&a)[4], u64 b, int add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
      WGMMA(64) "{"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31"
      "}, {%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}"
      : QUADS8(d, 0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}

/** d[64, 128] = a · bᵀ, or added to d; both in shared memory, b stored [128][16]. */
DEVICE void multiplyAsync(float (&d)[16][4], u64 a, u64 b, int add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      WGMMA(128) "{"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, "
      "%40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, "
      "%56, %57, %58, %59, %60, %61, %62, %63"
      "}, %64, %65, p, 1, 1, 0, 0;\n}"
      : QUADS8(d, 0), QUADS8(d, 8)
      : "l"(a), "l"(b), "r"(add));
}

/** d[64, 128] += a · b; a in registers, b in shared memory, stored [16][128]. */
DEVICE void multiplyAddAsync(float (&d)[16][4], const u32 (&a)[4], u64 b, int add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
      WGMMA(128) "{"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, "
      "%40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, "
      "%56, %57, %58, %59, %60, %61, %62, %63"
      "}, {%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}"
      : QUADS8(d, 0), QUADS8(d, 8)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}

// --- forward -------------------------------------------------------------------------------------

struct Sizes {
  int queries;
  int keys;
  int heads;
  int kvHeads;
  int window;

  DEVICE int offset() const {
    return keys - queries;
  }

  /** Steps of OTHER keys that queries [query, query + OWN) go over, from the last to the first. */
  DEVICE int firstStep(int query) const {
    return window == 0 ? 0 : max(0, query + offset() - window + 1) / OTHER;
  }

  DEVICE int lastStep(int query) const {
    return (min(query + OWN, queries) - 1 + offset()) / OTHER;
  }

  /** Whether all queries of [query, query + 64) see all keys of [key, key + OTHER). */
  DEVICE bool allVisible(int query, int key) const {
    return key + OTHER - 1 <= query + offset() && (window == 0 || key > query + 63 + offset() - window);
  }
};

/** One piece of work: 64 · CONSUMERS queries of one head. Those that see most keys come first. */
struct Work {
  int sequence;
  int head;
  int query;

  /** False after the last. Every other round runs backwards, so that blocks get equal shares. */
  DEVICE bool take(int round, const Sizes& sizes, int sequences) {
    int all = sizes.heads * sequences;
    int tiles = (sizes.queries + OWN - 1) / OWN;
    int position = round % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
    int index = round * gridDim.x + position;
    sequence = index % all / sizes.heads;
    head = index % all % sizes.heads;
    query = (tiles - 1 - index / all) * OWN;
    return index < tiles * all;
  }
};

/** Shared memory: tiles first, 1024-byte aligned, then barriers. */
struct Layout {
  u32 ownQ;
  u32 result;
  u32 otherK;
  u32 otherV;
  u32 barriers;

  DEVICE Layout(u32 start) {
    ownQ = (start + 1023) & ~1023u;
    result = ownQ + CONSUMERS * OWN_BYTES;
    otherK = result + CONSUMERS * OWN_BYTES;
    otherV = otherK + STAGES * OTHER_BYTES;
    barriers = otherV + STAGES * OTHER_BYTES;
  }

  DEVICE u32 fullQ() const { return barriers; }
  DEVICE u32 emptyQ() const { return barriers + 8; }
  DEVICE u32 fullK(int i) const { return barriers + 16 + i % STAGES * 32; }
  DEVICE u32 emptyK(int i) const { return fullK(i) + 8; }
  DEVICE u32 fullV(int i) const { return fullK(i) + 16; }
  DEVICE u32 emptyV(int i) const { return fullK(i) + 24; }
};

/** Parity of the i-th use of one of STAGES stages. */
DEVICE u32 parity(int i) {
  return i / STAGES & 1;
}

DEVICE void loadOther(
    u32 to, const TensorMap& map, u32 full, u32 empty, u32 emptyParity, int head, int key, int sequence) {
  await(empty, emptyParity);
  expectBytes(full, OTHER_BYTES);
#pragma unroll
  for (int c = 0; c < CHUNKS; c++) {
    loadTile(to + c * OTHER_CHUNK, map, full, c * 64, head, key, sequence);
  }
}

typedef float Scores[OTHER / 8][4];

/** scores = the warpgroup's queries · keysᵀ, started. */
DEVICE void startScores(Scores& scores, u32 ownQ, u32 otherK) {
  u64 a = describe(ownQ, 16);
  u64 b = describe(otherK, 16);
#pragma unroll
  for (int d = 0; d < HEAD / 16; d++) {
    multiplyAsync(
        scores,
        a + ((d / 4 * OWN_CHUNK + d % 4 * 32) >> 4),
        b + ((d / 4 * OTHER_CHUNK + d % 4 * 32) >> 4),
        d > 0);
  }
}

/** sums += weights · values, started. */
DEVICE void startSums(float (&sums)[HEAD / 8][4], const u32 (&weights)[OTHER / 16][4], u32 otherV) {
  u64 b = describe(otherV, OTHER_CHUNK);
#pragma unroll
  for (int i = 0; i < OTHER / 16; i++) {
    multiplyAddAsync(sums, weights[i], b + (i * 2048 >> 4), 1);
  }
}

DEVICE void mask(Scores& scores, const Sizes& sizes, int row, int key) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int last = row + i / 2 * 8 + sizes.offset() - key;
    int before = sizes.window == 0 ? -1 : last - sizes.window;
#pragma unroll
    for (int j = 0; j < OTHER / 8; j++) {
      int column = j * 8 + threadIdx.x % 4 * 2 + i % 2;
      if (column > last || column <= before) {
        scores[j][i] = __int_as_float(0xFF800000);
      }
    }
  }
}

/** Online softmax of two rows of a thread (the thread's elements of them). */
struct Softmax {
  float highest[2];
  float total[2];
  float shrink[2];

  DEVICE Softmax() {
    highest[0] = highest[1] = LOWEST;
    total[0] = total[1] = 0;
  }

  /** scores become probabilities to the new highest score; earlier sums are to be shrunk. */
  DEVICE void add(Scores& scores, float factor) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float higher = highest[half];
#pragma unroll
      for (int j = 0; j < OTHER / 8; j++) {
        higher = fmaxf(higher, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
      }
      higher = fmaxf(higher, __shfl_xor_sync(0xFFFFFFFFu, higher, 1));
      higher = fmaxf(higher, __shfl_xor_sync(0xFFFFFFFFu, higher, 2));
      shrink[half] = power2((highest[half] - higher) * factor);
      highest[half] = higher;
      float shift = higher * factor;
      float sum = 0;
#pragma unroll
      for (int j = 0; j < OTHER / 8; j++) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; i++) {
          scores[j][i] = power2(fmaf(scores[j][i], factor, -shift));
          sum += scores[j][i];
        }
      }
      total[half] = fmaf(total[half], shrink[half], sum);
    }
  }
};

DEVICE void packWeights(u32 (&packed)[OTHER / 16][4], const Scores& weights) {
#pragma unroll
  for (int i = 0; i < OTHER / 16; i++) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const float* pair = &weights[2 * i + j / 2][j % 2 * 2];
      packed[i][j] = packPair(pair[0], pair[1], T());
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) attentionForward(
    const __grid_constant__ TensorMap outMap,
    const __grid_constant__ TensorMap qMap,
    const __grid_constant__ TensorMap kMap,
    const __grid_constant__ TensorMap vMap,
    float* logSumExp,
    int queries,
    int keys,
    int heads,
    int kvHeads,
    int sequences,
    int window,
    float scale) {
  extern __shared__ __align__(1024) char shared[];
  Layout at((u32) __cvta_generic_to_shared(shared));
  Sizes sizes = {queries, keys, heads, kvHeads, window};
  int group = heads / kvHeads;
  if (threadIdx.x == 0) {
    initBarrier(at.fullQ(), 1);
    initBarrier(at.emptyQ(), CONSUMERS * 4);
    for (int i = 0; i < STAGES; i++) {
      initBarrier(at.fullK(i), 1);
      initBarrier(at.emptyK(i), CONSUMERS * 4);
      initBarrier(at.fullV(i), 1);
      initBarrier(at.emptyV(i), CONSUMERS * 4);
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  __syncthreads();
  if (threadIdx.x < 128) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(LOADER_REGISTERS));
    if (threadIdx.x == 0) {
      Work work;
      int countK = 0;
      int countV = 0;
      for (int round = 0; work.take(round, sizes, sequences); round++) {
        int kvHead = work.head / group;
        int first = sizes.firstStep(work.query);
        int last = sizes.lastStep(work.query);
        await(at.emptyQ(), round % 2 ^ 1);
        expectBytes(at.fullQ(), CONSUMERS * OWN_BYTES);
        for (int c = 0; c < CONSUMERS * CHUNKS; c++) {
          loadTile(
              at.ownQ + c * OWN_CHUNK,
              qMap,
              at.fullQ(),
              c % CHUNKS * 64,
              work.head,
              work.query + c / CHUNKS * 64,
              work.sequence);
        }
        // The order in which they are used: K of a step before V of the step before it.
        for (int step = last; step >= first - 1; step--) {
          if (step >= first) {
            u32 to = at.otherK + countK % STAGES * OTHER_BYTES;
            loadOther(
                to, kMap, at.fullK(countK), at.emptyK(countK), parity(countK) ^ 1, kvHead, step * OTHER, work.sequence);
            countK++;
          }
          if (step < last) {
            u32 to = at.otherV + countV % STAGES * OTHER_BYTES;
            loadOther(
                to, vMap, at.fullV(countV), at.emptyV(countV), parity(countV) ^ 1, kvHead, (step + 1) * OTHER, work.sequence);
            countV++;
          }
        }
      }
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(CONSUMER_REGISTERS));
    int consumer = threadIdx.x / 128 - 1;
    int thread = threadIdx.x % 128;
    int lane = threadIdx.x % 32;
    bool leader = lane == 0;
    int ownTurn = 1 + consumer;
    int nextTurn = 1 + (consumer + 1) % CONSUMERS;
    int ownBarrier = 1 + CONSUMERS + consumer;
    u32 ownQ = at.ownQ + consumer * OWN_BYTES;
    u32 result = at.result + consumer * OWN_BYTES;
    float factor = scale * LOG2E;
    if (consumer == CONSUMERS - 1) {
      passTurn(nextTurn, 256);
    }
    Work work;
    int countK = 0;
    int countV = 0;
    for (int round = 0; work.take(round, sizes, sequences); round++) {
      int first = sizes.firstStep(work.query);
      int step = sizes.lastStep(work.query);
      int tile = work.query + consumer * 64;
      int row = tile + thread / 32 * 16 + lane / 4;
      Softmax softmax;
      Scores scores;
      u32 weights[OTHER / 16][4];
      float sums[HEAD / 8][4];
#pragma unroll
      for (int i = 0; i < HEAD / 8; i++) {
        sums[i][0] = sums[i][1] = sums[i][2] = sums[i][3] = 0;
      }
      await(at.fullQ(), round % 2);
      await(at.fullK(countK), parity(countK));
      pin(scores);
      fenceProducts();
      startScores(scores, ownQ, at.otherK + countK % STAGES * OTHER_BYTES);
      commitProducts();
      awaitProducts<0>();
      pin(scores);
      if (leader) {
        arrive(at.emptyK(countK));
      }
      countK++;
      if (!sizes.allVisible(tile, step * OTHER)) {
        mask(scores, sizes, row, step * OTHER);
      }
      softmax.add(scores, factor);
      packWeights(weights, scores);
      for (step--; step >= first; step--) {
        await(at.fullK(countK), parity(countK));
        turn(ownTurn, 256);
        pin(scores);
        pin(sums);
        fenceProducts();
        startScores(scores, ownQ, at.otherK + countK % STAGES * OTHER_BYTES);
        commitProducts();
        await(at.fullV(countV), parity(countV));
        fenceProducts();
        startSums(sums, weights, at.otherV + countV % STAGES * OTHER_BYTES);
        commitProducts();
        passTurn(nextTurn, 256);
        awaitProducts<1>();
        pin(scores);
        if (leader) {
          arrive(at.emptyK(countK));
        }
        countK++;
        if (!sizes.allVisible(tile, step * OTHER)) {
          mask(scores, sizes, row, step * OTHER);
        }
        softmax.add(scores, factor);
        awaitProducts<0>();
        pin(sums);
        if (leader) {
          arrive(at.emptyV(countV));
        }
        countV++;
#pragma unroll
        for (int i = 0; i < HEAD / 8; i++) {
          sums[i][0] *= softmax.shrink[0];
          sums[i][1] *= softmax.shrink[0];
          sums[i][2] *= softmax.shrink[1];
          sums[i][3] *= softmax.shrink[1];
        }
        packWeights(weights, scores);
      }
      if (leader) {
        arrive(at.emptyQ());
      }
      await(at.fullV(countV), parity(countV));
      pin(sums);
      fenceProducts();
      startSums(sums, weights, at.otherV + countV % STAGES * OTHER_BYTES);
      commitProducts();
      awaitProducts<0>();
      pin(sums);
      if (leader) {
        arrive(at.emptyV(countV));
      }
      countV++;

      float inverse[2];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float sum = sumOf(softmax.total[half], 4);
        inverse[half] = 1.0f / sum;
        int query = row + half * 8;
        if (logSumExp != 0 && lane % 4 == 0 && query < queries) {
          logSumExp[((i64) work.sequence * queries + query) * heads + work.head] =
              softmax.highest[half] * scale + LN2 * __log2f(sum);
        }
      }
      // The earlier result must have left shared memory.
      if (thread == 0) {
        asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
      }
      turn(ownBarrier, 128);
      u32 to = result + (thread / 32 * 16 + lane / 4) * 128 + lane % 4 * 4;
#pragma unroll
      for (int i = 0; i < HEAD / 8; i++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
          u32 pair = packPair(
              sums[i][2 * half] * inverse[half], sums[i][2 * half + 1] * inverse[half], T());
          u32 piece = (i % 8 ^ lane / 4) * 16;
          asm volatile("st.shared.b32 [%0], %1;" ::"r"(to + i / 8 * OWN_CHUNK + half * 1024 + piece), "r"(pair)
                       : "memory");
        }
      }
      asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
      turn(ownBarrier, 128);
      if (thread == 0 && tile < queries) {
        for (int c = 0; c < CHUNKS; c++) {
          storeTile(outMap, result + c * OWN_CHUNK, c * 64, work.head, tile, work.sequence);
        }
        asm volatile("cp.async.bulk.commit_group;" ::: "memory");
      }
    }
    if (thread == 0) {
      asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
    }
  }
}
