#include "openblas.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* Values of the C interface of the BLAS (Blackford et al. 2002). */
enum { ROW_MAJOR = 101, NOT_TRANSPOSED = 111, TRANSPOSED = 112 };

typedef void (*sgemm_fn)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                         const float *a, int lda, const float *b, int ldb, float beta, float *c,
                         int ldc);
typedef void (*set_threads_fn)(int threads);

struct ck_blas {
  void *library;
  sgemm_fn sgemm;
};

ck_blas *ck_blas_load(int threads) {
  void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  if (!library) return NULL;
  ck_blas *b = calloc(1, sizeof *b);
  /* POSIX: the address of a function through a pointer to the variable. */
  set_threads_fn set_threads = NULL;
  *(void **)&set_threads = dlsym(library, "openblas_set_num_threads");
  if (b) *(void **)&b->sgemm = dlsym(library, "cblas_sgemm");
  if (!b || !b->sgemm || !set_threads) {
    free(b);
    dlclose(library);
    return NULL;
  }
  b->library = library;
  set_threads(threads);
  return b;
}

void ck_blas_unload(ck_blas *b) {
  /* The library stays loaded: its threads cannot be taken back safely. */
  free(b);
}

int ck_blas_takes(const ck_gemm_args *g) {
  const long most = 0x7fffffff;
  return g->ab_type == CK_F32 && g->c_type == CK_F32 && g->m <= most && g->n <= most &&
         g->k <= most && g->lda <= most && g->ldb <= most && g->ldc <= most;
}

long ck_blas_scratch(const ck_gemm_args *g) {
  if (g->form == CK_TN) return g->k_rows ? g->k * g->n : 0;
  return g->a_rows ? g->m * g->k : 0;
}

static void gather(float *dst, const float *src, long ld, const int32_t *rows, long count, long n) {
  for (long i = 0; i < count; i++)
    memcpy(dst + i * n, src + (long)rows[i] * ld, (size_t)n * sizeof *dst);
}

void ck_blas_gemm(const ck_blas *b, const ck_gemm_args *g, float *gathered) {
  if (g->m <= 0 || g->n <= 0) return;
  const float *pa = g->a, *pb = g->b;
  long lda = g->lda, ldb = g->ldb;
  if (g->form == CK_TN && g->k_rows) {
    gather(gathered, pb, ldb, g->k_rows, g->k, g->n);
    pb = gathered, ldb = g->n;
  } else if (g->form != CK_TN && g->a_rows) {
    gather(gathered, pa, lda, g->a_rows, g->m, g->k);
    pa = gathered, lda = g->k;
  }
  /* The library refuses leading dimensions of zero, which empty sums have. */
  if (lda < 1) lda = 1;
  if (ldb < 1) ldb = 1;
  b->sgemm(ROW_MAJOR, g->form == CK_TN ? TRANSPOSED : NOT_TRANSPOSED,
           g->form == CK_NT ? TRANSPOSED : NOT_TRANSPOSED, (int)g->m, (int)g->n, (int)g->k, 1.0f,
           pa, (int)lda, pb, (int)ldb, g->write == CK_ADD ? 1.0f : 0.0f, g->c, (int)g->ldc);
}
