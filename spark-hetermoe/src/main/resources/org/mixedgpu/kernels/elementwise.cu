// Element by element: fill, copies that convert, add, scale, SwiGLU and its backward pass.
//
//   swiglu           out = silu(gate) · up, silu(z) = z · sigmoid(z)
//   swigluBackward   dGate = dOut · up · silu'(gate), dUp = dOut · silu(gate), and swiglu's out again
//                    silu'(z) = s + z · s · (1 − s), s = sigmoid(z)
//
// Shapes: n elements of T; copyTo* has n elements of T to n of the type in its name; copyWords has n
// words of 4 bytes, copyHalves n of 2, whose bits stay.
// Launch: 256 threads, grid.x blocks of 256 · N elements, N = 16 / size of an element, or 4 where a
// copy converts. An access per thread and operand: more in flight measured no faster.
// Numerics: F32 inside, one rounding to T at the end.
// Aliasing: an output may be an input, not a part of one.
// Source: own. Assumes nothing about alignment: the fast path needs all operands at 16 bytes, others
// go element by element.

#define THREADS 256

/** out = f(in), INS inputs and OUTS outputs, an access per thread. */
template <typename S, int INS, int OUTS, typename F>
DEVICE void map(S* const (&out)[OUTS], const S* const (&in)[INS], i64 n, F f) {
  const int N = Pack<S>::N;
  bool aligned = true;
  for (int k = 0; k < INS; k++) {
    aligned = aligned && aligned16(in[k]);
  }
  for (int k = 0; k < OUTS; k++) {
    aligned = aligned && aligned16(out[k]);
  }
  i64 packed = aligned ? n / N * N : 0;
  i64 start = (i64) blockIdx.x * (THREADS * N);
  i64 at = start + threadIdx.x * N;
  if (at < packed) {
    uint4 raw[INS];
#pragma unroll
    for (int k = 0; k < INS; k++) {
      raw[k] = load16(in[k] + at);
    }
    Pack<S> x[INS];
    Pack<S> y[OUTS];
#pragma unroll
    for (int k = 0; k < INS; k++) {
      x[k] = unpack<S>(raw[k]);
    }
#pragma unroll
    for (int l = 0; l < N; l++) {
      float a[INS];
      float b[OUTS];
#pragma unroll
      for (int k = 0; k < INS; k++) {
        a[k] = x[k].at[l];
      }
      f(b, a);
#pragma unroll
      for (int k = 0; k < OUTS; k++) {
        y[k].at[l] = b[k];
      }
    }
#pragma unroll
    for (int k = 0; k < OUTS; k++) {
      store16(out[k] + at, pack<S>(y[k]));
    }
  }
  i64 end = min(n, start + THREADS * N);
  for (i64 i = max(start, packed) + threadIdx.x; i < end; i += THREADS) {
    float a[INS];
    float b[OUTS];
#pragma unroll
    for (int k = 0; k < INS; k++) {
      a[k] = widen(in[k][i]);
    }
    f(b, a);
#pragma unroll
    for (int k = 0; k < OUTS; k++) {
      out[k][i] = narrow<S>(b[k]);
    }
  }
}

struct Add {
  DEVICE void operator()(float* out, const float* in) const {
    out[0] = in[0] + in[1];
  }
};

struct Scale {
  float factor;
  DEVICE void operator()(float* out, const float* in) const {
    out[0] = in[0] * factor;
  }
};

struct SwiGlu {
  DEVICE void operator()(float* out, const float* in) const {
    out[0] = in[0] * sigmoid(in[0]) * in[1];
  }
};

struct SwiGluBackward {
  DEVICE void operator()(float* out, const float* in) const {
    float s = sigmoid(in[1]);
    float silu = in[1] * s;
    out[0] = in[0] * in[2] * (s + silu * (1.0f - s));
    out[1] = in[0] * silu;
    out[2] = silu * in[2];
  }
};

extern "C" __global__ void __launch_bounds__(THREADS) add(T* out, const T* a, const T* b, i64 n) {
  T* const outs[] = {out};
  const T* const ins[] = {a, b};
  map<T>(outs, ins, n, Add());
}

extern "C" __global__ void __launch_bounds__(THREADS) scale(T* x, float factor, i64 n) {
  T* const outs[] = {x};
  const T* const ins[] = {x};
  map<T>(outs, ins, n, Scale{factor});
}

extern "C" __global__ void __launch_bounds__(THREADS)
    swiglu(T* out, const T* gate, const T* up, i64 n) {
  T* const outs[] = {out};
  const T* const ins[] = {gate, up};
  map<T>(outs, ins, n, SwiGlu());
}

extern "C" __global__ void __launch_bounds__(THREADS)
    swigluBackward(
        T* dGate, T* dUp, T* product, const T* dOut, const T* gate, const T* up, i64 n) {
  T* const outs[] = {dGate, dUp, product};
  const T* const ins[] = {dOut, gate, up};
  map<T>(outs, ins, n, SwiGluBackward());
}

extern "C" __global__ void __launch_bounds__(THREADS) fill(T* out, float value, i64 n) {
  const int N = Pack<T>::N;
  T element = narrow<T>(value);
  Pack<T> x;
#pragma unroll
  for (int l = 0; l < N; l++) {
    x.at[l] = value;
  }
  i64 start = (i64) blockIdx.x * (THREADS * N);
  i64 packed = aligned16(out) ? n / N * N : 0;
  i64 at = start + threadIdx.x * N;
  if (at < packed) {
    store16(out + at, pack<T>(x));
  }
  i64 end = min(n, start + THREADS * N);
  for (i64 i = max(start, packed) + threadIdx.x; i < end; i += THREADS) {
    out[i] = element;
  }
}

// --- copies --------------------------------------------------------------------------------------

template <typename To>
DEVICE void convert(To* out, const T* in, i64 n) {
  i64 start = (i64) blockIdx.x * (THREADS * 4);
  i64 packed = aligned4(in) && aligned4(out) ? n / 4 * 4 : 0;
  i64 at = start + threadIdx.x * 4;
  if (at < packed) {
    float x[4];
    load4(x, in + at);
    store4(out + at, x);
  }
  i64 end = min(n, start + THREADS * 4);
  for (i64 i = max(start, packed) + threadIdx.x; i < end; i += THREADS) {
    out[i] = narrow<To>(widen(in[i]));
  }
}

extern "C" __global__ void __launch_bounds__(THREADS) copyToF32(float* out, const T* in, i64 n) {
  convert(out, in, n);
}

extern "C" __global__ void __launch_bounds__(THREADS) copyToBf16(Bf16* out, const T* in, i64 n) {
  convert(out, in, n);
}

extern "C" __global__ void __launch_bounds__(THREADS) copyToF16(F16* out, const T* in, i64 n) {
  convert(out, in, n);
}

template <typename Word>
DEVICE void copyBits(Word* out, const Word* in, i64 n) {
  const int N = 16 / sizeof(Word);
  i64 start = (i64) blockIdx.x * (THREADS * N);
  i64 packed = aligned16(out) && aligned16(in) ? n / N * N : 0;
  i64 at = start + threadIdx.x * N;
  if (at < packed) {
    store16(out + at, load16(in + at));
  }
  i64 end = min(n, start + THREADS * N);
  for (i64 i = max(start, packed) + threadIdx.x; i < end; i += THREADS) {
    out[i] = in[i];
  }
}

extern "C" __global__ void __launch_bounds__(THREADS) copyWords(u32* out, const u32* in, i64 n) {
  copyBits(out, in, n);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    copyHalves(unsigned short* out, const unsigned short* in, i64 n) {
  copyBits(out, in, n);
}
