// Causal grouped-query attention for bf16 and fp16 on Hopper, backward in one pass: five products
// where the two kernels of attention_backward.sm90.cu need seven, for memory of its own. Formulas,
// operands and their shapes are those of attention.cu, whose attentionStatistics runs before and
// also clears progress; defines and tensor maps those of attention_hopper.cuh, and PARTS.
//
//   sumsQ:    F32 [batch·heads, padded/64, 64·HEAD], sums of dQ in the order of fragments
//   progress: I32 [1 + batch·heads·padded/64], work taken, and parts of each 64 queries added
//
//   A block owns 128 keys of a KV head, 64 in each of two warpgroups, and goes over the queries of
//   all its heads, the last first. Besides dK and dV, in registers, it computes its keys' part of
//   dQ of each 64 queries; another warp adds the part to sumsQ (PARTS of them may wait) when those of
//   all lower keys are in, so that the order is fixed. Blocks take their work from a common counter
//   in the order of keys: what a block waits for has been taken before, so it is on its way.
// Launch: as in attention.sm90.cu, HEAD 128, CONSUMERS 2, OTHER 64; then attentionBackwardFinish.
//
// Numerics: as in attention.sm70.cu, dQ summed in F32.
// Source: own, after "FlashAttention-3" (arXiv 2407.08608).
// Assumes scale > 0 and 16-byte alignment of all operands.

#include "hopper.cuh"
#include "attention_hopper.cuh"

static_assert(HEAD == 128 && CONSUMERS == 2 && OTHER == 64, "the parts of dQ are cut for these");

/** part = gradientsᵀ · own keys, started; gradients are stored [OWN][64]. */
DEVICE void startPart(float (&part)[8][4], u32 gradients, u32 ownK) {
  u64 a = describe(gradients, 16);
  u64 b = describe(ownK, 16);
  multiplyTransposedFirst(part, a, b);
#pragma unroll
  for (int i = 1; i < OWN / 16; i++) {
    multiplyTransposedAdd(
        part, a + (i * 2048 >> 4), b + ((i / 4 * OWN_BYTES + i % 4 * 2048) >> 4));
  }
}

/** Waits until the counter has reached the value. */
DEVICE void awaitProgress(const int* counter, int value) {
  int now;
  do {
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(now) : "l"(counter) : "memory");
  } while (now != value);
  asm volatile("fence.proxy.async.global;" ::: "memory");
}

DEVICE void publishProgress(int* counter, int value) {
  asm volatile("fence.proxy.async.global;" ::: "memory");
  asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(counter), "r"(value) : "memory");
}

constexpr u32 PART_BYTES = OTHER * HEAD * 4;
constexpr u32 GRADIENT_BYTES = OWN * OTHER * 2;

/** What the one-pass kernel has in shared memory after the common layout. */
struct PartLayout {
  u32 gradients;
  u32 part;
  u32 barriers;
  u32 work;

  DEVICE PartLayout(Layout& at) {
    gradients = at.other + 2 * STAGES * OTHER_BYTES;
    part = gradients + 2 * GRADIENT_BYTES;
    at.behind = part + PARTS * PART_BYTES;
    at.barriers = at.behind + STAGES * (OTHER * 8);
    barriers = at.barriers + 16 + STAGES * 32;
    work = barriers + PARTS * 16;
  }

  DEVICE u32 fullPart(int i) const { return barriers + i % PARTS * 16; }
  DEVICE u32 emptyPart(int i) const { return fullPart(i) + 8; }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1) attentionBackward(
    const __grid_constant__ TensorMap dKMap,
    const __grid_constant__ TensorMap dVMap,
    const __grid_constant__ TensorMap dOutMap,
    const __grid_constant__ TensorMap qMap,
    const __grid_constant__ TensorMap kMap,
    const __grid_constant__ TensorMap vMap,
    float* sumsQ,
    int* progress,
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
  PartLayout parts(at);
  Sizes sizes = {queries, keys, heads, kvHeads, window};
  int group = heads / kvHeads;
  u32 ownValues = at.own + CONSUMERS * OWN_BYTES;
  if (threadIdx.x == 0) {
    for (int i = 0; i < PARTS; i++) {
      initBarrier(parts.fullPart(i), CONSUMERS * 4);
      initBarrier(parts.emptyPart(i), 1);
    }
  }
  at.initialise(1);
  if (threadIdx.x < 128) {
    lowerRegisters<LOADER_REGISTERS>();
    if (threadIdx.x == 0) {
      Work work;
      int count = 0;
      for (int round = 0;; round++) {
        int index = atomicAdd(progress, 1);
        await(at.emptyOwn(), round % 2 ^ 1);
        storeShared(parts.work + round % 2 * 4, index);
        if (!work.at(index, kvHeads, keys, false, sequences)) {
          arrive(at.fullOwn());
          break;
        }
        expectBytes(at.fullOwn(), 2 * CONSUMERS * OWN_BYTES);
        loadOwn(at.own, kMap, at.fullOwn(), work.head, work.row, work.sequence);
        loadOwn(ownValues, vMap, at.fullOwn(), work.head, work.row, work.sequence);
        int first = sizes.firstQueryStep(work.row);
        int last = sizes.lastQueryStep(work.row);
        for (int head = work.head * group; head < (work.head + 1) * group; head++) {
          for (int step = last; step >= first; step--, count++) {
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
    } else if (threadIdx.x == 32) {
      Work work;
      int count = 0;
      for (int round = 0;; round++) {
        await(at.fullOwn(), round % 2);
        if (!work.at(loadSharedInt(parts.work + round % 2 * 4), kvHeads, keys, false, sequences)) {
          break;
        }
        int first = sizes.firstQueryStep(work.row);
        int last = sizes.lastQueryStep(work.row);
        for (int head = work.head * group; head < (work.head + 1) * group; head++) {
          i64 block = ((i64) work.sequence * heads + head) * (padded / OTHER);
          for (int step = last; step >= first; step--, count++) {
            // Parts of lower keys, the lowest ones that the queries see being the first.
            int before = work.row / OWN - sizes.firstKey(step * OTHER) / OWN;
            int* counter = progress + 1 + block + step;
            float* to = sumsQ + (block + step) * (OTHER * HEAD);
            await(parts.fullPart(count), count / PARTS % 2);
            awaitProgress(counter, before);
            if (before == 0) {
              storeBytes(to, parts.part + count % PARTS * PART_BYTES, PART_BYTES);
            } else {
              addBytes(to, parts.part + count % PARTS * PART_BYTES, PART_BYTES);
            }
            commitStores();
            awaitStores();
            arrive(parts.emptyPart(count));
            finishStores();
            publishProgress(counter, before + 1);
          }
        }
        arrive(at.emptyOwn());
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
    u32 part = parts.part + consumer * (PART_BYTES / CONSUMERS) + thread * 16;
    auto storePart = [&](const float (&sums)[HEAD / CONSUMERS / 8][4], int i) {
      await(parts.emptyPart(i), i / PARTS % 2 ^ 1);
#pragma unroll
      for (int j = 0; j < HEAD / CONSUMERS / 8; j++) {
        storeShared4(part + i % PARTS * PART_BYTES + j * 2048, sums[j]);
      }
      fenceAsync();
      __syncwarp();
      if (leader) {
        arrive(parts.fullPart(i));
      }
    };
    u32 gradientRow =
        parts.gradients + (consumer * 64 + thread / 32 * 16 + lane / 4) * 128 + lane % 4 * 4;
    float factor = scale * LOG2E;
    Work work;
    int count = 0;
    for (int round = 0;; round++) {
      await(at.fullOwn(), round % 2);
      if (!work.at(loadSharedInt(parts.work + round % 2 * 4), kvHeads, keys, false, sequences)) {
        break;
      }
      int first = sizes.firstQueryStep(work.row);
      int last = sizes.lastQueryStep(work.row);
      int all = max(0, last - first + 1) * group;
      int tile = work.row + consumer * 64;
      int row = tile + thread / 32 * 16 + lane / 4;
      Scores weights;
      Scores gradients;
      u32 packedWeights[OTHER / 16][4];
      u32 packedGradients[OTHER / 16][4];
      float sumsK[HEAD / 8][4];
      float sumsV[HEAD / 8][4];
      float sums[HEAD / CONSUMERS / 8][4];
      zero(sumsK);
      zero(sumsV);
      pin(sumsK);
      pin(sumsV);
      int step = last;
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
        u32 to = gradientRow + count % 2 * GRADIENT_BYTES;
#pragma unroll
        for (int j = 0; j < OTHER / 8; j++) {
          u32 piece = (j ^ lane / 4) * 16;
          storeShared(to + piece, packedGradients[j / 2][j % 2 * 2]);
          storeShared(to + piece + 1024, packedGradients[j / 2][j % 2 * 2 + 1]);
        }
        fenceAsync();
        // Both warpgroups' keys are needed for dQ, of which each computes half of the columns.
        turn(3, CONSUMERS * 128);
        fenceProducts();
        startPart(
            sums, parts.gradients + count % 2 * GRADIENT_BYTES, at.own + consumer * OWN_CHUNK);
        commitProducts();
        startSums(sumsK, packedGradients, at.otherA(count));
        commitProducts();
        awaitProducts<1>();
        pin(sums);
        pin(sumsV);
        storePart(sums, count);
        step = step > first ? step - 1 : last;
      }
      awaitProducts<0>();
      pin(sumsK);
      pin(sumsV);
      if (all > 0 && leader) {
        arrive(at.emptyA(count - 1));
      }
      // The other warpgroup may still read these keys.
      turn(3, CONSUMERS * 128);
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

/**
 * dQ from the sums of attentionBackward. Blocks of 256 threads; x = sequence and head, y = OTHER
 * queries.
 */
extern "C" __global__ void __launch_bounds__(256) attentionBackwardFinish(
    T* dQ, const float* sumsQ, int queries, int heads, float scale, int padded) {
  constexpr int STRIDE = HEAD * 2 + 16;
  __shared__ __align__(16) char rows[OTHER * STRIDE];
  int head = blockIdx.x % heads;
  i64 sequence = blockIdx.x / heads;
  const float4* from = reinterpret_cast<const float4*>(
      sumsQ + ((i64) blockIdx.x * (padded / OTHER) + blockIdx.y) * (OTHER * HEAD));
#pragma unroll
  for (int i = 0; i < OTHER * HEAD / 4 / 256; i++) {
    int at = i * 256 + threadIdx.x;
    float4 x = from[at];
    int thread = at % 128;
    int row = thread / 32 * 16 + thread % 32 / 4;
    int column = at / 128 * 8 + thread % 4 * 2;
    char* to = rows + row * STRIDE + column * 2;
    *reinterpret_cast<u32*>(to) = packPair(x.x * scale, x.y * scale, T());
    *reinterpret_cast<u32*>(to + 8 * STRIDE) = packPair(x.z * scale, x.w * scale, T());
  }
  __syncthreads();
  for (int i = threadIdx.x; i < OTHER * HEAD / 8; i += 256) {
    int row = i / (HEAD / 8);
    int piece = i % (HEAD / 8);
    int query = blockIdx.y * OTHER + row;
    if (query < queries) {
      store16(
          dQ + ((sequence * queries + query) * heads + head) * HEAD + piece * 8,
          *reinterpret_cast<const uint4*>(rows + row * STRIDE + piece * 16));
    }
  }
}
