// Cross entropy of rows of logits, with its gradient.
//
//   rowLoss[r] = log Σ_c e^x[r,c] − x[r,target], dLogits[r,c] = gradScale · (softmax(x[r])[c] − [c =
//   target]); both 0 where the target is negative
//
// Shapes: logits, dLogits [rows, width] of T; rowLoss [rows] F32; targets [rows] I32.
// Launch: grid.x = rows · CLUSTER, threads a power of two from 32 to 512, shared memory for `kept`
// accesses of 16 bytes (of an element, where rows are not at 16 bytes). CLUSTER blocks share a row, a
// part each, so that together they can keep it: what they keep is read from memory once, the rest
// twice. Several small blocks per multiprocessor, because a row is first only read and then only
// written. CLUSTER above 1 is for capability 9.0 and later.
// Numerics: F32 inside, the sum online: each thread rescales its own when it meets a greater logit.
// Aliasing: dLogits may be logits: a thread writes what it alone has read. Null: no gradient.
// Source: own; the online sum is Milakov and Gimelshein, arXiv 1805.02867. Any width and alignment.

#ifndef CLUSTER
#define CLUSTER 1
#endif

#define MOST_THREADS 512
#if ARCH == 75
#define BLOCKS 2
#else
#define BLOCKS 3
#endif

#define LOWEST -3.4028234e38f

/** Of the exponentials: those of a part of a row, or of all of it. */
struct Exponentials {
  float maximum;
  float sum;
};

template <typename A>
DEVICE void include(const Pack<T>& x, Exponentials& of) {
  float most = x.at[0];
#pragma unroll
  for (int l = 1; l < A::N; l++) {
    most = fmaxf(most, x.at[l]);
  }
  if (most > of.maximum) {
    of.sum *= expT(of.maximum - most);
    of.maximum = most;
  }
#pragma unroll
  for (int l = 0; l < A::N; l++) {
    of.sum += expT(x.at[l] - of.maximum);
  }
}

#if CLUSTER > 1

DEVICE u32 rankInCluster() {
  u32 rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

DEVICE void arriveInCluster() {
  asm volatile("barrier.cluster.arrive;" ::: "memory");
}

DEVICE void waitForCluster() {
  asm volatile("barrier.cluster.wait;" ::: "memory");
}

/** A number in the shared memory of another block of the cluster, at the same address there. */
DEVICE float inCluster(const float* own, u32 rank) {
  u32 address = (u32) __cvta_generic_to_shared(own);
  float value;
  asm volatile(
      "{\n.reg .u32 there;\nmapa.shared::cluster.u32 there, %1, %2;\n"
      "ld.shared::cluster.f32 %0, [there];\n}"
      : "=f"(value)
      : "r"(address), "r"(rank)
      : "memory");
  return value;
}

/** Of all blocks of the cluster, in order of their ranks. */
DEVICE Exponentials ofCluster(Exponentials own) {
  __shared__ float maximum;
  __shared__ float sum;
  if (threadIdx.x == 0) {
    maximum = own.maximum;
    sum = own.sum;
  }
  __syncthreads();
  arriveInCluster();
  waitForCluster();
  Exponentials all = {LOWEST, 0.0f};
#pragma unroll
  for (u32 rank = 0; rank < CLUSTER; rank++) {
    all.maximum = fmaxf(all.maximum, inCluster(&maximum, rank));
  }
#pragma unroll
  for (u32 rank = 0; rank < CLUSTER; rank++) {
    all.sum += inCluster(&sum, rank) * expT(inCluster(&maximum, rank) - all.maximum);
  }
  return all;
}

#endif

template <typename A>
DEVICE void crossEntropyBy(
    float* rowLoss, T* dLogits, const T* logits, const int* targets, i64 width, float gradScale,
    int kept, int* faults) {
  extern __shared__ uint4 keep[];
  typename A::Raw* own = reinterpret_cast<typename A::Raw*>(keep);
  i64 r = blockIdx.x / CLUSTER;
  int accesses = (int) (width / A::N);
#if CLUSTER > 1
  // This block's part of the row.
  int part = (accesses + CLUSTER - 1) / CLUSTER;
  int begin = min(accesses, (int) rankInCluster() * part);
  accesses = min(accesses, begin + part) - begin;
#else
  int begin = 0;
#endif
  const T* x = logits + r * width + begin * A::N;
  T* d = dLogits == 0 ? 0 : dLogits + r * width + begin * A::N;
  int threads = blockDim.x;
  int target = targets[r];
  bool first = threadIdx.x == 0 && begin == 0;
  if (target >= width && first) {
    fault(faults, CROSS_ENTROPY_TARGET, r, target, width);
  }
  if (target < 0 || target >= width) {
    Pack<T> zeros;
#pragma unroll
    for (int l = 0; l < A::N; l++) {
      zeros.at[l] = 0.0f;
    }
    for (int i = threadIdx.x; d != 0 && i < accesses; i += threads) {
      A::store(d + (i64) i * A::N, A::raw(zeros));
    }
    if (first) {
      rowLoss[r] = 0.0f;
    }
    return;
  }
  float chosen = widen(logits[r * width + target]);
  // Finite, so that a thread that meets only minus infinity adds nothing rather than NaN.
  Exponentials of = {LOWEST, 0.0f};
  for (int at = threadIdx.x; at < accesses; at += AHEAD * threads) {
    typename A::Raw raw[AHEAD];
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      int i = at + u * threads;
      if (i < accesses) {
        raw[u] = A::load(x + (i64) i * A::N);
      }
    }
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      int i = at + u * threads;
      if (i < accesses) {
        if (i < kept) {
          own[i] = raw[u];
        }
        include<A>(A::floats(raw[u]), of);
      }
    }
  }
  float most = maxOf(of.maximum, threads);
  of.sum = sumOf(of.sum * expT(of.maximum - most), threads);
  of.maximum = most;
  // All have read the target's logit before it may be overwritten.
#if CLUSTER > 1
  of = ofCluster(of);
  arriveInCluster();
#else
  __syncthreads();
#endif
  if (first) {
    rowLoss[r] = logf(of.sum) + (of.maximum - chosen);
  }
  float factor = gradScale / of.sum;
  for (int at = threadIdx.x; d != 0 && at < accesses; at += AHEAD * threads) {
    typename A::Raw raw[AHEAD];
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      int i = at + u * threads;
      if (i < accesses) {
        raw[u] = i < kept ? own[i] : A::load(x + (i64) i * A::N);
      }
    }
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      int i = at + u * threads;
      if (i < accesses) {
        Pack<T> p = A::floats(raw[u]);
#pragma unroll
        for (int l = 0; l < A::N; l++) {
          p.at[l] = expT(p.at[l] - of.maximum) * factor;
        }
        A::store(d + (i64) i * A::N, A::raw(p));
      }
    }
  }
  // The target's, by the thread that has just written there.
  int access = target / A::N - begin;
  if (d != 0 && access >= 0 && access < accesses && access % threads == threadIdx.x) {
    dLogits[r * width + target] = narrow<T>(expT(chosen - of.maximum) * factor - gradScale);
  }
#if CLUSTER > 1
  // A block's shared memory stays until the others have read it.
  waitForCluster();
#endif
}

extern "C" __global__ void
#if CLUSTER > 1
__cluster_dims__(CLUSTER, 1, 1)
#endif
__launch_bounds__(MOST_THREADS, BLOCKS) crossEntropy(
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
