/* exp, exp2 and the logistic function on sixteen lanes.
 *
 * exp(x) = 2^k e^r, k = round(x log2 e), |r| <= ln2/2, r with a two-part ln 2 (Cody & Waite 1980);
 * e^r and 2^f by their minimax polynomials, all steps fused multiply-adds. 2^k is applied as two
 * factors so that results below the normal range are rounded once, like everything else. */

V_INLINE vf v_power_of_two(vi k) { return (vf)((k + 127) << 23); }

/* p 2^k rounded once, for the k that was rounded by adding CK_ROUND_MAGIC: t = k + CK_ROUND_MAGIC.
 * The instruction of AVX-512 gives the bits of the two factors. */
#ifdef CK_LEVEL_AVX512
V_INLINE vf v_scale_two(vf p, vf t) {
  return (vf)_mm512_scalef_ps((__m512)p, (__m512)(t - CK_ROUND_MAGIC));
}
#else
V_INLINE vf v_scale_two(vf p, vf t) {
  vi k = (vi)t - (vi)v_set(CK_ROUND_MAGIC), half = k >> 1;
  return (p * v_power_of_two(half)) * v_power_of_two(k - half);
}
#endif

V_INLINE vf v_exp(vf x) {
  x = v_at_least(v_at_most(x, 90.0f), -106.0f);
  vf t = v_fma(x, v_set(CK_EXP_LOG2E), v_set(CK_ROUND_MAGIC));
  vf k = t - CK_ROUND_MAGIC;
  vf r = v_fma(k, v_set(-CK_EXP_LN2_HIGH), x);
  r = v_fma(k, v_set(-CK_EXP_LN2_LOW), r);
  vf p = v_set(CK_EXP_C6);
  p = v_fma(p, r, v_set(CK_EXP_C5));
  p = v_fma(p, r, v_set(CK_EXP_C4));
  p = v_fma(p, r, v_set(CK_EXP_C3));
  p = v_fma(p, r, v_set(CK_EXP_C2));
  p = v_fma(p, r, v_set(1.0f));
  p = v_fma(p, r, v_set(1.0f));
  return v_scale_two(p, t);
}

/* e^x of four vectors at once: their chains run side by side. The bits of v_exp. */
V_INLINE void v_exp4(vf x[4]) {
  vf r[4], p[4], t[4];
#define EACH(...)                         \
  _Pragma("clang loop unroll(full)") for (int j = 0; j < 4; j++) { __VA_ARGS__; }
  EACH(x[j] = v_at_least(v_at_most(x[j], 90.0f), -106.0f))
  EACH(t[j] = v_fma(x[j], v_set(CK_EXP_LOG2E), v_set(CK_ROUND_MAGIC)))
  EACH(p[j] = t[j] - CK_ROUND_MAGIC)
  EACH(r[j] = v_fma(p[j], v_set(-CK_EXP_LN2_HIGH), x[j]))
  EACH(r[j] = v_fma(p[j], v_set(-CK_EXP_LN2_LOW), r[j]))
  EACH(p[j] = v_fma(v_set(CK_EXP_C6), r[j], v_set(CK_EXP_C5)))
  EACH(p[j] = v_fma(p[j], r[j], v_set(CK_EXP_C4)))
  EACH(p[j] = v_fma(p[j], r[j], v_set(CK_EXP_C3)))
  EACH(p[j] = v_fma(p[j], r[j], v_set(CK_EXP_C2)))
  EACH(p[j] = v_fma(p[j], r[j], v_set(1.0f)))
  EACH(p[j] = v_fma(p[j], r[j], v_set(1.0f)))
  EACH(x[j] = v_scale_two(p[j], t[j]))
#undef EACH
}

/* p 2^k where x >= -126, else 0; t as in v_scale_two. */
#ifdef CK_LEVEL_AVX512
V_INLINE vf v_down_limit(vf x) { return x; } /* what the polynomial makes of less is not kept */
V_INLINE vf v_scale_down(vf x, vf p, vf t) {
  __mmask16 kept = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
  return (vf)_mm512_maskz_scalef_ps(kept, (__m512)p, (__m512)(t - CK_ROUND_MAGIC));
}
#else
V_INLINE vf v_down_limit(vf x) { return v_at_least(x, -126.0f); }
V_INLINE vf v_scale_down(vf x, vf p, vf t) {
  vi n = (vi)t - (vi)v_set(CK_ROUND_MAGIC), small = x < -126.0f;
  return (vf)((vi)(p * v_power_of_two(n)) & ~small);
}
#endif

/* 2^x for x <= 0 (attention), degree 5, relative error 9.2e-8: below -126 the result is 0. */
V_INLINE vf v_exp2_down(vf x) {
  vf limited = v_down_limit(x), t = limited + CK_ROUND_MAGIC;
  vf f = limited - (t - CK_ROUND_MAGIC);
  vf p = v_set(0x1.5bba14p-10f);
  p = v_fma(p, f, v_set(0x1.3cea88p-7f));
  p = v_fma(p, f, v_set(0x1.c6b752p-5f));
  p = v_fma(p, f, v_set(0x1.ebf9bcp-3f));
  p = v_fma(p, f, v_set(0x1.62e42ap-1f));
  p = v_fma(p, f, v_set(1.0f));
  return v_scale_down(x, p, t);
}

/* v_exp2_down of four vectors side by side. */
V_INLINE void v_exp2_down4(vf x[4]) {
  vf f[4], p[4], t[4];
#define EACH(...)                         \
  _Pragma("clang loop unroll(full)") for (int j = 0; j < 4; j++) { __VA_ARGS__; }
  EACH(f[j] = v_down_limit(x[j]))
  EACH(t[j] = f[j] + CK_ROUND_MAGIC)
  EACH(f[j] = f[j] - (t[j] - CK_ROUND_MAGIC))
  EACH(p[j] = v_fma(v_set(0x1.5bba14p-10f), f[j], v_set(0x1.3cea88p-7f)))
  EACH(p[j] = v_fma(p[j], f[j], v_set(0x1.c6b752p-5f)))
  EACH(p[j] = v_fma(p[j], f[j], v_set(0x1.ebf9bcp-3f)))
  EACH(p[j] = v_fma(p[j], f[j], v_set(0x1.62e42ap-1f)))
  EACH(p[j] = v_fma(p[j], f[j], v_set(1.0f)))
  EACH(x[j] = v_scale_down(x[j], p[j], t[j]))
#undef EACH
}

V_INLINE vf v_sigmoid(vf x) { return v_set(1.0f) / (v_set(1.0f) + v_exp(-x)); }
