/* Norms, rotary embedding and SwiGLU in fp64. */
#include <math.h>

#include "reference.h"

static double rstd_of(ck_dtype type, const void *x, long at, long n, double eps) {
  double sum = 0;
  for (long j = 0; j < n; j++) {
    double v = ck_reference_get(x, type, at + j);
    sum += v * v;
  }
  return 1 / sqrt(sum / (double)n + eps);
}

void ck_reference_rmsnorm(ck_dtype type, long rows, long n, const void *x, const void *w,
                          double eps, double *y) {
  for (long row = 0; row < rows; row++) {
    double r = rstd_of(type, x, row * n, n, eps);
    for (long j = 0; j < n; j++)
      y[row * n + j] = ck_reference_get(x, type, row * n + j) * r * ck_reference_get(w, type, j);
  }
}

/* dx of a row with normalised gradient g[j] = dy[j]; adds dy*x*r to dw. */
static void norm_row_backward(ck_dtype type, long n, const void *x, long at, const void *w,
                              double r, const double *dy, double *dx, double *dw) {
  double mean = 0;
  for (long j = 0; j < n; j++) {
    double xr = ck_reference_get(x, type, at + j) * r;
    mean += dy[j] * ck_reference_get(w, type, j) * xr;
    dw[j] += dy[j] * xr;
  }
  mean /= (double)n;
  for (long j = 0; j < n; j++) {
    double xr = ck_reference_get(x, type, at + j) * r;
    dx[j] = r * (dy[j] * ck_reference_get(w, type, j) - xr * mean);
  }
}

void ck_reference_rmsnorm_backward(ck_dtype type, long rows, long n, const void *x, const void *w,
                                   double eps, const void *dy, double *dx, double *dw) {
  memset(dw, 0, (size_t)n * sizeof *dw);
  for (long row = 0; row < rows; row++) {
    double *out = dx + row * n;
    for (long j = 0; j < n; j++) out[j] = ck_reference_get(dy, type, row * n + j);
    norm_row_backward(type, n, x, row * n, w, rstd_of(type, x, row * n, n, eps), out, out, dw);
  }
}

void ck_reference_qkrope(const ck_qkrope *s, const void *qkv, double *out) {
  long heads = s->ratio + 2, d = s->d, half = d / 2;
  for (long token = 0; token < s->tokens; token++)
    for (long h = 0; h < s->groups * heads; h++) {
      long at = (token * s->groups * heads + h) * d;
      const void *w = h % heads == s->ratio ? s->wk : s->wq;
      int value = h % heads == s->ratio + 1;
      double r = value || !s->wq ? 1 : rstd_of(s->type, qkv, at, d, s->eps), x[CK_MAX_D];
      for (long j = 0; j < d; j++) {
        x[j] = ck_reference_get(qkv, s->type, at + j) * r;
        if (!value && s->wq) x[j] *= ck_reference_get(w, s->type, j);
      }
      for (long j = 0; j < d; j++) {
        double c = s->cos[token * half + j % half], sine = s->sin[token * half + j % half];
        double turned = j < half ? -x[j + half] : x[j - half];
        out[at + j] = value ? x[j] : x[j] * c + turned * sine;
      }
    }
}

void ck_reference_qkrope_backward(const ck_qkrope *s, const void *qkv, const void *dout,
                                  double *dqkv, double *dwq, double *dwk) {
  long heads = s->ratio + 2, d = s->d, half = d / 2;
  if (s->wq) {
    memset(dwq, 0, (size_t)(s->groups * d) * sizeof *dwq);
    memset(dwk, 0, (size_t)(s->groups * d) * sizeof *dwk);
  }
  for (long token = 0; token < s->tokens; token++)
    for (long h = 0; h < s->groups * heads; h++) {
      long at = (token * s->groups * heads + h) * d, group = h / heads;
      double *dx = dqkv + at;
      for (long j = 0; j < d; j++) {
        double c = s->cos[token * half + j % half], sine = s->sin[token * half + j % half];
        double own = ck_reference_get(dout, s->type, at + j);
        double other = ck_reference_get(dout, s->type, at + (j < half ? j + half : j - half));
        dx[j] = h % heads == s->ratio + 1 ? own : own * c + (j < half ? other : -other) * sine;
      }
      if (h % heads == s->ratio + 1 || !s->wq) continue;
      int key = h % heads == s->ratio;
      norm_row_backward(s->type, d, qkv, at, key ? s->wk : s->wq,
                        rstd_of(s->type, qkv, at, d, s->eps), dx, dx,
                        (key ? dwk : dwq) + group * d);
    }
}

void ck_reference_swiglu(ck_dtype type, long rows, int parts, long width, const void *x,
                         const float *scale, double *y) {
  for (long part = 0; part < rows * parts; part++)
    for (long j = 0; j < width; j++) {
      double g = ck_reference_get(x, type, part * 2 * width + j);
      double u = ck_reference_get(x, type, (part * 2 + 1) * width + j);
      y[part * width + j] = g / (1 + exp(-g)) * u * (scale ? scale[part / parts] : 1);
    }
}

void ck_reference_swiglu_backward(ck_dtype type, long rows, int parts, long width, const void *x,
                                  const float *scale, const void *dy, double *dx, double *dscale) {
  if (dscale) memset(dscale, 0, (size_t)rows * sizeof *dscale);
  for (long part = 0; part < rows * parts; part++)
    for (long j = 0; j < width; j++) {
      double g = ck_reference_get(x, type, part * 2 * width + j);
      double u = ck_reference_get(x, type, (part * 2 + 1) * width + j);
      double s = 1 / (1 + exp(-g)), d = ck_reference_get(dy, type, part * width + j);
      if (dscale) dscale[part / parts] += d * g * s * u;
      if (scale) d *= scale[part / parts];
      dx[part * 2 * width + j] = d * u * s * (1 + g * (1 - s));
      dx[(part * 2 + 1) * width + j] = d * g * s;
    }
}

void ck_reference_transpose(int size, long rows, long columns, const void *x, long ldx, void *y,
                            long ldy) {
  for (long r = 0; r < rows; r++)
    for (long c = 0; c < columns; c++)
      memcpy((char *)y + (c * ldy + r) * size, (const char *)x + (r * ldx + c) * size,
             (size_t)size);
}
