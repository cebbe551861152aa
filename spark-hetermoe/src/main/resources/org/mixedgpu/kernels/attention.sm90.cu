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
#define NEW_QUAD(d, i) "=f"(d[i][0]), "=f"(d[i][1]), "=f"(d[i][2]), "=f"(d[i][3])
#define NEW_QUADS8(d, i)                                                                     \
  NEW_QUAD(d, i), NEW_QUAD(d, i + 1), NEW_QUAD(d, i + 2), NEW_QUAD(d, i + 3), NEW_QUAD(d, i + 4), \
      NEW_QUAD(d, i + 5), NEW_QUAD(d, i + 6), NEW_QUAD(d, i + 7)
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

/** A piece of memory, a multiple of 16 bytes. */
DEVICE void loadBytes(u32 to, const void* from, u32 bytes, u32 barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
      "l"(from),
      "r"(bytes),
      "r"(barrier)
      : "memory");
}

DEVICE void commitStores() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

/** Until what this thread's stores read may be overwritten. */
DEVICE void awaitStores() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}

DEVICE void finishStores() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

/** Makes this thread's writes to shared memory visible to products and to the copy engine. */
DEVICE void fenceAsync() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

DEVICE void storeShared(u32 to, u32 x) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(x) : "memory");
}

DEVICE float4 loadShared(u32 from) {
  float4 x;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
               : "r"(from)
               : "memory");
  return x;
}

DEVICE void lowerRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(LOADER_REGISTERS));
}

DEVICE void raiseRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(CONSUMER_REGISTERS));
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

/** d[64, 64] = a · bᵀ; both in shared memory, b stored [64][16]. What d held is not read. */
DEVICE void multiplyFirst(float (&d)[8][4], u64 a, u64 b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"
      WGMMA(64) "{"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31"
      "}, %32, %33, p, 1, 1, 0, 0;\n}"
      : NEW_QUADS8(d, 0)
      : "l"(a), "l"(b));
}

/** d[64, 96] = a · bᵀ; both in shared memory, b stored [96][16]. What d held is not read. */
DEVICE void multiplyFirst(float (&d)[12][4], u64 a, u64 b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"
      WGMMA(96) "{"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, "
      "%40, %41, %42, %43, %44, %45, %46, %47"
      "}, %48, %49, p, 1, 1, 0, 0;\n}"
      : NEW_QUADS8(d, 0), NEW_QUAD(d, 8), NEW_QUAD(d, 9), NEW_QUAD(d, 10), NEW_QUAD(d, 11)
      : "l"(a), "l"(b));
}

/** d[64, 128] = a · bᵀ; both in shared memory, b stored [128][16]. What d held is not read. */
DEVICE void multiplyFirst(float (&d)[16][4], u64 a, u64 b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"
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
      : NEW_QUADS8(d, 0), NEW_QUADS8(d, 8)
      : "l"(a), "l"(b));
}

/** d[64, 64] += a · bᵀ; both in shared memory, b stored [64][16]. */
DEVICE void multiplyAdd(float (&d)[8][4], u64 a, u64 b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
      WGMMA(64) "{"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31"
      "}, %32, %33, p, 1, 1, 0, 0;\n}"
      : QUADS8(d, 0)
      : "l"(a), "l"(b));
}

/** d[64, 96] += a · bᵀ; both in shared memory, b stored [96][16]. */
DEVICE void multiplyAdd(float (&d)[12][4], u64 a, u64 b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
      WGMMA(96) "{"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, "
      "%40, %41, %42, %43, %44, %45, %46, %47"
      "}, %48, %49, p, 1, 1, 0, 0;\n}"
      : QUADS8(d, 0), QUAD(d, 8), QUAD(d, 9), QUAD(d, 10), QUAD(d, 11)
      : "l"(a), "l"(b));
}

/** d[64, 128] += a · bᵀ; both in shared memory, b stored [128][16]. */
DEVICE void multiplyAdd(float (&d)[16][4], u64 a, u64 b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
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
      : "l"(a), "l"(b));
}

/** d[64, 64] += a · b; a in registers, b in shared memory, stored [16][64]. */
DEVICE void multiplyAdd(float (&d)[8][4], const u32 (&a)[4], u64 b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
      WGMMA(64) "{"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31"
      "}, {%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}"
      : QUADS8(d, 0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/** d[64, 128] += a · b; a in registers, b in shared memory, stored [16][128]. */
DEVICE void multiplyAdd(float (&d)[16][4], const u32 (&a)[4], u64 b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
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
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// --- tiles and work ------------------------------------------------------------------------------

/** Sizes that all kernels share, and which rows meet which. */
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

  /** Steps of OTHER queries that keys [key, key + OWN) go over. */
  DEVICE int firstQueryStep(int key) const {
    return max(0, key - offset()) / OTHER;
  }

  DEVICE int lastQueryStep(int key) const {
    int last = queries - 1;
    return (window == 0 ? last : min(last, key + OWN - 1 - offset() + window - 1)) / OTHER;
  }

  /** Whether all queries of [query, query + queryCount) see all keys of [key, key + keyCount). */
  DEVICE bool allVisible(int query, int queryCount, int key, int keyCount) const {
    return key + keyCount - 1 <= query + offset()
        && (window == 0 || key > query + queryCount - 1 + offset() - window);
  }
};

/** One piece of work: OWN rows of one head of one sequence. */
struct Work {
  int sequence;
  int head;
  int row;

  /**
   * The largest pieces come first: the last rows, or the first. Every other round runs backwards, so
   * that blocks get equal shares. False after the last.
   */
  DEVICE bool take(
      int round, const Sizes& sizes, int heads, int rows, bool lastFirst, int sequences) {
    int all = heads * sequences;
    int tiles = (rows + OWN - 1) / OWN;
    int position = round % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
    int index = round * gridDim.x + position;
    int tile = index / all;
    sequence = index % all / heads;
    head = index % heads;
    row = (lastFirst ? tiles - 1 - tile : tile) * OWN;
    return index < tiles * all;
  }
};

/** Shared memory, 1024-byte aligned: two tiles of a block's own, two of the other side, barriers. */
struct Layout {
  u32 own;
  u32 other;
  u32 barriers;

  DEVICE Layout(u32 start) {
    own = (start + 1023) & ~1023u;
    other = own + 2 * CONSUMERS * OWN_BYTES;
    barriers = other + STAGES * (2 * OTHER_BYTES + OTHER * 8);
  }

  DEVICE u32 otherA(int i) const { return other + i % STAGES * OTHER_BYTES; }
  DEVICE u32 otherB(int i) const { return otherA(i) + STAGES * OTHER_BYTES; }
  DEVICE u32 statistics(int i) const {
    return other + 2 * STAGES * OTHER_BYTES + i % STAGES * (OTHER * 8);
  }
  DEVICE u32 fullOwn() const { return barriers; }
  DEVICE u32 emptyOwn() const { return barriers + 8; }
  DEVICE u32 fullA(int i) const { return barriers + 16 + i % STAGES * 32; }
  DEVICE u32 emptyA(int i) const { return fullA(i) + 8; }
  DEVICE u32 fullB(int i) const { return fullA(i) + 16; }
  DEVICE u32 emptyB(int i) const { return fullA(i) + 24; }

  /** All threads call; a tile is empty when each warp that computes has said so. */
  DEVICE void initialise() const {
    if (threadIdx.x == 0) {
      initBarrier(fullOwn(), 1);
      initBarrier(emptyOwn(), CONSUMERS * 4);
      for (int i = 0; i < STAGES; i++) {
        initBarrier(fullA(i), 1);
        initBarrier(emptyA(i), CONSUMERS * 4);
        initBarrier(fullB(i), 1);
        initBarrier(emptyB(i), CONSUMERS * 4);
      }
      fenceAsync();
    }
    __syncthreads();
  }
};

/** Parity of the i-th use of one of STAGES stages. */
DEVICE u32 parity(int i) {
  return i / STAGES & 1;
}

DEVICE void loadOwn(u32 to, const TensorMap& map, u32 full, int head, int row, int sequence) {
#pragma unroll 1
  for (int i = 0; i < CONSUMERS * CHUNKS; i++) {
    loadTile(to + i * OWN_CHUNK, map, full, i % CHUNKS * 64, head, row + i / CHUNKS * 64, sequence);
  }
}

/** The count-th tile of the other side, when its place is empty. */
DEVICE void loadOther(
    u32 to, const TensorMap& map, u32 full, u32 empty, int count, int head, int row, int sequence) {
  await(empty, parity(count) ^ 1);
  expectBytes(full, OTHER_BYTES);
#pragma unroll 1
  for (int c = 0; c < CHUNKS; c++) {
    loadTile(to + c * OTHER_CHUNK, map, full, c * 64, head, row, sequence);
  }
}

DEVICE void zero(float (&sums)[HEAD / 8][4]) {
#pragma unroll
  for (int i = 0; i < HEAD / 8; i++) {
    sums[i][0] = sums[i][1] = sums[i][2] = sums[i][3] = 0;
  }
}

typedef float Scores[OTHER / 8][4];

/** scores = the warpgroup's queries · keysᵀ, started. */
DEVICE void startScores(Scores& scores, u32 ownQ, u32 otherK) {
  u64 a = describe(ownQ, 16);
  u64 b = describe(otherK, 16);
  multiplyFirst(scores, a, b);
#pragma unroll
  for (int d = 1; d < HEAD / 16; d++) {
    multiplyAdd(
        scores,
        a + ((d / 4 * OWN_CHUNK + d % 4 * 32) >> 4),
        b + ((d / 4 * OTHER_CHUNK + d % 4 * 32) >> 4));
  }
}

/** sums += weights · values, started. */
DEVICE void startSums(float (&sums)[HEAD / 8][4], const u32 (&weights)[OTHER / 16][4], u32 otherV) {
  u64 b = describe(otherV, OTHER_CHUNK);
#pragma unroll
  for (int i = 0; i < OTHER / 16; i++) {
    multiplyAdd(sums, weights[i], b + (i * 2048 >> 4));
  }
}

/** Elements that a query does not see become `hidden`; row is the query of the first of two rows. */
DEVICE void mask(Scores& scores, const Sizes& sizes, int row, int key, float hidden) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int last = row + i / 2 * 8 + sizes.offset() - key;
    int before = sizes.window == 0 ? -1 : last - sizes.window;
#pragma unroll
    for (int j = 0; j < OTHER / 8; j++) {
      int column = j * 8 + threadIdx.x % 4 * 2 + i % 2;
      if (column > last || column <= before) {
        scores[j][i] = hidden;
      }
    }
  }
}

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

/** A warpgroup's 64 rows, each half of a fragment times its factor, through shared memory. */
DEVICE void storeOwn(
    const TensorMap& map,
    u32 own,
    const float (&sums)[HEAD / 8][4],
    float factor0,
    float factor1,
    const Work& work,
    int row,
    int rows,
    int barrier) {
  int lane = threadIdx.x % 32;
  turn(barrier, 128);
  u32 to = own + (threadIdx.x % 128 / 32 * 16 + lane / 4) * 128 + lane % 4 * 4;
#pragma unroll
  for (int i = 0; i < HEAD / 8; i++) {
    u32 at = to + i / 8 * OWN_CHUNK + (i % 8 ^ lane / 4) * 16;
    storeShared(at, packPair(sums[i][0] * factor0, sums[i][1] * factor0, T()));
    storeShared(at + 1024, packPair(sums[i][2] * factor1, sums[i][3] * factor1, T()));
  }
  fenceAsync();
  turn(barrier, 128);
  if (threadIdx.x % 128 == 0 && row < rows) {
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
      storeTile(map, own + c * OWN_CHUNK, c * 64, work.head, row, work.sequence);
    }
    commitStores();
  }
}

#ifdef FORWARD

constexpr float LN2 = 0.6931471805599453f;
// Less than any score, and still finite when two are subtracted.
constexpr float LOWEST = -1e30f;

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
  at.initialise();
  if (threadIdx.x < 128) {
    lowerRegisters();
    if (threadIdx.x == 0) {
      Work work;
      int countK = 0;
      int countV = 0;
      for (int round = 0; work.take(round, sizes, heads, queries, true, sequences); round++) {
        int kvHead = work.head / group;
        int first = sizes.firstStep(work.row);
        int last = sizes.lastStep(work.row);
        await(at.emptyOwn(), round % 2 ^ 1);
        expectBytes(at.fullOwn(), CONSUMERS * OWN_BYTES);
        loadOwn(at.own, qMap, at.fullOwn(), work.head, work.row, work.sequence);
        // The order in which they are used: K of a step before V of the step before it.
        for (int step = last; step >= first - 1; step--) {
          if (step >= first) {
            loadOther(
                at.otherA(countK),
                kMap,
                at.fullA(countK),
                at.emptyA(countK),
                countK,
                kvHead,
                step * OTHER,
                work.sequence);
            countK++;
          }
          if (step < last) {
            loadOther(
                at.otherB(countV),
                vMap,
                at.fullB(countV),
                at.emptyB(countV),
                countV,
                kvHead,
                (step + 1) * OTHER,
                work.sequence);
            countV++;
          }
        }
      }
    }
  } else {
    raiseRegisters();
    int consumer = threadIdx.x / 128 - 1;
    int thread = threadIdx.x % 128;
    int lane = threadIdx.x % 32;
    bool leader = lane == 0;
    int ownTurn = 1 + consumer;
    int nextTurn = 1 + (consumer + 1) % CONSUMERS;
    int ownBarrier = 1 + CONSUMERS + consumer;
    u32 ownQ = at.own + consumer * OWN_BYTES;
    u32 result = at.own + (CONSUMERS + consumer) * OWN_BYTES;
    float factor = scale * LOG2E;
    if (consumer == CONSUMERS - 1) {
      passTurn(nextTurn, 256);
    }
    Work work;
    int countK = 0;
    int countV = 0;
    for (int round = 0; work.take(round, sizes, heads, queries, true, sequences); round++) {
      int first = sizes.firstStep(work.row);
      int step = sizes.lastStep(work.row);
      int tile = work.row + consumer * 64;
      int row = tile + thread / 32 * 16 + lane / 4;
      Softmax softmax;
      Scores scores;
      u32 weights[OTHER / 16][4];
      float sums[HEAD / 8][4];
      zero(sums);
      await(at.fullOwn(), round % 2);
      await(at.fullA(countK), parity(countK));
      pin(scores);
      fenceProducts();
      startScores(scores, ownQ, at.otherA(countK));
      commitProducts();
      awaitProducts<0>();
      pin(scores);
      if (leader) {
        arrive(at.emptyA(countK));
      }
      countK++;
      if (!sizes.allVisible(tile, 64, step * OTHER, OTHER)) {
        mask(scores, sizes, row, step * OTHER, __int_as_float(0xFF800000));
      }
      softmax.add(scores, factor);
      packWeights(weights, scores);
      for (step--; step >= first; step--) {
        await(at.fullA(countK), parity(countK));
        turn(ownTurn, 256);
        pin(scores);
        pin(sums);
        fenceProducts();
        startScores(scores, ownQ, at.otherA(countK));
        commitProducts();
        await(at.fullB(countV), parity(countV));
        fenceProducts();
        startSums(sums, weights, at.otherB(countV));
        commitProducts();
        passTurn(nextTurn, 256);
        awaitProducts<1>();
        pin(scores);
        if (leader) {
          arrive(at.emptyA(countK));
        }
        countK++;
        if (!sizes.allVisible(tile, 64, step * OTHER, OTHER)) {
          mask(scores, sizes, row, step * OTHER, __int_as_float(0xFF800000));
        }
        softmax.add(scores, factor);
        awaitProducts<0>();
        pin(sums);
        if (leader) {
          arrive(at.emptyB(countV));
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
        arrive(at.emptyOwn());
      }
      await(at.fullB(countV), parity(countV));
      pin(sums);
      fenceProducts();
      startSums(sums, weights, at.otherB(countV));
      commitProducts();
      awaitProducts<0>();
      pin(sums);
      if (leader) {
        arrive(at.emptyB(countV));
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
        awaitStores();
      }
      storeOwn(outMap, result, sums, inverse[0], inverse[1], work, tile, queries, ownBarrier);
    }
    if (thread == 0) {
      finishStores();
    }
  }
}

#endif

#ifdef BACKWARD_QUERIES

/** weights *= gradients - delta of the element's row (queries own the rows). */
DEVICE void scoreGradients(Scores& weights, const Scores& gradients, const float2 (&statistic)[2]) {
#pragma unroll
  for (int j = 0; j < OTHER / 8; j++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      weights[j][i] *= gradients[j][i] - statistic[i / 2].y;
    }
  }
}

/** dQ: work is 64 · CONSUMERS queries of a head, over the keys they see. */
extern "C" __global__ void __launch_bounds__(THREADS, 1) attentionBackwardQueries(
    const __grid_constant__ TensorMap dQMap,
    const __grid_constant__ TensorMap dOutMap,
    const __grid_constant__ TensorMap qMap,
    const __grid_constant__ TensorMap kMap,
    const __grid_constant__ TensorMap vMap,
    const float2* statistics,
    int queries,
    int keys,
    int heads,
    int kvHeads,
    int sequences,
    int window,
    float scale,
    int padded) {
  extern __shared__ __align__(1024) char shared[];
  Layout at((u32) __cvta_generic_to_shared(shared));
  Sizes sizes = {queries, keys, heads, kvHeads, window};
  int group = heads / kvHeads;
  u32 ownGradients = at.own + CONSUMERS * OWN_BYTES;
  at.initialise();
  if (threadIdx.x < 128) {
    lowerRegisters();
    if (threadIdx.x == 0) {
      Work work;
      int count = 0;
      for (int round = 0; work.take(round, sizes, heads, queries, true, sequences); round++) {
        int kvHead = work.head / group;
        await(at.emptyOwn(), round % 2 ^ 1);
        expectBytes(at.fullOwn(), 2 * CONSUMERS * OWN_BYTES);
        loadOwn(at.own, qMap, at.fullOwn(), work.head, work.row, work.sequence);
        loadOwn(ownGradients, dOutMap, at.fullOwn(), work.head, work.row, work.sequence);
        int first = sizes.firstStep(work.row);
        for (int step = sizes.lastStep(work.row); step >= first; step--, count++) {
          loadOther(at.otherA(count), kMap, at.fullA(count), at.emptyA(count), count, kvHead, step * OTHER, work.sequence);
          loadOther(at.otherB(count), vMap, at.fullB(count), at.emptyB(count), count, kvHead, step * OTHER, work.sequence);
        }
      }
    }
  } else {
    raiseRegisters();
    int consumer = threadIdx.x / 128 - 1;
    int thread = threadIdx.x % 128;
    bool leader = threadIdx.x % 32 == 0;
    u32 ownQ = at.own + consumer * OWN_BYTES;
    u32 ownGradient = ownGradients + consumer * OWN_BYTES;
    float factor = scale * LOG2E;
    Work work;
    int count = 0;
    for (int round = 0; work.take(round, sizes, heads, queries, true, sequences); round++) {
      int first = sizes.firstStep(work.row);
      int step = sizes.lastStep(work.row);
      int tile = work.row + consumer * 64;
      int row = tile + thread / 32 * 16 + threadIdx.x % 32 / 4;
      float2 statistic[2];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        int query = row + half * 8;
        statistic[half] = query < queries
            ? statistics[((i64) work.sequence * heads + work.head) * padded + query]
            : make_float2(__int_as_float(0x7F800000), 0);
      }
      Scores weights;
      Scores gradients;
      u32 packed[OTHER / 16][4];
      float sums[HEAD / 8][4];
      zero(sums);
      pin(sums);
      await(at.fullOwn(), round % 2);
      for (bool later = false; step >= first; step--, count++, later = true) {
        await(at.fullA(count), parity(count));
        fenceProducts();
        startScores(weights, ownQ, at.otherA(count));
        commitProducts();
        await(at.fullB(count), parity(count));
        startScores(gradients, ownGradient, at.otherB(count));
        commitProducts();
        awaitProducts<1>();
        pin(weights);
        pin(sums);
        if (later && leader) {
          arrive(at.emptyA(count - 1));
        }
#pragma unroll
        for (int j = 0; j < OTHER / 8; j++) {
#pragma unroll
          for (int i = 0; i < 4; i++) {
            weights[j][i] = power2(fmaf(weights[j][i], factor, -statistic[i / 2].x));
          }
        }
        if (!sizes.allVisible(tile, 64, step * OTHER, OTHER)) {
          mask(weights, sizes, row, step * OTHER, 0.0f);
        }
        awaitProducts<0>();
        pin(gradients);
        if (leader) {
          arrive(at.emptyB(count));
        }
        scoreGradients(weights, gradients, statistic);
        packWeights(packed, weights);
        fenceProducts();
        startSums(sums, packed, at.otherA(count));
        commitProducts();
      }
      awaitProducts<0>();
      pin(sums);
      if (leader) {
        arrive(at.emptyA(count - 1));
      }
      storeOwn(dQMap, ownQ, sums, scale, scale, work, tile, queries, 1 + consumer);
      if (thread == 0) {
        awaitStores();
      }
      turn(1 + consumer, 128);
      if (leader) {
        arrive(at.emptyOwn());
      }
    }
    if (thread == 0) {
      finishStores();
    }
  }
}

#endif

#ifdef BACKWARD_KEYS

/** Elements whose query does not see their key become 0; row is the key of the first of two rows. */
DEVICE void maskQueries(Scores& weights, const Sizes& sizes, int row, int query) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int first = row + i / 2 * 8 - sizes.offset() - query;
    int after = sizes.window == 0 ? 0x7FFFFFFF : first + sizes.window;
#pragma unroll
    for (int j = 0; j < OTHER / 8; j++) {
      int column = j * 8 + threadIdx.x % 4 * 2 + i % 2;
      if (column < first || column >= after) {
        weights[j][i] = 0;
      }
    }
  }
}

/** dK and dV: work is 64 · CONSUMERS keys of a KV head, over the queries of all its heads. */
extern "C" __global__ void __launch_bounds__(THREADS, 1) attentionBackwardKeys(
    const __grid_constant__ TensorMap dKMap,
    const __grid_constant__ TensorMap dVMap,
    const __grid_constant__ TensorMap dOutMap,
    const __grid_constant__ TensorMap qMap,
    const __grid_constant__ TensorMap kMap,
    const __grid_constant__ TensorMap vMap,
    const float2* statistics,
    int queries,
    int keys,
    int heads,
    int kvHeads,
    int sequences,
    int window,
    float scale,
    int padded) {
  extern __shared__ __align__(1024) char shared[];
  Layout at((u32) __cvta_generic_to_shared(shared));
  Sizes sizes = {queries, keys, heads, kvHeads, window};
  int group = heads / kvHeads;
  u32 ownValues = at.own + CONSUMERS * OWN_BYTES;
  at.initialise();
  if (threadIdx.x < 128) {
    lowerRegisters();
    if (threadIdx.x == 0) {
      Work work;
      int count = 0;
      for (int round = 0; work.take(round, sizes, kvHeads, keys, false, sequences); round++) {
        await(at.emptyOwn(), round % 2 ^ 1);
        expectBytes(at.fullOwn(), 2 * CONSUMERS * OWN_BYTES);
        loadOwn(at.own, kMap, at.fullOwn(), work.head, work.row, work.sequence);
        loadOwn(ownValues, vMap, at.fullOwn(), work.head, work.row, work.sequence);
        int first = sizes.firstQueryStep(work.row);
        int last = sizes.lastQueryStep(work.row);
        for (int head = work.head * group; head < (work.head + 1) * group; head++) {
          for (int step = first; step <= last; step++, count++) {
            u32 full = at.fullA(count);
            await(at.emptyA(count), parity(count) ^ 1);
            expectBytes(full, 2 * OTHER_BYTES + OTHER * 8);
            i64 row = ((i64) work.sequence * heads + head) * padded + step * OTHER;
            loadBytes(at.statistics(count), statistics + row, OTHER * 8, full);
#pragma unroll 1
            for (int c = 0; c < CHUNKS; c++) {
              loadTile(at.otherA(count) + c * OTHER_CHUNK, qMap, full, c * 64, head, step * OTHER, work.sequence);
              loadTile(at.otherB(count) + c * OTHER_CHUNK, dOutMap, full, c * 64, head, step * OTHER, work.sequence);
            }
          }
        }
      }
    }
  } else {
    raiseRegisters();
    int consumer = threadIdx.x / 128 - 1;
    int thread = threadIdx.x % 128;
    int lane = threadIdx.x % 32;
    bool leader = lane == 0;
    u32 ownK = at.own + consumer * OWN_BYTES;
    u32 ownV = ownValues + consumer * OWN_BYTES;
    float factor = scale * LOG2E;
    Work work;
    int count = 0;
    for (int round = 0; work.take(round, sizes, kvHeads, keys, false, sequences); round++) {
      int first = sizes.firstQueryStep(work.row);
      int steps = max(0, sizes.lastQueryStep(work.row) - first + 1);
      int all = steps * group;
      int tile = work.row + consumer * 64;
      int row = tile + thread / 32 * 16 + lane / 4;
      Scores weights;
      Scores gradients;
      u32 packedWeights[OTHER / 16][4];
      u32 packedGradients[OTHER / 16][4];
      float sumsK[HEAD / 8][4];
      float sumsV[HEAD / 8][4];
      zero(sumsK);
      zero(sumsV);
      pin(sumsK);
      pin(sumsV);
      await(at.fullOwn(), round % 2);
      int step = first;
      for (int i = 0; i < all; i++, count++) {
        await(at.fullA(count), parity(count));
        fenceProducts();
        startScores(weights, ownK, at.otherA(count));
        commitProducts();
        startScores(gradients, ownV, at.otherB(count));
        commitProducts();
        awaitProducts<1>();
        pin(weights);
        pin(sumsK);
        if (i > 0 && leader) {
          arrive(at.emptyA(count - 1));
        }
        u32 statistic = at.statistics(count) + lane % 4 * 16;
#pragma unroll
        for (int j = 0; j < OTHER / 8; j++) {
          float4 s = loadShared(statistic + j * 64);
          weights[j][0] = power2(fmaf(weights[j][0], factor, -s.x));
          weights[j][1] = power2(fmaf(weights[j][1], factor, -s.z));
          weights[j][2] = power2(fmaf(weights[j][2], factor, -s.x));
          weights[j][3] = power2(fmaf(weights[j][3], factor, -s.z));
        }
        if (!sizes.allVisible(step * OTHER, OTHER, tile, 64)) {
          maskQueries(weights, sizes, row, step * OTHER);
        }
        packWeights(packedWeights, weights);
        fenceProducts();
        startSums(sumsV, packedWeights, at.otherB(count));
        commitProducts();
        awaitProducts<1>();
        pin(gradients);
#pragma unroll
        for (int j = 0; j < OTHER / 8; j++) {
          float4 s = loadShared(statistic + j * 64);
          weights[j][0] *= gradients[j][0] - s.y;
          weights[j][1] *= gradients[j][1] - s.w;
          weights[j][2] *= gradients[j][2] - s.y;
          weights[j][3] *= gradients[j][3] - s.w;
        }
        packWeights(packedGradients, weights);
        fenceProducts();
        startSums(sumsK, packedGradients, at.otherA(count));
        commitProducts();
        awaitProducts<1>();
        pin(sumsV);
        step = step + 1 < first + steps ? step + 1 : first;
      }
      awaitProducts<0>();
      pin(sumsK);
      pin(sumsV);
      if (all > 0 && leader) {
        arrive(at.emptyA(count - 1));
      }
      storeOwn(dKMap, ownK, sumsK, scale, scale, work, tile, keys, 1 + consumer);
      storeOwn(dVMap, ownV, sumsV, 1, 1, work, tile, keys, 1 + consumer);
      if (thread == 0) {
        awaitStores();
      }
      turn(1 + consumer, 128);
      if (leader) {
        arrive(at.emptyOwn());
      }
    }
    if (thread == 0) {
      finishStores();
    }
  }
}

#endif
