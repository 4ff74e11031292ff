/* What the files of this target share: the engine, its table of variants, arguments of ranges. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "gemm/openblas.h"
#include "include/CKernels.h"

typedef struct ck_pool ck_pool;
typedef void (*ck_item_fn)(void *ctx, int thread, long item);

ck_pool *ck_pool_create(int threads, int pin);
void ck_pool_destroy(ck_pool *pool);
/* fn(ctx, thread, item) once for every item, handed out in ascending order. From inside an item
 * only ck_parallel may be called: it runs its pieces one after the other on the calling thread. */
void ck_pool_run(ck_pool *pool, long items, ck_item_fn fn, void *ctx);

/* Widths that every level keeps, because the order of sums hangs on them. */
enum {
  CK_LANES = 16,
  CK_MAX_D = 256,     /* largest head dimension */
  CK_MAX_MR = 12,     /* rows of the largest micro-tile */
  CK_MAX_NR = 32,     /* columns of the largest micro-tile */
  CK_MAX_TREE = 24    /* levels of the tree over chunks */
};

/* Lines of memory to be asked for while a micro-tile is computed, one per cell: line i lies at
 * base + (i >> shift)*stride + (i & mask)*64. The next panel is packed from them. */
typedef struct {
  const char *base;
  long stride, mask;
  int shift;
  long lines; /* beyond it nothing is asked for */
} ck_ahead;

/* How one level multiplies matrices of one element type. A packed operand is a run of 4-byte cells
 * [k cells][width]: one fp32 value per cell, or (pairs) two bf16 values of neighbouring k. */
typedef struct {
  int pairs; /* 1: a cell holds two k */
  int mr, nr;
  /* Operand whose rows are outputs and whose columns are summed: row i < rows at
   * src + (index ? index[i] : i)*ld; cells of rows up to width are zero. */
  void (*pack_rows)(uint32_t *dst, const void *src, long ld, const int32_t *index, long rows,
                    long k, int width);
  /* Operand whose rows are summed: row j < k at src + (index ? index[j] : j)*ld. */
  void (*pack_cols)(uint32_t *dst, const void *src, long ld, const int32_t *index, long k,
                    long cols, int width);
  /* t[mr][nr] = (load ? t : 0) + a.b, each element one chain over ascending k. */
  void (*micro)(int mr, const uint32_t *a, const uint32_t *b, long cells, float *t, long ldt,
                int load);
  /* `micro` that asks for the lines of `ahead` on the way. */
  void (*micro_ahead)(int mr, const uint32_t *a, const uint32_t *b, long cells, float *t, long ldt,
                      int load, const ck_ahead *ahead);
  /* Bytes of a cell of an operand that is kept (inference/): 2 where bf16 is widened on use. */
  long stored;
  /* `micro` with such a second operand. */
  void (*micro_stored)(int mr, const uint32_t *a, const void *b, long cells, float *t, long ldt,
                       int load);
  /* `steps` multiply-adds in each accumulator of the micro-tile, in registers; returns their
   * floating-point operations. `keep` (16 floats) receives a sum so that nothing is left out. */
  double (*peak)(long steps, float *keep);
} ck_kit;

static inline long ck_cells(const ck_kit *kit, long k) { return kit->pairs ? (k + 1) / 2 : k; }

typedef struct {
  ck_dtype type;
  long rows, n, part_rows;
  const void *x, *w, *dy;
  float eps;
  void *out; /* y or dx */
  float *rstd, *dw_parts;
} ck_norm_ctx;

typedef struct {
  const ck_qkrope *s;
  const void *qkv, *dout;
  void *out;
  float *rstd;
  float *dwq_parts, *dwk_parts;
  int part_groups;
} ck_rope_ctx;

typedef struct {
  ck_dtype type;
  long rows, n;
  const void *x, *w, *b, *dy;
  float eps;
  void *out; /* y or dx */
  float *mean, *rstd, *dw, *db;
} ck_layernorm_ctx;

typedef struct {
  ck_gelu_form form;
  ck_dtype type;
  const void *x, *dy; /* dy NULL: forward */
  void *out;
} ck_gelu_ctx;

typedef struct {
  ck_dtype type;
  int parts;
  long width;
  const void *x, *dy;
  const float *scale;
  void *out;
  float *dscale;
} ck_swiglu_ctx;

typedef struct {
  ck_dtype a_type, b_type, out_type;
  const void *a, *b;
  void *out;
  float value;
} ck_map_ctx;

typedef struct {
  ck_dtype type;
  long tokens, h, first, count;
  int k;
  const int32_t *ids;
  const float *weight;
  const void *x;
  void *out;
} ck_rows_ctx;

typedef struct {
  ck_dtype type;
  long n;
  int parts;
  const float *z, *m, *sum, *seed;
  const int32_t *label;
  float *y, *target;
  void *g;
  long column_blocks, column_block;
} ck_loss_ctx;

typedef struct {
  long n;
  float *p, *buf;
  const void *grad;
  ck_dtype grad_type;
  int first;
  float grad_scale, lr, momentum, weight_decay;
} ck_sgd_ctx;

typedef struct {
  ck_dtype type;
  const void *x;
  int exponent;
  long grain;
  ck_exact_sum *sums;
  float *maxima;
} ck_reduce_ctx;

/* One thread's part of attention (attention/). */
typedef struct ck_attention_plan ck_attention_plan;
typedef struct ck_cached_plan ck_cached_plan;

/* ck_gemm_grouped of weights in panels (inference/panels.c). */

/* One level: every entry works on a range [begin, end) of the context named in its comment. */
typedef struct {
  ck_kit f32, bf16; /* by element type of A and B */
  /* t[n] += s[n]; n a multiple of 16 */
  void (*tile_add)(float *t, const float *s, long n);
  /* a finished tile into C: rows x cols */
  void (*tile_out)(const float *t, long ldt, void *c, long ldc, ck_dtype type, ck_write write,
                   long rows, long cols);
  void (*attention_forward)(const ck_attention_plan *p, void *scratch, long item);
  void (*attention_cached)(const ck_cached_plan *p, void *scratch, long item);
  void (*attention_backward)(const ck_attention_plan *p, void *scratch, long item);
  void (*attention_reduce)(void *out, ck_dtype type, float scale, const float *x, long n);
  ck_range_fn rmsnorm_forward;         /* ck_norm_ctx, rows */
  ck_range_fn rmsnorm_backward;        /* ck_norm_ctx, rows: dx, and dw_parts if given */
  ck_range_fn rmsnorm_backward_weight; /* ck_norm_ctx, parts x blocks of 64 columns */
  ck_range_fn layernorm_forward;       /* ck_layernorm_ctx, rows */
  ck_range_fn layernorm_backward;      /* ck_layernorm_ctx, rows: dx */
  ck_range_fn layernorm_backward_weight; /* ck_layernorm_ctx, blocks of 64 columns */
  ck_range_fn gelu;                    /* ck_gelu_ctx, elements */
  ck_range_fn qkrope_forward;          /* ck_rope_ctx, tokens */
  ck_range_fn qkrope_backward;         /* ck_rope_ctx, tokens: dqkv, and the weights if given */
  ck_range_fn qkrope_backward_weight;  /* ck_rope_ctx, parts x blocks of 16 column pairs */
  ck_range_fn swiglu_forward;          /* ck_swiglu_ctx, rows */
  ck_range_fn swiglu_backward;         /* ck_swiglu_ctx, rows */
  ck_range_fn add, convert, accumulate, scale, fill;  /* ck_map_ctx, elements */
  ck_range_fn split_master, join_master;              /* ck_map_ctx, elements */
  ck_range_fn to_f16, from_f16, to_f8, from_f8;       /* ck_map_ctx, elements */
  ck_range_fn embedding_backward;      /* ck_rows_ctx, columns */
  ck_range_fn combine_rows;            /* ck_rows_ctx, rows */
  /* y[c][r] = x[r][c]; `size` and strides in bytes; on the caller's thread */
  void (*transpose)(int size, long rows, long columns, const char *x, long ldx, char *y, long ldy);
  void (*copy_past)(char *y, const char *x, size_t bytes);
  ck_range_fn softmax_rows;            /* ck_loss_ctx, rows */
  ck_range_fn ce_max;                  /* ck_loss_ctx, rows */
  ck_range_fn ce_sums;                 /* ck_loss_ctx, rows x parts */
  ck_range_fn ce_grad;                 /* ck_loss_ctx, rows x column blocks */
  ck_range_fn adamw;                   /* ck_adamw_args, elements */
  ck_range_fn sgd;                     /* ck_sgd_ctx, elements */
  ck_range_fn absmax, sum_squares;     /* ck_reduce_ctx, elements; one piece per grain */
} ck_table;

extern const ck_table ck_table_portable;
#if defined(__x86_64__)
extern const ck_table ck_table_avx2, ck_table_avx512, ck_table_avx512bf16;
#endif

/* level < 0: the fastest this CPU has. */
const ck_table *ck_table_of(int level);

struct ck_engine {
  int threads;
  ck_level level;
  const ck_table *table;
  ck_pool *pool;
  ck_blas *blas; /* NULL: own products */
  _Atomic long allocations; /* of scratch */
  struct {
    void *base;
    size_t bytes;
  } *arena; /* one per thread, then one shared */
};

/* At least `bytes` of 64-byte aligned memory of one thread (or the shared one: thread = -1), reused
 * by the next call. Ends the process with a message when memory is exhausted, as Swift does. */
void *ck_scratch(ck_engine *e, int thread, size_t bytes);

/* Items per piece so that a piece moves about 128 KiB: small work stays on the caller. */
long ck_grain(long bytes_per_item);

static inline size_t ck_type_size(ck_dtype t) { return t == CK_BF16 ? 2 : 4; }
static inline long ck_min(long a, long b) { return a < b ? a : b; }
static inline long ck_max(long a, long b) { return a > b ? a : b; }
static inline long ck_ceil_div(long a, long b) { return (a + b - 1) / b; }
static inline long ck_round_up(long a, long b) { return ck_ceil_div(a, b) * b; }
static inline const char *ck_at(const void *p, ck_dtype t, long i) {
  return (const char *)p + (size_t)i * ck_type_size(t);
}
static inline char *ck_at_mut(void *p, ck_dtype t, long i) {
  return (char *)p + (size_t)i * ck_type_size(t);
}
