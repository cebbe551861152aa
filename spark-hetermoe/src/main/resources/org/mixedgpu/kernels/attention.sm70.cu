// Causal grouped-query attention for fp16 and, from compute capability 8.0 on, bf16 on the tensor
// cores of 7.0 and later (mma.sync, see tensor_cores.cuh). Formulas, operands and their
// shapes are those of attention.cu, whose attentionStatistics also serves the backward kernels here.
//
// Defines: HEAD, a multiple of 16 up to 256; WARPS, FRAGMENTS and OTHER as below; one of FORWARD,
// BACKWARD_QUERIES and BACKWARD_KEYS says which kernel is compiled, the last one with SPLIT.
//   A block owns OWN = WARPS · FRAGMENTS · 16 rows: queries of one head, or keys of one KV head in
//   attentionBackwardKeys, where a warp has all scores of its rows, so that probabilities go from
//   one product to the next in registers. Of the other side OTHER rows at a time lie in shared
//   memory. SPLIT blocks (grid z) share the columns of dK and dV where all would not fit into
//   registers.
// Launch: blocks of WARPS · 32 threads; x = sequence and head (KV head), y = tiles of OWN rows, z =
// SPLIT in attentionBackwardKeys, else 1. Shared memory in bytes, with R = 2 · (HEAD + 8) for a row:
//   attentionForward R · (OWN + 2 · OTHER); attentionBackwardQueries R · (2 · OWN + 4 · OTHER);
//   attentionBackwardKeys R · (2 · OWN + 4 · OTHER) + 16 · OTHER.
//
// Numerics: products of T summed in F32 by the tensor cores; softmax online in F32, in powers of
// two; probabilities and dS rounded to T for the second products. No atomics; every sum has a fixed
// order.
// Source: own, after "FlashAttention-2" (arXiv 2307.08691); the backward pass is in two kernels
// (keys own dK and dV, queries own dQ): scores are computed twice, and no sum depends on timing.
// Assumes scale > 0 and 16-byte alignment of all operands.

#if !defined(HEAD) || !defined(WARPS) || !defined(FRAGMENTS) || !defined(OTHER)
#error "HEAD, WARPS, FRAGMENTS and OTHER must be defined"
#endif

#include "tensor_cores.cuh"

constexpr int THREADS = WARPS * 32;
constexpr int WARP_ROWS = FRAGMENTS * 16;
constexpr int OWN = WARPS * WARP_ROWS;
// 8 more than the head, so that the 8 rows that are read at once use different banks.
constexpr int STRIDE = HEAD + 8;
constexpr int ROW_BYTES = STRIDE * 2;
constexpr int DEPTHS = HEAD / 16;
constexpr int GROUPS = OTHER / 16;
constexpr float LOG2E = 1.4426950408889634f;

DEVICE float power2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// --- tiles ---------------------------------------------------------------------------------------

/** Copies without cp.async wait in registers for a tile to be computed, where there are as many. */
typedef Piece<(ARCH < 75 && HEAD <= 192)> Moving;

/** This thread's part of COUNT rows of one head on their way to shared memory. */
template <int COUNT>
struct Rows {
  static constexpr int PIECES = HEAD / 8;
  static constexpr int EACH = (COUNT * PIECES + THREADS - 1) / THREADS;
  Moving pieces[EACH];

  /** Calls f(piece, row, unit of 16 bytes) for each. */
  template <typename F>
  DEVICE void each(F f) {
#pragma unroll
    for (int n = 0; n < EACH; n++) {
      int i = n * THREADS + threadIdx.x;
      if (COUNT * PIECES % THREADS == 0 || i < COUNT * PIECES) {
        f(pieces[n], i / PIECES, i % PIECES);
      }
    }
  }

  /** Starts the copies; rows from `rows` on become 0. */
  DEVICE void take(u32 to, const T* from, i64 rowStride, int rows) {
    each([&](Moving& piece, int r, int c) {
      piece.take(to + r * ROW_BYTES + c * 16, from, r * rowStride + c * 8, r < rows);
    });
  }

  DEVICE void land(u32 to) {
    each([&](Moving& piece, int r, int c) { piece.land(to + r * ROW_BYTES + c * 16); });
  }

  DEVICE void copy(u32 to, const T* from, i64 rowStride, int rows) {
    take(to, from, rowStride, rows);
    land(to);
  }
};

/** Where the rows of a tile in shared memory are, for load(). */
struct RowsAt {
  u32 tile;

  DEVICE u32 operator()(int row, int unit) const {
    return tile + row * ROW_BYTES + unit * 16;
  }
};

DEVICE RowsAt rowsAt(u32 tile) {
  RowsAt at;
  at.tile = tile;
  return at;
}

typedef float Scores[FRAGMENTS][OTHER / 8][4];

/** scores = own · otherᵀ. */
DEVICE void scoresOf(Scores scores, u32 own, u32 other) {
#pragma unroll
  for (int f = 0; f < FRAGMENTS; f++) {
#pragma unroll
    for (int j = 0; j < OTHER / 8; j++) {
      scores[f][j][0] = scores[f][j][1] = scores[f][j][2] = scores[f][j][3] = 0;
    }
  }
#pragma unroll
  for (int d = 0; d < DEPTHS; d++) {
    Left<false> a[FRAGMENTS];
#pragma unroll
    for (int f = 0; f < FRAGMENTS; f++) {
      load(a[f], rowsAt(own + f * 16 * ROW_BYTES + d * 32));
    }
#pragma unroll
    for (int g = 0; g < GROUPS; g++) {
      Right<false> b;
      load(b, rowsAt(other + g * 16 * ROW_BYTES + d * 32));
#pragma unroll
      for (int f = 0; f < FRAGMENTS; f++) {
        multiplyAdd(&scores[f][2 * g], a[f], b);
      }
    }
  }
}

/** sums += weights (rounded to T) · other. */
template <int WIDTH>
DEVICE void addWeighted(float (*sums)[WIDTH / 8][4], Scores weights, u32 other) {
#pragma unroll
  for (int g = 0; g < GROUPS; g++) {
    Left<false> a[FRAGMENTS];
#pragma unroll
    for (int f = 0; f < FRAGMENTS; f++) {
      round(a[f], &weights[f][2 * g]);
    }
#pragma unroll
    for (int c = 0; c < WIDTH / 16; c++) {
      Right<true> b;
      load(b, rowsAt(other + g * 16 * ROW_BYTES + c * 32));
#pragma unroll
      for (int f = 0; f < FRAGMENTS; f++) {
        multiplyAdd(&sums[f][2 * c], a[f], b);
      }
    }
  }
}

template <int WIDTH>
DEVICE void zero(float (*sums)[WIDTH / 8][4]) {
#pragma unroll
  for (int f = 0; f < FRAGMENTS; f++) {
#pragma unroll
    for (int c = 0; c < WIDTH / 8; c++) {
      sums[f][c][0] = sums[f][c][1] = sums[f][c][2] = sums[f][c][3] = 0;
    }
  }
}

/**
 * Writes this warp's rows times their factors (one for each half of a fragment), through its own
 * part of shared memory so that global memory is written 16 bytes at a time.
 */
template <int WIDTH>
DEVICE void storeRows(
    T* to,
    i64 rowStride,
    int rows,
    float (*sums)[WIDTH / 8][4],
    const float (*factors)[2],
    char* own) {
  int lane = threadIdx.x % 32;
  __syncwarp();
#pragma unroll
  for (int f = 0; f < FRAGMENTS; f++) {
#pragma unroll
    for (int c = 0; c < WIDTH / 8; c++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const float* two = &sums[f][c][2 * half];
        u32 pair = packPair(two[0] * factors[f][half], two[1] * factors[f][half], T());
        int row = f * 16 + half * ROW_STEP + resultRow();
        *reinterpret_cast<u32*>(own + row * ROW_BYTES + c * 16 + resultColumn() * 2) = pair;
      }
    }
  }
  __syncwarp();
  for (int i = lane; i < WARP_ROWS * (WIDTH / 8); i += 32) {
    int row = i / (WIDTH / 8);
    int piece = i % (WIDTH / 8);
    if (row < rows) {
      const char* from = own + row * ROW_BYTES + piece * 16;
      store16(to + row * rowStride + piece * 8, *reinterpret_cast<const uint4*>(from));
    }
  }
}

/** Sizes that all kernels of this file share. */
struct Sizes {
  int queries;
  int keys;
  int heads;
  int kvHeads;
  int window;

  DEVICE int offset() const {
    return keys - queries;
  }

  DEVICE int firstKey(int query) const {
    return window == 0 ? 0 : max(0, query + offset() - window + 1);
  }

  DEVICE i64 queryAt(i64 sequence, int query, int head) const {
    return ((sequence * queries + query) * heads + head) * HEAD;
  }

  DEVICE i64 keyAt(i64 sequence, int key, int head) const {
    return ((sequence * keys + key) * kvHeads + head) * HEAD;
  }

  /** Whether all queries of [query, query + queryCount) see all keys of [key, key + keyCount). */
  DEVICE bool allVisible(int query, int queryCount, int key, int keyCount) const {
    return key + keyCount - 1 <= query + offset()
        && (window == 0 || key > query + queryCount - 1 + offset() - window);
  }
};

// --- kernels -------------------------------------------------------------------------------------

#ifdef FORWARD

constexpr float LN2 = 0.6931471805599453f;
// Less than any score, and still finite when two are subtracted.
constexpr float LOWEST = -1e30f;

extern "C" __global__ void __launch_bounds__(THREADS) attentionForward(
    T* out,
    float* logSumExp,
    const T* q,
    const T* k,
    const T* v,
    int queries,
    int keys,
    int heads,
    int kvHeads,
    int window,
    float scale) {
  extern __shared__ __align__(16) char shared[];
  Sizes sizes = {queries, keys, heads, kvHeads, window};
  int warp = threadIdx.x / 32;
  int lane = threadIdx.x % 32;
  int head = blockIdx.x % heads;
  int kvHead = head / (heads / kvHeads);
  i64 sequence = blockIdx.x / heads;
  // The last tiles see most keys: they start first.
  int tile = (gridDim.y - 1 - blockIdx.y) * OWN;
  int own = tile + warp * WARP_ROWS;
  u32 ownQ = sharedAddress(shared);
  u32 otherK = ownQ + OWN * ROW_BYTES;
  u32 otherV = otherK + OTHER * ROW_BYTES;
  i64 kvStride = (i64) kvHeads * HEAD;
  const T* keyRows = k + sizes.keyAt(sequence, 0, kvHead);
  const T* valueRows = v + sizes.keyAt(sequence, 0, kvHead);

  int firstStep = sizes.firstKey(tile) / OTHER;
  int step = (min(tile + OWN, queries) - 1 + sizes.offset()) / OTHER;
  Rows<OTHER> moving;
  Rows<OWN>().copy(
      ownQ, q + sizes.queryAt(sequence, tile, head), (i64) heads * HEAD, queries - tile);
  moving.copy(otherK, keyRows + step * OTHER * kvStride, kvStride, keys - step * OTHER);
  commitCopies();

  float factor = scale * LOG2E;
  float sums[FRAGMENTS][HEAD / 8][4];
  float highest[FRAGMENTS][2];
  float total[FRAGMENTS][2];
  zero<HEAD>(sums);
#pragma unroll
  for (int f = 0; f < FRAGMENTS; f++) {
    highest[f][0] = highest[f][1] = LOWEST;
    total[f][0] = total[f][1] = 0;
  }
  u32 warpQ = ownQ + warp * WARP_ROWS * ROW_BYTES;
  for (; step >= firstStep; step--) {
    int base = step * OTHER;
    awaitCopies<0>();
    __syncthreads();
    moving.take(otherV, valueRows + base * kvStride, kvStride, keys - base);
    commitCopies();
    Scores scores;
    scoresOf(scores, warpQ, otherK);
    if (!sizes.allVisible(own, WARP_ROWS, base, OTHER)) {
#pragma unroll
      for (int f = 0; f < FRAGMENTS; f++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
          int last = own + f * 16 + i / 2 * ROW_STEP + resultRow() + sizes.offset();
          int before = window == 0 ? -1 : last - window;
#pragma unroll
          for (int j = 0; j < OTHER / 8; j++) {
            int key = base + j * 8 + resultColumn() + i % 2;
            if (key > last || key <= before) {
              scores[f][j][i] = __int_as_float(0xFF800000);
            }
          }
        }
      }
    }
    moving.land(otherV);
    awaitCopies<0>();
    __syncthreads();
    if (step > firstStep) {
      moving.take(otherK, keyRows + (base - OTHER) * kvStride, kvStride, keys - base + OTHER);
      commitCopies();
    }
#pragma unroll
    for (int f = 0; f < FRAGMENTS; f++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float higher = highest[f][half];
#pragma unroll
        for (int j = 0; j < OTHER / 8; j++) {
          higher = fmaxf(higher, fmaxf(scores[f][j][2 * half], scores[f][j][2 * half + 1]));
        }
        higher = overRow(higher, Max());
        float shrink = power2((highest[f][half] - higher) * factor);
        highest[f][half] = higher;
        float shift = higher * factor;
        float sum = 0;
#pragma unroll
        for (int j = 0; j < OTHER / 8; j++) {
#pragma unroll
          for (int i = 2 * half; i < 2 * half + 2; i++) {
            scores[f][j][i] = power2(scores[f][j][i] * factor - shift);
            sum += scores[f][j][i];
          }
        }
        total[f][half] = total[f][half] * shrink + sum;
#pragma unroll
        for (int c = 0; c < HEAD / 8; c++) {
          sums[f][c][2 * half] *= shrink;
          sums[f][c][2 * half + 1] *= shrink;
        }
      }
    }
    addWeighted<HEAD>(sums, scores, otherV);
    if (step > firstStep) {
      moving.land(otherK);
    }
  }
  float factors[FRAGMENTS][2];
#pragma unroll
  for (int f = 0; f < FRAGMENTS; f++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float sum = overRow(total[f][half], Sum());
      factors[f][half] = 1.0f / sum;
      int query = own + f * 16 + half * ROW_STEP + resultRow();
      if (logSumExp != 0 && resultColumn() == 0 && query < queries) {
        logSumExp[(sequence * queries + query) * heads + head] =
            highest[f][half] * scale + LN2 * __log2f(sum);
      }
    }
  }
  storeRows<HEAD>(
      out + sizes.queryAt(sequence, own, head),
      (i64) heads * HEAD,
      queries - own,
      sums,
      factors,
      shared + warp * WARP_ROWS * ROW_BYTES);
}

#endif

#ifdef BACKWARD_QUERIES

/** dQ: a block owns queries of a head and goes over the keys they see. */
extern "C" __global__ void __launch_bounds__(THREADS) attentionBackwardQueries(
    T* dQ,
    const T* dOut,
    const T* q,
    const T* k,
    const T* v,
    const float2* statistics,
    int queries,
    int keys,
    int heads,
    int kvHeads,
    int window,
    float scale,
    int padded) {
  extern __shared__ __align__(16) char shared[];
  Sizes sizes = {queries, keys, heads, kvHeads, window};
  int warp = threadIdx.x / 32;
  int lane = threadIdx.x % 32;
  int head = blockIdx.x % heads;
  int kvHead = head / (heads / kvHeads);
  i64 sequence = blockIdx.x / heads;
  int tile = (gridDim.y - 1 - blockIdx.y) * OWN;
  int own = tile + warp * WARP_ROWS;
  u32 ownQ = sharedAddress(shared);
  u32 ownGradient = ownQ + OWN * ROW_BYTES;
  u32 others = ownGradient + OWN * ROW_BYTES;
  constexpr int STAGE = 2 * OTHER * ROW_BYTES;
  i64 kvStride = (i64) kvHeads * HEAD;
  i64 queryStride = (i64) heads * HEAD;
  const T* keyRows = k + sizes.keyAt(sequence, 0, kvHead);
  const T* valueRows = v + sizes.keyAt(sequence, 0, kvHead);

  int firstStep = sizes.firstKey(tile) / OTHER;
  int step = (min(tile + OWN, queries) - 1 + sizes.offset()) / OTHER;
  i64 start = sizes.queryAt(sequence, tile, head);
  Rows<OTHER> movingK;
  Rows<OTHER> movingV;
  Rows<OWN>().copy(ownQ, q + start, queryStride, queries - tile);
  Rows<OWN>().copy(ownGradient, dOut + start, queryStride, queries - tile);
  movingK.copy(others, keyRows + step * OTHER * kvStride, kvStride, keys - step * OTHER);
  movingV.copy(
      others + STAGE / 2, valueRows + step * OTHER * kvStride, kvStride, keys - step * OTHER);
  commitCopies();

  float factor = scale * LOG2E;
  float sums[FRAGMENTS][HEAD / 8][4];
  float2 statistic[FRAGMENTS][2];
  zero<HEAD>(sums);
#pragma unroll
  for (int f = 0; f < FRAGMENTS; f++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      int query = own + f * 16 + half * ROW_STEP + resultRow();
      statistic[f][half] = statistics[(sequence * heads + head) * padded + query];
    }
  }
  u32 warpQ = ownQ + warp * WARP_ROWS * ROW_BYTES;
  u32 warpGradient = ownGradient + warp * WARP_ROWS * ROW_BYTES;
  for (int stage = 0; step >= firstStep; step--, stage ^= 1) {
    int base = step * OTHER;
    u32 otherK = others + stage * STAGE;
    u32 otherV = otherK + STAGE / 2;
    u32 to = others + (stage ^ 1) * STAGE;
    awaitCopies<0>();
    __syncthreads();
    if (step > firstStep) {
      int next = base - OTHER;
      movingK.take(to, keyRows + next * kvStride, kvStride, keys - next);
      movingV.take(to + STAGE / 2, valueRows + next * kvStride, kvStride, keys - next);
      commitCopies();
    }
    Scores weights;
    Scores gradients;
    scoresOf(weights, warpQ, otherK);
    scoresOf(gradients, warpGradient, otherV);
    bool masked = !sizes.allVisible(own, WARP_ROWS, base, OTHER);
#pragma unroll
    for (int f = 0; f < FRAGMENTS; f++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        int last = own + f * 16 + i / 2 * ROW_STEP + resultRow() + sizes.offset();
        int before = window == 0 ? -1 : last - window;
        float2 s = statistic[f][i / 2];
#pragma unroll
        for (int j = 0; j < OTHER / 8; j++) {
          int key = base + j * 8 + resultColumn() + i % 2;
          float weight = power2(weights[f][j][i] * factor - s.x);
          if (masked && (key > last || key <= before)) {
            weight = 0;
          }
          weights[f][j][i] = weight * (gradients[f][j][i] - s.y);
        }
      }
    }
    addWeighted<HEAD>(sums, weights, otherK);
    if (step > firstStep) {
      movingK.land(to);
      movingV.land(to + STAGE / 2);
    }
  }
  float factors[FRAGMENTS][2];
#pragma unroll
  for (int f = 0; f < FRAGMENTS; f++) {
    factors[f][0] = factors[f][1] = scale;
  }
  storeRows<HEAD>(
      dQ + sizes.queryAt(sequence, own, head),
      queryStride,
      queries - own,
      sums,
      factors,
      shared + warp * WARP_ROWS * ROW_BYTES);
}

#endif

#ifdef BACKWARD_KEYS

constexpr int COLUMNS = HEAD / SPLIT;

/** dK and dV: a block owns keys of a KV head and goes over the queries of all its heads. */
extern "C" __global__ void __launch_bounds__(THREADS) attentionBackwardKeys(
    T* dK,
    T* dV,
    const T* dOut,
    const T* q,
    const T* k,
    const T* v,
    const float2* statistics,
    int queries,
    int keys,
    int heads,
    int kvHeads,
    int window,
    float scale,
    int padded) {
  extern __shared__ __align__(16) char shared[];
  Sizes sizes = {queries, keys, heads, kvHeads, window};
  int warp = threadIdx.x / 32;
  int lane = threadIdx.x % 32;
  int kvHead = blockIdx.x % kvHeads;
  i64 sequence = blockIdx.x / kvHeads;
  int group = heads / kvHeads;
  int tile = blockIdx.y * OWN;
  int own = tile + warp * WARP_ROWS;
  int firstColumn = blockIdx.z * COLUMNS;
  constexpr int STAGE = 2 * OTHER * ROW_BYTES + OTHER * 8;
  u32 ownK = sharedAddress(shared);
  u32 ownV = ownK + OWN * ROW_BYTES;
  char* others = shared + 2 * OWN * ROW_BYTES;
  i64 kvStride = (i64) kvHeads * HEAD;
  i64 queryStride = (i64) heads * HEAD;

  int firstStep = max(0, tile - sizes.offset()) / OTHER;
  int lastQuery = queries - 1;
  if (window != 0) {
    lastQuery = min(lastQuery, tile + OWN - 1 - sizes.offset() + window - 1);
  }
  int steps = lastQuery < 0 ? 0 : max(0, lastQuery / OTHER - firstStep + 1);
  int all = steps * group;
  Rows<OTHER> movingQ;
  Rows<OTHER> movingGradient;
  Moving movingStatistics;
  // Step i is step i % steps of head i / steps of the group.
  auto takeStep = [&](int i) {
    int head = kvHead * group + i / steps;
    int query = (firstStep + i % steps) * OTHER;
    u32 to = sharedAddress(others) + i % 2 * STAGE;
    i64 at = sizes.queryAt(sequence, query, head);
    movingQ.take(to, q + at, queryStride, queries - query);
    movingGradient.take(to + OTHER * ROW_BYTES, dOut + at, queryStride, queries - query);
    if (threadIdx.x < OTHER / 2) {
      i64 first = (sequence * heads + head) * padded + query;
      movingStatistics.take(
          to + 2 * OTHER * ROW_BYTES + threadIdx.x * 16,
          reinterpret_cast<const T*>(statistics + first),
          threadIdx.x * 8,
          true);
    }
  };
  auto landStep = [&](int i) {
    u32 to = sharedAddress(others) + i % 2 * STAGE;
    movingQ.land(to);
    movingGradient.land(to + OTHER * ROW_BYTES);
    if (threadIdx.x < OTHER / 2) {
      movingStatistics.land(to + 2 * OTHER * ROW_BYTES + threadIdx.x * 16);
    }
  };
  i64 start = sizes.keyAt(sequence, tile, kvHead);
  Rows<OWN>().copy(ownK, k + start, kvStride, keys - tile);
  Rows<OWN>().copy(ownV, v + start, kvStride, keys - tile);
  if (all > 0) {
    takeStep(0);
    landStep(0);
  }
  commitCopies();

  float factor = scale * LOG2E;
  float sumsK[FRAGMENTS][COLUMNS / 8][4];
  float sumsV[FRAGMENTS][COLUMNS / 8][4];
  zero<COLUMNS>(sumsK);
  zero<COLUMNS>(sumsV);
  u32 warpK = ownK + warp * WARP_ROWS * ROW_BYTES;
  u32 warpV = ownV + warp * WARP_ROWS * ROW_BYTES;
  for (int step = 0; step < all; step++) {
    int base = (firstStep + step % steps) * OTHER;
    char* stage = others + step % 2 * STAGE;
    u32 otherQ = sharedAddress(stage);
    u32 otherGradient = otherQ + OTHER * ROW_BYTES;
    const float2* statistic = reinterpret_cast<const float2*>(stage + 2 * OTHER * ROW_BYTES);
    awaitCopies<0>();
    __syncthreads();
    if (step + 1 < all) {
      takeStep(step + 1);
      commitCopies();
    }
    Scores weights;
    Scores gradients;
    scoresOf(weights, warpK, otherQ);
    bool masked = !sizes.allVisible(base, OTHER, own, WARP_ROWS);
#pragma unroll
    for (int j = 0; j < OTHER / 8; j++) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        int column = j * 8 + resultColumn() + i;
        float logarithm = statistic[column].x;
        int last = base + column + sizes.offset();
        int before = window == 0 ? -1 : last - window;
#pragma unroll
        for (int f = 0; f < FRAGMENTS; f++) {
#pragma unroll
          for (int half = 0; half < 2; half++) {
            int key = own + f * 16 + half * ROW_STEP + resultRow();
            float weight = power2(weights[f][j][2 * half + i] * factor - logarithm);
            weights[f][j][2 * half + i] =
                masked && (key > last || key <= before) ? 0.0f : weight;
          }
        }
      }
    }
    addWeighted<COLUMNS>(sumsV, weights, otherGradient + firstColumn * 2);
    scoresOf(gradients, warpV, otherGradient);
#pragma unroll
    for (int j = 0; j < OTHER / 8; j++) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        float delta = statistic[j * 8 + resultColumn() + i].y;
#pragma unroll
        for (int f = 0; f < FRAGMENTS; f++) {
#pragma unroll
          for (int half = 0; half < 2; half++) {
            weights[f][j][2 * half + i] *= gradients[f][j][2 * half + i] - delta;
          }
        }
      }
    }
    addWeighted<COLUMNS>(sumsK, weights, otherQ + firstColumn * 2);
    if (step + 1 < all) {
      landStep(step + 1);
    }
  }
  awaitCopies<0>();
  __syncthreads();
  float factors[2][FRAGMENTS][2];
#pragma unroll
  for (int f = 0; f < FRAGMENTS; f++) {
    factors[0][f][0] = factors[0][f][1] = scale;
    factors[1][f][0] = factors[1][f][1] = 1;
  }
  i64 at = sizes.keyAt(sequence, own, kvHead) + firstColumn;
  char* scratch = shared + warp * WARP_ROWS * ROW_BYTES;
  storeRows<COLUMNS>(dK + at, kvStride, keys - own, sumsK, factors[0], scratch);
  storeRows<COLUMNS>(dV + at, kvStride, keys - own, sumsV, factors[1], scratch);
}

#endif
