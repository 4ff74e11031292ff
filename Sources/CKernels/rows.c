/* Entry points that move rows by index. */
#include <string.h>

#include "internal.h"

static void fill_negative_zero(void *row, ck_dtype type, long h) {
  if (type == CK_F32) {
    uint32_t *p = row;
    for (long j = 0; j < h; j++) p[j] = 0x80000000u;
  } else {
    uint16_t *p = row;
    for (long j = 0; j < h; j++) p[j] = 0x8000u;
  }
}

static void embedding_forward(void *ctx, long begin, long end) {
  const ck_rows_ctx *s = ctx;
  size_t bytes = (size_t)s->h * ck_type_size(s->type);
  for (long token = begin; token < end; token++) {
    char *out = (char *)s->out + (size_t)token * bytes;
    long row = s->ids[token] - s->first;
    if (row < 0 || row >= s->count) fill_negative_zero(out, s->type, s->h);
    else memcpy(out, (const char *)s->x + (size_t)row * bytes, bytes);
  }
}

static void gather_rows(void *ctx, long begin, long end) {
  const ck_rows_ctx *s = ctx;
  size_t bytes = (size_t)s->h * ck_type_size(s->type);
  for (long i = begin; i < end; i++) {
    char *out = (char *)s->out + (size_t)i * bytes;
    if (s->ids[i] < 0) memset(out, 0, bytes);
    else memcpy(out, (const char *)s->x + (size_t)s->ids[i] * bytes, bytes);
  }
}

void ck_embedding_forward(ck_engine *e, ck_dtype type, long tokens, long h, const int32_t *ids,
                          long first, long count, const void *table, void *out) {
  ck_rows_ctx s = {.type = type, .h = h, .first = first, .count = count, .ids = ids, .x = table,
                   .out = out};
  ck_parallel(e, tokens, ck_grain(2 * h * (long)ck_type_size(type)), embedding_forward, &s);
}

void ck_embedding_backward(ck_engine *e, ck_dtype type, long tokens, long h, const int32_t *ids,
                           long first, long count, const void *dout, float *dtable) {
  ck_rows_ctx s = {.type = type, .tokens = tokens, .h = h, .first = first, .count = count,
                   .ids = ids, .x = dout, .out = dtable};
  long columns = ck_round_up(ck_max(ck_grain(12 * ck_max(tokens, 1)), h / (2L * e->threads)), 64);
  ck_parallel(e, h, columns, e->table->embedding_backward, &s);
}

void ck_gather_rows(ck_engine *e, ck_dtype type, long count, long h, const int32_t *rows,
                    const void *x, void *out) {
  ck_rows_ctx s = {.type = type, .h = h, .ids = rows, .x = x, .out = out};
  ck_parallel(e, count, ck_grain(2 * h * (long)ck_type_size(type)), gather_rows, &s);
}

void ck_combine_rows(ck_engine *e, ck_dtype type, long count, long h, int k, const int32_t *slot,
                     const float *weight, const void *x, void *out) {
  ck_rows_ctx s = {.type = type, .h = h, .k = k, .ids = slot, .weight = weight, .x = x,
                   .out = out};
  long bytes = (k + 1L) * h * (long)ck_type_size(type);
  ck_parallel(e, count, ck_grain(bytes), e->table->combine_rows, &s);
}
