// What the kernels for mma.sync share: copies to shared memory, operands and products of a warp. T
// is F16 or, from sm_80 on, BF16.
//
// A product is c[16,16] += a[16,16] · b[16,16], summed in F32, by
//
//   sm_80   two m16n8k16; operands by ldmatrix, 4 registers of a lane each
//   sm_75   four m16n8k8; the same operands
//   sm_70   four m8n8k4; operands by plain loads, 8 registers of a lane each
//
// A lane's part of c is c[2][4]: c[j][2 h + i] is the element at row resultRow() + h ROW_STEP and
// column 8 j + resultColumn() + i. Lanes whose numbers differ in bits of OVER_ROW only have the same
// rows.
//
// An m8n8k4 is four products of 8 by 8, one for each quad pair: the lanes of equal lane / 4 % 4.
// Here a pair has rows 4 (lane / 4 % 2) + {0..3, 8..11} of a and columns 4 (lane / 8 % 2) +
// {0..3, 8..11} of b; its lanes below 16 load the first four of them, the others the last four. So
// c lies as above, and eight neighbouring lanes read 16 bytes each of no more than eight rows, as
// for ldmatrix: what keeps those in different banks does so here.

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

/**
 * 16 bytes from global to shared memory: by cp.async where there is such, else through registers,
 * where they stay until land() if HOLD.
 */
template <bool HOLD>
struct Piece {
#if ARCH >= 80
  /** Starts the copy of the 8 elements from from[at] on, or of zeros where they don't exist. */
  DEVICE void take(u32 to, const T* from, i64 at, bool exists) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to),
                 "l"(from + (exists ? at : 0)),
                 "r"(exists ? 16 : 0)
                 : "memory");
  }

  /** Comes before the barrier after which others read the bytes. */
  DEVICE void land(u32 to) const {}
#else
  uint4 held;

  DEVICE void take(u32 to, const T* from, i64 at, bool exists) {
    held = exists ? load16(from + at) : make_uint4(0, 0, 0, 0);
    if (!HOLD) {
      store(to);
    }
  }

  DEVICE void land(u32 to) const {
    if (HOLD) {
      store(to);
    }
  }

  DEVICE void store(u32 to) const {
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

/** Loads an operand; at(row, unit) is the address of 8 elements, the unit-th of memory's row. */
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

/** a = c rounded to T: the result of a product as an operand of the next. */
DEVICE void round(Left<false>& a, const float (*c)[4]) {
  a.x[0] = packPair(c[0][0], c[0][1], T());
  a.x[1] = packPair(c[0][2], c[0][3], T());
  a.x[2] = packPair(c[1][0], c[1][1], T());
  a.x[3] = packPair(c[1][2], c[1][3], T());
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

/** A row's 16 summed indexes; registers 2 s and 2 s + 1 are for instruction s. */
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

/** Four columns, those `bytes` into a unit, of every fourth row of memory. */
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

/**
 * A lane has two columns of each eight in two rows, and needs all columns of one of these rows. The
 * lane 2 from it has two more and needs the other row, the lane 8 from it has the other four.
 */
DEVICE void round(Left<false>& a, const float (*c)[4]) {
  bool second = (threadIdx.x & 2) != 0;  // of the two rows, and of two pairs of columns
  bool right = (threadIdx.x & 8) != 0;  // of the two fours of eight columns
#pragma unroll
  for (int j = 0; j < 2; j++) {
    u32 row0 = packPair(c[j][0], c[j][1], T());
    u32 row1 = packPair(c[j][2], c[j][3], T());
    u32 kept = second ? row1 : row0;
    u32 got = __shfl_xor_sync(0xFFFFFFFFu, second ? row0 : row1, 2);
    u32 four[2] = {second ? got : kept, second ? kept : got};
#pragma unroll
    for (int i = 0; i < 2; i++) {
      u32 others = __shfl_xor_sync(0xFFFFFFFFu, four[i], 8);
      a.x[4 * j + i] = right ? others : four[i];
      a.x[4 * j + 2 + i] = right ? four[i] : others;
    }
  }
}

#define MMA(LAYOUT)                                                                             \
  asm volatile("mma.sync.aligned.m8n8k4." LAYOUT ".f32.f16.f16.f32 "                            \
               "{%0, %1, %2, %3, %4, %5, %6, %7}, {%8, %9}, {%10, %11}, "                       \
               "{%0, %1, %2, %3, %4, %5, %6, %7};"                                              \
               : "+f"(c[0][0]), "+f"(c[0][1]), "+f"(c[0][2]), "+f"(c[0][3]), "+f"(c[1][0]),     \
                 "+f"(c[1][1]), "+f"(c[1][2]), "+f"(c[1][3])                                    \
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

/** Combines the values of the lanes that have the same rows of c; all of them get the same bits. */
template <typename Op>
DEVICE float overRow(float x, Op op) {
#pragma unroll
  for (int i = 0; i < 2; i++) {
    x = op(x, __shfl_xor_sync(0xFFFFFFFFu, x, OVER_ROW[i]));
  }
  return x;
}
