/* Weights in panels, and keys and values in pages of panels: what the products of generation read as
 * it lies. A panel is [cells][nr] of a kit; a stored cell has `kit->stored` bytes. */
#pragma once
#include "../attention/plan.h"
#include "../internal.h"

/* Bytes of `panels` panels of `cells` cells. */
static inline long ck_panel_size(const ck_kit *kit, long panels, long cells) {
  return panels * cells * kit->nr * kit->stored;
}

/* Whether a product is so small that its kept weight is read as it lies (panels.c); from four
 * micro-tiles of rows on, widening it pays (gemm/). */
static inline int ck_panel_is_few(const ck_gemm_args *g, const ck_kit *kit) {
  return g->b_panels && g->m <= 3 * kit->mr;
}

/* The products of a list that are. */
void ck_panel_gemm_few(ck_engine *e, const ck_gemm_args *list, long count);

/* One group's part of a page: keys as panels of rows, values as panels of columns. */
static inline long ck_page_keys(const ck_kit *kit, long d) {
  return ck_panel_size(kit, AT_KEYS / kit->nr, ck_cells(kit, d));
}
static inline long ck_page_values(const ck_kit *kit, long d) {
  return ck_panel_size(kit, ck_round_up(d, 32) / kit->nr, ck_cells(kit, AT_KEYS));
}

struct ck_cached_plan {
  const ck_cached_attention_args *a;
  const ck_kit *kit, *f32;
  long width, cells;           /* d rounded up to 32; cells of d */
  const long *first_block;     /* per sequence: its first block of rows; then their number */
};
