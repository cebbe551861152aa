// Causal grouped-query attention for any type and any head size up to 256, without tensor cores.
//
//   s_ij = scale · q_i·k_j      for keys j <= i + keys - queries, and j > i + keys - queries - window
//   p_ij = exp(s_ij - lse_i),   lse_i = log Σ_j exp(s_ij),   out_i = Σ_j p_ij v_j
//   dV_j = Σ_i p_ij dOut_i,     dS_ij = p_ij (dOut_i·v_j - delta_i),   delta_i = dOut_i·out_i
//   dQ_i = scale Σ_j dS_ij k_j, dK_j = scale Σ_i dS_ij q_i
//
// q, out, dQ, dOut: T [batch·queries, heads·HEAD]; k, v, dK, dV: T [batch·keys, kvHeads·HEAD];
// lse: F32 [batch·queries, heads]; statistics: float2 [batch·heads, padded], see below.
//
// Launch: blocks of 128 threads. x = sequence and head (KV head for attentionBackwardKeys),
// y = tiles of attentionTile() own rows; shared memory of attentionShared() bytes.
// Each of the 4 warps owns OWN rows of a tile (queries, or keys in attentionBackwardKeys). Of the
// other side 32 rows at a time lie in shared memory, a lane for each: a lane has the scores of its
// row with all own rows of its warp; then a lane has some columns of the results.
//
// Numerics: everything in F32, the softmax online and in powers of two. Each output is summed by
// one thread in the order of rows, grouped query heads one after the other, so that bits do not vary.
// Source: own, after "FlashAttention-2" (arXiv 2307.08691). Assumes 1 <= HEAD <= 256.

#ifndef HEAD
#error "HEAD, the head size, is not defined"
#endif

constexpr int WARPS = 4;
constexpr int OTHER = 32;
constexpr int OWN = HEAD <= 128 ? 8 : HEAD <= 192 ? 4 : 2;
constexpr int TILE = WARPS * OWN;
constexpr int PADDED = (HEAD + 3) / 4 * 4;
// 4 more than the padded head, so that 16-byte reads of neighbouring rows use different banks.
constexpr int STRIDE = PADDED + 4;
constexpr int COLUMNS = (HEAD + 31) / 32;
constexpr float LOG2E = 1.4426950408889634f;
constexpr float LN2 = 0.6931471805599453f;
#define INFINITE __int_as_float(0x7F800000)
// Less than any score, and still finite when two are subtracted.
constexpr float LOWEST = -1e30f;

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

  DEVICE bool visible(int query, int key) const {
    int last = query + offset();
    return query < queries && key <= last && (window == 0 || key > last - window);
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
};

/** Rows of one head into shared memory; rows from `rows` on and columns after HEAD become 0. */
DEVICE void loadRows(float* to, const T* from, i64 rowStride, int rows, int count) {
  for (int i = threadIdx.x; i < count * PADDED; i += WARPS * 32) {
    int r = i / PADDED;
    int c = i % PADDED;
    to[r * STRIDE + c] = r < rows && c < HEAD ? widen(from[r * rowStride + c]) : 0.0f;
  }
}

/** products[r] = own row r of this warp · this lane's other row. */
DEVICE void multiply(float* products, const float* own, const float* other) {
  const float4* row = reinterpret_cast<const float4*>(other + threadIdx.x % 32 * STRIDE);
#pragma unroll
  for (int r = 0; r < OWN; r++) {
    products[r] = 0;
  }
#pragma unroll 4
  for (int c = 0; c < PADDED / 4; c++) {
    float4 b = row[c];
#pragma unroll
    for (int r = 0; r < OWN; r++) {
      float4 a = reinterpret_cast<const float4*>(own + r * STRIDE)[c];
      products[r] = fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, products[r]))));
    }
  }
}

/** sums[r][c] += Σ_i weights[r][i] · other[i][column c of this lane]. */
DEVICE void accumulate(float sums[OWN][COLUMNS], const float* weights, const float* other) {
  int columns[COLUMNS];
#pragma unroll
  for (int c = 0; c < COLUMNS; c++) {
    columns[c] = min((int) threadIdx.x % 32 + 32 * c, HEAD - 1);
  }
#pragma unroll 2
  for (int i = 0; i < OTHER; i += 4) {
    float x[4][COLUMNS];
#pragma unroll
    for (int n = 0; n < 4; n++) {
#pragma unroll
      for (int c = 0; c < COLUMNS; c++) {
        x[n][c] = other[(i + n) * STRIDE + columns[c]];
      }
    }
#pragma unroll
    for (int r = 0; r < OWN; r++) {
      float4 w = *reinterpret_cast<const float4*>(weights + r * OTHER + i);
#pragma unroll
      for (int c = 0; c < COLUMNS; c++) {
        float two = fmaf(w.y, x[1][c], fmaf(w.x, x[0][c], sums[r][c]));
        sums[r][c] = fmaf(w.w, x[3][c], fmaf(w.z, x[2][c], two));
      }
    }
  }
}

DEVICE void zero(float sums[OWN][COLUMNS]) {
#pragma unroll
  for (int r = 0; r < OWN; r++) {
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
      sums[r][c] = 0;
    }
  }
}

/** Row r of this warp, times factor, where it exists. */
DEVICE void storeRow(T* to, const float* sums, float factor) {
#pragma unroll
  for (int c = 0; c < COLUMNS; c++) {
    int column = threadIdx.x % 32 + 32 * c;
    if (column < HEAD) {
      to[column] = narrow<T>(sums[c] * factor);
    }
  }
}

extern "C" __global__ void __launch_bounds__(WARPS * 32) attentionForward(
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
  extern __shared__ __align__(16) float shared[];
  float* ownQ = shared;
  float* other = ownQ + TILE * STRIDE;
  float* weights = other + OTHER * STRIDE;
  Sizes sizes = {queries, keys, heads, kvHeads, window};
  int warp = threadIdx.x / 32;
  int lane = threadIdx.x % 32;
  int head = blockIdx.x % heads;
  int kvHead = head / (heads / kvHeads);
  i64 sequence = blockIdx.x / heads;
  // The last tiles see most keys: they start first.
  int tile = (gridDim.y - 1 - blockIdx.y) * TILE;
  int own = tile + warp * OWN;
  float* warpWeights = weights + warp * OWN * OTHER;
  i64 kvStride = (i64) kvHeads * HEAD;

  loadRows(
      ownQ, q + sizes.queryAt(sequence, tile, head), (i64) heads * HEAD, queries - tile, TILE);
  float sums[OWN][COLUMNS];
  float highest[OWN];
  float total[OWN];
  zero(sums);
#pragma unroll
  for (int r = 0; r < OWN; r++) {
    highest[r] = LOWEST;
    total[r] = 0;
  }
  int last = min(tile + TILE, queries) - 1 + sizes.offset();
  for (int base = sizes.firstKey(tile) / OTHER * OTHER; base <= last; base += OTHER) {
    __syncthreads();
    loadRows(other, k + sizes.keyAt(sequence, base, kvHead), kvStride, keys - base, OTHER);
    __syncthreads();
    float scores[OWN];
    multiply(scores, ownQ + warp * OWN * STRIDE, other);
    __syncthreads();
    loadRows(other, v + sizes.keyAt(sequence, base, kvHead), kvStride, keys - base, OTHER);
#pragma unroll
    for (int r = 0; r < OWN; r++) {
      float score =
          sizes.visible(own + r, base + lane) ? scores[r] * (scale * LOG2E) : -INFINITE;
      float higher = fmaxf(highest[r], maxOf(score, 32));
      float shrink = exp2f(highest[r] - higher);
      float weight = exp2f(score - higher);
      highest[r] = higher;
      total[r] = total[r] * shrink + weight;
      warpWeights[r * OTHER + lane] = weight;
#pragma unroll
      for (int c = 0; c < COLUMNS; c++) {
        sums[r][c] *= shrink;
      }
    }
    __syncthreads();
    accumulate(sums, warpWeights, other);
  }
#pragma unroll
  for (int r = 0; r < OWN; r++) {
    float sum = sumOf(total[r], 32);
    if (own + r < queries) {
      storeRow(out + sizes.queryAt(sequence, own + r, head), sums[r], 1.0f / sum);
      if (logSumExp != 0 && lane == 0) {
        logSumExp[(sequence * queries + own + r) * heads + head] = highest[r] * LN2 + logf(sum);
      }
    }
  }
}

/**
 * statistics[sequence, head, query] = (lse · log2 e, dOut·out): what all backward kernels need of a
 * query, neighbouring queries beside each other. Queries after the last, up to `padded`, get
 * (infinity, 0), which makes their probabilities 0. Where progress is given, its counters (one, and
 * one for each group) become 0. Blocks of 256 threads, some lanes for each query; x = sequence and
 * head, y = groups of 64 queries up to padded, a multiple of 64.
 */
extern "C" __global__ void __launch_bounds__(256) attentionStatistics(
    float2* statistics,
    int* progress,
    const T* dOut,
    const T* out,
    const float* logSumExp,
    int queries,
    int heads,
    int padded) {
  if (progress != 0 && threadIdx.x == 0) {
    progress[1 + (i64) blockIdx.x * gridDim.y + blockIdx.y] = 0;
    if (blockIdx.x == 0 && blockIdx.y == 0) {
      progress[0] = 0;
    }
  }
  constexpr int N = HEAD % Pack<T>::N == 0 ? Pack<T>::N : 1;
  constexpr int PIECES = HEAD / N;
  constexpr int LANES =
      PIECES > 16 ? 32 : PIECES > 8 ? 16 : PIECES > 4 ? 8 : PIECES > 2 ? 4 : PIECES;
  int lane = threadIdx.x % LANES;
  int head = blockIdx.x % heads;
  i64 sequence = blockIdx.x / heads;
  bool wide = N > 1 && aligned16(dOut) && aligned16(out);
#pragma unroll 4
  for (int i = threadIdx.x / LANES; i < 64; i += 256 / LANES) {
    int query = blockIdx.y * 64 + i;
    // Rows after the last are read as the last, so that several reads are on their way at once.
    i64 row = (sequence * queries + min(query, queries - 1)) * heads + head;
    float sum = 0;
    if (wide) {
      for (int c = lane * N; c < HEAD; c += LANES * N) {
        Pack<T> a = unpack<T>(load16(dOut + row * HEAD + c));
        Pack<T> b = unpack<T>(load16(out + row * HEAD + c));
#pragma unroll
        for (int n = 0; n < N; n++) {
          sum = fmaf(a.at[n], b.at[n], sum);
        }
      }
    } else {
      for (int c = lane; c < HEAD; c += LANES) {
        sum = fmaf(widen(dOut[row * HEAD + c]), widen(out[row * HEAD + c]), sum);
      }
    }
    sum = sumOf(sum, LANES);
    if (lane == 0) {
      statistics[(i64) blockIdx.x * padded + query] =
          query < queries ? make_float2(logSumExp[row] * LOG2E, sum) : make_float2(INFINITE, 0);
    }
  }
}

/** dK and dV: a block owns TILE keys of a KV head and goes over the queries of all its heads. */
extern "C" __global__ void __launch_bounds__(WARPS * 32) attentionBackwardKeys(
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
  extern __shared__ __align__(16) float shared[];
  float* ownK = shared;
  float* ownV = ownK + TILE * STRIDE;
  float* other = ownV + TILE * STRIDE;
  float* weights = other + OTHER * STRIDE;
  Sizes sizes = {queries, keys, heads, kvHeads, window};
  int warp = threadIdx.x / 32;
  int lane = threadIdx.x % 32;
  int kvHead = blockIdx.x % kvHeads;
  i64 sequence = blockIdx.x / kvHeads;
  int group = heads / kvHeads;
  int tile = blockIdx.y * TILE;
  int own = tile + warp * OWN;
  float* warpWeights = weights + warp * OWN * OTHER;
  i64 kvStride = (i64) kvHeads * HEAD;
  i64 queryStride = (i64) heads * HEAD;

  loadRows(ownK, k + sizes.keyAt(sequence, tile, kvHead), kvStride, keys - tile, TILE);
  loadRows(ownV, v + sizes.keyAt(sequence, tile, kvHead), kvStride, keys - tile, TILE);
  float sumsK[OWN][COLUMNS];
  float sumsV[OWN][COLUMNS];
  zero(sumsK);
  zero(sumsV);
  int first = max(0, tile - sizes.offset());
  int last = queries - 1;
  if (window != 0) {
    last = min(last, tile + TILE - 1 - sizes.offset() + window - 1);
  }
  for (int head = kvHead * group; head < (kvHead + 1) * group; head++) {
    for (int base = first / OTHER * OTHER; base <= last; base += OTHER) {
      const T* queryRows = q + sizes.queryAt(sequence, base, head);
      const T* gradientRows = dOut + sizes.queryAt(sequence, base, head);
      float2 statistic = statistics[(sequence * heads + head) * padded + base + lane];
      float scores[OWN];
      float gradients[OWN];
      __syncthreads();
      loadRows(other, queryRows, queryStride, queries - base, OTHER);
      __syncthreads();
      multiply(scores, ownK + warp * OWN * STRIDE, other);
#pragma unroll
      for (int r = 0; r < OWN; r++) {
        bool visible = sizes.visible(base + lane, own + r);
        scores[r] = visible ? exp2f(scores[r] * (scale * LOG2E) - statistic.x) : 0.0f;
        warpWeights[r * OTHER + lane] = scores[r];
      }
      __syncthreads();
      loadRows(other, gradientRows, queryStride, queries - base, OTHER);
      __syncthreads();
      multiply(gradients, ownV + warp * OWN * STRIDE, other);
      accumulate(sumsV, warpWeights, other);
      __syncthreads();
      loadRows(other, queryRows, queryStride, queries - base, OTHER);
#pragma unroll
      for (int r = 0; r < OWN; r++) {
        warpWeights[r * OTHER + lane] = scores[r] * (gradients[r] - statistic.y);
      }
      __syncthreads();
      accumulate(sumsK, warpWeights, other);
    }
  }
#pragma unroll
  for (int r = 0; r < OWN; r++) {
    if (own + r < keys) {
      storeRow(dK + sizes.keyAt(sequence, own + r, kvHead), sumsK[r], scale);
      storeRow(dV + sizes.keyAt(sequence, own + r, kvHead), sumsV[r], 1.0f);
    }
  }
}

/** dQ: a block owns TILE queries of a head and goes over the keys they see. */
extern "C" __global__ void __launch_bounds__(WARPS * 32) attentionBackwardQueries(
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
  extern __shared__ __align__(16) float shared[];
  float* ownQ = shared;
  float* ownGradient = ownQ + TILE * STRIDE;
  float* other = ownGradient + TILE * STRIDE;
  float* weights = other + OTHER * STRIDE;
  Sizes sizes = {queries, keys, heads, kvHeads, window};
  int warp = threadIdx.x / 32;
  int lane = threadIdx.x % 32;
  int head = blockIdx.x % heads;
  int kvHead = head / (heads / kvHeads);
  i64 sequence = blockIdx.x / heads;
  int tile = (gridDim.y - 1 - blockIdx.y) * TILE;
  int own = tile + warp * OWN;
  float* warpWeights = weights + warp * OWN * OTHER;
  i64 kvStride = (i64) kvHeads * HEAD;
  i64 queryStride = (i64) heads * HEAD;

  i64 start = sizes.queryAt(sequence, tile, head);
  loadRows(ownQ, q + start, queryStride, queries - tile, TILE);
  loadRows(ownGradient, dOut + start, queryStride, queries - tile, TILE);
  float sums[OWN][COLUMNS];
  zero(sums);
  const float2* ownStatistics = statistics + (sequence * heads + head) * padded + own;
  int last = min(tile + TILE, queries) - 1 + sizes.offset();
  for (int base = sizes.firstKey(tile) / OTHER * OTHER; base <= last; base += OTHER) {
    float scores[OWN];
    float gradients[OWN];
    __syncthreads();
    loadRows(other, v + sizes.keyAt(sequence, base, kvHead), kvStride, keys - base, OTHER);
    __syncthreads();
    multiply(gradients, ownGradient + warp * OWN * STRIDE, other);
    __syncthreads();
    loadRows(other, k + sizes.keyAt(sequence, base, kvHead), kvStride, keys - base, OTHER);
    __syncthreads();
    multiply(scores, ownQ + warp * OWN * STRIDE, other);
#pragma unroll
    for (int r = 0; r < OWN; r++) {
      float2 statistic = ownStatistics[r];
      bool visible = sizes.visible(own + r, base + lane);
      float weight = visible ? exp2f(scores[r] * (scale * LOG2E) - statistic.x) : 0.0f;
      warpWeights[r * OTHER + lane] = weight * (gradients[r] - statistic.y);
    }
    __syncwarp();
    accumulate(sums, warpWeights, other);
  }
#pragma unroll
  for (int r = 0; r < OWN; r++) {
    if (own + r < queries) {
      storeRow(dQ + sizes.queryAt(sequence, own + r, head), sums[r], scale);
    }
  }
}
