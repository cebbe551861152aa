// Cross entropy of rows of logits, with its gradient.
//
//   rowLoss[r] = log Σ_c e^x[r,c] − x[r,target], dLogits[r,c] = gradScale · (softmax(x[r])[c] − [c =
//   target]); both 0 where the target is negative
//
// Shapes: logits, dLogits [rows, width] of T; rowLoss [rows] F32; targets [rows] I32.
// Launch: grid.x = rows, threads a power of two from 32 to 1024, shared memory for `kept` accesses of
// 16 bytes: so much of the row is read once only, the rest again, from the second-level cache if it is
// still there.
// Numerics: F32 inside, the sum online: each thread rescales its own when it meets a greater logit.
// Aliasing: dLogits may be logits: a thread writes what it alone has read. Null: no gradient.
// Source: own; the online sum is Milakov and Gimelshein, arXiv 1805.02867. Any width and alignment.

#ifndef MOST_THREADS
#define MOST_THREADS 1024
#define BLOCKS 1
#endif

#define LOWEST -3.4028234e38f

/** Loads in flight per thread. */
#ifndef FLIGHT
#define FLIGHT 4
#endif

template <typename A>
DEVICE void include(const Pack<T>& x, float& maximum, float& sum) {
  float most = x.at[0];
#pragma unroll
  for (int l = 1; l < A::N; l++) {
    most = fmaxf(most, x.at[l]);
  }
  if (most > maximum) {
    sum *= expT(maximum - most);
    maximum = most;
  }
#pragma unroll
  for (int l = 0; l < A::N; l++) {
    sum += expT(x.at[l] - maximum);
  }
}

template <typename A>
DEVICE void crossEntropyBy(
    float* rowLoss, T* dLogits, const T* logits, const int* targets, i64 width, float gradScale,
    int kept, int* faults) {
  extern __shared__ uint4 keep[];
  typename A::Raw* own = reinterpret_cast<typename A::Raw*>(keep);
  i64 r = blockIdx.x;
  const T* x = logits + r * width;
  T* d = dLogits == 0 ? 0 : dLogits + r * width;
  int threads = blockDim.x;
  int accesses = (int) (width / A::N);
  int target = targets[r];
  bool counts = target >= 0 && target < width;
  if (target >= width && threadIdx.x == 0) {
    fault(faults, CROSS_ENTROPY_TARGET, r, target, width);
  }
  if (!counts) {
    Pack<T> zeros;
#pragma unroll
    for (int l = 0; l < A::N; l++) {
      zeros.at[l] = 0.0f;
    }
    for (int i = threadIdx.x; d != 0 && i < accesses; i += threads) {
      A::store(d + (i64) i * A::N, A::raw(zeros));
    }
    if (threadIdx.x == 0) {
      rowLoss[r] = 0.0f;
    }
    return;
  }
  float chosen = widen(x[target]);
  // Finite, so that a thread that meets only minus infinity adds nothing rather than NaN.
  float maximum = LOWEST;
  float sum = 0.0f;
  for (int first = threadIdx.x; first < accesses; first += FLIGHT * threads) {
    typename A::Raw raw[FLIGHT];
#pragma unroll
    for (int u = 0; u < FLIGHT; u++) {
      int i = first + u * threads;
      if (i < accesses) {
        raw[u] = A::load(x + (i64) i * A::N);
      }
    }
#pragma unroll
    for (int u = 0; u < FLIGHT; u++) {
      int i = first + u * threads;
      if (i < accesses) {
        if (i < kept) {
          own[i] = raw[u];
        }
        include<A>(A::floats(raw[u]), maximum, sum);
      }
    }
  }
  float most = maxOf(maximum, threads);
  sum = sumOf(sum * expT(maximum - most), threads);
  if (threadIdx.x == 0) {
    rowLoss[r] = logf(sum) + (most - chosen);
  }
  if (d == 0) {
    return;
  }
  float factor = gradScale / sum;
  // All have read the target's logit before it may be overwritten.
  __syncthreads();
  for (int first = threadIdx.x; first < accesses; first += FLIGHT * threads) {
    typename A::Raw raw[FLIGHT];
#pragma unroll
    for (int u = 0; u < FLIGHT; u++) {
      int i = first + u * threads;
      if (i < accesses) {
        raw[u] = i < kept ? own[i] : A::load(x + (i64) i * A::N);
      }
    }
#pragma unroll
    for (int u = 0; u < FLIGHT; u++) {
      int i = first + u * threads;
      if (i < accesses) {
        Pack<T> p = A::floats(raw[u]);
#pragma unroll
        for (int l = 0; l < A::N; l++) {
          p.at[l] = expT(p.at[l] - most) * factor;
        }
        A::store(d + (i64) i * A::N, A::raw(p));
      }
    }
  }
  // By the thread that has just written there.
  if (target / A::N % threads == threadIdx.x) {
    d[target] = narrow<T>(expT(chosen - most) * factor - gradScale);
  }
}

extern "C" __global__ void __launch_bounds__(MOST_THREADS, BLOCKS) crossEntropy(
    float* rowLoss, T* dLogits, const T* logits, const int* targets, i64 width, float gradScale,
    int kept, int* faults) {
  if (wideRows(logits, width) && aligned16(dLogits)) {
    crossEntropyBy<Wide<T> >(
        rowLoss, dLogits, logits, targets, width, gradScale, kept, faults);
  } else {
    crossEntropyBy<Single<T> >(
        rowLoss, dLogits, logits, targets, width, gradScale, kept, faults);
  }
}
