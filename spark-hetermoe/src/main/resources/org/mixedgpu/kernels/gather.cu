// Rows by index: gather, combine, and the backward pass of combine.
//
//   gatherRows            out[i] = in[index[i]], zeros where the index is refused
//   combineRows           out[r] (+)= Σ_j weights[r,j] · slots[slotOf[r,j]], in order of j
//   combineRowsBackward   dSlots[slotOf[r,j]] = weights[r,j] · dOut[r],
//                         dWeights[r,j] = Σ_c dOut[r,c] · slots[slotOf[r,j],c]
//
// Shapes: matrices [rows, width] of T; weights and dWeights F32; indexes I32.
// Launch: 256 threads; a row is for `lanes` neighbouring threads, a power of two up to 256.
// gatherRows, combineRows: grid.x = rows / (256 / lanes). combineRowsBackward: grid.x = choices /
// (256 / lanes), at most 32 lanes.
// Numerics: F32 inside; sums in an order given by the operands alone.
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
