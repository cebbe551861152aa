// What the kernels for mma.sync share: copies to shared memory, operands and products of a warp. T
// is F16 or, from sm_80 on, BF16.
//
// A product is c[16,16] += a[16,16] · b[16,16], summed in F32, by
//
//   sm_80   two m16n8k16, operands by ldmatrix, 4 registers of a lane each
//   sm_75   four m16n8k8, the same operands
//   sm_70   four m8n8k4, operands by plain loads, 8 registers of a lane each
//
// In a sum[2][4] of a lane, sum[j][2 h + i] is the element at row resultRow() + h ROW_STEP and
// column 8 j + resultColumn() + i. What OVER_ROW lists are the bits in which the numbers of the
// lanes of one row differ.
//
// On sm_70 an instruction is four products of 8 by 8, one for each quad pair, the lanes of equal
// lane / 4 % 4. Here a pair has rows 4 (lane / 4 % 2) + {0..3, 8..11} of a and columns
// 4 (lane / 8 % 2) + {0..3, 8..11} of b, of which a lane below 16 holds the first four's, another
// the last four's. So eight neighbouring lanes read eight neighbouring rows of a, as for ldmatrix,
// and sums lie as on the other generations, two columns in each eight and two rows.

#if defined(T_BF16) && ARCH >= 80
#define MMA "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
#elif defined(T_F16) && ARCH >= 80
#define MMA "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
#elif defined(T_F16) && ARCH >= 75
#define MMA "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
#elif !defined(T_F16)
#error "the tensor cores take fp16 and, from compute capability 8.0 on, bf16"
#endif

DEVICE u32 sharedAddress(const void* p) {
  return (u32) __cvta_generic_to_shared(p);
}

// --- copies --------------------------------------------------------------------------------------

/** 16 bytes from global to shared memory: by cp.async where there is such, else by a register. */
struct Piece {
#if ARCH >= 80
  /** Starts the copy of 8 elements from from[at] on, or of zeros where they do not exist. */
  DEVICE void take(u32 to, const T* from, i64 at, bool exists) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to),
                 "l"(from + (exists ? at : 0)),
                 "r"(exists ? 16 : 0)
                 : "memory");
  }

  /** Must follow take() before others await the bytes. */
  DEVICE void land(u32 to) const {}
#else
  uint4 held;

  DEVICE void take(u32 to, const T* from, i64 at, bool exists) {
    held = exists ? load16(from + at) : make_uint4(0, 0, 0, 0);
  }

  DEVICE void land(u32 to) const {
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to),
                 "r"(held.x),
                 "r"(held.y),
                 "r"(held.z),
                 "r"(held.w)
                 : "memory");
  }
#endif
};

/** Ends a group of copies. */
DEVICE void commitCopies() {
#if ARCH >= 80
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/** Until all groups of this thread but the last LEFT have arrived. */
template <int LEFT>
DEVICE void awaitCopies() {
#if ARCH >= 80
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
#endif
}

// --- operands ------------------------------------------------------------------------------------

constexpr int OPERAND = ARCH >= 75 ? 4 : 8;

/**
 * A lane's part of 16 rows of the result by 16 summed indexes. TURNED says how they lie in memory:
 * rows of memory are rows of the result, or summed indexes.
 */
template <bool TURNED>
struct Left {
  u32 x[OPERAND];
};

/** The same of 16 columns of the result. */
template <bool TURNED>
struct Right {
  u32 x[OPERAND];
};

#if ARCH >= 75

constexpr int ROW_STEP = 8;
constexpr int OVER_ROW[2] = {2, 1};

DEVICE int resultRow() {
  int lane = threadIdx.x % 32;
  return lane / 4;
}

DEVICE int resultColumn() {
  int lane = threadIdx.x % 32;
  return lane % 4 * 2;
}

/** Four 8×8 matrices; each lane gives the address of one of their rows. */
DEVICE void loadMatrices(u32 (&x)[4], u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(at)
               : "memory");
}

DEVICE void loadTurned(u32 (&x)[4], u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(at)
               : "memory");
}

/** Loads an operand of which 8 elements `unit` of memory's row `row` are at at(row, unit). */
template <typename At>
DEVICE void load(Left<false>& a, At at) {
  int lane = threadIdx.x % 32;
  loadMatrices(a.x, at(lane % 16, threadIdx.x / 16 % 2));
}

template <typename At>
DEVICE void load(Left<true>& a, At at) {
  int lane = threadIdx.x % 32;
  loadTurned(a.x, at(threadIdx.x / 16 % 2 * 8 + lane % 8, lane / 8 % 2));
}

template <typename At>
DEVICE void load(Right<false>& b, At at) {
  int lane = threadIdx.x % 32;
  loadMatrices(b.x, at(threadIdx.x / 16 % 2 * 8 + lane % 8, lane / 8 % 2));
}

template <typename At>
DEVICE void load(Right<true>& b, At at) {
  int lane = threadIdx.x % 32;
  loadTurned(b.x, at(lane % 16, threadIdx.x / 16 % 2));
}

/** a = the sums of two products side by side, rounded to T. */
DEVICE void round(Left<false>& a, const float (*sum)[4]) {
  a.x[0] = packPair(sum[0][0], sum[0][1], T());
  a.x[1] = packPair(sum[0][2], sum[0][3], T());
  a.x[2] = packPair(sum[1][0], sum[1][1], T());
  a.x[3] = packPair(sum[1][2], sum[1][3], T());
}

DEVICE void multiplyHalf(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#if ARCH >= 80
  asm volatile(MMA "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  asm volatile(MMA "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(b0));
  asm volatile(MMA "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

/** c += a · b. */
template <bool A_TURNED, bool B_TURNED>
DEVICE void multiplyAdd(float (*c)[4], const Left<A_TURNED>& a, const Right<B_TURNED>& b) {
  multiplyHalf(c[0], a.x, b.x[0], b.x[1]);
  multiplyHalf(c[1], a.x, b.x[2], b.x[3]);
}

#else  // Volta

constexpr int ROW_STEP = 2;
constexpr int OVER_ROW[2] = {8, 2};

DEVICE int resultRow() {
  int lane = threadIdx.x % 32;
  return (lane & 5) + lane / 16 * 8;
}

DEVICE int resultColumn() {
  int lane = threadIdx.x % 32;
  return (lane & 2) + lane / 8 % 2 * 4;
}

/** A row's 16 summed indexes: registers 2 s and 2 s + 1 are those of instruction s. */
template <typename At>
DEVICE void loadRow(u32 (&x)[8], int row, At at) {
#pragma unroll
  for (int unit = 0; unit < 2; unit++) {
    u32* to = x + 4 * unit;
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at(row, unit))
                 : "memory");
  }
}

/** Four columns, the first at `bytes` of each 16, of every fourth row of memory. */
template <typename At>
DEVICE void loadColumns(u32 (&x)[8], int bytes, At at) {
  int lane = threadIdx.x % 32;
#pragma unroll
  for (int s = 0; s < 4; s++) {
    asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];"
                 : "=r"(x[2 * s]), "=r"(x[2 * s + 1])
                 : "r"(at(4 * s + lane % 4, threadIdx.x / 16 % 2) + bytes)
                 : "memory");
  }
}

template <typename At>
DEVICE void load(Left<false>& a, At at) {
  int lane = threadIdx.x % 32;
  loadRow(a.x, threadIdx.x / 16 % 2 * 8 + lane % 8, at);
}

template <typename At>
DEVICE void load(Left<true>& a, At at) {
  loadColumns(a.x, threadIdx.x / 4 % 2 * 8, at);
}

template <typename At>
DEVICE void load(Right<false>& b, At at) {
  int lane = threadIdx.x % 32;
  loadRow(b.x, threadIdx.x / 16 % 2 * 8 + lane / 8 % 2 * 4 + lane % 4, at);
}

template <typename At>
DEVICE void load(Right<true>& b, At at) {
  loadColumns(b.x, threadIdx.x / 8 % 2 * 8, at);
}

/** In two exchanges: lanes 2 apart for a row's four columns, lanes 8 apart for its others. */
DEVICE void round(Left<false>& a, const float (*sum)[4]) {
  bool second = (threadIdx.x & 2) != 0;   // of its two rows, that of the operand
  bool right = (threadIdx.x & 8) != 0;    // of each eight columns, its four
#pragma unroll
  for (int j = 0; j < 2; j++) {
    u32 first = packPair(sum[j][0], sum[j][1], T());
    u32 other = packPair(sum[j][2], sum[j][3], T());
    u32 kept = second ? other : first;
    u32 got = __shfl_xor_sync(0xFFFFFFFFu, second ? first : other, 2);
    u32 own[2] = {second ? got : kept, second ? kept : got};
#pragma unroll
    for (int i = 0; i < 2; i++) {
      u32 across = __shfl_xor_sync(0xFFFFFFFFu, own[i], 8);
      a.x[4 * j + i] = right ? across : own[i];
      a.x[4 * j + 2 + i] = right ? own[i] : across;
    }
  }
}

#define MMA(LAYOUT)                                                                              \
  asm volatile("mma.sync.aligned.m8n8k4." LAYOUT                                                 \
               ".f32.f16.f16.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, {%8, %9}, {%10, %11}, {%0, %1, " \
               "%2, %3, %4, %5, %6, %7};"                                                        \
               : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]),        \
                 "+f"(c[1][1]), "+f"(c[1][2]), "+f"(c[1][3])                                       \
               : "r"(a.x[2 * s]), "r"(a.x[2 * s + 1]), "r"(b.x[2 * s]), "r"(b.x[2 * s + 1]))

template <bool A_TURNED, bool B_TURNED>
DEVICE void multiplyAdd(float (*c)[4], const Left<A_TURNED>& a, const Right<B_TURNED>& b) {
#pragma unroll
  for (int s = 0; s < 4; s++) {
    if (A_TURNED && B_TURNED) {
      MMA("col.row");
    } else if (A_TURNED) {
      MMA("col.col");
    } else if (B_TURNED) {
      MMA("row.row");
    } else {
      MMA("row.col");
    }
  }
}

#endif

/** Combines the values of the lanes that hold a row of a result; all of them get the same bits. */
template <typename Op>
DEVICE float overRow(float x, Op op) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    x = op(x, __shfl_xor_sync(0xFFFFFFFFu, x, OVER_ROW[i]));
  }
  return x;
}
