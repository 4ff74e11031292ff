/* Attention backward: partial sums in fp32 by (head, span of keys), then added in a fixed order:
 * dQ over spans ascending, dK and dV over the query heads of their group ascending.
 *
 * Partial sums of as many heads as fit a budget are computed at once; the order does not change. */
#include <string.h>

#include "plan.h"

enum { PARTIAL_BUDGET = 256 << 20 };

/* One (document, head) and where its partial sums begin in the list. */
typedef struct {
  int32_t document, head;
  long first, count;
} unit;

typedef struct {
  ck_engine *e;
  ck_attention_plan plan;
  unit *units;
  at_partial *partials;
  float *carry_k, *carry_v; /* dK, dV of a group whose heads are not all done */
  long unit_count;          /* of this batch */
  long row_blocks;          /* of the longest document of this batch */
} backward;

static long span_of(long length) {
  return AT_SPAN * ck_max(1, ck_ceil_div(ck_ceil_div(length, AT_SPANS), AT_SPAN));
}

/* Floats of the partial sums of one head of a document; with `out` also lays them out. */
static size_t lay_out(const ck_attention_plan *p, long doc, long head, float *base, at_partial *out,
                      long *count) {
  long length = at_length(p->a, doc), span = span_of(length), w = p->width, n = 0;
  size_t used = 0;
  for (long start = 0; start < length; start += span, n++) {
    long keys = ck_min(span, length - start), first = p->a->causal ? start : 0;
    size_t dq = (size_t)((length - first) * w), dk = (size_t)(keys * w);
    if (out)
      out[n] = (at_partial){.document = (int32_t)doc, .head = (int32_t)head, .start = start,
                            .length = keys, .first_query = first, .dq = base + used,
                            .dk = base + used + dq, .dv = base + used + dq + dk};
    used += dq + 2 * dk;
  }
  *count = n;
  return used;
}

/* Bytes of at_backward_scratch and what carve_backward takes behind it. */
static size_t scratch_size(const ck_attention_plan *p) {
  const size_t tile = (size_t)AT_BLOCK * AT_BLOCK + 32;
  size_t d_cells = (size_t)p->cells, width = (size_t)p->width;
  size_t block_cells = (size_t)ck_cells(p->kit, AT_BLOCK);
  size_t floats = 6 * tile + (2 * AT_SPAN + 2 * AT_BLOCK) * d_cells +
                  (AT_SPAN / AT_BLOCK + 2) * block_cells * width + 16 * 32;
  return sizeof(at_backward_scratch) + 64 + floats * sizeof(float);
}

static void compute_item(void *ctx, int thread, long item) {
  backward *b = ctx;
  void *scratch = ck_scratch(b->e, thread, scratch_size(&b->plan));
  b->e->table->attention_backward(&b->plan, scratch, item);
}

enum { REDUCE_ROWS = 64 };

static void add_row(const backward *b, float *sum, const float *x) {
  b->e->table->tile_add(sum, x, b->plan.width);
}

static void write_row(const backward *b, const void *out, ck_heads s, long token, long head, int kv,
                      float scale, const float *row) {
  const ck_attention_args *a = b->plan.a;
  char *to = (char *)(uintptr_t)at_head(a, out, s, token, head, kv);
  b->e->table->attention_reduce(to, a->type, scale, row, a->d);
}

static void reduce_queries(const backward *b, const unit *u, long row, float *sum) {
  const ck_attention_args *a = b->plan.a;
  long w = b->plan.width;
  for (long s = 0; s < u->count; s++) {
    const at_partial *p = &b->partials[u->first + s];
    if (row < p->first_query) break;
    const float *x = p->dq + (row - p->first_query) * w;
    if (s == 0) memcpy(sum, x, (size_t)w * sizeof *sum);
    else add_row(b, sum, x);
  }
  write_row(b, b->plan.g->dq, b->plan.g->dqs, a->cu[u->document] + row, u->head, 0, a->scale, sum);
}

/* Adds the heads of this batch that share the group of `u`, its first one here. */
static void reduce_keys(const backward *b, long index, long row, float *sum, int values) {
  const ck_attention_args *a = b->plan.a;
  const unit *u = &b->units[index];
  long w = b->plan.width, group = u->head / a->ratio, last = 0;
  float *carry = (values ? b->carry_v : b->carry_k) + row * w;
  int started = u->head % a->ratio != 0;
  if (started) memcpy(sum, carry, (size_t)w * sizeof *sum);
  for (long i = index; i < b->unit_count; i++) {
    const unit *v = &b->units[i];
    if (v->document != u->document || v->head / a->ratio != group) break;
    const at_partial *p = &b->partials[v->first + row / span_of(at_length(a, u->document))];
    const float *x = (values ? p->dv : p->dk) + (row - p->start) * w;
    if (!started) memcpy(sum, x, (size_t)w * sizeof *sum);
    else add_row(b, sum, x);
    started = 1, last = v->head;
  }
  if (last % a->ratio != a->ratio - 1) {
    memcpy(carry, sum, (size_t)w * sizeof *sum);
    return;
  }
  const ck_attention_grad_args *g = b->plan.g;
  long token = a->cu[u->document] + row;
  if (values) write_row(b, g->dv, g->dvs, token, u->head, 1, 1.0f, sum);
  else write_row(b, g->dk, g->dks, token, u->head, 1, a->scale, sum);
}

static void reduce_item(void *ctx, int thread, long item) {
  (void)thread;
  const backward *b = ctx;
  _Alignas(64) float sum[CK_MAX_D];
  long index = item / b->row_blocks, row0 = item % b->row_blocks * REDUCE_ROWS;
  const unit *u = &b->units[index];
  const ck_attention_args *a = b->plan.a;
  long end = ck_min(row0 + REDUCE_ROWS, at_length(a, u->document));
  const unit *before = index ? u - 1 : NULL;
  int leads = !before || before->document != u->document ||
              before->head / a->ratio != u->head / a->ratio;
  for (long row = row0; row < end; row++) {
    reduce_queries(b, u, row, sum);
    if (!leads) continue;
    reduce_keys(b, index, row, sum, 0);
    reduce_keys(b, index, row, sum, 1);
  }
}

static void run_batch(backward *b, long partials) {
  if (!b->unit_count) return;
  b->row_blocks = 0;
  for (long i = 0; i < b->unit_count; i++)
    b->row_blocks = ck_max(
        b->row_blocks, ck_ceil_div(at_length(b->plan.a, b->units[i].document), REDUCE_ROWS));
  ck_pool_run(b->e->pool, partials, compute_item, b);
  ck_pool_run(b->e->pool, b->unit_count * b->row_blocks, reduce_item, b);
  b->unit_count = 0;
}

/* Every (document, head) in order, in batches whose partial sums fit. */
static void run_units(backward *b, float *base, size_t budget) {
  const ck_attention_args *a = b->plan.a;
  size_t used = 0;
  long partials = 0;
  for (long doc = 0; doc < a->documents; doc++) {
    for (long head = 0; head < (long)a->groups * a->ratio; head++) {
      long count;
      size_t need = lay_out(&b->plan, doc, head, NULL, NULL, &count);
      if (!count) continue;
      if (used + need > budget) {
        run_batch(b, partials);
        used = 0, partials = 0;
      }
      lay_out(&b->plan, doc, head, base + used, b->partials + partials, &count);
      b->units[b->unit_count++] =
          (unit){.document = (int32_t)doc, .head = (int32_t)head, .first = partials,
                 .count = count};
      used += need, partials += count;
    }
  }
  run_batch(b, partials);
}

void ck_attention_backward(ck_engine *e, const ck_attention_grad_args *g) {
  const ck_attention_args *a = &g->f;
  if (a->tokens <= 0 || a->documents <= 0 || a->groups <= 0) return;
  backward b = {.e = e, .plan = {.a = a, .g = g, .f32 = &e->table->f32}};
  ck_attention_plan *p = &b.plan;
  p->kit = a->type == CK_BF16 ? &e->table->bf16 : &e->table->f32;
  p->width = ck_round_up(a->d, 32), p->cells = ck_cells(p->kit, a->d);
  size_t largest = 0, total = 0, longest = 0, spans = 0;
  long heads = (long)a->groups * a->ratio, count;
  for (long doc = 0; doc < a->documents; doc++) {
    size_t need = lay_out(p, doc, 0, NULL, NULL, &count);
    largest = need > largest ? need : largest;
    total += need * (size_t)heads;
    spans += (size_t)(count * heads);
    longest = (size_t)ck_max((long)longest, at_length(a, doc));
  }
  size_t budget = PARTIAL_BUDGET / sizeof(float);
  budget = total < budget ? total : largest > budget ? largest : budget;
  size_t carry = longest * (size_t)p->width;
  size_t lists = (spans * sizeof(at_partial) +
                  (size_t)(a->documents * heads) * sizeof(unit) + 127) / 64 * 64;
  char *base = ck_scratch(e, -1, lists + (2 * carry + budget) * sizeof(float));
  b.partials = (at_partial *)base;
  p->partials = b.partials;
  b.units = (unit *)(base + spans * sizeof(at_partial));
  b.carry_k = (float *)(base + lists), b.carry_v = b.carry_k + carry;
  run_units(&b, b.carry_v + carry, budget);
}
