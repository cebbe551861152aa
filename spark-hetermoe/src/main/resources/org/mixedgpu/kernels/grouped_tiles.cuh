// Which tile of which group is whose: shared by the grouped_gemm kernels.
//
// Groups are rows [offsets[e], offsets[e+1]). Their sizes are known on the device only, so the grid
// is as large as the device and every warp finds tile number t by itself: 32 groups at a time, a
// prefix sum over their numbers of tiles. Tiles of a group lie in bands of BAND row tiles, down
// first, so that what runs at the same time shares operands in the L2 cache.
//
// Offsets that descend or leave the rows are reported and their groups count as empty. A group
// without rows has no tiles, or all of its weight gradient's where that is to be overwritten.

struct Tile {
  int expert;
  int begin;  // first row of the group
  int end;    // row after its last
  int m;      // index of the tile down the result
  int n;      // index of the tile across the result
};

template <int BAND>
struct TileWalk {
  const int* offsets;
  int experts;
  int rows;
  int tileRows;    // rows of a group to a tile; 0 where each group with rows has mTiles of them
  int mTiles;
  int emptyTiles;  // of a group without rows
  int nTiles;
  int* faults;
  IndexFault which;

  int base;    // first expert of the window of 32
  int before;  // tiles before the window
  int lo, hi;  // of this lane's expert
  int upto;    // tiles of the window up to and with this lane's expert
  int count;   // of them, this lane's

  DEVICE int down(int groupRows) const {
    if (groupRows == 0) {
      return emptyTiles;
    }
    return tileRows == 0 ? mTiles : (groupRows + tileRows - 1) / tileRows;
  }

  DEVICE void window() {
    int lane = threadIdx.x % 32;
    int e = base + lane;
    lo = e < experts ? offsets[e] : 0;
    hi = e < experts ? offsets[e + 1] : 0;
    bool low = lo < 0 || lo > rows;
    bool bad = low || hi < lo || hi > rows;
    u32 refused = __ballot_sync(0xFFFFFFFFu, bad);
    if (refused != 0 && lane == __ffs(refused) - 1) {
      bool descends = !low && hi >= 0 && hi <= rows;
      fault(faults, which, low ? e : e + 1, low ? lo : hi, descends ? lo : rows);
    }
    lo = bad ? 0 : lo;
    hi = bad ? 0 : hi;
    count = e < experts ? down(hi - lo) * nTiles : 0;
    upto = count;
    for (int step = 1; step < 32; step *= 2) {
      int left = __shfl_up_sync(0xFFFFFFFFu, upto, step);
      upto += lane >= step ? left : 0;
    }
  }

  DEVICE void start() {
    base = 0;
    before = 0;
    window();
  }

  /** Tile t, or false where there are fewer; t must not fall from call to call. All lanes call. */
  DEVICE bool find(int t, Tile& tile) {
    int total = __shfl_sync(0xFFFFFFFFu, upto, 31);
    while (t >= before + total) {
      if (base + 32 >= experts) {
        return false;
      }
      before += total;
      base += 32;
      window();
      total = __shfl_sync(0xFFFFFFFFu, upto, 31);
    }
    int owner = __ffs(__ballot_sync(0xFFFFFFFFu, t < before + upto)) - 1;
    tile.expert = base + owner;
    tile.begin = __shfl_sync(0xFFFFFFFFu, lo, owner);
    tile.end = __shfl_sync(0xFFFFFFFFu, hi, owner);
    int local = t - before - __shfl_sync(0xFFFFFFFFu, upto - count, owner);
    int band = local / (BAND * nTiles);
    int inBand = local - band * BAND * nTiles;
    int height = min(BAND, down(tile.end - tile.begin) - band * BAND);
    tile.n = inBand / height;
    tile.m = band * BAND + inBand - tile.n * height;
    return true;
  }
};

template <int BAND>
DEVICE TileWalk<BAND> tileWalk(
    const int* offsets,
    int experts,
    int rows,
    int tileRows,
    int mTiles,
    int emptyTiles,
    int nTiles,
    int* faults,
    IndexFault which) {
  TileWalk<BAND> walk;
  walk.offsets = offsets;
  walk.experts = experts;
  walk.rows = rows;
  walk.tileRows = tileRows;
  walk.mTiles = mTiles;
  walk.emptyTiles = emptyTiles;
  walk.nTiles = nTiles;
  walk.faults = faults;
  walk.which = which;
  walk.start();
  return walk;
}

/** The tiles of out[rows of each group, cols]. */
template <int BAND>
DEVICE TileWalk<BAND> rowTiles(
    const int* offsets, int experts, int rows, int cols, int tileRows, int tileCols, int* faults) {
  return tileWalk<BAND>(
      offsets,
      experts,
      rows,
      tileRows,
      0,
      0,
      (cols + tileCols - 1) / tileCols,
      faults,
      GROUPED_MATMUL_OFFSETS);
}

/** The tiles of dW[e,n,k]; those of groups without rows only where it is overwritten. */
template <int BAND>
DEVICE TileWalk<BAND> gradientTiles(
    const int* offsets,
    int experts,
    int rows,
    int n,
    int k,
    int tileRows,
    int tileCols,
    bool accumulate,
    int* faults) {
  int down = (n + tileRows - 1) / tileRows;
  return tileWalk<BAND>(
      offsets,
      experts,
      rows,
      0,
      down,
      accumulate ? 0 : down,
      (k + tileCols - 1) / tileCols,
      faults,
      GROUPED_MATMUL_WEIGHT_GRADIENT_OFFSETS);
}
