// Instructions of Hopper (compute capability 9.0): barriers that count bytes, the copy engine
// (TMA), asynchronous products of warpgroups (wgmma), registers that move between warpgroups.
//
// Tiles of 16-bit elements lie in shared memory in rows of 128 bytes, 64 elements, whose 16-byte
// pieces are swizzled as TMA's 128-byte swizzle does, 1024-byte aligned. A product takes 16
// elements of the summed index: 32 bytes further in a row, or 16 rows (2048 bytes) further where the tile is
// stored by rows of the summed index.

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

#define REGISTERS32                                                     \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, " \
  "%12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, " \
  "%24, %25, %26, %27, %28, %29, %30, %31"
#define REGISTERS64 REGISTERS32                                         \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, " \
  "%44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, " \
  "%56, %57, %58, %59, %60, %61, %62, %63"

#define REGISTERS96 REGISTERS64                                         \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, " \
  "%76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, " \
  "%88, %89, %90, %91, %92, %93, %94, %95"
#define REGISTERS128 REGISTERS96                                        \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, " \
  "%108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, " \
  "%120, %121, %122, %123, %124, %125, %126, %127"

/** What cuTensorMapEncodeTiled fills in. */
struct alignas(64) TensorMap {
  char bytes[128];
};

DEVICE void initBarrier(u32 barrier, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/** Arrives, and lets the barrier wait for so many bytes. */
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

/** A box of a tensor map; rows outside the tensor arrive as 0. */
DEVICE void loadTile(
    u32 to, const TensorMap& map, u32 barrier, int column, int head, int row, int sequence) {
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
      "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group"
      " [%0, {%2, %3, %4, %5}], [%1];" ::"l"(&map),
      "r"(from),
      "r"(column),
      "r"(head),
      "r"(row),
      "r"(sequence)
      : "memory");
}

/** The same of a stack of matrices. */
DEVICE void loadTile(u32 to, const TensorMap& map, u32 barrier, int column, int row, int matrix) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(to),
      "l"(&map),
      "r"(barrier),
      "r"(column),
      "r"(row),
      "r"(matrix)
      : "memory");
}

/** Rows and columns outside the tensor are left out. */
DEVICE void storeTile(const TensorMap& map, u32 from, int column, int row, int matrix) {
  asm volatile(
      "cp.async.bulk.tensor.3d.global.shared::cta.bulk_group"
      " [%0, {%2, %3, %4}], [%1];" ::"l"(&map),
      "r"(from),
      "r"(column),
      "r"(row),
      "r"(matrix)
      : "memory");
}

/** Adds a box to what is there. */
DEVICE void addTile(const TensorMap& map, u32 from, int column, int row, int matrix) {
  asm volatile(
      "cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.bulk_group"
      " [%0, {%2, %3, %4}], [%1];" ::"l"(&map),
      "r"(from),
      "r"(column),
      "r"(row),
      "r"(matrix)
      : "memory");
}

/** A piece of memory, a multiple of 16 bytes. */
DEVICE void loadBytes(u32 to, const void* from, u32 bytes, u32 barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
      " [%0], [%1], %2, [%3];" ::"r"(to),
      "l"(from),
      "r"(bytes),
      "r"(barrier)
      : "memory");
}

/** From shared memory to a piece of global memory. */
DEVICE void storeBytes(void* to, u32 from, u32 bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to),
               "r"(from),
               "r"(bytes)
               : "memory");
}

/** Adds numbers in F32 to a piece of global memory. */
DEVICE void addBytes(float* to, u32 from, u32 bytes) {
  asm volatile(
      "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(to),
      "r"(from),
      "r"(bytes)
      : "memory");
}

DEVICE void commitStores() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

/** Until what this thread's stores read, all but the last PENDING, may be overwritten. */
template <int PENDING = 0>
DEVICE void awaitStores() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(PENDING) : "memory");
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

DEVICE void storeShared2(u32 to, float x, float y) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(to), "f"(x), "f"(y) : "memory");
}

DEVICE void storeShared4(u32 to, const float (&x)[4]) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to),
               "f"(x[0]),
               "f"(x[1]),
               "f"(x[2]),
               "f"(x[3])
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

/** Gives registers of this warpgroup to the block, down to so many a thread. */
template <int COUNT>
DEVICE void lowerRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}

/** Waits for registers that others gave. */
template <int COUNT>
DEVICE void raiseRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}

/** Before products that use registers which were written otherwise. */
DEVICE void fenceProducts() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

DEVICE void commitProducts() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/** Until at most so many of this warp's last committed groups are unfinished. */
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
  return (u64) ((at & 0x3FFFF) >> 4) | (u64) (leading >> 4) << 16 | (u64) (1024 >> 4) << 32
      | 1ull << 62;
}

// --- products, all asynchronous ------------------------------------------------------------------

/** d[64, 64] = a · bᵀ; both in shared memory, b stored [64][16]. What d held is not read. */
DEVICE void multiplyFirst(float (&d)[8][4], u64 a, u64 b) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n" WGMMA(64) "{" REGISTERS32
               "}, %32, %33, p, 1, 1, 0, 0;\n}"
               : NEW_QUADS8(d, 0)
               : "l"(a), "l"(b));
}

/** d[64, 128] = a · bᵀ; both in shared memory, b stored [128][16]. What d held is not read. */
DEVICE void multiplyFirst(float (&d)[16][4], u64 a, u64 b) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n" WGMMA(128) "{" REGISTERS64
               "}, %64, %65, p, 1, 1, 0, 0;\n}"
               : NEW_QUADS8(d, 0), NEW_QUADS8(d, 8)
               : "l"(a), "l"(b));
}

/** d[64, 64] += a · bᵀ; both in shared memory, b stored [64][16]. */
DEVICE void multiplyAdd(float (&d)[8][4], u64 a, u64 b) {
  asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n" WGMMA(64) "{" REGISTERS32
               "}, %32, %33, p, 1, 1, 0, 0;\n}"
               : QUADS8(d, 0)
               : "l"(a), "l"(b));
}

/** d[64, 128] += a · bᵀ; both in shared memory, b stored [128][16]. */
DEVICE void multiplyAdd(float (&d)[16][4], u64 a, u64 b) {
  asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n" WGMMA(128) "{" REGISTERS64
               "}, %64, %65, p, 1, 1, 0, 0;\n}"
               : QUADS8(d, 0), QUADS8(d, 8)
               : "l"(a), "l"(b));
}

/** d[64, 64] += a · b; a in registers, b in shared memory, stored [16][64]. */
DEVICE void multiplyAdd(float (&d)[8][4], const u32 (&a)[4], u64 b) {
  asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n" WGMMA(64) "{" REGISTERS32
               "}, {%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}"
               : QUADS8(d, 0)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/** d[64, 128] += a · b; a in registers, b in shared memory, stored [16][128]. */
DEVICE void multiplyAdd(float (&d)[16][4], const u32 (&a)[4], u64 b) {
  asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n" WGMMA(128) "{" REGISTERS64
               "}, {%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}"
               : QUADS8(d, 0), QUADS8(d, 8)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/** d[64, 64] = aᵀ · b; both in shared memory, stored [16][64]. */
DEVICE void multiplyTransposedFirst(float (&d)[8][4], u64 a, u64 b) {
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n" WGMMA(64) "{" REGISTERS32
               "}, %32, %33, p, 1, 1, 1, 1;\n}"
               : NEW_QUADS8(d, 0)
               : "l"(a), "l"(b));
}

/** d[64, 64] += aᵀ · b; both in shared memory, stored [16][64]. */
DEVICE void multiplyTransposedAdd(float (&d)[8][4], u64 a, u64 b) {
  asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\n" WGMMA(64) "{" REGISTERS32
               "}, %32, %33, p, 1, 1, 1, 1;\n}"
               : QUADS8(d, 0)
               : "l"(a), "l"(b));
}
