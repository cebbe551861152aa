// A router's choice of experts, and its gradient.
//
//   routerTopK       probs = softmax(logits); the k largest per row, descending, ties to the lower
//                    expert; weights = their probs, divided by their sum with renormalise
//   routerBackward   dp[e] = aux[e] + Σ_j [experts[j] = e] · dp_j, dp_j = dWeights[j], or
//                    (dWeights[j] − Σ_l dWeights[l] · weights[l]) / Σ_l p[experts[l]];
//                    dLogits = p · (dp − Σ dp · p + zScale · logsumexp(logits)); the experts of a row
//                    are distinct
//
// Shapes: logits, probs, dLogits [rows, count] F32; weights, dWeights [rows, k] F32; experts [rows, k]
// I32; aux [count] F32.
// Launch: a warp per row, 256 threads.
// Numerics: F32 and precise functions in the choice, because probabilities that are equal in F32 are
// ties. F64 in the gradient, whose differences cancel. A NaN is never chosen before a number.
// Source: own. 32 · CACHED experts stay in registers; more are read again from probs for each choice.

#define THREADS 256

/** Experts of a row that a lane of its warp keeps in registers. */
#ifndef CACHED
#define CACHED 4
#endif

/** A larger key is a larger probability; of equal ones the lower expert is chosen first. */
struct Choice {
  u32 key;
  u32 expert;

  DEVICE bool before(const Choice& other) const {
    return key > other.key || (key == other.key && expert < other.expert);
  }
};

/** Not negative, so that the order of bits is that of numbers; NaN comes after all of them. */
DEVICE u32 keyOf(float p) {
  return p >= 0.0f ? __float_as_uint(p) + 2 : 1;
}

DEVICE float probability(u32 key) {
  return key == 1 ? NAN_F32 : __uint_as_float(key - 2);
}

/** The first choice of all lanes of the warp. */
DEVICE Choice first(Choice own) {
#if ARCH >= 80
  u32 key = __reduce_max_sync(0xFFFFFFFFu, own.key);
  u32 expert = __reduce_min_sync(0xFFFFFFFFu, own.key == key ? own.expert : 0xFFFFFFFFu);
  Choice best = {key, expert};
  return best;
#else
  for (int step = 16; step > 0; step /= 2) {
    Choice other = {
        __shfl_xor_sync(0xFFFFFFFFu, own.key, step),
        __shfl_xor_sync(0xFFFFFFFFu, own.expert, step)};
    own = other.before(own) ? other : own;
  }
  return own;
#endif
}

extern "C" __global__ void __launch_bounds__(THREADS) routerTopK(
    float* probs,
    float* allWeights,
    int* allExperts,
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
  float* weights = allWeights + r * k;
  int* experts = allExperts + r * k;
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
  // 0 where there is no expert, or it has been chosen.
  u32 keys[CACHED];
#pragma unroll
  for (int u = 0; u < CACHED; u++) {
    keys[u] = 0;
    if (lane + 32 * u < count) {
      float probability = cached[u] / sum;
      p[lane + 32 * u] = probability;
      keys[u] = keyOf(probability);
    }
  }
  for (int e = lane + 32 * CACHED; e < count; e += 32) {
    p[e] = expf(x[e] - maximum) / sum;
  }
  Choice last = {0xFFFFFFFFu, 0};
  float total = 0.0f;
  // Lane j keeps choice j of each 32 that are written together.
  Choice kept = last;
  for (int j = 0; j < k; j++) {
    Choice best = {0, 0xFFFFFFFFu};
#pragma unroll
    for (int u = 0; u < CACHED; u++) {
      bool larger = keys[u] > best.key;
      best.key = larger ? keys[u] : best.key;
      best.expert = larger ? lane + 32 * u : best.expert;
    }
    for (int e = lane + 32 * CACHED; e < count; e += 32) {
      Choice other = {keyOf(p[e]), (u32) e};
      best = last.before(other) && other.before(best) ? other : best;
    }
    last = first(best);
#pragma unroll
    for (int u = 0; u < CACHED; u++) {
      keys[u] = lane + 32 * u == last.expert ? 0 : keys[u];
    }
    total += probability(last.key);
    if (lane == j % 32) {
      kept = last;
    }
    if (j % 32 == 31 || j == k - 1) {
      int at = j - j % 32 + lane;
      if (at < k) {
        experts[at] = (int) kept.expert;
        weights[at] = probability(kept.key);
      }
    }
  }
  if (renormalise) {
    // Each lane divides what it wrote itself.
    for (int j = lane; j < k; j += 32) {
      weights[j] /= total;
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
  double factor = renormalise ? 1.0 / combine(total, 32, Sum()) : 1.0;
  double through = 0.0;
  for (int j = lane; j < k; j += 32) {
    if (chosen[j] >= 0 && chosen[j] < count) {
      through += (dW[j] - mean) * factor * p[chosen[j]];
    }
  }
  for (int e = lane; aux != 0 && e < count; e += 32) {
    through += (double) aux[e] * p[e];
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
    dLogits[r * count + e] = (float) (p[e] * (d - through + z));
  }
  // The chosen ones once more, by whichever lane has the choice; they are distinct.
  __syncwarp();
  for (int j = lane; j < k; j += 32) {
    int e = chosen[j];
    if (e >= 0 && e < count) {
      double d = (aux == 0 ? 0.0 : aux[e]) + (dW[j] - mean) * factor;
      dLogits[r * count + e] = (float) (p[e] * (d - through + z));
    }
  }
}
