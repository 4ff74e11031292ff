/* LayerNorm and GELU in fp64. */
#include <math.h>

#include "reference.h"

static double get(const void *x, ck_dtype type, long at) { return ck_reference_get(x, type, at); }

typedef struct {
  double mean, rstd;
} moments;

static moments moments_of(ck_dtype type, const void *x, long at, long n, double eps) {
  double sum = 0, squares = 0;
  for (long j = 0; j < n; j++) sum += get(x, type, at + j);
  sum /= (double)n;
  for (long j = 0; j < n; j++) {
    double d = get(x, type, at + j) - sum;
    squares += d * d;
  }
  return (moments){sum, 1 / sqrt(squares / (double)n + eps)};
}

void ck_reference_layernorm(ck_dtype type, long rows, long n, const void *x, const void *w,
                            const void *b, double eps, double *y) {
  for (long row = 0; row < rows; row++) {
    moments m = moments_of(type, x, row * n, n, eps);
    for (long j = 0; j < n; j++)
      y[row * n + j] =
          (get(x, type, row * n + j) - m.mean) * m.rstd * get(w, type, j) + get(b, type, j);
  }
}

void ck_reference_layernorm_backward(ck_dtype type, long rows, long n, const void *x,
                                     const void *w, double eps, const void *dy, double *dx,
                                     double *dw, double *db) {
  for (long j = 0; j < n; j++) dw[j] = db[j] = 0;
  for (long row = 0; row < rows; row++) {
    moments m = moments_of(type, x, row * n, n, eps);
    double sum = 0, dot = 0;
    for (long j = 0; j < n; j++) {
      double g = get(dy, type, row * n + j), d = (get(x, type, row * n + j) - m.mean) * m.rstd;
      dw[j] += g * d;
      db[j] += g;
      sum += g * get(w, type, j);
      dot += g * get(w, type, j) * d;
    }
    for (long j = 0; j < n; j++) {
      double g = get(dy, type, row * n + j) * get(w, type, j);
      double d = (get(x, type, row * n + j) - m.mean) * m.rstd;
      dx[row * n + j] = m.rstd * (g - sum / (double)n - d * dot / (double)n);
    }
  }
}

double ck_reference_gelu(ck_gelu_form form, double x) {
  if (form == CK_GELU_ERF) return 0.5 * x * erfc(-x / sqrt(2.0));
  return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

double ck_reference_gelu_slope(ck_gelu_form form, double x) {
  const double pi = 3.14159265358979323846;
  if (form == CK_GELU_ERF)
    return 0.5 * erfc(-x / sqrt(2.0)) + x * exp(-0.5 * x * x) / sqrt(2 * pi);
  double t = tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * sqrt(2 / pi) * (1 + 3 * 0.044715 * x * x);
}
