/* Attention over kept keys and values. */
#include <string.h>

#include "panels.h"

static const ck_kit *kit_of(const ck_engine *e, ck_dtype type) {
  return type == CK_BF16 ? &e->table->bf16 : &e->table->f32;
}

size_t ck_cache_page_bytes(const ck_engine *e, ck_dtype type, int groups, int d) {
  const ck_kit *kit = kit_of(e, type);
  return (size_t)(groups * (ck_page_keys(kit, d) + ck_page_values(kit, d)));
}

/* One key's words go to one column of its panel. */
static void put_key(const ck_kit *kit, char *page, long slot, const char *k, long bytes) {
  long cells = bytes / kit->stored, step = kit->nr * kit->stored;
  char *dst = page + ck_panel_size(kit, slot / kit->nr, cells) + slot % kit->nr * kit->stored;
  for (long c = 0; c < cells; c++, dst += step, k += kit->stored) {
    if (kit->stored == 4) memcpy(dst, k, 4);
    else memcpy(dst, k, 2);
  }
}

static void put_value(const ck_kit *kit, char *page, long slot, const char *v, ck_dtype type,
                      long d) {
  long panel = ck_panel_size(kit, 1, ck_cells(kit, AT_KEYS)), size = (long)ck_type_size(type);
  for (long n = 0; n < d; n += kit->nr, page += panel) {
    long here = ck_min(kit->nr, d - n);
    if (kit->pairs) {
      uint16_t *dst = (uint16_t *)(void *)page + slot / 2 * kit->nr * 2 + slot % 2;
      for (long i = 0; i < here; i++) memcpy(dst + 2 * i, v + (n + i) * 2, 2);
    } else {
      memcpy(page + slot * kit->nr * size, v + n * size, (size_t)(here * size));
    }
  }
}

static void append_item(void *ctx, int thread, long item) {
  (void)thread;
  const ck_cached_plan *p = ctx;
  const ck_cached_attention_args *a = p->a;
  const ck_cached_sequence *s = &a->sequences[item / a->groups];
  long group = item % a->groups, keys = ck_page_keys(p->kit, a->d);
  long part = keys + ck_page_values(p->kit, a->d);
  for (long i = 0; i < s->rows; i++) {
    long position = s->start + i, slot = position % AT_KEYS;
    char *page = (char *)s->pages[position / AT_KEYS] + a->offset + group * part;
    long at = (s->first_row + i) * a->qs.token + group * a->qs.group;
    const char *k = ck_at(a->qkv, a->type, at + (long)a->ratio * a->d);
    const char *v = ck_at(a->qkv, a->type, at + (long)(a->ratio + 1) * a->d);
    put_key(p->kit, page, slot, k, a->d * (long)ck_type_size(a->type));
    put_value(p->kit, page + keys, slot, v, a->type, a->d);
  }
}

static void cached_item(void *ctx, int thread, long item) {
  struct {
    ck_engine *e;
    const ck_cached_plan *p;
  } *c = ctx;
  void *scratch = ck_scratch(c->e, thread, sizeof(at_forward_scratch));
  c->e->table->attention_cached(c->p, scratch, item);
}

void ck_cached_attention(ck_engine *e, const ck_cached_attention_args *a) {
  if (a->count <= 0 || a->groups <= 0) return;
  ck_cached_plan p = {.a = a, .kit = kit_of(e, a->type), .f32 = &e->table->f32};
  p.width = ck_round_up(a->d, 32), p.cells = ck_cells(p.kit, a->d);
  long *first = ck_scratch(e, -1, (size_t)(a->count + 1) * sizeof *first);
  first[0] = 0;
  for (long i = 0; i < a->count; i++)
    first[i + 1] = first[i] + ck_ceil_div(a->sequences[i].rows * a->ratio, AT_QUERIES);
  p.first_block = first;
  ck_pool_run(e->pool, a->count * a->groups, append_item, &p);
  struct {
    ck_engine *e;
    const ck_cached_plan *p;
  } c = {e, &p};
  ck_pool_run(e->pool, first[a->count] * a->groups, cached_item, &c);
}
