/* Choice of the level, threads, scratch memory, ranges. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "internal.h"

const char *ck_level_name(ck_level level) {
  switch (level) {
    case CK_PORTABLE: return "portable";
    case CK_AVX2: return "avx2";
    case CK_AVX512: return "avx512";
    case CK_AVX512BF16: return "avx512bf16";
    case CK_AMX: return "amx";
    case CK_NEON: return "neon";
    case CK_SVE: return "sve";
  }
  return "unknown";
}

int ck_level_available(ck_level level) {
#if defined(__x86_64__)
  int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("bmi2");
  int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (level == CK_AVX2) return avx2;
  if (level == CK_AVX512) return avx512;
  if (level == CK_AVX512BF16) return avx512 && __builtin_cpu_supports("avx512bf16");
#endif
  return level == CK_PORTABLE;
}

/* The fastest level. vdpbf16ps runs at twice the rate of an fp32 multiply-add on AMD (Zen 4, Zen 5)
 * and at half of it on Intel (measured: 83 against 170 Gflop/s on one Sapphire Rapids core), where
 * widening bf16 while packing is therefore faster. Decided by the maker, never by timing, so that
 * equal machines compute equal bits. */
static ck_level best_level(void) {
#if defined(__x86_64__)
  if (ck_level_available(CK_AVX512BF16) && !__builtin_cpu_is("intel")) return CK_AVX512BF16;
  if (ck_level_available(CK_AVX512)) return CK_AVX512;
  if (ck_level_available(CK_AVX2)) return CK_AVX2;
#endif
  return CK_PORTABLE;
}

const ck_table *ck_table_of(int asked) {
  ck_level level = asked < 0 ? best_level() : (ck_level)asked;
#if defined(__x86_64__)
  if (level == CK_AVX2) return &ck_table_avx2;
  if (level == CK_AVX512) return &ck_table_avx512;
  if (level == CK_AVX512BF16) return &ck_table_avx512bf16;
#endif
  return level == CK_PORTABLE ? &ck_table_portable : NULL;
}

ck_engine *ck_engine_create(int threads, int pin, int level) {
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
  ck_level chosen = level < 0 ? best_level() : (ck_level)level;
  if (threads < 1 || threads > 4096 || !ck_level_available(chosen)) return NULL;
  ck_engine *e = calloc(1, sizeof *e);
  if (!e) return NULL;
  e->threads = threads;
  e->level = chosen;
  e->table = ck_table_of((int)chosen);
  e->arena = calloc((size_t)threads + 1, sizeof *e->arena);
  e->pool = e->arena ? ck_pool_create(threads, pin) : NULL;
  if (!e->pool) {
    free(e->arena);
    free(e);
    return NULL;
  }
  return e;
}

void ck_engine_destroy(ck_engine *e) {
  if (!e) return;
  ck_pool_destroy(e->pool);
  ck_blas_unload(e->blas);
  for (int i = 0; i <= e->threads; i++) free(e->arena[i].base);
  free(e->arena);
  free(e);
}

int ck_engine_threads(const ck_engine *e) { return e->threads; }
ck_level ck_engine_level(const ck_engine *e) { return e->level; }

long ck_engine_allocations(const ck_engine *e) { return e->allocations; }

int ck_engine_use_openblas(ck_engine *e) {
  if (!e->blas) e->blas = ck_blas_load(e->threads);
  return e->blas != NULL;
}

typedef struct {
  const ck_kit *kit;
  long steps;
  double operations; /* of one item: the same for all */
} peak_run;

static void peak_item(void *ctx, int thread, long item) {
  (void)thread;
  peak_run *r = ctx;
  float keep[16];
  double operations = r->kit->peak(r->steps, keep);
  if (item == 0) r->operations = operations;
}

double ck_peak(ck_engine *e, ck_dtype type, long steps) {
  /* Several items per thread, so that a thread that wakes late does not count for a whole one. */
  long items = e->threads == 1 ? 1 : 8L * e->threads;
  peak_run r = {.kit = type == CK_BF16 ? &e->table->bf16 : &e->table->f32, .steps = steps};
  ck_pool_run(e->pool, items, peak_item, &r);
  return r.operations * (double)items;
}

void *ck_scratch(ck_engine *e, int thread, size_t bytes) {
  int i = thread < 0 ? e->threads : thread;
  if (bytes <= e->arena[i].bytes) return e->arena[i].base;
  free(e->arena[i].base);
  e->arena[i].base = NULL;
  const size_t huge = (size_t)2 << 20;
  size_t align = bytes >= huge ? huge : 64, size = (bytes + align - 1) / align * align;
  if (posix_memalign(&e->arena[i].base, align, size) != 0) {
    fprintf(stderr, "CKernels: no memory for %zu bytes of scratch\n", size);
    abort();
  }
#if defined(MADV_HUGEPAGE)
  if (align == huge) madvise(e->arena[i].base, size, MADV_HUGEPAGE);
#endif
  e->arena[i].bytes = size;
  e->allocations++;
  return e->arena[i].base;
}

long ck_grain(long bytes_per_item) {
  long grain = (128L << 10) / ck_max(bytes_per_item, 1);
  return ck_max(grain, 1);
}

typedef struct {
  long items, grain;
  ck_range_fn fn;
  void *ctx;
} range;

static void run_piece(void *ctx, int thread, long piece) {
  (void)thread;
  range *r = ctx;
  long begin = piece * r->grain;
  r->fn(r->ctx, begin, ck_min(begin + r->grain, r->items));
}

void ck_parallel(ck_engine *e, long items, long grain, ck_range_fn fn, void *ctx) {
  if (items <= 0) return;
  range r = {items, ck_max(grain, 1), fn, ctx};
  ck_pool_run(e->pool, ck_ceil_div(items, r.grain), run_piece, &r);
}
