// What all kernels share. The loader puts this text before every kernel, with
//
//   T_F32, T_BF16 or T_F16   defined: what T, the compute type, is
//   ARCH                     the compute capability times ten, such as 90
//
// and nothing else is included: no CUDA headers, so that NVRTC's library alone is enough.
//
// Numbers are computed in F32. widen() gives the F32 value of an element, narrow<S>() the nearest S,
// ties to even; NaN stays NaN and what is too large becomes infinite. Sums have a fixed order, so
// that the same inputs give the same bits.

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#ifndef ARCH
#error "ARCH is not defined"
#endif

#define DEVICE __device__ __forceinline__

#define INFINITY_F32 __int_as_float(0x7F800000)
#define NAN_F32 __int_as_float(0x7FC00000)

struct Bf16 {
  unsigned short bits;
};

struct F16 {
  unsigned short bits;
};

#if defined(T_F32)
typedef float T;
#elif defined(T_BF16)
typedef Bf16 T;
#elif defined(T_F16)
typedef F16 T;
#else
#error "one of T_F32, T_BF16 and T_F16 must be defined"
#endif

// --- conversions ---------------------------------------------------------------------------------

DEVICE float widen(float x) {
  return x;
}

DEVICE float widen(Bf16 x) {
  return __uint_as_float((u32) x.bits << 16);
}

DEVICE float widen(F16 x) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
  return wide;
}

DEVICE unsigned short bf16Bits(float x) {
#if ARCH >= 80
  unsigned short bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
#else
  u32 wide = __float_as_uint(x);
  // A NaN must not be rounded into infinity.
  u32 rounded = x != x ? wide | 0x400000u : wide + 0x7FFFu + ((wide >> 16) & 1u);
  return (unsigned short) (rounded >> 16);
#endif
}

DEVICE unsigned short f16Bits(float x) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}

template <typename S>
DEVICE S narrow(float x);

template <>
DEVICE float narrow<float>(float x) {
  return x;
}

template <>
DEVICE Bf16 narrow<Bf16>(float x) {
  Bf16 y;
  y.bits = bf16Bits(x);
  return y;
}

template <>
DEVICE F16 narrow<F16>(float x) {
  F16 y;
  y.bits = f16Bits(x);
  return y;
}

// --- 16 bytes at a time --------------------------------------------------------------------------

/** Elements in 16 bytes, and their values in F32. */
template <typename S>
struct Pack {
  static const int N = 16 / sizeof(S);
  float at[N];
};

template <typename S>
DEVICE Pack<S> unpack(uint4 raw);

template <typename S>
DEVICE uint4 pack(const Pack<S>& x);

template <>
DEVICE Pack<float> unpack<float>(uint4 raw) {
  Pack<float> x;
  x.at[0] = __uint_as_float(raw.x);
  x.at[1] = __uint_as_float(raw.y);
  x.at[2] = __uint_as_float(raw.z);
  x.at[3] = __uint_as_float(raw.w);
  return x;
}

template <>
DEVICE uint4 pack<float>(const Pack<float>& x) {
  return make_uint4(
      __float_as_uint(x.at[0]),
      __float_as_uint(x.at[1]),
      __float_as_uint(x.at[2]),
      __float_as_uint(x.at[3]));
}

DEVICE void unpackPair(u32 pair, float* x, Bf16) {
  x[0] = __uint_as_float(pair << 16);
  x[1] = __uint_as_float(pair & 0xFFFF0000u);
}

DEVICE void unpackPair(u32 pair, float* x, F16) {
  F16 low;
  F16 high;
  low.bits = (unsigned short) pair;
  high.bits = (unsigned short) (pair >> 16);
  x[0] = widen(low);
  x[1] = widen(high);
}

/** Two values as one word, the first in its low half. */
DEVICE u32 packPair(float first, float second, Bf16) {
#if ARCH >= 80
  u32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
#else
  return bf16Bits(first) | (u32) bf16Bits(second) << 16;
#endif
}

DEVICE u32 packPair(float first, float second, F16) {
#if ARCH >= 80
  u32 pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
#else
  return f16Bits(first) | (u32) f16Bits(second) << 16;
#endif
}

template <typename S>
DEVICE Pack<S> unpack(uint4 raw) {
  Pack<S> x;
  unpackPair(raw.x, x.at, S());
  unpackPair(raw.y, x.at + 2, S());
  unpackPair(raw.z, x.at + 4, S());
  unpackPair(raw.w, x.at + 6, S());
  return x;
}

template <typename S>
DEVICE uint4 pack(const Pack<S>& x) {
  return make_uint4(
      packPair(x.at[0], x.at[1], S()),
      packPair(x.at[2], x.at[3], S()),
      packPair(x.at[4], x.at[5], S()),
      packPair(x.at[6], x.at[7], S()));
}

DEVICE bool aligned16(const void* p) {
  return ((u64) p & 15) == 0;
}

/** Raw 16 bytes at a 16-byte boundary: many of these in flight, then unpack, is what is fast. */
template <typename S>
DEVICE uint4 load16(const S* p) {
  return *reinterpret_cast<const uint4*>(p);
}

template <typename S>
DEVICE void store16(S* p, uint4 raw) {
  *reinterpret_cast<uint4*>(p) = raw;
}

/** Access by 16 bytes: N elements, whose address must be a multiple of 16. */
template <typename S>
struct Wide {
  static const int N = Pack<S>::N;
  typedef uint4 Raw;

  static DEVICE Raw load(const S* p) {
    return load16(p);
  }

  static DEVICE void store(S* p, Raw raw) {
    store16(p, raw);
  }

  static DEVICE Pack<S> floats(Raw raw) {
    return unpack<S>(raw);
  }

  static DEVICE Raw raw(const Pack<S>& x) {
    return pack<S>(x);
  }
};

/** Access by single elements, for any address and any width. */
template <typename S>
struct Single {
  static const int N = 1;
  typedef S Raw;

  static DEVICE Raw load(const S* p) {
    return *p;
  }

  static DEVICE void store(S* p, Raw raw) {
    *p = raw;
  }

  static DEVICE Pack<S> floats(Raw raw) {
    Pack<S> x;
    x.at[0] = widen(raw);
    return x;
  }

  static DEVICE Raw raw(const Pack<S>& x) {
    return narrow<S>(x.at[0]);
  }
};

/** Four elements; their address must be a multiple of their size. */
template <typename S>
DEVICE void load4(float (&x)[4], const S* p) {
  uint2 raw = *reinterpret_cast<const uint2*>(p);
  unpackPair(raw.x, x, S());
  unpackPair(raw.y, x + 2, S());
}

template <>
DEVICE void load4<float>(float (&x)[4], const float* p) {
  float4 raw = *reinterpret_cast<const float4*>(p);
  x[0] = raw.x;
  x[1] = raw.y;
  x[2] = raw.z;
  x[3] = raw.w;
}

template <typename S>
DEVICE void store4(S* p, const float (&x)[4]) {
  *reinterpret_cast<uint2*>(p) = make_uint2(packPair(x[0], x[1], S()), packPair(x[2], x[3], S()));
}

template <>
DEVICE void store4<float>(float* p, const float (&x)[4]) {
  *reinterpret_cast<float4*>(p) = make_float4(x[0], x[1], x[2], x[3]);
}

template <typename S>
DEVICE bool aligned4(const S* p) {
  return ((u64) p & (4 * sizeof(S) - 1)) == 0;
}

// --- functions -----------------------------------------------------------------------------------

/**
 * e^x: in F32 to two units in the last place; where T has 16 bits to about 2^-20, and 0 where the
 * result would be subnormal.
 */
DEVICE float expT(float x) {
#if defined(T_F32)
  return expf(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.44269504f));
  return y;
#endif
}

/** 1 / (1 + e^-x), by the exponential of -|x|, which cannot overflow. */
DEVICE float sigmoid(float x) {
  float e = expT(-fabsf(x));
#if defined(T_F32)
  return (x < 0 ? e : 1.0f) / (1.0f + e);
#else
  return __fdividef(x < 0 ? e : 1.0f, 1.0f + e);
#endif
}

// --- reductions ----------------------------------------------------------------------------------

struct Sum {
  template <typename V>
  DEVICE V operator()(V a, V b) const {
    return a + b;
  }
};

struct Max {
  DEVICE float operator()(float a, float b) const {
    return fmaxf(a, b);
  }
};

/**
 * Combines the values of each group of `lanes` neighbouring threads; all of a group get the same
 * bits. lanes is a power of two. All threads of the warp call, above 32 lanes all of the block.
 */
template <typename V, typename Op>
DEVICE V combine(V x, int lanes, Op op) {
  for (int step = min(lanes, 32) / 2; step > 0; step /= 2) {
    x = op(x, __shfl_xor_sync(0xFFFFFFFFu, x, step));
  }
  if (lanes > 32) {
    __shared__ V shared[32];
    int warps = lanes / 32;
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
      shared[threadIdx.x / 32] = x;
    }
    __syncthreads();
    int group = threadIdx.x / lanes;
    x = shared[group * warps + (threadIdx.x & (warps - 1))];
    for (int step = warps / 2; step > 0; step /= 2) {
      x = op(x, __shfl_xor_sync(0xFFFFFFFFu, x, step));
    }
  }
  return x;
}

DEVICE float sumOf(float x, int lanes) {
  return combine(x, lanes, Sum());
}

DEVICE float maxOf(float x, int lanes) {
  return combine(x, lanes, Max());
}

// --- rows ----------------------------------------------------------------------------------------

/** Loads that a thread has in flight in a loop over one operand. */
#define AHEAD 4

/** A row is for `lanes` neighbouring threads, a power of two; a block has one or several. */
struct Lanes {
  int lane;
  int row;
  int rows;

  DEVICE Lanes(int lanes) {
    lane = threadIdx.x & (lanes - 1);
    row = threadIdx.x / lanes;
    rows = blockDim.x / lanes;
  }
};

/** Whether every row of this width starts at a multiple of 16 bytes and ends at one. */
template <typename S>
DEVICE bool wideRows(const S* p, i64 width) {
  return aligned16(p) && width % Pack<S>::N == 0;
}

// --- faults --------------------------------------------------------------------------------------

/** Indexes that a kernel refuses; the same numbers as in the Java enum IndexFault. */
enum IndexFault {
  GATHER_ROWS_INDEX = 1,
  COMBINE_ROWS_SLOT = 2,
  SORT_BY_EXPERT_EXPERT = 3,
  CROSS_ENTROPY_TARGET = 4,
  SCATTER_ADD_ROWS_INDEX = 5,
  COMBINE_ROWS_BACKWARD_SLOT = 6,
  ROUTER_BACKWARD_EXPERT = 7,
  GROUPED_MATMUL_OFFSETS = 8,
  GROUPED_MATMUL_WEIGHT_GRADIENT_OFFSETS = 9
};

/**
 * Records a bad index for the host: faults = {which, position, value, limit}, all 0 while there is
 * none. The first one stays.
 */
DEVICE void fault(int* faults, IndexFault which, i64 position, int value, i64 limit) {
  if (atomicCAS(faults, 0, -1) == 0) {
    faults[1] = (int) position;
    faults[2] = value;
    faults[3] = (int) limit;
    __threadfence();
    atomicExch(faults, (int) which);
  }
}

/** Whether value lies in [0, limit); records a fault if not. */
DEVICE bool within(int* faults, IndexFault which, i64 position, int value, i64 limit) {
  if (value >= 0 && value < limit) {
    return true;
  }
  fault(faults, which, position, value, limit);
  return false;
}
