// Causal grouped-query attention for bf16 and fp16 on Hopper, forward. Formulas, operands and their
// shapes are those of attention.cu; defines and tensor maps those of attention_hopper.cuh.
//
//   Blocks of one warpgroup that loads (TMA) and CONSUMERS that compute (wgmma), 64 queries of one
//   head each, all over the same keys. A warpgroup starts the scores of the next keys before it
//   multiplies the present probabilities with V, and the warpgroups take turns on the tensor cores,
//   so that the softmax of one runs beside the products of another.
// Launch: blocks of (CONSUMERS + 1) · 128 threads, one per multiprocessor or fewer, which share the
// work; shared memory as HopperTiles computes it.
//
// Numerics: as in attention.sm70.cu. No atomics; every sum has a fixed order in whichever block.
// Source: own, after "FlashAttention-3" (arXiv 2407.08608).
// Assumes scale > 0 and 16-byte alignment of all operands.

#include "hopper.cuh"
#include "attention_hopper.cuh"

constexpr float LN2 = 0.6931471805599453f;
// Less than any score, and still finite when two are subtracted.
constexpr float LOWEST = -1e30f;

/** Online softmax of two rows of a thread (the thread's elements of them). */
struct Softmax {
  float highest[2];
  float total[2];
  float shrink[2];

  DEVICE Softmax() {
    highest[0] = highest[1] = LOWEST;
    total[0] = total[1] = 0;
  }

  /** scores become probabilities to the new highest score; earlier sums are to be shrunk. */
  DEVICE void add(Scores& scores, float factor) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float higher = highest[half];
#pragma unroll
      for (int j = 0; j < OTHER / 8; j++) {
        higher = fmaxf(higher, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
      }
      higher = fmaxf(higher, __shfl_xor_sync(0xFFFFFFFFu, higher, 1));
      higher = fmaxf(higher, __shfl_xor_sync(0xFFFFFFFFu, higher, 2));
      shrink[half] = power2((highest[half] - higher) * factor);
      highest[half] = higher;
      float shift = higher * factor;
      float sum = 0;
#pragma unroll
      for (int j = 0; j < OTHER / 8; j++) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; i++) {
          scores[j][i] = power2(fmaf(scores[j][i], factor, -shift));
          sum += scores[j][i];
        }
      }
      total[half] = fmaf(total[half], shrink[half], sum);
    }
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1) attentionForward(
    const __grid_constant__ TensorMap outMap,
    const __grid_constant__ TensorMap qMap,
    const __grid_constant__ TensorMap kMap,
    const __grid_constant__ TensorMap vMap,
    float* logSumExp,
    int queries,
    int keys,
    int heads,
    int kvHeads,
    int sequences,
    int window,
    float scale) {
  extern __shared__ __align__(1024) char shared[];
  Layout at((u32) __cvta_generic_to_shared(shared));
  Sizes sizes = {queries, keys, heads, kvHeads, window};
  int group = heads / kvHeads;
  at.initialise(0);
  if (threadIdx.x < 128) {
    lowerRegisters<LOADER_REGISTERS>();
    if (threadIdx.x == 0) {
      Work work;
      int countK = 0;
      int countV = 0;
      for (int round = 0; work.take(round, heads, queries, true, sequences); round++) {
        int kvHead = work.head / group;
        int first = sizes.firstStep(work.row);
        int last = sizes.lastStep(work.row);
        await(at.emptyOwn(), round % 2 ^ 1);
        expectBytes(at.fullOwn(), CONSUMERS * OWN_BYTES);
        loadOwn(at.own, qMap, at.fullOwn(), work.head, work.row, work.sequence);
        // The order in which they are used: K of a step before V of the step before it.
        for (int step = last; step >= first - 1; step--) {
          if (step >= first) {
            loadOther(
                at.otherA(countK),
                kMap,
                at.fullA(countK),
                at.emptyA(countK),
                countK,
                kvHead,
                step * OTHER,
                work.sequence);
            countK++;
          }
          if (step < last) {
            loadOther(
                at.otherB(countV),
                vMap,
                at.fullB(countV),
                at.emptyB(countV),
                countV,
                kvHead,
                (step + 1) * OTHER,
                work.sequence);
            countV++;
          }
        }
      }
    }
  } else {
    raiseRegisters<CONSUMER_REGISTERS>();
    int consumer = threadIdx.x / 128 - 1;
    int thread = threadIdx.x % 128;
    int lane = threadIdx.x % 32;
    bool leader = lane == 0;
    int ownTurn = 1 + consumer;
    int nextTurn = 1 + (consumer + 1) % CONSUMERS;
    int ownBarrier = 1 + CONSUMERS + consumer;
    u32 ownQ = at.own + consumer * OWN_BYTES;
    u32 result = at.own + (CONSUMERS + consumer) * OWN_BYTES;
    float factor = scale * LOG2E;
    if (consumer == CONSUMERS - 1) {
      passTurn(nextTurn, 256);
    }
    Work work;
    int countK = 0;
    int countV = 0;
    for (int round = 0; work.take(round, heads, queries, true, sequences); round++) {
      int first = sizes.firstStep(work.row);
      int step = sizes.lastStep(work.row);
      int tile = work.row + consumer * 64;
      int row = tile + thread / 32 * 16 + lane / 4;
      Softmax softmax;
      Scores scores;
      u32 weights[OTHER / 16][4];
      float sums[HEAD / 8][4];
      zero(sums);
      await(at.fullOwn(), round % 2);
      await(at.fullA(countK), parity(countK));
      pin(scores);
      fenceProducts();
      startScores(scores, ownQ, at.otherA(countK));
      commitProducts();
      awaitProducts<0>();
      pin(scores);
      if (leader) {
        arrive(at.emptyA(countK));
      }
      countK++;
      if (!sizes.allVisible(tile, 64, step * OTHER, OTHER)) {
        mask(scores, sizes, row, step * OTHER, __int_as_float(0xFF800000));
      }
      softmax.add(scores, factor);
      packWeights(weights, scores);
      for (step--; step >= first; step--) {
        await(at.fullA(countK), parity(countK));
        turn(ownTurn, 256);
        pin(scores);
        pin(sums);
        fenceProducts();
        startScores(scores, ownQ, at.otherA(countK));
        commitProducts();
        await(at.fullB(countV), parity(countV));
        fenceProducts();
        startSums(sums, weights, at.otherB(countV));
        commitProducts();
        passTurn(nextTurn, 256);
        awaitProducts<1>();
        pin(scores);
        if (leader) {
          arrive(at.emptyA(countK));
        }
        countK++;
        if (!sizes.allVisible(tile, 64, step * OTHER, OTHER)) {
          mask(scores, sizes, row, step * OTHER, __int_as_float(0xFF800000));
        }
        softmax.add(scores, factor);
        awaitProducts<0>();
        pin(sums);
        if (leader) {
          arrive(at.emptyB(countV));
        }
        countV++;
#pragma unroll
        for (int i = 0; i < HEAD / 8; i++) {
          sums[i][0] *= softmax.shrink[0];
          sums[i][1] *= softmax.shrink[0];
          sums[i][2] *= softmax.shrink[1];
          sums[i][3] *= softmax.shrink[1];
        }
        packWeights(weights, scores);
      }
      if (leader) {
        arrive(at.emptyOwn());
      }
      await(at.fullB(countV), parity(countV));
      pin(sums);
      fenceProducts();
      startSums(sums, weights, at.otherB(countV));
      commitProducts();
      awaitProducts<0>();
      pin(sums);
      if (leader) {
        arrive(at.emptyB(countV));
      }
      countV++;

      float inverse[2];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float sum = sumOf(softmax.total[half], 4);
        inverse[half] = 1.0f / sum;
        int query = row + half * 8;
        if (logSumExp != 0 && lane % 4 == 0 && query < queries) {
          logSumExp[((i64) work.sequence * queries + query) * heads + work.head] =
              softmax.highest[half] * scale + LN2 * __log2f(sum);
        }
      }
      // The earlier result must have left shared memory.
      if (thread == 0) {
        awaitStores();
      }
      storeOwn(outMap, result, sums, inverse[0], inverse[1], work, tile, queries, ownBarrier);
    }
    if (thread == 0) {
      finishStores();
    }
  }
}
