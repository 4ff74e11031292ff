/* Entry points of the optimizer: updates, storage forms of its state, exact norms. */
#include "internal.h"

static void over_elements(ck_engine *e, long n, long bytes, ck_range_fn fn, void *ctx) {
  ck_parallel(e, n, ck_round_up(ck_grain(bytes), 64), fn, ctx);
}

void ck_adamw(ck_engine *e, const ck_adamw_args *a) {
  ck_adamw_args copy = *a;
  over_elements(e, a->n, 28, e->table->adamw, &copy);
}

void ck_sgd(ck_engine *e, long n, float *p, const void *grad, ck_dtype grad_type, float *buf,
            int first, float grad_scale, float lr, float momentum, float weight_decay) {
  ck_sgd_ctx s = {.n = n, .p = p, .buf = buf, .grad = grad, .grad_type = grad_type,
                  .first = first, .grad_scale = grad_scale, .lr = lr, .momentum = momentum,
                  .weight_decay = weight_decay};
  over_elements(e, n, 20, e->table->sgd, &s);
}

void ck_split_master(ck_engine *e, long n, const float *master, uint16_t *hi, int16_t *lo) {
  ck_map_ctx s = {.a = master, .b = lo, .out = hi};
  over_elements(e, n, 8, e->table->split_master, &s);
}

void ck_join_master(ck_engine *e, long n, const uint16_t *hi, const int16_t *lo, float *master) {
  ck_map_ctx s = {.a = hi, .b = lo, .out = master};
  over_elements(e, n, 8, e->table->join_master, &s);
}

void ck_to_f16(ck_engine *e, long n, const float *x, float inverse, uint16_t *y) {
  ck_map_ctx s = {.a = x, .value = inverse, .out = y};
  over_elements(e, n, 6, e->table->to_f16, &s);
}

void ck_from_f16(ck_engine *e, long n, const uint16_t *x, float scale, float *y) {
  ck_map_ctx s = {.a = x, .value = scale, .out = y};
  over_elements(e, n, 6, e->table->from_f16, &s);
}

void ck_to_f8e4m3(ck_engine *e, long n, const float *x, float inverse, uint8_t *y) {
  ck_map_ctx s = {.a = x, .value = inverse, .out = y};
  over_elements(e, n, 5, e->table->to_f8, &s);
}

void ck_from_f8e4m3(ck_engine *e, long n, const uint8_t *x, float scale, float *y) {
  ck_map_ctx s = {.a = x, .value = scale, .out = y};
  over_elements(e, n, 5, e->table->from_f8, &s);
}

/* One result per piece, then all of them by the caller. */
enum { REDUCE_GRAIN = 1 << 14 };

float ck_absmax(ck_engine *e, long n, ck_dtype type, const void *x) {
  if (n <= 0) return 0;
  long pieces = ck_ceil_div(n, REDUCE_GRAIN);
  float *maxima = ck_scratch(e, -1, (size_t)pieces * sizeof *maxima), best = 0;
  ck_reduce_ctx s = {.type = type, .x = x, .grain = REDUCE_GRAIN, .maxima = maxima};
  ck_parallel(e, n, REDUCE_GRAIN, e->table->absmax, &s);
  for (long i = 0; i < pieces; i++)
    best = (maxima[i] > best || maxima[i] != maxima[i]) ? maxima[i] : best;
  return best;
}

ck_exact_sum ck_sum_squares(ck_engine *e, long n, ck_dtype type, const void *x, int exponent) {
  ck_exact_sum total = {0, 0};
  if (n <= 0) return total;
  long pieces = ck_ceil_div(n, REDUCE_GRAIN);
  ck_exact_sum *sums = ck_scratch(e, -1, (size_t)pieces * sizeof *sums);
  ck_reduce_ctx s = {.type = type, .x = x, .exponent = exponent, .grain = REDUCE_GRAIN,
                     .sums = sums};
  ck_parallel(e, n, REDUCE_GRAIN, e->table->sum_squares, &s);
  for (long i = 0; i < pieces; i++) total.hi += sums[i].hi, total.lo += sums[i].lo;
  return total;
}
