// Causal grouped-query attention for bf16 and fp16 on Hopper, backward in two kernels. Formulas,
// operands and their shapes are those of attention.cu, whose attentionStatistics runs before;
// defines and tensor maps those of attention_hopper.cuh, and BACKWARD_QUERIES or BACKWARD_KEYS.
//
//   Blocks of one warpgroup that loads and CONSUMERS that compute, 64 queries of a head (for dQ) or
//   64 keys of a KV head (for dK, dV; OTHER 64) each. Probabilities and dS go from one product to the
//   next in registers, and the next scores start while dQ or dK is still being added.
// Launch: as in attention.sm90.cu.
//
// Numerics: as in attention.sm70.cu. No atomics; every sum has a fixed order in whichever block.
// Source: own. Assumes scale > 0 and 16-byte alignment of all operands.

#include "hopper.cuh"
#include "attention_hopper.cuh"

#ifdef BACKWARD_QUERIES

/** weights *= gradients - delta of the element's row (queries own the rows). */
DEVICE void scoreGradients(Scores& weights, const Scores& gradients, const float2 (&statistic)[2]) {
#pragma unroll
  for (int j = 0; j < OTHER / 8; j++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      weights[j][i] *= gradients[j][i] - statistic[i / 2].y;
    }
  }
}

/** dQ: work is 64 · CONSUMERS queries of a head, over the keys they see. */
extern "C" __global__ void __launch_bounds__(THREADS, 1) attentionBackwardQueries(
    const __grid_constant__ TensorMap dQMap,
    const __grid_constant__ TensorMap dOutMap,
    const __grid_constant__ TensorMap qMap,
    const __grid_constant__ TensorMap kMap,
    const __grid_constant__ TensorMap vMap,
    const float2* statistics,
    int queries,
    int keys,
    int heads,
    int kvHeads,
    int sequences,
    int window,
    float scale,
    int padded) {
  extern __shared__ __align__(1024) char shared[];
  Layout at((u32) __cvta_generic_to_shared(shared));
  Sizes sizes = {queries, keys, heads, kvHeads, window};
  int group = heads / kvHeads;
  u32 ownGradients = at.own + CONSUMERS * OWN_BYTES;
  at.initialise(0);
  if (threadIdx.x < 128) {
    lowerRegisters<LOADER_REGISTERS>();
    if (threadIdx.x == 0) {
      Work work;
      int count = 0;
      for (int round = 0; work.take(round, heads, queries, true, sequences); round++) {
        int kvHead = work.head / group;
        await(at.emptyOwn(), round % 2 ^ 1);
        expectBytes(at.fullOwn(), 2 * CONSUMERS * OWN_BYTES);
        loadOwn(at.own, qMap, at.fullOwn(), work.head, work.row, work.sequence);
        loadOwn(ownGradients, dOutMap, at.fullOwn(), work.head, work.row, work.sequence);
        int first = sizes.firstStep(work.row);
        for (int step = sizes.lastStep(work.row); step >= first; step--, count++) {
          loadOther(
              at.otherA(count),
              kMap,
              at.fullA(count),
              at.emptyA(count),
              count,
              kvHead,
              step * OTHER,
              work.sequence);
          loadOther(
              at.otherB(count),
              vMap,
              at.fullB(count),
              at.emptyB(count),
              count,
              kvHead,
              step * OTHER,
              work.sequence);
        }
      }
    }
  } else {
    raiseRegisters<CONSUMER_REGISTERS>();
    int consumer = threadIdx.x / 128 - 1;
    int thread = threadIdx.x % 128;
    bool leader = threadIdx.x % 32 == 0;
    u32 ownQ = at.own + consumer * OWN_BYTES;
    u32 ownGradient = ownGradients + consumer * OWN_BYTES;
    float factor = scale * LOG2E;
    Work work;
    int count = 0;
    for (int round = 0; work.take(round, heads, queries, true, sequences); round++) {
      int first = sizes.firstStep(work.row);
      int step = sizes.lastStep(work.row);
      int tile = work.row + consumer * 64;
      int row = tile + thread / 32 * 16 + threadIdx.x % 32 / 4;
      float2 statistic[2];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        int query = row + half * 8;
        statistic[half] = query < queries
            ? statistics[((i64) work.sequence * heads + work.head) * padded + query]
            : make_float2(__int_as_float(0x7F800000), 0);
      }
      Scores weights;
      Scores gradients;
      u32 packed[OTHER / 16][4];
      float sums[HEAD / 8][4];
      zero(sums);
      pin(sums);
      await(at.fullOwn(), round % 2);
      for (bool later = false; step >= first; step--, count++, later = true) {
        await(at.fullA(count), parity(count));
        fenceProducts();
        startScores(weights, ownQ, at.otherA(count));
        commitProducts();
        await(at.fullB(count), parity(count));
        startScores(gradients, ownGradient, at.otherB(count));
        commitProducts();
        awaitProducts<1>();
        pin(weights);
        pin(sums);
        if (later && leader) {
          arrive(at.emptyA(count - 1));
        }
#pragma unroll
        for (int j = 0; j < OTHER / 8; j++) {
#pragma unroll
          for (int i = 0; i < 4; i++) {
            weights[j][i] = power2(fmaf(weights[j][i], factor, -statistic[i / 2].x));
          }
        }
        if (!sizes.allVisible(tile, 64, step * OTHER, OTHER)) {
          mask(weights, sizes, row, step * OTHER, 0.0f);
        }
        awaitProducts<0>();
        pin(gradients);
        if (leader) {
          arrive(at.emptyB(count));
        }
        scoreGradients(weights, gradients, statistic);
        packWeights(packed, weights);
        fenceProducts();
        startSums(sums, packed, at.otherA(count));
        commitProducts();
      }
      awaitProducts<0>();
      pin(sums);
      if (leader) {
        arrive(at.emptyA(count - 1));
      }
      storeOwn(dQMap, ownQ, sums, scale, scale, work, tile, queries, 1 + consumer);
      if (thread == 0) {
        awaitStores();
      }
      turn(1 + consumer, 128);
      if (leader) {
        arrive(at.emptyOwn());
      }
    }
    if (thread == 0) {
      finishStores();
    }
  }
}

#endif

#ifdef BACKWARD_KEYS

/** dK and dV: work is 64 · CONSUMERS keys of a KV head, over the queries of all its heads. */
extern "C" __global__ void __launch_bounds__(THREADS, 1) attentionBackwardKeys(
    const __grid_constant__ TensorMap dKMap,
    const __grid_constant__ TensorMap dVMap,
    const __grid_constant__ TensorMap dOutMap,
    const __grid_constant__ TensorMap qMap,
    const __grid_constant__ TensorMap kMap,
    const __grid_constant__ TensorMap vMap,
    const float2* statistics,
    int queries,
    int keys,
    int heads,
    int kvHeads,
    int sequences,
    int window,
    float scale,
    int padded) {
  extern __shared__ __align__(1024) char shared[];
  Layout at((u32) __cvta_generic_to_shared(shared));
  Sizes sizes = {queries, keys, heads, kvHeads, window};
  int group = heads / kvHeads;
  u32 ownValues = at.own + CONSUMERS * OWN_BYTES;
  at.initialise(0);
  if (threadIdx.x < 128) {
    lowerRegisters<LOADER_REGISTERS>();
    if (threadIdx.x == 0) {
      Work work;
      int count = 0;
      for (int round = 0; work.take(round, kvHeads, keys, false, sequences); round++) {
        await(at.emptyOwn(), round % 2 ^ 1);
        expectBytes(at.fullOwn(), 2 * CONSUMERS * OWN_BYTES);
        loadOwn(at.own, kMap, at.fullOwn(), work.head, work.row, work.sequence);
        loadOwn(ownValues, vMap, at.fullOwn(), work.head, work.row, work.sequence);
        int first = sizes.firstQueryStep(work.row);
        int last = sizes.lastQueryStep(work.row);
        for (int head = work.head * group; head < (work.head + 1) * group; head++) {
          for (int step = first; step <= last; step++, count++) {
            u32 full = at.fullA(count);
            int row = step * OTHER;
            await(at.emptyA(count), parity(count) ^ 1);
            expectBytes(full, 2 * OTHER_BYTES + OTHER * 8);
            i64 first = ((i64) work.sequence * heads + head) * padded + row;
            loadBytes(at.statistics(count), statistics + first, OTHER * 8, full);
#pragma unroll 1
            for (int c = 0; c < CHUNKS; c++) {
              u32 to = c * OTHER_CHUNK;
              loadTile(at.otherA(count) + to, qMap, full, c * 64, head, row, work.sequence);
              loadTile(at.otherB(count) + to, dOutMap, full, c * 64, head, row, work.sequence);
            }
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
    u32 ownK = at.own + consumer * OWN_BYTES;
    u32 ownV = ownValues + consumer * OWN_BYTES;
    float factor = scale * LOG2E;
    Work work;
    int count = 0;
    for (int round = 0; work.take(round, kvHeads, keys, false, sequences); round++) {
      int first = sizes.firstQueryStep(work.row);
      int steps = max(0, sizes.lastQueryStep(work.row) - first + 1);
      int all = steps * group;
      int tile = work.row + consumer * 64;
      int row = tile + thread / 32 * 16 + lane / 4;
      Scores weights;
      Scores gradients;
      u32 packedWeights[OTHER / 16][4];
      u32 packedGradients[OTHER / 16][4];
      float sumsK[HEAD / 8][4];
      float sumsV[HEAD / 8][4];
      zero(sumsK);
      zero(sumsV);
      pin(sumsK);
      pin(sumsV);
      await(at.fullOwn(), round % 2);
      int step = first;
      for (int i = 0; i < all; i++, count++) {
        await(at.fullA(count), parity(count));
        fenceProducts();
        startScores(weights, ownK, at.otherA(count));
        commitProducts();
        startScores(gradients, ownV, at.otherB(count));
        commitProducts();
        awaitProducts<1>();
        pin(weights);
        pin(sumsK);
        if (i > 0 && leader) {
          arrive(at.emptyA(count - 1));
        }
        u32 statistic = at.statistics(count) + lane % 4 * 16;
#pragma unroll
        for (int j = 0; j < OTHER / 8; j++) {
          float4 s = loadShared(statistic + j * 64);
          weights[j][0] = power2(fmaf(weights[j][0], factor, -s.x));
          weights[j][1] = power2(fmaf(weights[j][1], factor, -s.z));
          weights[j][2] = power2(fmaf(weights[j][2], factor, -s.x));
          weights[j][3] = power2(fmaf(weights[j][3], factor, -s.z));
        }
        if (!sizes.allVisible(step * OTHER, OTHER, tile, 64)) {
          maskQueries(weights, sizes, row, step * OTHER);
        }
        packWeights(packedWeights, weights);
        fenceProducts();
        startSums(sumsV, packedWeights, at.otherB(count));
        commitProducts();
        awaitProducts<1>();
        pin(gradients);
#pragma unroll
        for (int j = 0; j < OTHER / 8; j++) {
          float4 s = loadShared(statistic + j * 64);
          weights[j][0] *= gradients[j][0] - s.y;
          weights[j][1] *= gradients[j][1] - s.w;
          weights[j][2] *= gradients[j][2] - s.y;
          weights[j][3] *= gradients[j][3] - s.w;
        }
        packWeights(packedGradients, weights);
        fenceProducts();
        startSums(sumsK, packedGradients, at.otherA(count));
        commitProducts();
        awaitProducts<1>();
        pin(sumsV);
        step = step + 1 < first + steps ? step + 1 : first;
      }
      awaitProducts<0>();
      pin(sumsK);
      pin(sumsV);
      if (all > 0 && leader) {
        arrive(at.emptyA(count - 1));
      }
      storeOwn(dKMap, ownK, sumsK, scale, scale, work, tile, keys, 1 + consumer);
      storeOwn(dVMap, ownV, sumsV, 1, 1, work, tile, keys, 1 + consumer);
      if (thread == 0) {
        awaitStores();
      }
      turn(1 + consumer, 128);
      if (leader) {
        arrive(at.emptyOwn());
      }
    }
    if (thread == 0) {
      finishStores();
    }
  }
}

#endif
