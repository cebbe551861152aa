// Rows by index: gather, combine, scatter-add, and the backward pass of combine.
//
//   gatherRows            out[i] = in[index[i]], zeros where the index is refused
//   combineRows           out[r] (+)= Σ_j weights[r,j] · slots[slotOf[r,j]], in order of j
//   combineRowsBackward   dSlots[slotOf[r,j]] = weights[r,j] · dOut[r],
//                         dWeights[r,j] = Σ_c dOut[r,c] · slots[slotOf[r,j],c]
//   scatterRuns           table[key] += Σ dOut[order[p]] over the run of positions p with that key;
//                         runs of at most 32, in order of p. scatterLongRuns does the others
//
// Shapes: matrices [rows, width] of T; weights, dWeights and table F32; indexes I32. For the scatter,
// keys [n] ascend and order is what sorted them stably (sort.cu); keys outside the table are skipped.
// Launch: 256 threads; a row is for `lanes` neighbouring threads, a power of two up to 256.
// gatherRows, combineRows, scatterRuns: grid.x = rows (positions) / (256 / lanes), where scatterRuns
// has at least 32 lanes. combineRowsBackward: grid.x = choices / (256 / lanes), at most 32 lanes.
// scatterLongRuns: grid.x = positions / 32, grid.y = slabs of 32 accesses; 512 threads.
// Numerics: F32 inside; sums in an order given by the operands alone, no atomics.
// Aliasing: dSlots may be slots.
// Source: own. Any width and alignment: by 16 bytes where all rows start at such, else by elements.

template <typename A>
DEVICE void gatherRowsBy(
    T* out, const T* in, const int* index, i64 rows, i64 width, i64 limit, int lanes, int* faults) {
  Lanes at(lanes);
  i64 r = (i64) blockIdx.x * at.rows + at.row;
  if (r >= rows) {
    return;
  }
  int from = index[r];
  bool found = from >= 0 && from < limit;
  if (!found && at.lane == 0) {
    fault(faults, GATHER_ROWS_INDEX, r, from, limit);
  }
  const T* source = in + (found ? from : 0) * width;
  T* to = out + r * width;
  for (i64 c = at.lane * A::N; c < width; c += AHEAD * lanes * A::N) {
    typename A::Raw raw[AHEAD];
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      i64 i = c + u * lanes * A::N;
      raw[u] = typename A::Raw();
      if (i < width && found) {
        raw[u] = A::load(source + i);
      }
    }
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      i64 i = c + u * lanes * A::N;
      if (i < width) {
        A::store(to + i, raw[u]);
      }
    }
  }
}

extern "C" __global__ void gatherRows(
    T* out, const T* in, const int* index, i64 rows, i64 width, i64 limit, int lanes, int* faults) {
  if (wideRows(in, width) && aligned16(out)) {
    gatherRowsBy<Wide<T> >(out, in, index, rows, width, limit, lanes, faults);
  } else {
    gatherRowsBy<Single<T> >(out, in, index, rows, width, limit, lanes, faults);
  }
}

template <typename A>
DEVICE void combineRowsBy(
    T* out,
    const T* slots,
    const int* slotOf,
    const float* weights,
    int accumulate,
    i64 rows,
    int k,
    i64 width,
    int lanes,
    int* faults) {
  Lanes at(lanes);
  i64 r = (i64) blockIdx.x * at.rows + at.row;
  if (r >= rows) {
    return;
  }
  i64 limit = rows * k;
  const int* chosen = slotOf + r * k;
  for (int j = at.lane; j < k; j += lanes) {
    within(faults, COMBINE_ROWS_SLOT, r * k + j, chosen[j], limit);
  }
  for (i64 c = at.lane * A::N; c < width; c += lanes * A::N) {
    Pack<T> sum;
#pragma unroll
    for (int l = 0; l < A::N; l++) {
      sum.at[l] = 0.0f;
    }
    if (accumulate) {
      sum = A::floats(A::load(out + r * width + c));
    }
    for (int j = 0; j < k; j += AHEAD) {
      typename A::Raw raw[AHEAD];
      float weight[AHEAD];
#pragma unroll
      for (int u = 0; u < AHEAD; u++) {
        raw[u] = typename A::Raw();
        weight[u] = 0.0f;
        if (j + u < k) {
          int slot = chosen[j + u];
          if (slot >= 0 && slot < limit) {
            raw[u] = A::load(slots + slot * width + c);
            weight[u] = weights == 0 ? 1.0f : weights[r * k + j + u];
          }
        }
      }
#pragma unroll
      for (int u = 0; u < AHEAD; u++) {
        if (j + u < k) {
          Pack<T> x = A::floats(raw[u]);
#pragma unroll
          for (int l = 0; l < A::N; l++) {
            sum.at[l] += weight[u] * x.at[l];
          }
        }
      }
    }
    A::store(out + r * width + c, A::raw(sum));
  }
}

extern "C" __global__ void combineRows(
    T* out,
    const T* slots,
    const int* slotOf,
    const float* weights,
    int accumulate,
    i64 rows,
    int k,
    i64 width,
    int lanes,
    int* faults) {
  if (wideRows(slots, width) && aligned16(out)) {
    combineRowsBy<Wide<T> >(
        out, slots, slotOf, weights, accumulate, rows, k, width, lanes, faults);
  } else {
    combineRowsBy<Single<T> >(
        out, slots, slotOf, weights, accumulate, rows, k, width, lanes, faults);
  }
}

template <typename A>
DEVICE void combineRowsBackwardBy(
    T* dSlots,
    float* dWeights,
    const T* dOut,
    const T* slots,
    const int* slotOf,
    const float* weights,
    i64 choices,
    int k,
    i64 width,
    int lanes,
    int* faults) {
  Lanes at(lanes);
  i64 choice = (i64) blockIdx.x * at.rows + at.row;
  bool valid = choice < choices;
  int slot = valid ? slotOf[choice] : 0;
  if (valid && (slot < 0 || slot >= choices)) {
    if (at.lane == 0) {
      fault(faults, COMBINE_ROWS_BACKWARD_SLOT, choice, slot, choices);
    }
    slot = 0;
    valid = false;
  }
  // Threads without a slot stay for the sum.
  i64 end = valid ? width : 0;
  float weight = valid ? weights[choice] : 0.0f;
  const T* d = dOut + (valid ? choice / k : 0) * width;
  i64 row = slot * width;
  float dot = 0.0f;
  for (i64 c = at.lane * A::N; c < end; c += AHEAD * lanes * A::N) {
    typename A::Raw gradient[AHEAD];
    typename A::Raw value[AHEAD];
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      i64 i = c + u * lanes * A::N;
      if (i < end) {
        gradient[u] = A::load(d + i);
        value[u] = A::load(slots + row + i);
      }
    }
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      i64 i = c + u * lanes * A::N;
      if (i < end) {
        Pack<T> g = A::floats(gradient[u]);
        Pack<T> x = A::floats(value[u]);
#pragma unroll
        for (int l = 0; l < A::N; l++) {
          dot += g.at[l] * x.at[l];
          g.at[l] *= weight;
        }
        A::store(dSlots + row + i, A::raw(g));
      }
    }
  }
  dot = sumOf(dot, lanes);
  if (choice < choices && at.lane == 0) {
    dWeights[choice] = dot;
  }
}

extern "C" __global__ void combineRowsBackward(
    T* dSlots,
    float* dWeights,
    const T* dOut,
    const T* slots,
    const int* slotOf,
    const float* weights,
    i64 choices,
    int k,
    i64 width,
    int lanes,
    int* faults) {
  if (wideRows(dSlots, width) && aligned16(slots) && aligned16(dOut)) {
    combineRowsBackwardBy<Wide<T> >(
        dSlots, dWeights, dOut, slots, slotOf, weights, choices, k, width, lanes, faults);
  } else {
    combineRowsBackwardBy<Single<T> >(
        dSlots, dWeights, dOut, slots, slotOf, weights, choices, k, width, lanes, faults);
  }
}

// --- scatter -------------------------------------------------------------------------------------

#define LONGEST_SHORT_RUN 32
#define LONG_RUN_WARPS 16

template <typename A>
DEVICE void addTo(float (&sum)[A::N], typename A::Raw raw) {
  Pack<T> x = A::floats(raw);
#pragma unroll
  for (int l = 0; l < A::N; l++) {
    sum[l] += x.at[l];
  }
}

/** Adds rows first, first + stride, ... before last of dOut, by order, to sum. */
template <typename A>
DEVICE void addRun(
    float (&sum)[A::N], const T* dOut, const int* order, i64 first, i64 last, int stride, i64 width) {
  for (i64 p = first; p < last; p += AHEAD * stride) {
    typename A::Raw raw[AHEAD];
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      if (p + u * stride < last) {
        raw[u] = A::load(dOut + order[p + u * stride] * width);
      }
    }
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      if (p + u * stride < last) {
        addTo<A>(sum, raw[u]);
      }
    }
  }
}

/** N neighbouring values of F32, by 16 bytes where possible. */
template <int N>
DEVICE void loadFloats(float (&x)[N], const float* p, bool aligned) {
  if (N % 4 == 0 && aligned) {
#pragma unroll
    for (int l = 0; l < N; l += 4) {
      float4 raw = *reinterpret_cast<const float4*>(p + l);
      x[l] = raw.x;
      x[(l + 1) % N] = raw.y;
      x[(l + 2) % N] = raw.z;
      x[(l + 3) % N] = raw.w;
    }
  } else {
#pragma unroll
    for (int l = 0; l < N; l++) {
      x[l] = p[l];
    }
  }
}

template <int N>
DEVICE void storeFloats(float* p, const float (&x)[N], bool aligned) {
  if (N % 4 == 0 && aligned) {
#pragma unroll
    for (int l = 0; l < N; l += 4) {
      *reinterpret_cast<float4*>(p + l) =
          make_float4(x[l], x[(l + 1) % N], x[(l + 2) % N], x[(l + 3) % N]);
    }
  } else {
#pragma unroll
    for (int l = 0; l < N; l++) {
      p[l] = x[l];
    }
  }
}

template <typename A>
DEVICE void scatterRunsBy(
    float* table, const T* dOut, const int* keys, const int* order, i64 n, i64 width, i64 tableRows,
    int lanes) {
  Lanes at(lanes);
  i64 p = (i64) blockIdx.x * at.rows + at.row;
  if (p >= n) {
    return;
  }
  int key = keys[p];
  if (key >= tableRows || (p > 0 && keys[p - 1] == key)) {
    return;
  }
  i64 ahead = p + 1 + threadIdx.x % 32;
  u32 same = __ballot_sync(0xFFFFFFFFu, ahead < n && keys[ahead] == key);
  if (same == 0xFFFFFFFFu) {
    return;
  }
  i64 last = p + __ffs(~same);
  bool aligned = aligned16(table) && width % 4 == 0;
  float* to = table + key * width;
  // Two accesses at a time: most runs are of one row, and one load after another would be slow.
  i64 step = lanes * A::N;
  for (i64 c = at.lane * A::N; c < width; c += 2 * step) {
    bool both = c + step < width;
    float sum[A::N];
    float next[A::N] = {};
    loadFloats(sum, to + c, aligned);
    if (both) {
      loadFloats(next, to + c + step, aligned);
    }
    for (i64 q = p; q < last; q++) {
      const T* from = dOut + order[q] * width + c;
      typename A::Raw raw = A::load(from);
      typename A::Raw other = both ? A::load(from + step) : raw;
      addTo<A>(sum, raw);
      addTo<A>(next, other);
    }
    storeFloats(to + c, sum, aligned);
    if (both) {
      storeFloats(to + c + step, next, aligned);
    }
  }
}

extern "C" __global__ void scatterRuns(
    float* table,
    const T* dOut,
    const int* keys,
    const int* order,
    i64 n,
    i64 width,
    i64 tableRows,
    int lanes) {
  if (wideRows(dOut, width)) {
    scatterRunsBy<Wide<T> >(table, dOut, keys, order, n, width, tableRows, lanes);
  } else {
    scatterRunsBy<Single<T> >(table, dOut, keys, order, n, width, tableRows, lanes);
  }
}

template <typename A>
DEVICE void scatterLongRunsBy(
    float* table, const T* dOut, const int* keys, const int* order, i64 n, i64 width, i64 tableRows) {
  // A long run covers a multiple of its least length; the block of the first one it covers has it.
  i64 p = (i64) blockIdx.x * LONGEST_SHORT_RUN;
  int key = keys[p];
  if (key >= tableRows || (p > 0 && keys[p - LONGEST_SHORT_RUN] == key)) {
    return;
  }
  int lane = threadIdx.x % 32;
  int warp = threadIdx.x / 32;
  i64 before = p - 1 - lane;
  u32 same = __ballot_sync(0xFFFFFFFFu, before >= 0 && keys[before] == key);
  i64 first = p - (__ffs(~same) - 1);
  i64 last = p + 1;
  i64 high = n;
  while (last < high) {
    i64 middle = (last + high) / 2;
    if (keys[middle] == key) {
      last = middle + 1;
    } else {
      high = middle;
    }
  }
  if (last - first <= LONGEST_SHORT_RUN) {
    return;
  }
  i64 c = ((i64) blockIdx.y * 32 + lane) * A::N;
  float sum[A::N];
#pragma unroll
  for (int l = 0; l < A::N; l++) {
    sum[l] = 0.0f;
  }
  if (c < width) {
    addRun<A>(sum, dOut + c, order, first + warp, last, LONG_RUN_WARPS, width);
  }
  __shared__ float shared[LONG_RUN_WARPS][A::N][32];
#pragma unroll
  for (int l = 0; l < A::N; l++) {
    shared[warp][l][lane] = sum[l];
  }
  __syncthreads();
  if (warp < A::N && c + warp < width) {
    float all = 0.0f;
    for (int w = 0; w < LONG_RUN_WARPS; w++) {
      all += shared[w][warp][lane];
    }
    table[key * width + c + warp] += all;
  }
}

extern "C" __global__ void __launch_bounds__(32 * LONG_RUN_WARPS) scatterLongRuns(
    float* table,
    const T* dOut,
    const int* keys,
    const int* order,
    i64 n,
    i64 width,
    i64 tableRows) {
  if (wideRows(dOut, width)) {
    scatterLongRunsBy<Wide<T> >(table, dOut, keys, order, n, width, tableRows);
  } else {
    scatterLongRunsBy<Single<T> >(table, dOut, keys, order, n, width, tableRows);
  }
}
