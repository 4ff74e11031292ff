/* Matrix product, element by element. */
#include "reference.h"

static float a_at(const ck_gemm_args *g, long i, long k) {
  if (g->form == CK_TN) return ck_reference_get(g->a, g->ab_type, k * g->lda + i);
  return ck_reference_get(g->a, g->ab_type, (g->a_rows ? g->a_rows[i] : i) * g->lda + k);
}

static float b_at(const ck_gemm_args *g, long j, long k) {
  if (g->form == CK_NT) return ck_reference_get(g->b, g->ab_type, j * g->ldb + k);
  long row = g->form == CK_TN && g->k_rows ? g->k_rows[k] : k;
  return ck_reference_get(g->b, g->ab_type, row * g->ldb + j);
}

static float chain(const ck_gemm_args *g, long i, long j, long chunk) {
  long length = g->k / g->chunks;
  float sum = 0;
  for (long k = chunk * length; k < (chunk + 1) * length; k++)
    sum = __builtin_fmaf(a_at(g, i, k), b_at(g, j, k), sum);
  return sum;
}

/* Neighbours are added, level by level; an odd last part moves up as it is. */
static float tree(const ck_gemm_args *g, long i, long j, long first, long count, long width) {
  if (count == 1) return chain(g, i, j, first);
  while (width >= count) width /= 2;
  return tree(g, i, j, first, width, width) + tree(g, i, j, first + width, count - width, width);
}

void ck_reference_gemm(const ck_gemm_args *g) {
  for (long i = 0; i < g->m; i++) {
    for (long j = 0; j < g->n; j++) {
      float sum = tree(g, i, j, 0, g->chunks, 1L << 30);
      long at = i * g->ldc + j;
      if (g->write == CK_ADD) sum = ck_reference_get(g->c, g->c_type, at) + sum;
      ck_reference_put(g->c, g->c_type, at, sum);
    }
  }
}
