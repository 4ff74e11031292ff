/* One-lane forms of the functions of level/math.h, and the logarithm. */
#include <string.h>

#include "internal.h"
#include "math_constants.h"

static int32_t bits_of(float x) {
  int32_t i;
  memcpy(&i, &x, 4);
  return i;
}

static float power_of_two(int32_t k) {
  uint32_t u = (uint32_t)(k + 127) << 23;
  float x;
  memcpy(&x, &u, 4);
  return x;
}

float ck_expf(float x) {
  if (x != x) return x;
  x = x > 90.0f ? 90.0f : x;
  x = x < -106.0f ? -106.0f : x;
  float t = __builtin_fmaf(x, CK_EXP_LOG2E, CK_ROUND_MAGIC);
  float k = t - CK_ROUND_MAGIC;
  int32_t n = bits_of(t) - bits_of(CK_ROUND_MAGIC), half = n >> 1;
  float r = __builtin_fmaf(k, -CK_EXP_LN2_HIGH, x);
  r = __builtin_fmaf(k, -CK_EXP_LN2_LOW, r);
  float p = CK_EXP_C6;
  p = __builtin_fmaf(p, r, CK_EXP_C5);
  p = __builtin_fmaf(p, r, CK_EXP_C4);
  p = __builtin_fmaf(p, r, CK_EXP_C3);
  p = __builtin_fmaf(p, r, CK_EXP_C2);
  p = __builtin_fmaf(p, r, 1.0f);
  p = __builtin_fmaf(p, r, 1.0f);
  return (p * power_of_two(half)) * power_of_two(n - half);
}

/* x = m 2^e with m in [sqrt(1/2), sqrt(2)); ln m = 2 atanh((m-1)/(m+1)) by its series to s^17
 * (|s| <= 0.172: the rest is below 1e-15) in fp64, rounded once. */
float ck_logf(float x) {
  if (x != x || x == __builtin_inff()) return x;
  if (x == 0) return -__builtin_inff();
  if (x < 0) return __builtin_nanf("");
  double d = x;
  uint64_t u;
  memcpy(&u, &d, 8);
  int64_t e = (int64_t)(u >> 52) - 1023;
  u = (u & 0xfffffffffffffULL) | 0x3ff0000000000000ULL;
  memcpy(&d, &u, 8);
  if (d >= 1.4142135623730951) d *= 0.5, e++;
  double s = (d - 1.0) / (d + 1.0), s2 = s * s, p = 1.0 / 17;
  for (int i = 15; i >= 1; i -= 2) p = p * s2 + 1.0 / i;
  return (float)((double)e * 0.6931471805599453 + 2.0 * s * p);
}

float ck_sigmoidf(float x) { return 1.0f / (1.0f + ck_expf(-x)); }
