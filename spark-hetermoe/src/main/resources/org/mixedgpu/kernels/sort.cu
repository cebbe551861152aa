// A stable counting sort by small numbers: of a router's choices by expert, and, digit by digit, of
// row numbers by table index.
//
//   countTiles     counts[tile, bin] = how many keys of a tile are in the bin
//   placeChoices   slotOf[i] = the slot of choice i, rowOf[slot] = i / k, offsets[bin] = first slot
//   placePairs     keysOut[slot] = key, orderOut[slot] = orderIn[i], or i where that is null; counts
//                  the next digit's bins by tiles of slots, for the next placePairs
//
// The bin of a key is (key >> shift) & mask. A key outside [0, limit) is a fault and counts as
// `instead`, so that nothing is written out of bounds.
// Shapes: all I32; n keys in tiles of 2^tileBits, which are one or more rounds of 2048; counts
// [tiles, bins]. There are few tiles, so that each block of place* adds up by itself what lies before
// its own.
// Launch: 256 threads, grid.x = tiles. Shared bytes: countTiles 4 · bins, place* 36 · bins. With one
// tile place* does it all, and counts is null. countTiles also zeros `zeros` integers behind counts,
// where placePairs counts the next digits; next is null for the last digit.
// Numerics: integers; atomics only where the order cannot be seen. Stable: within a warp by lane,
// within a round by warp, and rounds and tiles by number.
// Source: own, after the usual radix sort's ranking by matching lanes.

#define THREADS 256
#define WARPS 8
#define ITEMS 8
#define ROUND_BITS 11

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
    int tileBits,
    int zeros,
    int which,
    int* faults) {
  extern __shared__ int histogram[];
  Digit digit = {keys, n, limit, instead, shift, mask, (IndexFault) which, faults};
  for (int b = threadIdx.x; b < bins; b += THREADS) {
    histogram[b] = 0;
  }
  int* behind = counts + (i64) gridDim.x * bins;
  for (int i = blockIdx.x * THREADS + threadIdx.x; i < zeros; i += gridDim.x * THREADS) {
    behind[i] = 0;
  }
  __syncthreads();
  i64 first = ((i64) blockIdx.x << tileBits) + threadIdx.x;
  for (int round = 0; round < 1 << (tileBits - ROUND_BITS); round++) {
#pragma unroll
    for (int u = 0; u < ITEMS; u++) {
      i64 i = first + (round << ROUND_BITS) + u * THREADS;
      if (i < n) {
        atomicAdd(histogram + digit.bin(digit.key(i)), 1);
      }
    }
  }
  __syncthreads();
  for (int b = threadIdx.x; b < bins; b += THREADS) {
    counts[(i64) blockIdx.x * bins + b] = histogram[b];
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

/** The keys of one round, and how many of the same bin come before each in its warp. */
struct Ranks {
  int keys[ITEMS];
  int rank[ITEMS];

  /** ranks [warps, bins] get how many keys of each bin each warp has. */
  DEVICE void count(const Digit& digit, i64 first, int bins, int* ranks) {
    for (int b = threadIdx.x; b < WARPS * bins; b += THREADS) {
      ranks[b] = 0;
    }
    __syncthreads();
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int u = 0; u < ITEMS; u++) {
      keys[u] = first + u * 32 < digit.n ? digit.key(first + u * 32) : -1;
    }
    int* mine = ranks + threadIdx.x / 32 * bins;
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
  }
};

/** How many keys of a bin all tiles have, and those before this block's. */
DEVICE void addTiles(const int* counts, int bins, int bin, int& all, int& before) {
  all = 0;
  before = 0;
#pragma unroll 8
  for (int tile = 0; tile < gridDim.x; tile++) {
    int count = counts[(i64) tile * bins + bin];
    all += count;
    before += tile < blockIdx.x ? count : 0;
  }
}

/**
 * Calls put(i, key, slot) for each key of this block's tile; offsets gets the first slot of each bin
 * unless it is null. shared: [1 + warps, bins].
 */
template <typename Put>
DEVICE void place(
    const Digit& digit,
    const int* counts,
    int bins,
    int tileBits,
    int* shared,
    int* offsets,
    Put put) {
  int* next = shared;  // the slot of the next key of each bin
  int* ranks = shared + bins;
  Ranks found;
  i64 first = ((i64) blockIdx.x << tileBits) + threadIdx.x / 32 * (ITEMS * 32) + threadIdx.x % 32;
#pragma unroll 1
  for (int round = 0; round < 1 << (tileBits - ROUND_BITS); round++) {
    found.count(digit, first, bins, ranks);
    int before = 0;
    for (int group = 0; group < bins; group += THREADS) {
      int b = group + threadIdx.x;
      int own = 0;
      for (int w = 0; b < bins && w < WARPS; w++) {
        own += ranks[w * bins + b];
      }
      if (round == 0) {
        // Where the bin begins: behind all lower bins, then behind earlier tiles.
        int all = own;
        int earlier = 0;
        if (b < bins && counts != 0) {
          addTiles(counts, bins, b, all, earlier);
        }
        int total;
        int slot = before + sumBefore(all, total);
        before += total;
        if (b < bins) {
          next[b] = slot + earlier;
          if (offsets != 0 && blockIdx.x == 0) {
            offsets[b] = slot;
          }
        }
      }
      if (b < bins) {
        // Turns each warp's counts into first slots.
        int slot = next[b];
        next[b] = slot + own;
        for (int w = 0; w < WARPS; w++) {
          int count = ranks[w * bins + b];
          ranks[w * bins + b] = slot;
          slot += count;
        }
      }
    }
    __syncthreads();
    int* mine = ranks + threadIdx.x / 32 * bins;
#pragma unroll
    for (int u = 0; u < ITEMS; u++) {
      i64 i = first + u * 32;
      if (i < digit.n) {
        put(i, found.keys[u], mine[digit.bin(found.keys[u])] + found.rank[u]);
      }
    }
    first += 1 << ROUND_BITS;
    __syncthreads();
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

extern "C" __global__ void __launch_bounds__(THREADS, 1) placeChoices(
    int* slotOf,
    int* rowOf,
    int* offsets,
    const int* counts,
    const int* experts,
    i64 n,
    int bins,
    int tileBits,
    int k,
    int* faults) {
  extern __shared__ int shared[];
  Digit digit = {experts, n, bins, 0, 0, -1, SORT_BY_EXPERT_EXPERT, faults};
  PutChoice put = {slotOf, rowOf, k};
  place(digit, counts, bins, tileBits, shared, offsets, put);
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    offsets[bins] = (int) n;
  }
}

struct PutPair {
  int* keysOut;
  int* orderOut;
  const int* orderIn;
  int* next;  // counts [tiles, bins] of the next digit, or null
  int nextShift;
  int mask;
  int bins;
  int tileBits;

  DEVICE void operator()(i64 i, int key, int slot) const {
    keysOut[slot] = key;
    orderOut[slot] = orderIn == 0 ? (int) i : orderIn[i];
    if (next != 0) {
      atomicAdd(next + (slot >> tileBits) * bins + ((key >> nextShift) & mask), 1);
    }
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1) placePairs(
    int* keysOut,
    int* orderOut,
    const int* counts,
    int* next,
    const int* keysIn,
    const int* orderIn,
    i64 n,
    i64 limit,
    int instead,
    int shift,
    int nextShift,
    int mask,
    int bins,
    int tileBits,
    int which,
    int* faults) {
  extern __shared__ int shared[];
  Digit digit = {keysIn, n, limit, instead, shift, mask, (IndexFault) which, faults};
  PutPair put = {keysOut, orderOut, orderIn, next, nextShift, mask, bins, tileBits};
  place(digit, counts, bins, tileBits, shared, (int*) 0, put);
}
