// AdamW, and the sum of squares that gradients are clipped by.
//
//   adamW        d = gradient · gradScale; m = beta1 m + (1 − beta1) d; v = beta2 v + (1 − beta2) d²;
//                param = param · keep − m · rate / (√v · root + epsilon), where keep = 1 − learning
//                rate · decay, rate = learning rate / (1 − beta1^step), root = (1 − beta2^step)^-½;
//                working = param as T, unless null
//   sumSquares   partial[b] = Σ x² over block b's share; sumPartials adds them into out[1]
//
// Shapes: n elements, F32; working T.
// Launch: 256 threads. adamW: grid.x = n / (256 · 4). sumSquares: any grid.x, which is the
// number of partials; sumPartials: one block.
// Numerics: F32. sumSquares adds four squares in F32 and everything else in F64, in an order given by
// n and the grid alone.
// Aliasing: none between operands.
// Source: own; the step is PyTorch's, epsilon outside the root after bias correction (Loshchilov and
// Hutter, arXiv 1711.05101). Any alignment: by 16 bytes where all are at such, else by elements.

#define THREADS 256

struct Step {
  float beta1;
  float beta2;
  float rest1;
  float rest2;
  float gradScale;
  float epsilon;
  float keep;
  float rate;
  float root;

  DEVICE void apply(float& p, float& m, float& v, float g) const {
    float d = g * gradScale;
    m = m * beta1 + d * rest1;
    v = v * beta2 + d * d * rest2;
    p = p * keep - m * rate / (sqrtf(v) * root + epsilon);
  }
};

extern "C" __global__ void __launch_bounds__(THREADS) adamW(
    float* param,
    float* first,
    float* second,
    const float* gradient,
    T* working,
    i64 n,
    float beta1,
    float beta2,
    float rest1,
    float rest2,
    float gradScale,
    float epsilon,
    float keep,
    float rate,
    float root) {
  Step step = {beta1, beta2, rest1, rest2, gradScale, epsilon, keep, rate, root};
  bool aligned = aligned16(param) && aligned16(first) && aligned16(second) && aligned16(gradient)
      && aligned4(working);
  i64 start = (i64) blockIdx.x * (THREADS * 4);
  i64 packed = aligned ? n / 4 * 4 : 0;
  i64 at = start + threadIdx.x * 4;
  if (at < packed) {
    float p[4];
    float m[4];
    float v[4];
    float g[4];
    load4(p, (const float*) param + at);
    load4(m, (const float*) first + at);
    load4(v, (const float*) second + at);
    load4(g, gradient + at);
#pragma unroll
    for (int l = 0; l < 4; l++) {
      step.apply(p[l], m[l], v[l], g[l]);
    }
    store4(param + at, p);
    store4(first + at, m);
    store4(second + at, v);
    if (working != 0) {
      store4(working + at, p);
    }
  }
  i64 end = min(n, start + THREADS * 4);
  for (i64 i = max(start, packed) + threadIdx.x; i < end; i += THREADS) {
    step.apply(param[i], first[i], second[i], gradient[i]);
    if (working != 0) {
      working[i] = narrow<T>(param[i]);
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sumSquares(double* partial, const float* x, i64 n) {
  double sum = 0.0;
  i64 packed = aligned16(x) ? n / 4 * 4 : 0;
  i64 stride = (i64) gridDim.x * THREADS * 4;
  i64 own = ((i64) blockIdx.x * THREADS + threadIdx.x) * 4;
  for (i64 i = own; i < packed; i += AHEAD * stride) {
    float v[AHEAD][4];
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      v[u][0] = v[u][1] = v[u][2] = v[u][3] = 0.0f;
      if (i + u * stride < packed) {
        load4(v[u], x + i + u * stride);
      }
    }
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      sum += v[u][0] * v[u][0] + v[u][1] * v[u][1] + v[u][2] * v[u][2] + v[u][3] * v[u][3];
    }
  }
  for (i64 i = packed + (i64) blockIdx.x * THREADS + threadIdx.x; i < n; i += stride / 4) {
    sum += x[i] * x[i];
  }
  sum = combine(sum, THREADS, Sum());
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sumPartials(float* out, const double* partial, int parts) {
  double sum = 0.0;
  for (int p = threadIdx.x; p < parts; p += THREADS) {
    sum += partial[p];
  }
  sum = combine(sum, THREADS, Sum());
  if (threadIdx.x == 0) {
    out[0] = (float) sum;
  }
}
