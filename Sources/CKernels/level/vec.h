/* Sixteen fp32 lanes in the compiler's generic vectors: one source, one order of roundings,
 * compiled once per level. Include inside the level's `attribute push`, after the system
 * headers. */
#include <string.h>

#define V_INLINE static inline __attribute__((always_inline, unused))

typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));
typedef uint16_t vh __attribute__((vector_size(32)));
typedef float vf_any __attribute__((vector_size(64), aligned(1), may_alias));
typedef int32_t vi_any __attribute__((vector_size(64), aligned(1), may_alias));
typedef uint16_t vh_any __attribute__((vector_size(32), aligned(1), may_alias));
typedef float vf8 __attribute__((vector_size(32)));
typedef float vf4 __attribute__((vector_size(16)));

V_INLINE vf v_set(float x) { return (vf){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
V_INLINE vi v_seti(int32_t x) { return (vi){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
V_INLINE vf v_zero(void) { return v_set(0); }
V_INLINE vi v_index(void) {
  return (vi){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
}
V_INLINE vf v_fma(vf a, vf b, vf c) { return __builtin_elementwise_fma(a, b, c); }
V_INLINE vf v_sqrt(vf a) { return __builtin_elementwise_sqrt(a); }
V_INLINE vf v_abs(vf a) { return (vf)((vi)a & v_seti(0x7fffffff)); }
/* mask lanes are 0 or -1 */
V_INLINE vf v_pick(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }
V_INLINE vi v_picki(vi mask, vi yes, vi no) { return (mask & yes) | (~mask & no); }
/* Larger lane; b where a is NaN, so that a running maximum skips NaN in `a`. */
V_INLINE vf v_max(vf a, vf b) { return v_pick(a > b, a, b); }
/* x within a bound; NaN stays. The instructions of AVX-512 return their second operand for a NaN. */
#ifdef CK_LEVEL_AVX512
V_INLINE vf v_at_most(vf x, float bound) {
  return (vf)_mm512_min_ps(_mm512_set1_ps(bound), (__m512)x);
}
V_INLINE vf v_at_least(vf x, float bound) {
  return (vf)_mm512_max_ps(_mm512_set1_ps(bound), (__m512)x);
}
#else
V_INLINE vf v_at_most(vf x, float bound) { return v_pick(x > bound, v_set(bound), x); }
V_INLINE vf v_at_least(vf x, float bound) { return v_pick(x < bound, v_set(bound), x); }
#endif
/* Larger lane; NaN if either is. */
V_INLINE vf v_max_nan(vf x, vf m) { return v_pick((x > m) | (x != x), x, m); }

V_INLINE vf v_load(const float *p) { return *(const vf_any *)p; }
V_INLINE void v_store(float *p, vf x) { *(vf_any *)p = x; }
V_INLINE vf v_widen(vh h) { return (vf)(__builtin_convertvector(h, vu) << 16); }
/* Round to nearest even; NaN stays quiet NaN. Done in integers at every level: the instruction
 * vcvtneps2bf16 flushes denormals and would give other bits. */
V_INLINE vh v_narrow(vf x) {
  vu u = (vu)x;
  vu r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  vu nan = (u >> 16) | 0x40u;
  vu is_nan = (vu)(x != x);
  return __builtin_convertvector((is_nan & nan) | (~is_nan & r), vh);
}

/* `c` lanes (0 < c <= 16) of either type; missing lanes read as zero and are not written. */
V_INLINE vf v_load_type(const void *p, ck_dtype t, long i, long c) {
  if (t == CK_F32) {
    const float *q = (const float *)p + i;
    if (c >= 16) return v_load(q);
    vf x = v_zero();
    memcpy(&x, q, (size_t)c * 4);
    return x;
  }
  const uint16_t *q = (const uint16_t *)p + i;
  if (c >= 16) return v_widen(*(const vh_any *)q);
  vh h = {0};
  memcpy(&h, q, (size_t)c * 2);
  return v_widen(h);
}
V_INLINE void v_store_type(void *p, ck_dtype t, long i, long c, vf x) {
  if (t == CK_F32) {
    float *q = (float *)p + i;
    if (c >= 16) v_store(q, x);
    else memcpy(q, &x, (size_t)c * 4);
    return;
  }
  uint16_t *q = (uint16_t *)p + i;
  vh h = v_narrow(x);
  if (c >= 16) *(vh_any *)q = h;
  else memcpy(q, &h, (size_t)c * 2);
}
/* Asks for the line 4 KiB behind element i. Long chains of arithmetic fill the window of
 * out-of-order execution before it reaches the next lines, and reading then waits for computing:
 * measured 24 ms against 13 for the exponentials of 156 MB. Behind the end nothing happens. */
V_INLINE void v_ahead(const void *p, ck_dtype t, long i) {
  __builtin_prefetch((const char *)p + i * (t == CK_F32 ? 4 : 2) + 4096, 0, 3);
}
V_INLINE vf v_load_n(const float *p, long i, long c) { return v_load_type(p, CK_F32, i, c); }
V_INLINE void v_store_n(float *p, long i, long c, vf x) { v_store_type(p, CK_F32, i, c, x); }

/* The tree over lanes: distance 8, 4, 2, 1. */
V_INLINE float v_sum(vf x) {
  vf8 a = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) +
          __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
  vf4 b = __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
  return (b[0] + b[2]) + (b[1] + b[3]);
}
V_INLINE float v_largest(vf x, float start) {
  float m = start;
  for (int i = 0; i < 16; i++) m = (x[i] > m || x[i] != x[i]) ? x[i] : m;
  return m;
}
/* Lanes below c are -1. */
V_INLINE vi v_first(long c) { return v_index() < v_seti((int32_t)(c > 16 ? 16 : c < 0 ? 0 : c)); }

/* Runs the statements with i and c for [begin, end) in steps of 16; full steps see c as the
 * constant 16. */
#define V_LOOP(begin, end, ...)                     \
  do {                                              \
    long i = (begin), v_end_ = (end);               \
    {                                               \
      const long c = 16;                            \
      for (; i + 16 <= v_end_; i += 16) { __VA_ARGS__ } \
    }                                               \
    if (i < v_end_) {                               \
      const long c = v_end_ - i;                    \
      __VA_ARGS__                                   \
    }                                               \
  } while (0)
