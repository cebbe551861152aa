// Bias, gate and sums by column, and their backward passes.
//
//   addBias            x[r,c] += bias[c]
//   addGated           out[r,c] += sigmoid(gate[r]) · x[r,c]
//   addGatedBackward   dX[r,c] = s · dOut[r,c], dGate[r] = s (1 − s) Σ_c dOut[r,c] · x[r,c]
//   columnSums         partial[p,c] = Σ x[r,c] over the rows of part p; addPartials finishes:
//                      out[c] (+)= Σ_p partial[p,c]. Together addBiasBackward and sumRows
//
// Shapes: matrices [rows, width] of T, bias [width] and gate [rows] of T; partial and out F32.
// Launch: 256 threads. A row is for `lanes` neighbouring threads, a power of two up to 256.
// addGatedBackward: grid.x = rows / (256 / lanes). The others: grid.x = parts of rowsPerBlock rows,
// grid.y = slabs of columns, one access per lane. addPartials: 1024 threads, grid.x = width / 32.
// Numerics: F32 inside; sums in an order given by the launch alone.
// Aliasing: dX may be dOut.
// Source: own. Any width and alignment: by 16 bytes where all rows start at such, else by elements.

// --- bias and gate -------------------------------------------------------------------------------

/** f(values, row, values of x there) on out, over the rows and columns of this block. */
template <typename A, typename F>
DEVICE void update(T* out, const T* x, i64 rows, i64 width, int lanes, int rowsPerBlock, F f) {
  Lanes at(lanes);
  i64 c = ((i64) blockIdx.y * lanes + at.lane) * A::N;
  if (c >= width) {
    return;
  }
  i64 end = min(rows, (i64) (blockIdx.x + 1) * rowsPerBlock);
  for (i64 r = (i64) blockIdx.x * rowsPerBlock + at.row; r < end; r += AHEAD * at.rows) {
    typename A::Raw old[AHEAD];
    typename A::Raw add[AHEAD];
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      i64 i = (r + u * at.rows) * width + c;
      if (r + u * at.rows < end) {
        old[u] = A::load(out + i);
        add[u] = x == 0 ? old[u] : A::load(x + i);
      }
    }
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      if (r + u * at.rows < end) {
        Pack<T> sum = A::floats(old[u]);
        Pack<T> other = A::floats(add[u]);
        f(sum, other, r + u * at.rows);
        A::store(out + (r + u * at.rows) * width + c, A::raw(sum));
      }
    }
  }
}

template <typename A>
struct AddBias {
  Pack<T> bias;

  DEVICE void operator()(Pack<T>& sum, const Pack<T>&, i64) const {
#pragma unroll
    for (int l = 0; l < A::N; l++) {
      sum.at[l] += bias.at[l];
    }
  }
};

template <typename A>
DEVICE void addBiasBy(T* x, const T* bias, i64 rows, i64 width, int lanes, int rowsPerBlock) {
  i64 c = ((i64) blockIdx.y * lanes + Lanes(lanes).lane) * A::N;
  AddBias<A> f;
  if (c < width) {
    f.bias = A::floats(A::load(bias + c));
  }
  update<A>(x, (const T*) 0, rows, width, lanes, rowsPerBlock, f);
}

extern "C" __global__ void addBias(
    T* x, const T* bias, i64 rows, i64 width, int lanes, int rowsPerBlock) {
  if (wideRows(x, width) && aligned16(bias)) {
    addBiasBy<Wide<T> >(x, bias, rows, width, lanes, rowsPerBlock);
  } else {
    addBiasBy<Single<T> >(x, bias, rows, width, lanes, rowsPerBlock);
  }
}

template <typename A>
struct AddGated {
  const T* gate;

  DEVICE void operator()(Pack<T>& sum, const Pack<T>& x, i64 r) const {
    float s = sigmoid(widen(gate[r]));
#pragma unroll
    for (int l = 0; l < A::N; l++) {
      sum.at[l] += s * x.at[l];
    }
  }
};

extern "C" __global__ void addGated(
    T* out, const T* x, const T* gate, i64 rows, i64 width, int lanes, int rowsPerBlock) {
  if (wideRows(out, width) && aligned16(x)) {
    AddGated<Wide<T> > f = {gate};
    update<Wide<T> >(out, x, rows, width, lanes, rowsPerBlock, f);
  } else {
    AddGated<Single<T> > f = {gate};
    update<Single<T> >(out, x, rows, width, lanes, rowsPerBlock, f);
  }
}

template <typename A>
DEVICE void addGatedBackwardBy(
    T* dX, T* dGate, const T* dOut, const T* x, const T* gate, i64 rows, i64 width, int lanes) {
  Lanes at(lanes);
  i64 r = (i64) blockIdx.x * at.rows + at.row;
  // Threads beyond the last row stay for the sum.
  i64 end = r < rows ? width : 0;
  i64 row = r * width;
  float s = r < rows ? sigmoid(widen(gate[r])) : 0.0f;
  float dot = 0.0f;
  for (i64 c = at.lane * A::N; c < end; c += AHEAD * lanes * A::N) {
    typename A::Raw d[AHEAD];
    typename A::Raw v[AHEAD];
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      i64 i = c + u * lanes * A::N;
      if (i < end) {
        d[u] = A::load(dOut + row + i);
        v[u] = A::load(x + row + i);
      }
    }
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      i64 i = c + u * lanes * A::N;
      if (i < end) {
        Pack<T> a = A::floats(d[u]);
        Pack<T> b = A::floats(v[u]);
#pragma unroll
        for (int l = 0; l < A::N; l++) {
          dot += a.at[l] * b.at[l];
          a.at[l] *= s;
        }
        A::store(dX + row + i, A::raw(a));
      }
    }
  }
  dot = sumOf(dot, lanes);
  if (r < rows && at.lane == 0) {
    dGate[r] = narrow<T>(dot * s * (1.0f - s));
  }
}

extern "C" __global__ void addGatedBackward(
    T* dX, T* dGate, const T* dOut, const T* x, const T* gate, i64 rows, i64 width, int lanes) {
  if (wideRows(dX, width) && aligned16(dOut) && aligned16(x)) {
    addGatedBackwardBy<Wide<T> >(dX, dGate, dOut, x, gate, rows, width, lanes);
  } else {
    addGatedBackwardBy<Single<T> >(dX, dGate, dOut, x, gate, rows, width, lanes);
  }
}

// --- sums by column ------------------------------------------------------------------------------

/** Rows of columnSums that a thread has in flight: it does little else than wait for them. */
#define SUM_AHEAD 8

/** sum += the next `count` rows, at most SUM_AHEAD, `step` elements from one to the next. */
template <typename A, bool ALL>
DEVICE void addRows(float (&sum)[A::N], const T* from, i64 step, i64 count) {
  typename A::Raw raw[SUM_AHEAD];
#pragma unroll
  for (int u = 0; u < SUM_AHEAD; u++) {
    if (ALL || u < count) {
      raw[u] = A::load(from + u * step);
    }
  }
#pragma unroll
  for (int u = 0; u < SUM_AHEAD; u++) {
    if (ALL || u < count) {
      Pack<T> v = A::floats(raw[u]);
#pragma unroll
      for (int l = 0; l < A::N; l++) {
        sum[l] += v.at[l];
      }
    }
  }
}

template <typename A>
DEVICE void columnSumsBy(
    float* partial, const T* x, i64 rows, i64 width, int lanes, int rowsPerBlock) {
  Lanes at(lanes);
  i64 first = (i64) blockIdx.y * lanes * A::N;
  i64 c = first + at.lane * A::N;
  i64 begin = (i64) blockIdx.x * rowsPerBlock + at.row;
  i64 end = min(rows, (i64) (blockIdx.x + 1) * rowsPerBlock);
  i64 count = c < width && begin < end ? (end - begin + at.rows - 1) / at.rows : 0;
  float sum[A::N];
#pragma unroll
  for (int l = 0; l < A::N; l++) {
    sum[l] = 0.0f;
  }
  const T* from = x + begin * width + c;
  i64 step = at.rows * width;
  for (; count >= SUM_AHEAD; count -= SUM_AHEAD) {
    addRows<A, true>(sum, from, step, count);
    from += SUM_AHEAD * step;
  }
  addRows<A, false>(sum, from, step, count);
  // Through shared memory, so that neighbours write neighbours.
  __shared__ __align__(16) float shared[256 * A::N];
#pragma unroll
  for (int l = 0; l < A::N; l++) {
    shared[threadIdx.x * A::N + l] = sum[l];
  }
  __syncthreads();
  int columns = lanes * A::N;
  for (int i = threadIdx.x; i < columns && first + i < width; i += 256) {
    float all = 0.0f;
    for (int row = 0; row < at.rows; row++) {
      all += shared[row * columns + i];
    }
    partial[blockIdx.x * width + first + i] = all;
  }
}

/** 256 threads. */
extern "C" __global__ void columnSums(
    float* partial, const T* x, i64 rows, i64 width, int lanes, int rowsPerBlock) {
  if (wideRows(x, width)) {
    columnSumsBy<Wide<T> >(partial, x, rows, width, lanes, rowsPerBlock);
  } else {
    columnSumsBy<Single<T> >(partial, x, rows, width, lanes, rowsPerBlock);
  }
}

/** 32 columns per block of 1024 threads; accumulate 0 overwrites out. */
extern "C" __global__ void __launch_bounds__(1024) addPartials(
    float* out, const float* partial, int parts, i64 width, int accumulate) {
  __shared__ float shared[32][33];
  int lane = threadIdx.x % 32;
  int group = threadIdx.x / 32;
  i64 c = (i64) blockIdx.x * 32 + lane;
  float sum = 0.0f;
  if (c < width) {
#pragma unroll 8
    for (int p = group; p < parts; p += 32) {
      sum += partial[p * width + c];
    }
  }
  shared[group][lane] = sum;
  __syncthreads();
  // Each warp adds one column: 32 groups by their fixed tree.
  sum = sumOf(shared[lane][group], 32);
  c = (i64) blockIdx.x * 32 + group;
  if (lane == 0 && c < width) {
    out[c] = accumulate ? out[c] + sum : sum;
  }
}
