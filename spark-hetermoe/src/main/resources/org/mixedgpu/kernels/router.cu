// A router's choice of experts, and its gradient.
//
//   routerTopK       probs = softmax(logits); the k largest per row, descending, ties to the lower
//                    expert; weights = their probs, divided by their sum with renormalise
//   routerBackward   dp[e] = aux[e] + Σ_j [experts[j] = e] · dp_j, dp_j = dWeights[j], or
//                    (dWeights[j] − Σ_l dWeights[l] · weights[l]) / Σ_l p[experts[l]];
//                    dLogits = p · (dp − Σ dp · p + zScale · logsumexp(logits))
//
// Shapes: logits, probs, dLogits [rows, count] F32; weights, dWeights [rows, k] F32; experts [rows, k]
// I32; aux [count] F32.
// Launch: a warp per row, 256 threads.
// Numerics: F32 and precise functions in the choice, because probabilities that are equal in F32 are
// ties. F64 in the gradient, whose differences cancel. A NaN is never chosen before a number.
// Source: own. Up to 128 experts stay in registers; more are read again from probs.

#define THREADS 256
#define CACHED 4
#define NOBODY 0ull

/** Orders choices: the greater number is the larger probability, then the lower expert. */
DEVICE u64 candidate(float p, int e) {
  // Not negative, so that the order of bits is that of numbers; NaN comes after all of them.
  u32 bits = p >= 0.0f ? __float_as_uint(p) + 1 : 0;
  return (u64) bits << 32 | (0xFFFFFFFFu - e);
}

DEVICE u64 larger(u64 best, u64 other, u64 limit) {
  return other < limit && other > best ? other : best;
}

struct Largest {
  DEVICE u64 operator()(u64 a, u64 b) const {
    return a > b ? a : b;
  }
};

extern "C" __global__ void __launch_bounds__(THREADS) routerTopK(
    float* probs,
    float* weights,
    int* experts,
    const float* logits,
    i64 rows,
    int count,
    int k,
    int renormalise) {
  i64 r = (i64) blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (r >= rows) {
    return;
  }
  int lane = threadIdx.x % 32;
  const float* x = logits + r * count;
  float* p = probs + r * count;
  float cached[CACHED];
  float maximum = -INFINITY_F32;
#pragma unroll
  for (int u = 0; u < CACHED; u++) {
    cached[u] = lane + 32 * u < count ? x[lane + 32 * u] : -INFINITY_F32;
    maximum = fmaxf(maximum, cached[u]);
  }
  for (int e = lane + 32 * CACHED; e < count; e += 32) {
    maximum = fmaxf(maximum, x[e]);
  }
  maximum = maxOf(maximum, 32);
  float sum = 0.0f;
#pragma unroll
  for (int u = 0; u < CACHED; u++) {
    cached[u] = lane + 32 * u < count ? expf(cached[u] - maximum) : 0.0f;
    sum += cached[u];
  }
  for (int e = lane + 32 * CACHED; e < count; e += 32) {
    sum += expf(x[e] - maximum);
  }
  sum = sumOf(sum, 32);
#pragma unroll
  for (int u = 0; u < CACHED; u++) {
    cached[u] /= sum;
    if (lane + 32 * u < count) {
      p[lane + 32 * u] = cached[u];
    }
  }
  for (int e = lane + 32 * CACHED; e < count; e += 32) {
    p[e] = expf(x[e] - maximum) / sum;
  }
  u64 last = ~0ull;
  float total = 0.0f;
  for (int j = 0; j < k; j++) {
    u64 best = NOBODY;
#pragma unroll
    for (int u = 0; u < CACHED; u++) {
      if (lane + 32 * u < count) {
        best = larger(best, candidate(cached[u], lane + 32 * u), last);
      }
    }
    for (int e = lane + 32 * CACHED; e < count; e += 32) {
      best = larger(best, candidate(p[e], e), last);
    }
    best = combine(best, 32, Largest());
    last = best;
    u32 bits = (u32) (best >> 32);
    float weight = bits == 0 ? NAN_F32 : __uint_as_float(bits - 1);
    total += weight;
    if (lane == j % 32) {
      experts[r * k + j] = (int) (0xFFFFFFFFu - (u32) best);
      weights[r * k + j] = weight;
    }
  }
  if (renormalise) {
    // Each lane divides what it wrote itself.
    for (int j = lane; j < k; j += 32) {
      weights[r * k + j] /= total;
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS) routerBackward(
    float* dLogits,
    const float* dWeights,
    const float* probs,
    const float* weights,
    const int* experts,
    const float* logits,
    const float* aux,
    i64 rows,
    int count,
    int k,
    int renormalise,
    float zScale,
    int* faults) {
  i64 r = (i64) blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  if (r >= rows) {
    return;
  }
  int lane = threadIdx.x % 32;
  const float* p = probs + r * count;
  const float* dW = dWeights + r * k;
  const int* chosen = experts + r * k;
  double mean = 0.0;
  double total = 0.0;
  for (int j = lane; j < k; j += 32) {
    if (within(faults, ROUTER_BACKWARD_EXPERT, r * k + j, chosen[j], count)) {
      mean += (double) dW[j] * weights[r * k + j];
      total += p[chosen[j]];
    }
  }
  mean = renormalise ? combine(mean, 32, Sum()) : 0.0;
  total = renormalise ? combine(total, 32, Sum()) : 1.0;
  double through = 0.0;
  for (int e = lane; e < count; e += 32) {
    double d = aux == 0 ? 0.0 : aux[e];
    for (int j = 0; j < k; j++) {
      d += chosen[j] == e ? (dW[j] - mean) / total : 0.0;
    }
    through += d * p[e];
  }
  through = combine(through, 32, Sum());
  double z = 0.0;
  if (zScale != 0.0f) {
    float maximum = -INFINITY_F32;
    for (int e = lane; e < count; e += 32) {
      maximum = fmaxf(maximum, logits[r * count + e]);
    }
    maximum = maxOf(maximum, 32);
    float sum = 0.0f;
    for (int e = lane; e < count; e += 32) {
      sum += expf(logits[r * count + e] - maximum);
    }
    z = (double) zScale * ((double) maximum + logf(sumOf(sum, 32)));
  }
  for (int e = lane; e < count; e += 32) {
    double d = aux == 0 ? 0.0 : aux[e];
    for (int j = 0; j < k; j++) {
      d += chosen[j] == e ? (dW[j] - mean) / total : 0.0;
    }
    dLogits[r * count + e] = (float) (p[e] * (d - through + z));
  }
}
