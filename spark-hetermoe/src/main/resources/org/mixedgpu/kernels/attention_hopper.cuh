// What the kernels of attention for Hopper share: sizes and visibility, pieces of work, the layout
// of shared memory, scores and weighted sums of one warpgroup.
//
// Defines: HEAD, 64 or 128; CONSUMERS, warpgroups that compute, 64 rows each; OTHER, rows of the
// other side per step, 64 or 128; STAGES, tiles of the other side on their way.
// Tensor maps have rank 4, {HEAD, heads, rows, sequences}, and boxes of 64 columns (128-byte
// swizzle) of one head and 64 rows, or OTHER rows where the other side is read: rows after a sequence's last
// read as 0 and are not written.

#if !defined(HEAD) || !defined(CONSUMERS) || !defined(OTHER) || !defined(STAGES)
#error "HEAD, CONSUMERS, OTHER and STAGES must be defined"
#endif

constexpr int THREADS = (CONSUMERS + 1) * 128;
constexpr int OWN = CONSUMERS * 64;
constexpr int CHUNKS = HEAD / 64;
constexpr u32 OWN_BYTES = 64 * HEAD * 2;
constexpr u32 OWN_CHUNK = 64 * 128;
constexpr u32 OTHER_BYTES = OTHER * HEAD * 2;
constexpr u32 OTHER_CHUNK = OTHER * 128;
constexpr u32 LOADER_REGISTERS = CONSUMERS == 2 ? 24 : 32;
constexpr u32 CONSUMER_REGISTERS = CONSUMERS == 2 ? 240 : 160;
constexpr float LOG2E = 1.4426950408889634f;

/** Sizes that all kernels share, and which rows meet which. */
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

  /** Steps of OTHER keys that queries [query, query + OWN) go over, from the last to the first. */
  DEVICE int firstStep(int query) const {
    return firstKey(query) / OTHER;
  }

  DEVICE int lastStep(int query) const {
    return (min(query + OWN, queries) - 1 + offset()) / OTHER;
  }

  /** Steps of OTHER queries that keys [key, key + OWN) go over. */
  DEVICE int firstQueryStep(int key) const {
    return max(0, key - offset()) / OTHER;
  }

  DEVICE int lastQueryStep(int key) const {
    int last = queries - 1;
    if (window != 0) {
      last = min(last, key + OWN - 1 - offset() + window - 1);
    }
    return last < 0 ? -1 : last / OTHER;
  }

  /** Whether all queries of [query, query + queryCount) see all keys of [key, key + keyCount). */
  DEVICE bool allVisible(int query, int queryCount, int key, int keyCount) const {
    return key + keyCount - 1 <= query + offset()
        && (window == 0 || key > query + queryCount - 1 + offset() - window);
  }
};

/** One piece of work: OWN rows of one head of one sequence. */
struct Work {
  int sequence;
  int head;
  int row;

  /** The index-th; the largest pieces come first: those of the last rows, or of the first. */
  DEVICE bool at(int index, int heads, int rows, bool lastFirst, int sequences) {
    int all = heads * sequences;
    int tiles = (rows + OWN - 1) / OWN;
    int tile = index / all;
    sequence = index % all / heads;
    head = index % heads;
    row = (lastFirst ? tiles - 1 - tile : tile) * OWN;
    return index < tiles * all;
  }

  /** A block's next; every other round runs backwards, so that blocks get equal shares. */
  DEVICE bool take(int round, int heads, int rows, bool lastFirst, int sequences) {
    int position = round % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
    return at(round * gridDim.x + position, heads, rows, lastFirst, sequences);
  }
};

/** Shared memory, 1024-byte aligned: two own tiles, those of the other side, barriers. */
struct Layout {
  u32 own;
  u32 other;
  u32 behind;
  u32 barriers;

  DEVICE Layout(u32 start) {
    own = (start + 1023) & ~1023u;
    other = own + 2 * CONSUMERS * OWN_BYTES;
    behind = other + STAGES * 2 * OTHER_BYTES;
    barriers = behind + STAGES * (OTHER * 8);
  }

  DEVICE u32 otherA(int i) const { return other + i % STAGES * OTHER_BYTES; }
  DEVICE u32 otherB(int i) const { return otherA(i) + STAGES * OTHER_BYTES; }
  DEVICE u32 statistics(int i) const {
    return behind + i % STAGES * (OTHER * 8);
  }
  DEVICE u32 fullOwn() const { return barriers; }
  DEVICE u32 emptyOwn() const { return barriers + 8; }
  DEVICE u32 fullA(int i) const { return barriers + 16 + i % STAGES * 32; }
  DEVICE u32 emptyA(int i) const { return fullA(i) + 8; }
  DEVICE u32 fullB(int i) const { return fullA(i) + 16; }
  DEVICE u32 emptyB(int i) const { return fullA(i) + 24; }

  /** All threads call; a tile is empty when each warp that computes, and `others`, have said so. */
  DEVICE void initialise(int others) const {
    if (threadIdx.x == 0) {
      initBarrier(fullOwn(), 1);
      initBarrier(emptyOwn(), CONSUMERS * 4 + others);
      for (int i = 0; i < STAGES; i++) {
        initBarrier(fullA(i), 1);
        initBarrier(emptyA(i), CONSUMERS * 4);
        initBarrier(fullB(i), 1);
        initBarrier(emptyB(i), CONSUMERS * 4);
      }
      fenceAsync();
    }
    __syncthreads();
  }
};

/** Parity of the i-th use of one of STAGES stages. */
DEVICE u32 parity(int i) {
  return i / STAGES & 1;
}

DEVICE void loadOwn(u32 to, const TensorMap& map, u32 full, int head, int row, int sequence) {
#pragma unroll 1
  for (int i = 0; i < CONSUMERS * CHUNKS; i++) {
    loadTile(to + i * OWN_CHUNK, map, full, i % CHUNKS * 64, head, row + i / CHUNKS * 64, sequence);
  }
}

/** The count-th tile of the other side, when its place is empty. */
DEVICE void loadOther(
    u32 to, const TensorMap& map, u32 full, u32 empty, int count, int head, int row, int sequence) {
  await(empty, parity(count) ^ 1);
  expectBytes(full, OTHER_BYTES);
#pragma unroll 1
  for (int c = 0; c < CHUNKS; c++) {
    loadTile(to + c * OTHER_CHUNK, map, full, c * 64, head, row, sequence);
  }
}

template <int N>
DEVICE void zero(float (&sums)[N][4]) {
#pragma unroll
  for (int i = 0; i < N; i++) {
    sums[i][0] = sums[i][1] = sums[i][2] = sums[i][3] = 0;
  }
}

typedef float Scores[OTHER / 8][4];

/** scores = the warpgroup's queries · keysᵀ, started. */
DEVICE void startScores(Scores& scores, u32 ownQ, u32 otherK) {
  u64 a = describe(ownQ, 16);
  u64 b = describe(otherK, 16);
  multiplyFirst(scores, a, b);
#pragma unroll
  for (int d = 1; d < HEAD / 16; d++) {
    multiplyAdd(
        scores,
        a + ((d / 4 * OWN_CHUNK + d % 4 * 32) >> 4),
        b + ((d / 4 * OTHER_CHUNK + d % 4 * 32) >> 4));
  }
}

/** sums += weights · values, started. */
DEVICE void startSums(float (&sums)[HEAD / 8][4], const u32 (&weights)[OTHER / 16][4], u32 otherV) {
  u64 b = describe(otherV, OTHER_CHUNK);
#pragma unroll
  for (int i = 0; i < OTHER / 16; i++) {
    multiplyAdd(sums, weights[i], b + (i * 2048 >> 4));
  }
}

/** Elements that a query does not see become `hidden`; row is a thread's first query. */
DEVICE void mask(Scores& scores, const Sizes& sizes, int row, int key, float hidden) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int last = row + i / 2 * 8 + sizes.offset() - key;
    int before = sizes.window == 0 ? -1 : last - sizes.window;
#pragma unroll
    for (int j = 0; j < OTHER / 8; j++) {
      int column = j * 8 + threadIdx.x % 4 * 2 + i % 2;
      if (column > last || column <= before) {
        scores[j][i] = hidden;
      }
    }
  }
}

DEVICE void packWeights(u32 (&packed)[OTHER / 16][4], const Scores& weights) {
#pragma unroll
  for (int i = 0; i < OTHER / 16; i++) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const float* pair = &weights[2 * i + j / 2][j % 2 * 2];
      packed[i][j] = packPair(pair[0], pair[1], T());
    }
  }
}

/** A warpgroup's 64 rows, each half of a fragment times its factor, through shared memory. */
DEVICE void storeOwn(
    const TensorMap& map,
    u32 own,
    const float (&sums)[HEAD / 8][4],
    float factor0,
    float factor1,
    const Work& work,
    int row,
    int rows,
    int barrier) {
  int lane = threadIdx.x % 32;
  turn(barrier, 128);
  u32 to = own + (threadIdx.x % 128 / 32 * 16 + lane / 4) * 128 + lane % 4 * 4;
#pragma unroll
  for (int i = 0; i < HEAD / 8; i++) {
    u32 at = to + i / 8 * OWN_CHUNK + (i % 8 ^ lane / 4) * 16;
    storeShared(at, packPair(sums[i][0] * factor0, sums[i][1] * factor0, T()));
    storeShared(at + 1024, packPair(sums[i][2] * factor1, sums[i][3] * factor1, T()));
  }
  fenceAsync();
  turn(barrier, 128);
  if (threadIdx.x % 128 == 0 && row < rows) {
#pragma unroll
    for (int c = 0; c < CHUNKS; c++) {
      storeTile(map, own + c * OWN_CHUNK, c * 64, work.head, row, work.sequence);
    }
    commitStores();
  }
}

/** Elements whose query does not see their key become 0; row is a thread's first key. */
DEVICE void maskQueries(Scores& weights, const Sizes& sizes, int row, int query) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int first = row + i / 2 * 8 - sizes.offset() - query;
    int after = sizes.window == 0 ? 0x7FFFFFFF : first + sizes.window;
#pragma unroll
    for (int j = 0; j < OTHER / 8; j++) {
      int column = j * 8 + threadIdx.x % 4 * 2 + i % 2;
      if (column < first || column >= after) {
        weights[j][i] = 0;
      }
    }
  }
}
