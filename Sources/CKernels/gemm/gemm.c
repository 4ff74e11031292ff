/* Matrix products: a flat list of blocks of C over the threads.
 *
 * A block belongs to one thread, which packs what it needs, per k block: all rows of A once, then B
 * a few panels at a time, just before all rows are multiplied with them (Goto & van de Geijn 2008). Sums: inside a chunk of k one chain, continued over k blocks through an fp32
 * tile; chunks are added as a balanced tree by a stack of tiles (level l holds a finished run of
 * 2^l chunks). So neither block sizes nor threads show in the result. */
#include <string.h>

#include "../inference/panels.h"

/* A's block stays in the second-level cache (720 kB), a panel of B in the first (32 kB). */
enum {
  BLOCK_ROWS = 720,
  BLOCK_COLS = 1536,
  K_CELLS = 256,     /* longest run of cells packed at once */
  PANELS = 4,        /* panels of B packed together */
  ROWS_TOGETHER = 16 /* of B, even */
};

typedef struct {
  const ck_gemm_args *g;
  const ck_kit *kit;
  long first_item;
  long block_rows, block_cols, row_blocks, col_blocks;
} product_plan;

typedef struct {
  const ck_engine *e;
  const product_plan *plans;
  long count;
} list_plan;

/* One thread's buffers for one block. */
typedef struct {
  uint32_t *a, *b;
  float *sum;   /* chain of the chunk at hand */
  float *stack; /* finished runs of chunks, one tile per level */
  size_t tile;  /* floats of one tile */
} block_buffers;

static int levels_of(int chunks) {
  int levels = 0;
  while ((chunks - 1) >> levels) levels++;
  return levels;
}

/* Parts of k; anything below one means one. */
static int chunks_of(const ck_gemm_args *g) { return g->chunks > 1 ? g->chunks : 1; }

static const ck_kit *kit_of(const ck_engine *e, const ck_gemm_args *g) {
  return g->ab_type == CK_BF16 ? &e->table->bf16 : &e->table->f32;
}

/* Blocks of even size. With several threads there are two for each (four gave a tenth less: the same
 * operands are packed more often); among the ways to cut, the one
 * that packs least: A once per block of columns, B once per block of rows. */
static void plan_blocks(product_plan *p, int threads, long others) {
  const ck_gemm_args *g = p->g;
  long nr = p->kit->nr, wanted = ck_max(1, 2L * threads / ck_max(others, 1));
  if (threads == 1) wanted = 1;
  long rows = ck_ceil_div(g->m, BLOCK_ROWS), cols = ck_ceil_div(g->n, BLOCK_COLS);
  long most_rows = ck_max(rows, g->m / 48), most_cols = ck_max(cols, g->n / (2 * nr));
  double best = -1;
  for (long r = rows; r <= most_rows; r++) {
    long c = ck_min(ck_max(cols, ck_ceil_div(wanted, r)), most_cols);
    double packed = (double)g->m * (double)c + (double)g->n * (double)r;
    /* Too few blocks leave threads idle, which is worse than any packing. */
    if (r * c < wanted) packed += 1e3 * (double)(wanted - r * c) * (double)(g->m + g->n);
    if (best < 0 || packed < best) best = packed, p->row_blocks = r, p->col_blocks = c;
    if (r >= wanted) break;
  }
  p->block_rows = ck_ceil_div(g->m, p->row_blocks);
  p->row_blocks = ck_ceil_div(g->m, p->block_rows);
  p->block_cols = ck_round_up(ck_ceil_div(g->n, p->col_blocks), nr);
  p->col_blocks = ck_ceil_div(g->n, p->block_cols);
}

/* Cells of two bytes as fp32. */
static void widen(const ck_engine *e, const void *cells, long count, uint32_t *out) {
  ck_map_ctx c = {.a_type = CK_BF16, .out_type = CK_F32, .a = cells, .out = out};
  e->table->convert(&c, 0, count);
}

/* Where the k block of a kept panel begins; k0 is the first of its k. */
static const char *kept_at(const product_plan *p, long n, long k0) {
  long chunks = chunks_of(p->g), chunk = p->g->k / chunks, cells = ck_cells(p->kit, chunk);
  long at = chunk ? k0 / chunk * cells + ck_cells(p->kit, k0 % chunk) : 0;
  return (const char *)p->g->b + ck_panel_size(p->kit, n / p->kit->nr, cells * chunks) +
         ck_panel_size(p->kit, 1, at);
}

/* The panel at column n for the micro-kernel: as it is kept, or widened to `dst`. */
static const uint32_t *kept_panel(const ck_engine *e, const product_plan *p, uint32_t *dst, long n,
                                  long k0, long k) {
  const char *src = kept_at(p, n, k0);
  if (p->kit->stored == 4) return (const uint32_t *)(const void *)src;
  widen(e, src, ck_cells(p->kit, k) * p->kit->nr, dst);
  return dst;
}

/* Panels of the columns [n0, n1). Where a row of B is a row of the source, a few rows of all panels
 * are packed before the next: neighbouring lines are then read together. */
static void pack_b(const product_plan *p, uint32_t *dst, long n0, long n1, long k0, long k) {
  const ck_gemm_args *g = p->g;
  int nr = p->kit->nr;
  long cells = ck_cells(p->kit, k), step = g->form == CK_NT ? ck_max(k, 1) : ROWS_TOGETHER;
  const int32_t *rows = g->form == CK_TN ? g->k_rows : NULL;
  for (long j = 0; j < k; j += step) {
    long here = ck_min(step, k - j);
    for (long n = n0; n < n1; n += nr) {
      uint32_t *to = dst + (n - n0) * cells + ck_cells(p->kit, j) * nr;
      long cols = ck_min(nr, n1 - n), at = k0 + j;
      const char *src = ck_at(g->b, g->ab_type, (rows ? 0 : at * g->ldb) + n);
      if (g->form == CK_NT)
        p->kit->pack_rows(to, ck_at(g->b, g->ab_type, n * g->ldb + at), g->ldb, NULL, cols, here, nr);
      else
        p->kit->pack_cols(to, src, g->ldb, rows ? rows + at : NULL, here, cols, nr);
    }
  }
}

static void pack_a(const product_plan *p, uint32_t *dst, long m0, long rows, long k0, long k) {
  const ck_gemm_args *g = p->g;
  if (g->form == CK_TN) {
    p->kit->pack_cols(dst, ck_at(g->a, g->ab_type, k0 * g->lda + m0), g->lda, NULL, k, rows,
                      (int)rows);
  } else {
    const int32_t *index = g->a_rows ? g->a_rows + m0 : NULL;
    const char *src = ck_at(g->a, g->ab_type, (index ? 0 : m0 * g->lda) + k0);
    p->kit->pack_rows(dst, src, g->lda, index, rows, k, (int)rows);
  }
}

typedef struct {
  long m0, m1, n0, n1; /* block of C */
  int chunk, first, last; /* first, last: k block of the chunk */
  long k0, k;
} k_block;

/* Tile [rows][nr] at row r0 and column n in a tile buffer of the block: panel after panel, so that
 * tiles are passed in the order they lie. */
static size_t tile_at(const product_plan *p, const k_block *b, long r0, long n) {
  return (size_t)(n - b->n0) * (size_t)(b->m1 - b->m0) + (size_t)(r0 - b->m0) * (size_t)p->kit->nr;
}

/* The chain of one chunk is complete: carry it up the tree, or write C after the last. */
static void finish_chunk(const ck_engine *e, const product_plan *p, const block_buffers *buf,
                         const k_block *b, float *t, size_t at, long r0, long n, long rows) {
  const ck_gemm_args *g = p->g;
  long size = rows * p->kit->nr;
  int last = b->chunk == chunks_of(g) - 1, level = 0;
  for (int c = b->chunk; c; c >>= 1, level++) {
    if (c & 1) e->table->tile_add(t, buf->stack + (size_t)level * buf->tile + at, size);
    else if (!last) break;
  }
  if (!last) {
    memcpy(buf->stack + (size_t)level * buf->tile + at, t, (size_t)size * sizeof *t);
    return;
  }
  char *c = ck_at_mut(g->c, g->c_type, r0 * g->ldc + n);
  e->table->tile_out(t, p->kit->nr, c, g->ldc, g->c_type, g->write, rows,
                     ck_min(p->kit->nr, b->n1 - n));
}

/* Brings a tile's lines near while another tile is computed. */
static void prefetch_tile(const char *at, long row_bytes, long stride, long rows) {
  for (long r = 0; r < rows; r++)
    for (long i = 0; i < row_bytes; i += 64) __builtin_prefetch(at + r * stride + i, 1, 3);
}

/* Brings near what finish_chunk will read or write of a tile: sums of the tree, C after the last. */
static void prefetch_finish(const product_plan *p, const block_buffers *buf, const k_block *b,
                            size_t at, long r0, long n, long rows) {
  const ck_gemm_args *g = p->g;
  long nr = p->kit->nr, size = (long)ck_type_size(g->c_type);
  int last = b->chunk == chunks_of(g) - 1, level = 0;
  for (int c = b->chunk; c & 1 || (last && c); c >>= 1, level++)
    if (c & 1)
      prefetch_tile((char *)(buf->stack + (size_t)level * buf->tile + at), rows * nr * 4, 0, 1);
  if (last)
    prefetch_tile(ck_at(g->c, g->c_type, r0 * g->ldc + n), ck_min(nr, b->n1 - n) * size,
                  g->ldc * size, rows);
  else
    prefetch_tile((char *)(buf->stack + (size_t)level * buf->tile + at), rows * nr * 4, 0, 1);
}

/* The lines that are left when `count` have been asked for. */
static void skip_lines(ck_ahead *a, long count) {
  long rows = count >> a->shift;
  a->base += rows * a->stride, a->lines -= rows << a->shift;
  if (count & a->mask) a->lines = 0;
}

/* The source lines of the panels of columns [n, n1). */
static ck_ahead lines_of(const product_plan *p, const k_block *b, long n, long n1) {
  const ck_gemm_args *g = p->g;
  long size = (long)ck_type_size(g->ab_type), cols = n1 - n;
  ck_ahead a = {.stride = g->ldb * size};
  if (cols <= 0 || (g->form == CK_TN && g->k_rows)) return a;
  long rows = g->form == CK_NT ? cols : b->k, row_bytes = (g->form == CK_NT ? b->k : cols) * size;
  if (g->b_panels) rows = 1, row_bytes = ck_panel_size(p->kit, 1, ck_cells(p->kit, b->k));
  while ((64L << a.shift) < row_bytes) a.shift++;
  a.mask = (1L << a.shift) - 1, a.lines = rows << a.shift;
  a.base = g->b_panels ? kept_at(p, n, b->k0)
                       : ck_at(g->b, g->ab_type,
                               g->form == CK_NT ? n * g->ldb + b->k0 : b->k0 * g->ldb + n);
  return a;
}

/* One k block: all rows of the block against its columns, panel by panel. */
static void multiply_block(const ck_engine *e, const product_plan *p, const block_buffers *buf,
                           const k_block *b) {
  const ck_kit *kit = p->kit;
  const ck_gemm_args *g = p->g;
  long rows = b->m1 - b->m0, cells = ck_cells(kit, b->k), parts = ck_ceil_div(rows, kit->mr);
  for (long i = 0; i < parts; i++) {
    long r0 = rows * i / parts, r1 = rows * (i + 1) / parts;
    pack_a(p, buf->a + r0 * cells, b->m0 + r0, r1 - r0, b->k0, b->k);
  }
  _Alignas(64) float local[CK_MAX_MR * CK_MAX_NR];
  int whole = b->first && b->last;
  /* Rows of the source that become rows of a panel are read along: nothing is gained by several. */
  const long group = (g->form == CK_NT ? 1 : PANELS) * kit->nr;
  ck_ahead ahead = {.lines = 0};
  for (long n = b->n0; n < b->n1; n += kit->nr) {
    long in_group = (n - b->n0) % group;
    if (!in_group) {
      long end = ck_min(n + group, b->n1);
      if (!g->b_panels) pack_b(p, buf->b, n, end, b->k0, b->k);
      ahead = lines_of(p, b, end, ck_min(end + group, b->n1));
    }
    const uint32_t *panel =
        g->b_panels ? kept_panel(e, p, buf->b, n, b->k0, b->k) : buf->b + in_group * cells;
    for (long i = 0; i < parts; i++) {
      long r0 = rows * i / parts, here = rows * (i + 1) / parts - r0;
      size_t at = tile_at(p, b, b->m0 + r0, n);
      float *t = whole ? local : buf->sum + at;
      if (!whole) prefetch_tile((char *)(t + here * kit->nr), here * kit->nr * 4, 0, 1);
      if (b->last) prefetch_finish(p, buf, b, at, b->m0 + r0, n, here);
      const uint32_t *a = buf->a + r0 * cells;
      if (ahead.lines > 0) {
        kit->micro_ahead((int)here, a, panel, cells, t, kit->nr, !b->first, &ahead);
        skip_lines(&ahead, cells);
      } else {
        kit->micro((int)here, a, panel, cells, t, kit->nr, !b->first);
      }
      if (b->last) finish_chunk(e, p, buf, b, t, at, b->m0 + r0, n, here);
    }
  }
}

static size_t align_floats(size_t n) { return (n + 15) / 16 * 16; }

static block_buffers carve(ck_engine *e, const product_plan *p, int thread) {
  size_t rows = (size_t)p->block_rows, cols = (size_t)ck_round_up(p->block_cols, p->kit->nr);
  size_t tile = align_floats(rows * cols);
  size_t a = align_floats(rows * K_CELLS + 16), b = (size_t)(PANELS * p->kit->nr) * K_CELLS + 16;
  size_t stack = tile * (size_t)levels_of(chunks_of(p->g));
  float *base = ck_scratch(e, thread, (a + b + tile + stack) * sizeof(float));
  return (block_buffers){.a = (uint32_t *)base, .b = (uint32_t *)base + a, .sum = base + a + b,
                         .stack = base + a + b + tile, .tile = tile};
}

static void run_block(ck_engine *e, const product_plan *p, int thread, long item) {
  const ck_gemm_args *g = p->g;
  block_buffers buf = carve(e, p, thread);
  k_block b = {.m0 = item % p->row_blocks * p->block_rows,
               .n0 = item / p->row_blocks * p->block_cols};
  b.m1 = ck_min(b.m0 + p->block_rows, g->m), b.n1 = ck_min(b.n0 + p->block_cols, g->n);
  long chunk = g->k / chunks_of(g), step = K_CELLS * (p->kit->pairs ? 2 : 1);
  /* Even k blocks, of even length so that pairs stay together. */
  if (chunk > step) step = ck_round_up(ck_ceil_div(chunk, ck_ceil_div(chunk, step)), 2);
  for (b.chunk = 0; b.chunk < chunks_of(g); b.chunk++) {
    long k0 = 0;
    do {
      b.k0 = b.chunk * chunk + k0, b.k = ck_min(step, chunk - k0);
      b.first = k0 == 0, b.last = k0 + b.k >= chunk;
      multiply_block(e, p, &buf, &b);
      k0 += b.k;
    } while (k0 < chunk);
  }
}

static void run_item(void *ctx, int thread, long item) {
  const list_plan *list = ctx;
  long low = 0, high = list->count - 1;
  while (low < high) {
    long mid = (low + high + 1) / 2;
    if (list->plans[mid].first_item <= item) low = mid;
    else high = mid - 1;
  }
  const product_plan *p = &list->plans[low];
  run_block((ck_engine *)(uintptr_t)list->e, p, thread, item - p->first_item);
}

/* The products OpenBLAS can do; returns 0 if one of the list is not. */
static int run_by_blas(ck_engine *e, const ck_gemm_args *list, long count) {
  for (long i = 0; i < count; i++)
    if (!ck_blas_takes(&list[i])) return 0;
  for (long i = 0; i < count; i++) {
    size_t floats = (size_t)ck_blas_scratch(&list[i]);
    ck_blas_gemm(e->blas, &list[i], floats ? ck_scratch(e, -1, floats * sizeof(float)) : NULL);
  }
  return 1;
}

void ck_gemm_grouped(ck_engine *e, const ck_gemm_args *list, long count) {
  if (count <= 0) return;
  /* Products of few rows with kept weights first: they have blocks of their own. */
  if (list[0].b_panels) ck_panel_gemm_few(e, list, count);
  if (!list[0].b_panels && e->blas && run_by_blas(e, list, count)) return;
  product_plan one, *plans = &one;
  if (count > 1) plans = ck_scratch(e, -1, (size_t)count * sizeof *plans);
  long items = 0, used = 0;
  for (long i = 0; i < count; i++) {
    const ck_kit *kit = kit_of(e, &list[i]);
    if (list[i].m <= 0 || list[i].n <= 0 || ck_panel_is_few(&list[i], kit)) continue;
    product_plan *p = &plans[used++];
    *p = (product_plan){.g = &list[i], .kit = kit, .first_item = items};
    plan_blocks(p, e->threads, count);
    items += p->row_blocks * p->col_blocks;
  }
  list_plan all = {e, plans, used};
  if (items) ck_pool_run(e->pool, items, run_item, &all);
}

void ck_gemm(ck_engine *e, const ck_gemm_args *g) { ck_gemm_grouped(e, g, 1); }
