// Rotary position embedding in place, half-split as Hugging Face's rotate_half.
//
//   (a, b) = (x[i], x[half + i]) of a head becomes (a cos − b sin, b cos + a sin), with the sign of
//   sin changed for the backward pass; row r has position first + r mod sequence
//
// Shapes: x [rows, heads · 2 · half] of T; cos and sin [positions, half] F32.
// Launch: 256 threads. rope: a thread has 16 bytes of each half of up to HEADS heads of a row; grid.x =
// rows · (half / N) · ceil(heads / HEADS) / 256. ropeAny: a pair per thread, grid.x = pairs / 256.
// Numerics: F32 inside.
// Source: own. rope assumes x, cos, sin at 16 bytes and half a multiple of N = 16 / size of T.

/** Heads per thread, which share its angles. */
#define HEADS 4

DEVICE void rotate(float& a, float& b, float c, float s) {
  float first = a * c - b * s;
  b = b * c + a * s;
  a = first;
}

extern "C" __global__ void __launch_bounds__(256) rope(
    T* x,
    const float* cosine,
    const float* sine,
    i64 rows,
    int heads,
    int half,
    int firstPosition,
    int sequence,
    float sign) {
  const int N = Pack<T>::N;
  u32 accesses = half / N;
  u32 groups = (heads + HEADS - 1) / HEADS;
  i64 thread = (i64) blockIdx.x * 256 + threadIdx.x;
  u32 perRow = accesses * groups;
  i64 r = thread / perRow;
  if (r >= rows) {
    return;
  }
  u32 inRow = (u32) (thread - r * perRow);
  int c = (int) (inRow % accesses) * N;
  int head = (int) (inRow / accesses) * HEADS;
  T* at = x + (r * heads + head) * 2 * half + c;
  uint4 raw[HEADS][2];
#pragma unroll
  for (int h = 0; h < HEADS; h++) {
    if (head + h < heads) {
      raw[h][0] = load16(at + h * 2 * half);
      raw[h][1] = load16(at + h * 2 * half + half);
    }
  }
  i64 angle = (i64) (firstPosition + (int) (r % sequence)) * half + c;
  float cosines[N];
  float sines[N];
#pragma unroll
  for (int l = 0; l < N; l += 4) {
    float4 cs = *reinterpret_cast<const float4*>(cosine + angle + l);
    float4 sn = *reinterpret_cast<const float4*>(sine + angle + l);
    cosines[l] = cs.x;
    cosines[l + 1] = cs.y;
    cosines[l + 2] = cs.z;
    cosines[l + 3] = cs.w;
    sines[l] = sign * sn.x;
    sines[l + 1] = sign * sn.y;
    sines[l + 2] = sign * sn.z;
    sines[l + 3] = sign * sn.w;
  }
#pragma unroll
  for (int h = 0; h < HEADS; h++) {
    if (head + h < heads) {
      Pack<T> a = unpack<T>(raw[h][0]);
      Pack<T> b = unpack<T>(raw[h][1]);
#pragma unroll
      for (int l = 0; l < N; l++) {
        rotate(a.at[l], b.at[l], cosines[l], sines[l]);
      }
      store16(at + h * 2 * half, pack<T>(a));
      store16(at + h * 2 * half + half, pack<T>(b));
    }
  }
}

extern "C" __global__ void __launch_bounds__(256) ropeAny(
    T* x,
    const float* cosine,
    const float* sine,
    i64 rows,
    int heads,
    int half,
    int firstPosition,
    int sequence,
    float sign) {
  i64 pair = (i64) blockIdx.x * 256 + threadIdx.x;
  i64 head = pair / half;
  i64 r = head / heads;
  if (r >= rows) {
    return;
  }
  int c = (int) (pair - head * half);
  T* at = x + head * 2 * half + c;
  i64 angle = (i64) (firstPosition + (int) (r % sequence)) * half + c;
  float a = widen(at[0]);
  float b = widen(at[half]);
  rotate(a, b, cosine[angle], sign * sine[angle]);
  at[0] = narrow<T>(a);
  at[half] = narrow<T>(b);
}
