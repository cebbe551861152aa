// Root-mean-square norm of rows, and its backward pass.
//
//   rmsNorm           out = x · inverse · gain, inverse = (mean(x²) + epsilon)^-½, saved if asked for
//   rmsNormBackward   with g = dOut · gain and dot = Σ_c g · x:
//                     dX = inverse · g − x · inverse³ / width · dot,
//                     partial[b,c] = Σ dOut · x · inverse over the rows of block b
//   rmsNormBackwardX  the same dX for any width; gainSums the same partial
//
// Shapes: x, out, dX, dOut [rows, width] of T; gain [width], inverse [rows] and partial F32;
// addPartials (rows.cu) finishes dGain [width] F32.
// Launch: a row is for `lanes` neighbouring threads, a power of two; a block has max(lanes, 128)
// threads. rmsNorm, rmsNormBackwardX: grid.x = rows / rows per block. rmsNormBackward: any grid.x,
// which is the number of partials. gainSums: 256 threads, grid.x = parts of rowsPerBlock rows, grid.y
// = slabs of lanes columns.
// Numerics: F32 inside; sums in an order given by the launch alone.
// Aliasing: out may be x, dX may be dOut.
// Source: own. rmsNorm takes any width and alignment. rmsNormBackward assumes rows at 16 bytes, gain
// too, at most 512 lanes, and width <= lanes · VECTORS · 16 / size of T; a row then stays in registers between its passes.

/** Accesses of a row that a thread keeps. */
#define VECTORS 4

/** Most threads of rmsNormBackward, whose sums need registers. */
#define BACKWARD_THREADS 512

/** The gains of an access's elements; an address that suits the access to T suits these too. */
DEVICE void gains(float* g, const float* from, Wide<T>) {
#pragma unroll
  for (int l = 0; l < Wide<T>::N; l += 4) {
    float4 raw = *reinterpret_cast<const float4*>(from + l);
    g[l] = raw.x;
    g[l + 1] = raw.y;
    g[l + 2] = raw.z;
    g[l + 3] = raw.w;
  }
}

DEVICE void gains(float* g, const float* from, Single<T>) {
  g[0] = *from;
}

template <typename A>
DEVICE void rmsNormBy(
    T* out, float* inverseRms, const T* x, const float* gain, i64 rows, i64 width, float epsilon,
    int lanes) {
  Lanes at(lanes);
  i64 r = (i64) blockIdx.x * at.rows + at.row;
  // Threads beyond the last row stay for the sum.
  i64 end = r < rows ? width : 0;
  const T* from = x + r * width;
  T* to = out + r * width;
  typename A::Raw raw[VECTORS];
  float sum = 0.0f;
#pragma unroll
  for (int u = 0; u < VECTORS; u++) {
    i64 c = (at.lane + u * lanes) * A::N;
    if (c < end) {
      raw[u] = A::load(from + c);
    }
  }
#pragma unroll
  for (int u = 0; u < VECTORS; u++) {
    if ((at.lane + u * lanes) * A::N < end) {
      Pack<T> v = A::floats(raw[u]);
#pragma unroll
      for (int l = 0; l < A::N; l++) {
        sum += v.at[l] * v.at[l];
      }
    }
  }
  // What the registers do not hold is read twice.
  i64 rest = (at.lane + VECTORS * lanes) * A::N;
  for (i64 c = rest; c < end; c += lanes * A::N) {
    Pack<T> v = A::floats(A::load(from + c));
#pragma unroll
    for (int l = 0; l < A::N; l++) {
      sum += v.at[l] * v.at[l];
    }
  }
  float inverse = 1.0f / sqrtf(sumOf(sum, lanes) / width + epsilon);
#pragma unroll
  for (int u = 0; u < VECTORS; u++) {
    i64 c = (at.lane + u * lanes) * A::N;
    if (c < end) {
      Pack<T> v = A::floats(raw[u]);
      float g[A::N];
      gains(g, gain + c, A());
#pragma unroll
      for (int l = 0; l < A::N; l++) {
        v.at[l] = v.at[l] * inverse * g[l];
      }
      A::store(to + c, A::raw(v));
    }
  }
  for (i64 c = rest; c < end; c += lanes * A::N) {
    Pack<T> v = A::floats(A::load(from + c));
    float g[A::N];
    gains(g, gain + c, A());
#pragma unroll
    for (int l = 0; l < A::N; l++) {
      v.at[l] = v.at[l] * inverse * g[l];
    }
    A::store(to + c, A::raw(v));
  }
  if (inverseRms != 0 && r < rows && at.lane == 0) {
    inverseRms[r] = inverse;
  }
}

// As many threads as CudaNorm may ask for: without this bound a compiler may take more registers.
extern "C" __global__ void __launch_bounds__(1024) rmsNorm(
    T* out, float* inverseRms, const T* x, const float* gain, i64 rows, i64 width, float epsilon,
    int lanes) {
  if (wideRows(x, width) && aligned16(out) && aligned16(gain)) {
    rmsNormBy<Wide<T> >(out, inverseRms, x, gain, rows, width, epsilon, lanes);
  } else {
    rmsNormBy<Single<T> >(out, inverseRms, x, gain, rows, width, epsilon, lanes);
  }
}

/** inverse · g − x · pull, elementwise. */
DEVICE float gradient(float d, float gain, float x, float inverse, float pull) {
  return inverse * (d * gain) - x * pull;
}

extern "C" __global__ void __launch_bounds__(BACKWARD_THREADS) rmsNormBackward(
    T* dX,
    float* partial,
    const T* dOut,
    const T* x,
    const float* gain,
    const float* inverseRms,
    i64 rows,
    i64 width,
    int lanes) {
  typedef Wide<T> A;
  Lanes at(lanes);
  float g[VECTORS][A::N];
  float sums[VECTORS][A::N];
#pragma unroll
  for (int u = 0; u < VECTORS; u++) {
    i64 c = (at.lane + u * lanes) * A::N;
#pragma unroll
    for (int l = 0; l < A::N; l++) {
      g[u][l] = 0.0f;
      sums[u][l] = 0.0f;
    }
    if (c < width) {
      gains(g[u], gain + c, A());
    }
  }
  i64 stride = (i64) gridDim.x * at.rows;
  // All threads of a block make the same rounds, because a sum needs all of them.
  for (i64 first = (i64) blockIdx.x * at.rows; first < rows; first += stride) {
    i64 r = first + at.row;
    i64 end = r < rows ? width : 0;
    float inverse = r < rows ? inverseRms[r] : 0.0f;
    uint4 d[VECTORS];
    uint4 v[VECTORS];
#pragma unroll
    for (int u = 0; u < VECTORS; u++) {
      i64 c = (at.lane + u * lanes) * A::N;
      d[u] = uint4();
      v[u] = uint4();
      if (c < end) {
        d[u] = A::load(dOut + r * width + c);
        v[u] = A::load(x + r * width + c);
      }
    }
    float dot = 0.0f;
#pragma unroll
    for (int u = 0; u < VECTORS; u++) {
      Pack<T> a = A::floats(d[u]);
      Pack<T> b = A::floats(v[u]);
#pragma unroll
      for (int l = 0; l < A::N; l++) {
        float product = a.at[l] * b.at[l];
        dot += product * g[u][l];
        sums[u][l] += product * inverse;
      }
    }
    float pull = sumOf(dot, lanes) / width * inverse * inverse * inverse;
#pragma unroll
    for (int u = 0; u < VECTORS; u++) {
      i64 c = (at.lane + u * lanes) * A::N;
      if (c < end) {
        Pack<T> a = A::floats(d[u]);
        Pack<T> b = A::floats(v[u]);
#pragma unroll
        for (int l = 0; l < A::N; l++) {
          a.at[l] = gradient(a.at[l], g[u][l], b.at[l], inverse, pull);
        }
        A::store(dX + r * width + c, A::raw(a));
      }
    }
  }
  if (partial == 0) {
    return;
  }
  // Rows of a block that are done side by side are added in their order.
  __shared__ float shared[128 * A::N];
  float* out = partial + blockIdx.x * width;
#pragma unroll
  for (int u = 0; u < VECTORS; u++) {
    i64 c = (at.lane + u * lanes) * A::N;
    if (at.rows > 1) {
      __syncthreads();
#pragma unroll
      for (int l = 0; l < A::N; l++) {
        shared[(at.row * A::N + l) * lanes + at.lane] = sums[u][l];
      }
      __syncthreads();
#pragma unroll
      for (int l = 0; l < A::N; l++) {
        sums[u][l] = 0.0f;
        for (int row = 0; row < at.rows && at.row == 0; row++) {
          sums[u][l] += shared[(row * A::N + l) * lanes + at.lane];
        }
      }
    }
    if (at.row == 0 && c < width) {
#pragma unroll
      for (int l = 0; l < A::N; l++) {
        out[c + l] = sums[u][l];
      }
    }
  }
}

extern "C" __global__ void __launch_bounds__(1024) rmsNormBackwardX(
    T* dX,
    const T* dOut,
    const T* x,
    const float* gain,
    const float* inverseRms,
    i64 rows,
    i64 width,
    int lanes) {
  Lanes at(lanes);
  i64 r = (i64) blockIdx.x * at.rows + at.row;
  i64 end = r < rows ? width : 0;
  float inverse = r < rows ? inverseRms[r] : 0.0f;
  float dot = 0.0f;
  for (i64 c = at.lane; c < end; c += lanes) {
    dot += widen(dOut[r * width + c]) * gain[c] * widen(x[r * width + c]);
  }
  float pull = sumOf(dot, lanes) / width * inverse * inverse * inverse;
  for (i64 c = at.lane; c < end; c += lanes) {
    i64 i = r * width + c;
    dX[i] = narrow<T>(gradient(widen(dOut[i]), gain[c], widen(x[i]), inverse, pull));
  }
}

extern "C" __global__ void gainSums(
    float* partial,
    const T* dOut,
    const T* x,
    const float* inverseRms,
    i64 rows,
    i64 width,
    int lanes,
    int rowsPerBlock) {
  Lanes at(lanes);
  i64 c = (i64) blockIdx.y * lanes + at.lane;
  i64 end = c < width ? min(rows, (i64) (blockIdx.x + 1) * rowsPerBlock) : 0;
  float sum = 0.0f;
  for (i64 r = (i64) blockIdx.x * rowsPerBlock + at.row; r < end; r += at.rows) {
    sum += widen(dOut[r * width + c]) * widen(x[r * width + c]) * inverseRms[r];
  }
  __shared__ float shared[256];
  shared[threadIdx.x] = sum;
  __syncthreads();
  if (at.row == 0 && c < width) {
    float all = 0.0f;
    for (int row = 0; row < at.rows; row++) {
      all += shared[row * lanes + at.lane];
    }
    partial[blockIdx.x * width + c] = all;
  }
}
