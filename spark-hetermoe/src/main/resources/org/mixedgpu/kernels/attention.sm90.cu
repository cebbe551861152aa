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
// Numerics: as in attention.sm75.cu. No atomics; every sum has a fixed order, whichever block does it.
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

DEVICE void storeBytes(void* to, u32 from, u32 bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(from), "r"(bytes)
               : "memory");
}

/** Adds numbers in F32. */
DEVICE void addBytes(float* to, u32 from, u32 bytes) {
  asm volatile(
      "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(to), "r"(from), "r"(bytes)
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

DEVICE void storeShared4(u32 to, const float (&x)[4]) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3])
               : "memory");
}

DEVICE int loadSharedInt(u32 from) {
  int x;
  asm volatile("ld.shared.s32 %0, [%1];" : "=r"(x) : "r"(from) : "memory");
  return x;
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

/** d[64, 64] = aᵀ · b; both in shared memory, stored [16][64]. What d held is not read. */
DEVICE void multiplyTransposedFirst(float (&d)[8][4], u64 a, u64 b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"
      WGMMA(64) "{"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31"
      "}, %32, %33, p, 1, 1, 1, 1;\n}"
      : QUADS8(d, 0)
      : "l"(a), "l"(b));
}

/** d[64, 64] += aᵀ · b; both in shared memory, stored [16][64]. */
DEVICE void multiplyTransposedAdd(float (&d)[8][4], u64 a, u64 b) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n"
      WGMMA(64) "{"
      "%0, %1, %2, %3, %4, %5, %6, %7, "
      "%8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, "
      "%24, %25, %26, %27, %28, %29, %30, %31"
      "}, %32, %33, p, 1, 1, 1, 1;\n}"
      : QUADS8(d, 0)
      : "l"(a), "l"(b));
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

  DEVICE int firstKey(int query) const {
    return window == 0 ? 0 : max(0, query + offset() - window + 1);
  }

  /** Steps of OTHER keys that queries [query, query + OWN) go over, from the last to the first. */
  DEVICE int firstStep(int query) const {
    return firstKey(query) / OTHER;
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
    if (window != 0) {
      last = min(last, key + OWN - 1 - offset() + window - 1);
    }
    return last < 0 ? -1 : last / OTHER;
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

  /** The index-th; the largest pieces come first: those of the last rows, or of the first. */
  DEVICE bool at(int index, int heads, int rows, bool lastFirst, int sequences) {
    int all = heads * sequences;
    int tiles = (rows + OWN - 1) / OWN;
    int tile = index / all;
    sequence = index % all / heads;
    head = index % heads;
    row = (lastFirst ? tiles - 1 - tile : tile) * OWN;
    return index < tiles * all;
  }

  /** A block's next; every other round runs backwards, so that blocks get equal shares. */
  DEVICE bool take(int round, int heads, int rows, bool lastFirst, int sequences) {
    int position = round % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
    return at(round * gridDim.x + position, heads, rows, lastFirst, sequences);
  }
};

/** Shared memory, 1024-byte aligned: two tiles of a block's own, two of the other side, barriers. */
struct Layout {
  u32 own;
  u32 other;
  u32 behind;
  u32 barriers;

  DEVICE Layout(u32 start) {
    own = (start + 1023) & ~1023u;
    other = own + 2 * CONSUMERS * OWN_BYTES;
    behind = other + STAGES * 2 * OTHER_BYTES;
    barriers = behind + STAGES * (OTHER * 8);
  }

  DEVICE u32 otherA(int i) const { return other + i % STAGES * OTHER_BYTES; }
  DEVICE u32 otherB(int i) const { return otherA(i) + STAGES * OTHER_BYTES; }
  DEVICE u32 statistics(int i) const {
    return behind + i % STAGES * (OTHER * 8);
  }
  DEVICE u32 fullOwn() const { return barriers; }
  DEVICE u32 emptyOwn() const { return barriers + 8; }
  DEVICE u32 fullA(int i) const { return barriers + 16 + i % STAGES * 32; }
  DEVICE u32 emptyA(int i) const { return fullA(i) + 8; }
  DEVICE u32 fullB(int i) const { return fullA(i) + 16; }
  DEVICE u32 emptyB(int i) const { return fullA(i) + 24; }

  /** All threads call; a tile is empty when each warp that computes, and `others`, have said so. */
  DEVICE void initialise(int others) const {
    if (threadIdx.x == 0) {
      initBarrier(fullOwn(), 1);
      initBarrier(emptyOwn(), CONSUMERS * 4 + others);
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

template <int N>
DEVICE void zero(float (&sums)[N][4]) {
#pragma unroll
  for (int i = 0; i < N; i++) {
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

/** part = gradientsᵀ · own keys, started: gradients are stored [OWN][64], both by rows of the sum. */
DEVICE void startPart(float (&part)[8][4], u32 gradients, u32 ownK) {
  u64 a = describe(gradients, 16);
  u64 b = describe(ownK, 16);
  multiplyTransposedFirst(part, a, b);
#pragma unroll
  for (int i = 1; i < OWN / 16; i++) {
    multiplyTransposedAdd(
        part, a + (i * 2048 >> 4), b + ((i / 4 * OWN_BYTES + i % 4 * 2048) >> 4));
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
  at.initialise(0);
  if (threadIdx.x < 128) {
    lowerRegisters();
    if (threadIdx.x == 0) {
      Work work;
      int countK = 0;
      int countV = 0;
      for (int round = 0; work.take(round, heads, queries, true, sequences); round++) {
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
    for (int round = 0; work.take(round, heads, queries, true, sequences); round++) {
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
  at.initialise(0);
  if (threadIdx.x < 128) {
    lowerRegisters();
    if (threadIdx.x == 0) {
      Work work;
      int count = 0;
      for (int round = 0; work.take(round, heads, queries, true, sequences); round++) {
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
    for (int round = 0; work.take(round, heads, queries, true, sequences); round++) {
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

#if defined(BACKWARD_KEYS) || defined(BACKWARD)

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

#endif

#ifdef BACKWARD_KEYS

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
  at.initialise(0);
  if (threadIdx.x < 128) {
    lowerRegisters();
    if (threadIdx.x == 0) {
      Work work;
      int count = 0;
      for (int round = 0; work.take(round, kvHeads, keys, false, sequences); round++) {
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
    for (int round = 0; work.take(round, kvHeads, keys, false, sequences); round++) {
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

#ifdef BACKWARD

// One pass for all gradients. Besides dK and dV, each block adds its keys' part of dQ to sums in F32
// in global memory, of which progress counts the parts: a part is added when those of all lower keys
// are in. Blocks take their work from a common counter in the order of keys, so what a block waits
// for is always on its way.

/** Waits until the counter has reached the value. */
DEVICE void awaitProgress(const int* counter, int value) {
  int now;
  do {
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(now) : "l"(counter) : "memory");
  } while (now != value);
  asm volatile("fence.proxy.async.global;" ::: "memory");
}

DEVICE void publishProgress(int* counter, int value) {
  asm volatile("fence.proxy.async.global;" ::: "memory");
  asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(counter), "r"(value) : "memory");
}

constexpr u32 PART_BYTES = OTHER * HEAD * 4;
constexpr u32 GRADIENT_BYTES = OWN * OTHER * 2;

/** What the one-pass kernel has in shared memory after the common layout. */
struct PartLayout {
  u32 gradients;
  u32 part;
  u32 barriers;
  u32 work;

  DEVICE PartLayout(Layout& at) {
    gradients = at.other + 2 * STAGES * OTHER_BYTES;
    part = gradients + 2 * GRADIENT_BYTES;
    at.behind = part + PARTS * PART_BYTES;
    at.barriers = at.behind + STAGES * (OTHER * 8);
    barriers = at.barriers + 16 + STAGES * 32;
    work = barriers + PARTS * 16;
  }

  DEVICE u32 fullPart(int i) const { return barriers + i % PARTS * 16; }
  DEVICE u32 emptyPart(int i) const { return fullPart(i) + 8; }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1) attentionBackward(
    const __grid_constant__ TensorMap dKMap,
    const __grid_constant__ TensorMap dVMap,
    const __grid_constant__ TensorMap dOutMap,
    const __grid_constant__ TensorMap qMap,
    const __grid_constant__ TensorMap kMap,
    const __grid_constant__ TensorMap vMap,
    float* sumsQ,
    int* progress,
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
  PartLayout parts(at);
  Sizes sizes = {queries, keys, heads, kvHeads, window};
  int group = heads / kvHeads;
  u32 ownValues = at.own + CONSUMERS * OWN_BYTES;
  if (threadIdx.x == 0) {
    for (int i = 0; i < PARTS; i++) {
      initBarrier(parts.fullPart(i), CONSUMERS * 4);
      initBarrier(parts.emptyPart(i), 1);
    }
  }
  at.initialise(1);
  if (threadIdx.x < 128) {
    lowerRegisters();
    if (threadIdx.x == 0) {
      Work work;
      int count = 0;
      for (int round = 0;; round++) {
        int index = atomicAdd(progress, 1);
        await(at.emptyOwn(), round % 2 ^ 1);
        storeShared(parts.work + round % 2 * 4, index);
        if (!work.at(index, kvHeads, keys, false, sequences)) {
          arrive(at.fullOwn());
          break;
        }
        expectBytes(at.fullOwn(), 2 * CONSUMERS * OWN_BYTES);
        loadOwn(at.own, kMap, at.fullOwn(), work.head, work.row, work.sequence);
        loadOwn(ownValues, vMap, at.fullOwn(), work.head, work.row, work.sequence);
        int first = sizes.firstQueryStep(work.row);
        int last = sizes.lastQueryStep(work.row);
        for (int head = work.head * group; head < (work.head + 1) * group; head++) {
          for (int step = last; step >= first; step--, count++) {
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
    } else if (threadIdx.x == 32) {
      Work work;
      int count = 0;
      for (int round = 0;; round++) {
        await(at.fullOwn(), round % 2);
        if (!work.at(loadSharedInt(parts.work + round % 2 * 4), kvHeads, keys, false, sequences)) {
          break;
        }
        int first = sizes.firstQueryStep(work.row);
        int last = sizes.lastQueryStep(work.row);
        for (int head = work.head * group; head < (work.head + 1) * group; head++) {
          i64 block = ((i64) work.sequence * heads + head) * (padded / OTHER);
          for (int step = last; step >= first; step--, count++) {
            // Parts of lower keys, the lowest ones that the queries see being the first.
            int before = work.row / OWN - sizes.firstKey(step * OTHER) / OWN;
            int* counter = progress + 1 + block + step;
            float* to = sumsQ + (block + step) * (OTHER * HEAD);
            await(parts.fullPart(count), count / PARTS % 2);
            awaitProgress(counter, before);
            if (before == 0) {
              storeBytes(to, parts.part + count % PARTS * PART_BYTES, PART_BYTES);
            } else {
              addBytes(to, parts.part + count % PARTS * PART_BYTES, PART_BYTES);
            }
            commitStores();
            awaitStores();
            arrive(parts.emptyPart(count));
            finishStores();
            publishProgress(counter, before + 1);
          }
        }
        arrive(at.emptyOwn());
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
    u32 part = parts.part + consumer * (PART_BYTES / CONSUMERS) + thread * 16;
    auto storePart = [&](const float (&sums)[HEAD / CONSUMERS / 8][4], int i) {
      await(parts.emptyPart(i), i / PARTS % 2 ^ 1);
#pragma unroll
      for (int j = 0; j < HEAD / CONSUMERS / 8; j++) {
        storeShared4(part + i % PARTS * PART_BYTES + j * 2048, sums[j]);
      }
      fenceAsync();
      __syncwarp();
      if (leader) {
        arrive(parts.fullPart(i));
      }
    };
    u32 gradientRow = parts.gradients + (consumer * 64 + thread / 32 * 16 + lane / 4) * 128 + lane % 4 * 4;
    float factor = scale * LOG2E;
    Work work;
    int count = 0;
    for (int round = 0;; round++) {
      await(at.fullOwn(), round % 2);
      if (!work.at(loadSharedInt(parts.work + round % 2 * 4), kvHeads, keys, false, sequences)) {
        break;
      }
      int first = sizes.firstQueryStep(work.row);
      int last = sizes.lastQueryStep(work.row);
      int all = max(0, last - first + 1) * group;
      int tile = work.row + consumer * 64;
      int row = tile + thread / 32 * 16 + lane / 4;
      Scores weights;
      Scores gradients;
      u32 packedWeights[OTHER / 16][4];
      u32 packedGradients[OTHER / 16][4];
      float sumsK[HEAD / 8][4];
      float sumsV[HEAD / 8][4];
      float sums[HEAD / CONSUMERS / 8][4];
      zero(sumsK);
      zero(sumsV);
      pin(sumsK);
      pin(sumsV);
      int step = last;
      for (int i = 0; i < all; i++, count++) {
        await(at.fullA(count), parity(count));
        fenceProducts();
        startScores(weights, ownK, at.otherA(count));
        commitProducts();
        startScores(gradients, ownV, at.otherB(count));
        commitProducts();
        awaitProducts<1>();
        pin(weights);
#if ORDER == 1 || ORDER == 3
        pin(sumsK);
        if (i > 0 && leader) {
          arrive(at.emptyA(count - 1));
        }
#endif
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
#if ORDER == 2 || ORDER == 4
        fenceProducts();
        startSums(sumsK, packedGradients, at.otherA(count));
        commitProducts();
#endif
        u32 to = gradientRow + count % 2 * GRADIENT_BYTES;
#pragma unroll
        for (int j = 0; j < OTHER / 8; j++) {
          u32 piece = (j ^ lane / 4) * 16;
          storeShared(to + piece, packedGradients[j / 2][j % 2 * 2]);
          storeShared(to + piece + 1024, packedGradients[j / 2][j % 2 * 2 + 1]);
        }
        fenceAsync();
        // Both warpgroups' keys are needed for dQ, of which each computes half of the columns.
        turn(3, CONSUMERS * 128);
        fenceProducts();
        startPart(sums, parts.gradients + count % 2 * GRADIENT_BYTES, at.own + consumer * OWN_CHUNK);
        commitProducts();
#if ORDER == 2
        awaitProducts<0>();
        pin(sums);
        pin(sumsK);
        pin(sumsV);
        if (leader) {
          arrive(at.emptyA(count));
        }
        storePart(sums, count);
#elif ORDER == 4
        awaitProducts<1>();
        pin(sumsK);
        pin(sumsV);
        if (leader) {
          arrive(at.emptyA(count));
        }
        awaitProducts<0>();
        pin(sums);
        storePart(sums, count);
#else
        startSums(sumsK, packedGradients, at.otherA(count));
        commitProducts();
        awaitProducts<1>();
        pin(sums);
        pin(sumsV);
        storePart(sums, count);
#endif
        step = step > first ? step - 1 : last;
      }
      awaitProducts<0>();
      pin(sumsK);
      pin(sumsV);
#if ORDER == 1
      if (all > 0 && leader) {
        arrive(at.emptyA(count - 1));
      }
#endif
      // The other warpgroup may still read these keys.
      turn(3, CONSUMERS * 128);
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

/** dQ from the sums of attentionBackward. Blocks of 256 threads; x = sequence and head, y = OTHER queries. */
extern "C" __global__ void __launch_bounds__(256) attentionBackwardFinish(
    T* dQ, const float* sumsQ, int queries, int heads, float scale, int padded) {
  constexpr int STRIDE = HEAD * 2 + 16;
  __shared__ __align__(16) char rows[OTHER * STRIDE];
  int head = blockIdx.x % heads;
  i64 sequence = blockIdx.x / heads;
  const float4* from = reinterpret_cast<const float4*>(
      sumsQ + ((i64) blockIdx.x * (padded / OTHER) + blockIdx.y) * (OTHER * HEAD));
#pragma unroll
  for (int i = 0; i < OTHER * HEAD / 4 / 256; i++) {
    int at = i * 256 + threadIdx.x;
    float4 x = from[at];
    int thread = at % 128;
    int row = thread / 32 * 16 + thread % 32 / 4;
    int column = at / 128 * 8 + thread % 4 * 2;
    *reinterpret_cast<u32*>(rows + row * STRIDE + column * 2) = packPair(x.x * scale, x.y * scale, T());
    *reinterpret_cast<u32*>(rows + (row + 8) * STRIDE + column * 2) = packPair(x.z * scale, x.w * scale, T());
  }
  __syncthreads();
  for (int i = threadIdx.x; i < OTHER * HEAD / 8; i += 256) {
    int row = i / (HEAD / 8);
    int piece = i % (HEAD / 8);
    int query = blockIdx.y * OTHER + row;
    if (query < queries) {
      store16(
          dQ + ((sequence * queries + query) * heads + head) * HEAD + piece * 8,
          *reinterpret_cast<const uint4*>(rows + row * STRIDE + piece * 16));
    }
  }
}

#endif
