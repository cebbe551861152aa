// A stable counting sort by small numbers: of a router's choices by expert, and, digit by digit, of
// row numbers by table index.
//
//   countTiles     counts[bin, tile] = how many keys of a tile are in the bin
//   scanTiles      counts[bin, tile] = how many are in the bin in earlier tiles; totals[bin]
//   placeChoices   slotOf[i] = the slot of choice i, rowOf[slot] = i / k, offsets[bin] = first slot
//   placePairs     keysOut[slot] = key, orderOut[slot] = orderIn[i], or i where that is null
//
// The bin of a key is (key >> shift) & mask. A key outside [0, limit) is a fault and counts as
// `instead`, so that nothing is written out of bounds.
// Shapes: all I32; n keys in tiles of 2048; counts [bins, tiles], totals [bins].
// Launch: 256 threads. countTiles and place*: grid.x = tiles; scanTiles: grid.x = bins. Shared bytes:
// countTiles 4 · bins, place* 36 · bins. With one tile place* does it all, and counts is null.
// Numerics: integers; atomics only where the order cannot be seen. Stable: within a warp by lane,
// within a tile by warp, and tiles by number.
// Source: own, after the usual radix sort's ranking by matching lanes.

#define THREADS 256
#define WARPS 8
#define ITEMS 8
#define TILE 2048

struct Digit {
  const int* keys;
  i64 n;
  i64 limit;
  int instead;
  int shift;
  int mask;
  IndexFault which;
  int* faults;

  /** The key at i; where it is refused, what stands for it. */
  DEVICE int key(i64 i) const {
    int key = keys[i];
    return within(faults, which, i, key, limit) ? key : instead;
  }

  DEVICE int bin(int key) const {
    return (key >> shift) & mask;
  }
};

extern "C" __global__ void __launch_bounds__(THREADS) countTiles(
    int* counts,
    const int* keys,
    i64 n,
    i64 limit,
    int instead,
    int shift,
    int mask,
    int bins,
    int which,
    int* faults) {
  extern __shared__ int histogram[];
  Digit digit = {keys, n, limit, instead, shift, mask, (IndexFault) which, faults};
  for (int b = threadIdx.x; b < bins; b += THREADS) {
    histogram[b] = 0;
  }
  __syncthreads();
#pragma unroll
  for (int u = 0; u < ITEMS; u++) {
    i64 i = (i64) blockIdx.x * TILE + u * THREADS + threadIdx.x;
    if (i < n) {
      atomicAdd(histogram + digit.bin(digit.key(i)), 1);
    }
  }
  __syncthreads();
  for (int b = threadIdx.x; b < bins; b += THREADS) {
    counts[(i64) b * gridDim.x + blockIdx.x] = histogram[b];
  }
}

/** The sum of x over all threads before this one, and over all threads. */
DEVICE int sumBefore(int x, int& total) {
  __shared__ int sums[WARPS];
  int lane = threadIdx.x % 32;
  int warp = threadIdx.x / 32;
  int sum = x;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    int other = __shfl_up_sync(0xFFFFFFFFu, sum, step);
    sum += lane >= step ? other : 0;
  }
  __syncthreads();
  if (lane == 31) {
    sums[warp] = sum;
  }
  __syncthreads();
  int before = 0;
  total = 0;
#pragma unroll
  for (int w = 0; w < WARPS; w++) {
    before += w < warp ? sums[w] : 0;
    total += sums[w];
  }
  return before + sum - x;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    scanTiles(int* counts, int* totals, int tiles) {
  int* row = counts + (i64) blockIdx.x * tiles;
  int before = 0;
  for (int first = 0; first < tiles; first += THREADS) {
    int tile = first + threadIdx.x;
    int count = tile < tiles ? row[tile] : 0;
    int total;
    int sum = sumBefore(count, total);
    if (tile < tiles) {
      row[tile] = before + sum;
    }
    before += total;
  }
  if (threadIdx.x == 0) {
    totals[blockIdx.x] = before;
  }
}

/** Calls put(i, key, slot) for each key of this block's tile; the first slot of each bin is in base. */
template <typename Put>
DEVICE void place(
    const Digit& digit, const int* counts, const int* totals, int bins, int* base, Put put) {
  int* ranks = base + bins;
  int lane = threadIdx.x % 32;
  int warp = threadIdx.x / 32;
  for (int b = threadIdx.x; b < WARPS * bins; b += THREADS) {
    ranks[b] = 0;
  }
  __syncthreads();
  i64 first = (i64) blockIdx.x * TILE + warp * (ITEMS * 32) + lane;
  int keys[ITEMS];
  int rank[ITEMS];
#pragma unroll
  for (int u = 0; u < ITEMS; u++) {
    keys[u] = first + u * 32 < digit.n ? digit.key(first + u * 32) : -1;
  }
  int* mine = ranks + warp * bins;
#pragma unroll
  for (int u = 0; u < ITEMS; u++) {
    bool valid = first + u * 32 < digit.n;
    int bin = valid ? digit.bin(keys[u]) : -1;
    u32 same = __match_any_sync(0xFFFFFFFFu, bin);
    int before = __popc(same & ((1u << lane) - 1));
    int old = valid ? mine[bin] : 0;
    rank[u] = old + before;
    __syncwarp();
    if (valid && before == 0) {
      mine[bin] = old + __popc(same);
    }
    __syncwarp();
  }
  __syncthreads();
  // Turns each warp's counts into first slots: of all earlier bins, then earlier tiles, then warps.
  int next = 0;
  for (int group = 0; group < bins; group += THREADS) {
    int b = group + threadIdx.x;
    int count = 0;
    if (b < bins && totals != 0) {
      count = totals[b];
    } else if (b < bins) {
      for (int w = 0; w < WARPS; w++) {
        count += ranks[w * bins + b];
      }
    }
    int total;
    int slot = next + sumBefore(count, total);
    next += total;
    if (b < bins) {
      base[b] = slot;
      slot += counts == 0 ? 0 : counts[(i64) b * gridDim.x + blockIdx.x];
      for (int w = 0; w < WARPS; w++) {
        int own = ranks[w * bins + b];
        ranks[w * bins + b] = slot;
        slot += own;
      }
    }
  }
  __syncthreads();
#pragma unroll
  for (int u = 0; u < ITEMS; u++) {
    i64 i = first + u * 32;
    if (i < digit.n) {
      put(i, keys[u], mine[digit.bin(keys[u])] + rank[u]);
    }
  }
}

struct PutChoice {
  int* slotOf;
  int* rowOf;
  int k;

  DEVICE void operator()(i64 i, int, int slot) const {
    slotOf[i] = slot;
    rowOf[slot] = (int) i / k;
  }
};

extern "C" __global__ void __launch_bounds__(THREADS) placeChoices(
    int* slotOf,
    int* rowOf,
    int* offsets,
    const int* counts,
    const int* totals,
    const int* experts,
    i64 n,
    int bins,
    int k,
    int* faults) {
  extern __shared__ int shared[];
  Digit digit = {experts, n, bins, 0, 0, -1, SORT_BY_EXPERT_EXPERT, faults};
  PutChoice put = {slotOf, rowOf, k};
  place(digit, counts, totals, bins, shared, put);
  if (blockIdx.x == 0) {
    for (int b = threadIdx.x; b < bins; b += THREADS) {
      offsets[b] = shared[b];
    }
    if (threadIdx.x == 0) {
      offsets[bins] = (int) n;
    }
  }
}

struct PutPair {
  int* keysOut;
  int* orderOut;
  const int* orderIn;

  DEVICE void operator()(i64 i, int key, int slot) const {
    keysOut[slot] = key;
    orderOut[slot] = orderIn == 0 ? (int) i : orderIn[i];
  }
};

extern "C" __global__ void __launch_bounds__(THREADS) placePairs(
    int* keysOut,
    int* orderOut,
    const int* counts,
    const int* totals,
    const int* keysIn,
    const int* orderIn,
    i64 n,
    i64 limit,
    int instead,
    int shift,
    int mask,
    int bins,
    int which,
    int* faults) {
  extern __shared__ int shared[];
  Digit digit = {keysIn, n, limit, instead, shift, mask, (IndexFault) which, faults};
  PutPair put = {keysOut, orderOut, orderIn};
  place(digit, counts, totals, bins, shared, put);
}
