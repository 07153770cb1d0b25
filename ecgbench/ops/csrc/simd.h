// Vectors of floats or doubles on the vector extensions of GCC and Clang, as wide as the instruction set allows, and
// the few elementary functions that the kernels need.
#pragma once
#include <cstdint>
#include <cstring>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#define INLINE static inline __attribute__((always_inline))

template <class T> struct IntegerOf { typedef int32_t type; };
template <> struct IntegerOf<double> { typedef int64_t type; };

template <class T> struct Simd {
  static constexpr int lanes = VECTOR_BYTES / sizeof(T);
  typedef typename IntegerOf<T>::type Integer;
  typedef T Vec __attribute__((vector_size(VECTOR_BYTES)));
  typedef Integer Mask __attribute__((vector_size(VECTOR_BYTES)));
};
template <class T> using Vec = typename Simd<T>::Vec;
template <class T> using Mask = typename Simd<T>::Mask;

template <class T> INLINE Vec<T> splat(T x) { return x - Vec<T>{}; }

template <class T> INLINE Vec<T> load(const T* p) {
  Vec<T> v;
  memcpy(&v, p, sizeof v);
  return v;
}

template <class T> INLINE void store(T* p, Vec<T> v) { memcpy(p, &v, sizeof v); }

// The first `count` lanes; the others read as zero and are not written.
template <class T> INLINE Vec<T> load(const T* p, int64_t count) {
  if (count >= Simd<T>::lanes) return load(p);
  Vec<T> v{};
  memcpy(&v, p, count * sizeof(T));
  return v;
}

template <class T> INLINE void store(T* p, Vec<T> v, int64_t count) {
  if (count >= Simd<T>::lanes) return store(p, v);
  memcpy(p, &v, count * sizeof(T));
}

// In both, a NaN in the second argument is handed on.
template <class V> INLINE V at_least(V bound, V x) { return bound > x ? bound : x; }
template <class V> INLINE V at_most(V bound, V x) { return bound < x ? bound : x; }

// --- Shuffles -------------------------------------------------------------------------------------------------
// `even` joins the even blocks of `width` lanes of a and b, alternating; `odd` joins the odd blocks.

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Mask<T>{__VA_ARGS__})
#endif

template <class T, int width, int... lane> INLINE Vec<T> even(Vec<T> a, Vec<T> b, std::integer_sequence<int, lane...>) {
  constexpr int n = Simd<T>::lanes;
  return SHUFFLE(a, b, (lane / width % 2 == 0 ? lane : n + lane - width)...);
}

template <class T, int width, int... lane> INLINE Vec<T> odd(Vec<T> a, Vec<T> b, std::integer_sequence<int, lane...>) {
  constexpr int n = Simd<T>::lanes;
  return SHUFFLE(a, b, (lane / width % 2 == 0 ? lane + width : n + lane)...);
}

// Sum of the lanes of each of `lanes` vectors: lane i of the result is the sum of v[i]. Pairs are shuffled together
// and added, so that all the sums cost about as many additions as there are vectors. v is overwritten.
template <class T, int width = 1> INLINE Vec<T> sum_lanes(Vec<T>* v) {
  constexpr int n = Simd<T>::lanes;
  if constexpr (width == n) {
    return v[0];
  } else {
    const std::make_integer_sequence<int, n> all{};
#pragma GCC unroll 16
    for (int i = 0; i < n / width / 2; i++)
      v[i] = even<T, width>(v[2 * i], v[2 * i + 1], all) + odd<T, width>(v[2 * i], v[2 * i + 1], all);
    return sum_lanes<T, 2 * width>(v);
  }
}

// Transpose the square matrix of `lanes` vectors in place.
template <class T, int width = 1> INLINE void transpose(Vec<T>* v) {
  constexpr int n = Simd<T>::lanes;
  if constexpr (width < n) {
    const std::make_integer_sequence<int, n> all{};
#pragma GCC unroll 16
    for (int i = 0; i < n; i++) {
      if (i & width) continue;
      const Vec<T> a = v[i], b = v[i + width];
      v[i] = even<T, width>(a, b, all);
      v[i + width] = odd<T, width>(a, b, all);
    }
    transpose<T, 2 * width>(v);
  }
}

// --- Elementary functions -------------------------------------------------------------------------------------
// Coefficients by fit_polynomials.py, highest power first.

template <class T> struct Coefficients;
template <> struct Coefficients<float> {
  static constexpr float exp2[] = {0.0001545316295f, 0.001339086336f, 0.009618082557f,
                                   0.05550357114f,   0.2402265076f,   0.693147188f};
  static constexpr float log1p[] = {0.1407888918f, 0.1398257887f, 0.2001229762f, 0.3333316082f, 1.000000004f};
};
template <> struct Coefficients<double> {
  static constexpr double exp2[] = {4.45496059818651839e-10, 7.0725859492692237e-9,   1.01780624458457735e-7,
                                    1.32154425879216897e-6,  0.0000152527338298361184, 0.000154035304417360502,
                                    0.00133335581464169353,  0.00961812910760688853,  0.0555041086648215943,
                                    0.240226506959100982,    0.693147180559945309};
  static constexpr double log1p[] = {0.0852208178139069906, 0.0416225325593041029, 0.0605508436403460883,
                                     0.0665018701633731217, 0.0769330702115200388, 0.0909087041625240226,
                                     0.111111120403738366,  0.142857142727270573,  0.200000000000928737,
                                     0.333333333333330748,  1.0};
};

template <class T, int count> INLINE Vec<T> horner(const T (&coefficients)[count], Vec<T> x) {
  Vec<T> p = splat<T>(coefficients[0]);
#pragma GCC unroll 16
  for (int i = 1; i < count; i++) p = p * x + coefficients[i];
  return p;
}

constexpr double LOG2_E = 1.4426950408889634, LN_2 = 0.69314718055994531;

// 2^x, by its integer part and a polynomial of what is left. Overflow gives infinity, underflow zero, NaN stays NaN.
#if defined(__AVX512F__)
INLINE Vec<float> nearest(Vec<float> x) { return (Vec<float>)_mm512_roundscale_ps((__m512)x, 0); }
INLINE Vec<double> nearest(Vec<double> x) { return (Vec<double>)_mm512_roundscale_pd((__m512d)x, 0); }
INLINE Vec<float> scale(Vec<float> p, Vec<float> n) { return (Vec<float>)_mm512_scalef_ps((__m512)p, (__m512)n); }
INLINE Vec<double> scale(Vec<double> p, Vec<double> n) { return (Vec<double>)_mm512_scalef_pd((__m512d)p, (__m512d)n); }

template <class T> INLINE Vec<T> exp2(Vec<T> x) {
  const Vec<T> n = nearest(x), f = x - n;
  return scale(horner(Coefficients<T>::exp2, f) * f + T(1), n);
}
#else
// Adding `magic` rounds to an integer, and leaves it, with the exponent's bias, in the low bits of the sum.
template <class T> struct Rounding;
template <> struct Rounding<float> {
  static constexpr int mantissa_bits = 23, bias = 127;
  static constexpr float magic = 12582912.f + bias;
};
template <> struct Rounding<double> {
  static constexpr int mantissa_bits = 52, bias = 1023;
  static constexpr double magic = 6755399441055744. + bias;
};

template <class T> INLINE Vec<T> exp2(Vec<T> x) {
  typedef Rounding<T> R;
  x = at_most(splat<T>(R::bias + 1), at_least(splat<T>(-R::bias), x));
  const Vec<T> sum = x + R::magic, f = x - (sum - R::magic);
  // a product, not a sum of bits: it hands a NaN on
  return (horner(Coefficients<T>::exp2, f) * f + T(1)) * (Vec<T>)((Mask<T>)sum << R::mantissa_bits);
}
#endif

template <class T> INLINE Vec<T> exp(Vec<T> x) { return exp2<T>(x * T(LOG2_E)); }

template <class T> INLINE Vec<T> sigmoid(Vec<T> x) { return T(1) / (T(1) + exp<T>(-x)); }

// log(1 + e) for e in [0, 1].
template <class T> INLINE Vec<T> log1p(Vec<T> e) {
  const Vec<T> s = e / (T(2) + e);
  return T(2) * s * horner(Coefficients<T>::log1p, s * s);
}

// Softplus and its slope; like torch's, it is the identity above 20.
template <class T> INLINE Vec<T> softplus(Vec<T> x, Vec<T>* slope) {
  const Vec<T> zero{}, e = exp<T>(x > zero ? -x : x), numerator = x > zero ? splat<T>(1) : e;
  const Mask<T> linear = x > splat<T>(20);
  *slope = linear ? splat<T>(1) : numerator / (T(1) + e);
  return linear ? x : at_least(zero, x) + log1p<T>(e);
}

// --- Denormals ------------------------------------------------------------------------------------------------
// Decayed states run into denormals, on which arithmetic is many times slower; here they count as zero.
struct FlushDenormals {
#if defined(__x86_64__)
  unsigned saved = _mm_getcsr();
  FlushDenormals() { _mm_setcsr(saved | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(saved); }
#endif
};
