/* Entry points of softmax and the vocabulary-parallel cross-entropy. */
#include "internal.h"

void ck_softmax_rows(ck_engine *e, long rows, long n, const float *x, float *y, float *lse) {
  ck_loss_ctx s = {.n = n, .z = x, .y = y, .target = lse};
  ck_parallel(e, rows, ck_grain(8 * n), e->table->softmax_rows, &s);
}

void ck_ce_max(ck_engine *e, long rows, long n, const float *z, float *m) {
  ck_loss_ctx s = {.n = n, .z = z, .y = m};
  ck_parallel(e, rows, ck_grain(4 * n), e->table->ce_max, &s);
}

void ck_ce_sums(ck_engine *e, long rows, long n, int parts, const float *z, const float *m,
                const int32_t *label, float *part_sums, float *target) {
  parts = parts < 1 ? 1 : parts;
  ck_loss_ctx s = {.n = n, .parts = parts, .z = z, .m = m, .label = label, .y = part_sums,
                   .target = target};
  ck_parallel(e, rows * parts, ck_grain(8 * n / parts), e->table->ce_sums, &s);
}

void ck_ce_grad(ck_engine *e, ck_dtype type, long rows, long n, const float *z, const float *m,
                const float *sum, const int32_t *label, const float *seed, void *g) {
  ck_loss_ctx s = {.type = type, .n = n, .z = z, .m = m, .sum = sum, .seed = seed,
                   .label = label, .g = g, .column_block = 16384};
  s.column_blocks = ck_ceil_div(n, s.column_block);
  ck_parallel(e, rows * s.column_blocks, ck_grain(8 * ck_min(n, s.column_block)),
              e->table->ce_grad, &s);
}
