/* Entry points of what only vision towers use: LayerNorm and GELU. */
#include "internal.h"

void ck_layernorm_forward(ck_engine *e, ck_dtype type, long rows, long n, const void *x,
                          const void *w, const void *b, float eps, void *y, float *mean,
                          float *rstd) {
  ck_layernorm_ctx s = {.type = type, .rows = rows, .n = n, .x = x, .w = w, .b = b, .eps = eps,
                        .out = y, .mean = mean, .rstd = rstd};
  ck_parallel(e, rows, ck_grain(3 * n * (long)ck_type_size(type)), e->table->layernorm_forward,
              &s);
}

void ck_layernorm_backward(ck_engine *e, ck_dtype type, long rows, long n, const void *x,
                           const void *w, const float *mean, const float *rstd, const void *dy,
                           void *dx, float *dw, float *db) {
  ck_layernorm_ctx s = {.type = type, .rows = rows, .n = n, .x = x, .w = w, .dy = dy, .out = dx,
                        .mean = (float *)(uintptr_t)mean, .rstd = (float *)(uintptr_t)rstd,
                        .dw = dw, .db = db};
  if (dx)
    ck_parallel(e, rows, ck_grain(4 * n * (long)ck_type_size(type)),
                e->table->layernorm_backward, &s);
  if (dw) ck_parallel(e, ck_ceil_div(n, 64), 1, e->table->layernorm_backward_weight, &s);
}

static void run_gelu(ck_engine *e, ck_gelu_ctx s, long n) {
  long grain = ck_round_up(ck_grain(3 * (long)ck_type_size(s.type)), 64);
  ck_parallel(e, n, grain, e->table->gelu, &s);
}

void ck_gelu_forward(ck_engine *e, ck_gelu_form form, ck_dtype type, long n, const void *x,
                     void *y) {
  run_gelu(e, (ck_gelu_ctx){.form = form, .type = type, .x = x, .out = y}, n);
}

void ck_gelu_backward(ck_engine *e, ck_gelu_form form, ck_dtype type, long n, const void *x,
                      const void *dy, void *dx) {
  run_gelu(e, (ck_gelu_ctx){.form = form, .type = type, .x = x, .dy = dy, .out = dx}, n);
}
