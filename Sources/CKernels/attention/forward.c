/* Attention forward: keys and values of some groups are packed once, then query blocks of all their
 * heads are computed, each by one thread. */
#include "plan.h"

enum { PACK_BUDGET = 64 << 20 }; /* bytes of packed keys and values per pass */

/* Blocks of `size` rows of all documents; counts them if `out` is NULL. */
static long list_blocks(const ck_attention_args *a, long size, at_block *out) {
  long count = 0;
  for (long doc = 0; doc < a->documents; doc++) {
    long blocks = ck_ceil_div(at_length(a, doc), size);
    for (long b = blocks - 1; b >= 0; b--, count++) /* the costly blocks of causal rows first */
      if (out) out[count] = (at_block){(int32_t)doc, (int32_t)(b * size)};
  }
  return count;
}

typedef struct {
  ck_engine *e;
  const ck_attention_plan *plan;
} pass;

/* Packs the keys and values of one block of one group. */
static void pack_item(void *ctx, int thread, long item) {
  (void)thread;
  const ck_attention_plan *p = ((pass *)ctx)->plan;
  const ck_attention_args *a = p->a;
  const ck_kit *kit = p->kit;
  at_block b = p->key_blocks[item % p->key_count];
  long group = item / p->key_count, token = a->cu[b.document] + b.start;
  long keys = ck_min(AT_KEYS, at_length(a, b.document) - b.start);
  long head = (p->first_group + group) * a->ratio, padded = ck_round_up(keys, AT_STEP);
  long at = group * p->packed_keys + p->starts[b.document] + b.start;
  const char *k = at_head(a, a->k, a->ks, token, head, 1);
  const char *v = at_head(a, a->v, a->vs, token, head, 1);
  for (long n = 0; n < padded; n += kit->nr)
    kit->pack_rows(p->keys + (at + n) * p->cells, ck_at(k, a->type, n * a->ks.token), a->ks.token,
                   NULL, ck_max(0, ck_min(kit->nr, keys - n)), a->d, kit->nr);
  long stride = ck_cells(kit, AT_KEYS), cells = ck_cells(kit, keys);
  uint32_t *dst = p->values + at / AT_KEYS * stride * p->width;
  for (long n = 0; n < p->width; n += kit->nr, dst += stride * kit->nr) {
    long cols = ck_max(0, ck_min(kit->nr, a->d - n));
    kit->pack_cols(dst, ck_at(v, a->type, cols ? n : 0), a->vs.token, NULL, keys, cols, kit->nr);
    for (long i = cells * kit->nr; i < ck_cells(kit, padded) * kit->nr; i++) dst[i] = 0;
  }
}

static void forward_item(void *ctx, int thread, long item) {
  pass *c = ctx;
  void *scratch = ck_scratch(c->e, thread, sizeof(at_forward_scratch));
  c->e->table->attention_forward(c->plan, scratch, item);
}

void ck_attention_forward(ck_engine *e, const ck_attention_args *a) {
  if (a->tokens <= 0 || a->documents <= 0 || a->groups <= 0) return;
  ck_attention_plan p = {.a = a, .f32 = &e->table->f32};
  p.kit = a->type == CK_BF16 ? &e->table->bf16 : &e->table->f32;
  p.width = ck_round_up(a->d, 32), p.cells = ck_cells(p.kit, a->d);
  p.query_count = list_blocks(a, AT_QUERIES, NULL);
  p.key_count = list_blocks(a, AT_KEYS, NULL);
  p.packed_keys = p.key_count * AT_KEYS;
  size_t key_cells = (size_t)(p.packed_keys * p.cells);
  size_t value_cells = (size_t)(p.key_count * ck_cells(p.kit, AT_KEYS) * p.width);
  long bytes = (long)((key_cells + value_cells + 1) * sizeof(uint32_t));
  long together = ck_max(1, ck_min(a->groups, PACK_BUDGET / bytes));
  size_t starts = ck_round_up(a->documents * (long)sizeof(int64_t), 64);
  size_t blocks = ck_round_up((p.query_count + p.key_count) * (long)sizeof(at_block), 64);
  size_t cells = (key_cells + value_cells) * (size_t)together + 64;
  char *base = ck_scratch(e, -1, starts + blocks + cells * sizeof(uint32_t));
  int64_t *start = (int64_t *)base;
  at_block *list = (at_block *)(base + starts);
  p.keys = (uint32_t *)(base + starts + blocks);
  p.values = p.keys + (key_cells * (size_t)together + 15) / 16 * 16;
  p.starts = start, p.query_blocks = list, p.key_blocks = list + p.query_count;
  list_blocks(a, AT_QUERIES, list);
  list_blocks(a, AT_KEYS, list + p.query_count);
  for (long doc = 0, at = 0; doc < a->documents; doc++) {
    start[doc] = at;
    at += ck_round_up(at_length(a, doc), AT_KEYS);
  }
  pass c = {e, &p};
  for (; p.first_group < a->groups; p.first_group += together) {
    p.groups = ck_min(together, a->groups - p.first_group);
    ck_pool_run(e->pool, p.groups * p.key_count, pack_item, &c);
    ck_pool_run(e->pool, p.groups * a->ratio * p.query_count, forward_item, &c);
  }
}
