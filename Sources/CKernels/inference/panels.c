/* Products of few rows with a weight that lies in panels already: nothing of it is packed, so they run
 * at the speed the weight is read with. The chains and the tree are those of gemm/, which takes kept
 * panels for many rows. */
#include <string.h>

#include "panels.h"

enum {
  PANELS = 6,          /* panels of a block */
  ONE_TILE_PANELS = 4, /* of one whose rows are one micro-tile */
  CELLS = 384          /* longest run of cells packed at once */
};

typedef struct {
  const ck_gemm_args *g;
  const ck_kit *kit;
  const uint32_t *a; /* the packed rows when they are one micro-tile */
  long first_item, panels;
} panel_plan;

typedef struct {
  ck_engine *e;
  const panel_plan *plans;
  long count;
} panel_list;

/* A block of C and one thread's buffers for it. */
typedef struct {
  long p0, p1; /* panels */
  int chunks, levels;
  long chunk_cells;
  uint32_t *a;
  float *sum, *stack;
  size_t tile;
} panel_block;

static const ck_kit *kit_of(const ck_engine *e, ck_dtype type) {
  return type == CK_BF16 ? &e->table->bf16 : &e->table->f32;
}
/* One micro-tile of rows: they are packed whole, once for all blocks. */
static int is_one_tile(const ck_gemm_args *g, const ck_kit *kit) { return g->m <= kit->mr; }
static size_t round16(size_t n) { return (n + 15) / 16 * 16; }

static void pack_a(const ck_gemm_args *g, const ck_kit *kit, uint32_t *dst, long m0, long rows,
                   long k0, long k) {
  const int32_t *index = g->a_rows ? g->a_rows + m0 : NULL;
  const char *src = ck_at(g->a, g->ab_type, (index ? 0 : m0 * g->lda) + k0);
  kit->pack_rows(dst, src, g->lda, index, rows, k, (int)rows);
}

static panel_block block_of(const panel_plan *p, int thread, long item, ck_engine *e) {
  const ck_gemm_args *g = p->g;
  panel_block b = {.p0 = item * p->panels};
  b.p1 = ck_min(b.p0 + p->panels, ck_ceil_div(g->n, p->kit->nr));
  b.chunks = g->chunks > 1 ? g->chunks : 1;
  while ((b.chunks - 1) >> b.levels) b.levels++;
  b.chunk_cells = ck_cells(p->kit, g->k / b.chunks);
  b.tile = round16((size_t)(g->m * (b.p1 - b.p0) * p->kit->nr));
  size_t a = p->a ? 0 : round16((size_t)g->m * CELLS + 16);
  float *base = ck_scratch(e, thread, (a + b.tile * (size_t)(b.levels + 1)) * sizeof(float));
  b.a = (uint32_t *)base, b.sum = base + a, b.stack = b.sum + b.tile;
  return b;
}

/* The chain of a chunk is complete: carry it up the tree, or write C after the last. */
static void finish(const ck_engine *e, const panel_plan *p, const panel_block *b, int chunk,
                   float *t, long r, long rows, long panel) {
  const ck_gemm_args *g = p->g;
  size_t at = (size_t)(t - b->sum);
  long size = rows * p->kit->nr, n = panel * p->kit->nr;
  int last = chunk == b->chunks - 1, level = 0;
  for (int c = chunk; c; c >>= 1, level++) {
    if (c & 1) e->table->tile_add(t, b->stack + (size_t)level * b->tile + at, size);
    else if (!last) break;
  }
  if (!last) {
    memcpy(b->stack + (size_t)level * b->tile + at, t, (size_t)size * sizeof *t);
    return;
  }
  char *c = ck_at_mut(g->c, g->c_type, r * g->ldc + n);
  e->table->tile_out(t, p->kit->nr, c, g->ldc, g->c_type, g->write, rows,
                     ck_min(p->kit->nr, g->n - n));
}

/* Cells [s, s+cells) of one chunk: all rows of the block against all its panels. */
static void multiply_cells(const ck_engine *e, const panel_plan *p, const panel_block *b, int chunk,
                           long s, long cells) {
  const ck_kit *kit = p->kit;
  long per = kit->pairs ? 2 : 1, rows = p->g->m, parts = ck_ceil_div(rows, kit->mr);
  long total = b->chunk_cells * b->chunks, at = chunk * b->chunk_cells + s;
  if (!p->a) {
    long k = ck_min(cells * per, p->g->k / b->chunks - s * per);
    for (long i = 0; i < parts; i++) {
      long r0 = rows * i / parts, r1 = rows * (i + 1) / parts;
      pack_a(p->g, kit, b->a + r0 * cells, r0, r1 - r0, at * per, k);
    }
  }
  int done = s + cells >= b->chunk_cells;
  for (long panel = b->p0; panel < b->p1; panel++) {
    const char *w = (const char *)p->g->b + ck_panel_size(kit, panel, total) +
                    ck_panel_size(kit, 1, at);
    for (long i = 0; i < parts; i++) {
      long r0 = rows * i / parts, here = rows * (i + 1) / parts - r0;
      const uint32_t *a = p->a ? p->a + at * rows : b->a + r0 * cells;
      float *t = b->sum + ((panel - b->p0) * rows + r0) * kit->nr;
      kit->micro_stored((int)here, a, w, cells, t, kit->nr, s > 0);
      if (done) finish(e, p, b, chunk, t, r0, here, panel);
    }
  }
}

static void panel_item(void *ctx, int thread, long item) {
  const panel_list *list = ctx;
  long i = 0;
  while (i + 1 < list->count && list->plans[i + 1].first_item <= item) i++;
  const panel_plan *p = &list->plans[i];
  panel_block b = block_of(p, thread, item - p->first_item, list->e);
  long step = p->a ? b.chunk_cells : CELLS;
  for (int chunk = 0; chunk < b.chunks; chunk++)
    for (long s = 0; s == 0 || s < b.chunk_cells; s += step)
      multiply_cells(list->e, p, &b, chunk, s, ck_min(step, b.chunk_cells - s));
}

void ck_panel_gemm_few(ck_engine *e, const ck_gemm_args *list, long count) {
  size_t plans = round16((size_t)count * sizeof(panel_plan) / sizeof(float) + 1), cells = 0;
  for (long i = 0; i < count; i++) {
    const ck_kit *kit = kit_of(e, list[i].ab_type);
    if (is_one_tile(&list[i], kit))
      cells += round16((size_t)(list[i].m * ck_cells(kit, list[i].k)) + 16);
  }
  float *base = ck_scratch(e, -1, (plans + cells) * sizeof(float));
  panel_plan *plan = (panel_plan *)base;
  uint32_t *a = (uint32_t *)(base + plans);
  long items = 0, used = 0;
  for (long i = 0; i < count; i++) {
    const ck_gemm_args *g = &list[i];
    const ck_kit *kit = kit_of(e, g->ab_type);
    if (g->m <= 0 || g->n <= 0 || !ck_panel_is_few(g, kit)) continue;
    panel_plan p = {.g = g, .kit = kit, .first_item = items};
    p.panels = PANELS;
    if (is_one_tile(g, p.kit)) {
      p.a = a, p.panels = ONE_TILE_PANELS;
      pack_a(g, p.kit, a, 0, g->m, 0, g->k);
      a += round16((size_t)(g->m * ck_cells(p.kit, g->k)) + 16);
    }
    items += ck_ceil_div(ck_ceil_div(g->n, p.kit->nr), p.panels);
    plan[used++] = p;
  }
  panel_list all = {e, plan, used};
  if (items) ck_pool_run(e->pool, items, panel_item, &all);
}

/* ------------------------------------------------------------------ to panels and back */

typedef struct {
  ck_engine *e;
  const ck_kit *kit;
  ck_dtype type;
  long n, k, ldw;
  const void *w;
  char *panels;
} packing;

static void pack_item(void *ctx, int thread, long panel) {
  const packing *p = ctx;
  const ck_kit *kit = p->kit;
  long cells = ck_cells(kit, p->k), n = panel * kit->nr, rows = ck_min(kit->nr, p->n - n);
  const char *src = ck_at(p->w, p->type, n * p->ldw);
  char *dst = p->panels + ck_panel_size(kit, panel, cells);
  uint32_t *wide = ck_scratch(p->e, thread, (size_t)(cells * kit->nr + 16) * sizeof *wide);
  kit->pack_rows(wide, src, p->ldw, NULL, rows, p->k, kit->nr);
  if (kit->stored == 4) {
    memcpy(dst, wide, (size_t)(cells * kit->nr) * 4);
    return;
  }
  uint16_t *half = (uint16_t *)(void *)dst;
  for (long i = 0; i < cells * kit->nr; i++) half[i] = (uint16_t)(wide[i] >> 16);
}

size_t ck_panel_bytes(const ck_engine *e, ck_dtype type, long n, long k) {
  const ck_kit *kit = kit_of(e, type);
  return (size_t)ck_panel_size(kit, ck_ceil_div(n, kit->nr), ck_cells(kit, k));
}

void ck_panel_pack(ck_engine *e, ck_dtype type, long n, long k, const void *w, long ldw,
                   void *panels) {
  packing p = {e, kit_of(e, type), type, n, k, ldw, w, panels};
  ck_pool_run(e->pool, ck_ceil_div(n, p.kit->nr), pack_item, &p);
}

void ck_panel_rows(ck_engine *e, ck_dtype type, long k, const void *panels, long count,
                   const int32_t *ids, long first, long n, void *out) {
  const ck_kit *kit = kit_of(e, type);
  const long size = (long)ck_type_size(type), cells = ck_cells(kit, k);
  for (long i = 0; i < count; i++) {
    long id = ids[i] - first;
    char *row = ck_at_mut(out, type, i * k);
    if (id < 0 || id >= n) {
      for (long j = 0; j < k; j++) {
        if (type == CK_BF16) ((uint16_t *)(void *)row)[j] = 0x8000;
        else ((uint32_t *)(void *)row)[j] = 0x80000000u;
      }
      continue;
    }
    const char *from = (const char *)panels + ck_panel_size(kit, id / kit->nr, cells) +
                       id % kit->nr * kit->stored;
    for (long c = 0; c < cells; c++, from += kit->nr * kit->stored, row += kit->stored)
      memcpy(row, from, (size_t)ck_min(kit->stored, (k * size) - c * kit->stored));
  }
}
