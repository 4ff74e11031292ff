/* Entry points of norms, rotary embedding, activations, conversions and loss. */
#include <string.h>

#include "internal.h"

void ck_rmsnorm_forward(ck_engine *e, ck_dtype type, long rows, long n, const void *x,
                        const void *w, float eps, void *y, float *rstd) {
  ck_norm_ctx s = {.type = type, .rows = rows, .n = n, .x = x, .w = w, .eps = eps, .out = y,
                   .rstd = rstd};
  ck_parallel(e, rows, ck_grain(2 * n * (long)ck_type_size(type)), e->table->rmsnorm_forward, &s);
}

void ck_rmsnorm_backward(ck_engine *e, ck_dtype type, long rows, long n, const void *x,
                         const void *w, const float *rstd, const void *dy, void *dx,
                         float *dw_parts, long part_rows) {
  part_rows = ck_max(part_rows, 1);
  ck_norm_ctx s = {.type = type, .rows = rows, .n = n, .part_rows = part_rows, .x = x, .w = w,
                   .dy = dy, .out = dx, .rstd = (float *)(uintptr_t)rstd, .dw_parts = dw_parts};
  long parts = ck_ceil_div(rows, part_rows), grain = ck_grain(3 * n * (long)ck_type_size(type));
  if (!dw_parts) {
    ck_parallel(e, rows, grain, e->table->rmsnorm_backward, &s);
  } else if (e->threads == 1 || parts >= 2 * e->threads || rows <= grain) {
    ck_parallel(e, rows, ck_round_up(grain, part_rows), e->table->rmsnorm_backward, &s);
  } else {
    ck_parallel(e, parts * ck_ceil_div(n, 64), 1, e->table->rmsnorm_backward_weight, &s);
    s.dw_parts = NULL;
    ck_parallel(e, rows, grain, e->table->rmsnorm_backward, &s);
  }
}

static long rope_grain(const ck_qkrope *s, int tensors) {
  return ck_grain(tensors * s->groups * (s->ratio + 2L) * s->d * (long)ck_type_size(s->type));
}

void ck_qkrope_forward(ck_engine *e, const ck_qkrope *s, const void *qkv, void *out,
                       float *rstd) {
  ck_rope_ctx o = {.s = s, .qkv = qkv, .out = out, .rstd = rstd};
  ck_parallel(e, s->tokens, rope_grain(s, 2), e->table->qkrope_forward, &o);
}

void ck_qkrope_backward(ck_engine *e, const ck_qkrope *s, const void *qkv, const float *rstd,
                        const void *dout, void *dqkv, float *dwq_parts, float *dwk_parts,
                        int part_groups) {
  if (!s->wq) dwq_parts = NULL, dwk_parts = NULL;
  int wanted = dwq_parts || dwk_parts;
  part_groups = part_groups < 1 ? s->groups : part_groups;
  ck_rope_ctx o = {.s = s, .qkv = qkv, .dout = dout, .out = dqkv,
                   .rstd = (float *)(uintptr_t)rstd, .dwq_parts = dwq_parts,
                   .dwk_parts = dwk_parts, .part_groups = part_groups};
  long parts = s->groups / part_groups;
  if (wanted && e->threads > 1) {
    long blocks = ck_ceil_div(s->d / 2, 16);
    ck_parallel(e, parts * blocks, 1, e->table->qkrope_backward_weight, &o);
    o.dwq_parts = o.dwk_parts = NULL;
    wanted = 0;
  }
  if (o.dwq_parts) memset(o.dwq_parts, 0, (size_t)(parts * s->d) * sizeof(float));
  if (o.dwk_parts) memset(o.dwk_parts, 0, (size_t)(parts * s->d) * sizeof(float));
  ck_parallel(e, s->tokens, wanted ? s->tokens : rope_grain(s, 3), e->table->qkrope_backward, &o);
}

void ck_swiglu_forward(ck_engine *e, ck_dtype type, long rows, int parts, long width,
                       const void *x, const float *scale, void *y) {
  ck_swiglu_ctx s = {.type = type, .parts = parts, .width = width, .x = x, .scale = scale,
                     .out = y};
  long bytes = 3 * parts * width * (long)ck_type_size(type);
  ck_parallel(e, rows, ck_grain(bytes), e->table->swiglu_forward, &s);
}

void ck_swiglu_backward(ck_engine *e, ck_dtype type, long rows, int parts, long width,
                        const void *x, const float *scale, const void *dy, void *dx,
                        float *dscale) {
  ck_swiglu_ctx s = {.type = type, .parts = parts, .width = width, .x = x, .dy = dy,
                     .scale = scale, .out = dx, .dscale = dscale};
  long bytes = 5 * parts * width * (long)ck_type_size(type);
  ck_parallel(e, rows, ck_grain(bytes), e->table->swiglu_backward, &s);
}

/* Elements in pieces of whole cache lines. */
static void over_elements(ck_engine *e, long n, long bytes, ck_range_fn fn, void *ctx) {
  ck_parallel(e, n, ck_round_up(ck_grain(bytes), 64), fn, ctx);
}

void ck_add(ck_engine *e, long n, ck_dtype a_type, const void *a, ck_dtype b_type, const void *b,
            ck_dtype out_type, void *out) {
  ck_map_ctx s = {.a_type = a_type, .b_type = b_type, .out_type = out_type, .a = a, .b = b,
                  .out = out};
  over_elements(e, n, 8, e->table->add, &s);
}

typedef struct {
  const char *from;
  char *to;
} copy_ctx;

static void copy_range(void *ctx, long begin, long end) {
  copy_ctx *s = ctx;
  memmove(s->to + begin, s->from + begin, (size_t)(end - begin));
}

void ck_convert(ck_engine *e, long n, ck_dtype from, const void *x, ck_dtype to, void *y) {
  if (from == to) {
    copy_ctx s = {x, y};
    long bytes = n * (long)ck_type_size(to);
    if (x != y) ck_parallel(e, bytes, 1L << 20, copy_range, &s);
    return;
  }
  ck_map_ctx s = {.a_type = from, .a = x, .out = y};
  over_elements(e, n, 6, e->table->convert, &s);
}

void ck_accumulate(ck_engine *e, long n, const float *x, float *y) {
  ck_map_ctx s = {.a = x, .out = y};
  over_elements(e, n, 12, e->table->accumulate, &s);
}

void ck_scale(ck_engine *e, long n, float factor, float *y) {
  ck_map_ctx s = {.value = factor, .out = y};
  over_elements(e, n, 8, e->table->scale, &s);
}

void ck_fill(ck_engine *e, long n, float value, float *y) {
  ck_map_ctx s = {.value = value, .out = y};
  over_elements(e, n, 4, e->table->fill, &s);
}

static void zero_range(void *ctx, long begin, long end) {
  memset((char *)ctx + begin, 0, (size_t)(end - begin));
}

void ck_zero(ck_engine *e, size_t bytes, void *y) {
  ck_parallel(e, (long)bytes, 1L << 20, zero_range, y);
}
