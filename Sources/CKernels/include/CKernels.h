/* Hot loops of the trainer: one engine per rank, one table of variants chosen at start.
 *
 * Order of additions (docs/decisions/0002-canonical-order.md). Every function states the order of
 * its sums. Two forms are used:
 *   chain   one accumulator over ascending index: acc = fma(a[i], b[i], acc), acc starts at 0;
 *           bf16 products at level avx512bf16 take pairs (2i, 2i+1) by vdpbf16ps, an odd last
 *           element is paired with zero;
 *   lanes   16 chains, lane l over indices l, l+16, l+32, …; then the tree
 *           ((0+8)+(4+12))+… i.e. lanes at distance 8, 4, 2, 1 are added.
 * `chunks` cuts a summed dimension in equal parts (the length is a multiple of chunks); each part is
 * one chain and the parts are added as a balanced tree over the part index: (0+1)+(2+3)….
 * No result depends on the number of threads, on tiles, or on how many rows are computed together.
 * fp32 gives the same bits at every level; bf16 at each level by itself.
 *
 * All matrices are row-major; `ld*` and strides count elements. Pointers need no alignment.
 * Zero rows are allowed everywhere. NaN and Inf propagate. No function allocates except from the
 * engine's scratch, which grows once. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { CK_F32 = 0, CK_BF16 = 1 } ck_dtype;

/* Instruction-set levels, lowest first. AMX, NEON and SVE have their place in the table. */
typedef enum {
  CK_PORTABLE = 0,
  CK_AVX2 = 1,
  CK_AVX512 = 2,
  CK_AVX512BF16 = 3,
  CK_AMX = 4,
  CK_NEON = 5,
  CK_SVE = 6
} ck_level;

/* Threads, scratch and variant table of one rank. Not shared between ranks; one caller at a time. */
typedef struct ck_engine ck_engine;

/* threads >= 1 counts the caller. pin: 1 pins worker i to the i-th CPU this process may use, if
 * there are as many; the caller stays where it is.
 * level < 0 takes the best the CPU has. Returns NULL if the level is not available. */
ck_engine *ck_engine_create(int threads, int pin, int level);
void ck_engine_destroy(ck_engine *e);
int ck_engine_threads(const ck_engine *e);
ck_level ck_engine_level(const ck_engine *e);
const char *ck_level_name(ck_level level);
int ck_level_available(ck_level level);

/* Multiplies fp32 matrices with OpenBLAS from now on: its own order of additions, `chunks` not kept
 * apart, bits that depend on rows and threads. Everything else stays. Returns 0 if the library
 * (libopenblas.so.0) is not installed. */
int ck_engine_use_openblas(ck_engine *e);
/* Times the engine asked the system for scratch memory so far: constant in a steady step. */
long ck_engine_allocations(const ck_engine *e);
/* Runs the multiply-adds of this level's products of `type` on every thread, in registers, `steps`
 * per accumulator, and returns how many floating-point operations that were (2 per multiply-add). */
double ck_peak(ck_engine *e, ck_dtype type, long steps);

/* Runs fn(ctx, begin, end) over [0, items) in pieces of at most `grain`, on all threads. */
typedef void (*ck_range_fn)(void *ctx, long begin, long end);
void ck_parallel(ck_engine *e, long items, long grain, ck_range_fn fn, void *ctx);

/* ------------------------------------------------------------------ matrix products */

typedef enum {
  CK_NT = 0, /* C[m,n] = A[m,k] . B[n,k]^T   forward:         A = x, B = weight           */
  CK_NN = 1, /* C[m,n] = A[m,k] . B[k,n]     input gradient:  A = dy, B = weight          */
  CK_TN = 2  /* C[m,n] = A[k,m]^T . B[k,n]   weight gradient: A = dy, B = x               */
} ck_form;

typedef enum { CK_STORE = 0, CK_ADD = 1 } ck_write;

typedef struct {
  ck_form form;
  ck_dtype ab_type; /* of A and B; sums are fp32 */
  ck_dtype c_type;  /* CK_BF16 rounds once, to nearest even */
  ck_write write;   /* CK_ADD: C = C + sum (C read once, c_type) */
  int chunks;       /* of k; 1 = one chain; k % chunks == 0 */
  long m, n, k;
  const void *a;
  long lda;
  const void *b;
  long ldb;
  void *c;
  long ldc;
  const int32_t *a_rows; /* NT, NN: row i of A is a + a_rows[i]*lda; NULL = i */
  const int32_t *k_rows; /* TN: row j of B is b + k_rows[j]*ldb; NULL = j */
  int b_panels;          /* NT: B lies in panels (ck_panel_pack); k/chunks even or chunks = 1 */
} ck_gemm_args;

void ck_gemm(ck_engine *e, const ck_gemm_args *g);
/* Independent products as one flat list of tiles (experts). C blocks must not overlap; all or none
 * have `b_panels`. */
void ck_gemm_grouped(ck_engine *e, const ck_gemm_args *list, long count);

/* A weight [n][k] in the order the products of this engine read it, so that nothing is packed when
 * it is used and few rows run at the speed of memory. Products have the bits of the plain form. */
size_t ck_panel_bytes(const ck_engine *e, ck_dtype type, long n, long k);
void ck_panel_pack(ck_engine *e, ck_dtype type, long n, long k, const void *w, long ldw,
                   void *panels);
/* out[i][k] = row ids[i]-first of the weight; -0.0 where that is not in [0, n). */
void ck_panel_rows(ck_engine *e, ck_dtype type, long k, const void *panels, long count,
                   const int32_t *ids, long first, long n, void *out);

/* ------------------------------------------------------------------ attention */

/* Head h = g*ratio + r of token t lies at base + t*token + g*group + r*d (r = 0 for k and v). */
typedef struct {
  long token, group;
} ck_heads;

typedef struct {
  ck_dtype type;
  long tokens;
  int groups, ratio, d; /* ratio = query heads per key/value head; d % 4 == 0, d <= 256 */
  float scale;
  int causal;
  const int32_t *cu; /* documents+1 starts, cu[0] = 0, cu[documents] = tokens */
  long documents;
  const void *q, *k, *v;
  ck_heads qs, ks, vs;
  void *o;
  ck_heads os;
  float *lse; /* [groups*ratio, tokens]: natural log of the sum of exp(scale*q.k) */
} ck_attention_args;

/* O = softmax(scale * Q K^T) V inside each document; nothing of size L^2 is stored.
 * Blocks are anchored at the start of the document, so a document's result depends on nothing
 * else in the row. */
void ck_attention_forward(ck_engine *e, const ck_attention_args *a);

typedef struct {
  ck_attention_args f; /* as in forward; o and lse are inputs */
  const void *d_o;
  ck_heads dos;
  void *dq, *dk, *dv; /* in `type`, summed in fp32, rounded once */
  ck_heads dqs, dks, dvs;
} ck_attention_grad_args;
void ck_attention_backward(ck_engine *e, const ck_attention_grad_args *a);

/* Attention over kept keys and values (generation). They lie in pages of CK_PAGE positions; the memory
 * of a page is `offset` bytes of others (layers before), then the groups. A page begins as zeros. */
enum { CK_PAGE = 128 };
size_t ck_cache_page_bytes(const ck_engine *e, ck_dtype type, int groups, int d);

typedef struct {
  long first_row, rows; /* its rows of qkv */
  long start;           /* positions kept before */
  void *const *pages;   /* for positions 0 ..< start+rows; written from `start` on */
} ck_cached_sequence;

typedef struct {
  ck_dtype type;
  int groups, ratio, d;
  float scale;
  const void *qkv; /* rotated rows, qs.token elements apart: [groups][ratio+2][d], qs.group apart */
  ck_heads qs;
  void *o;
  ck_heads os;
  const ck_cached_sequence *sequences;
  long count;
  long offset; /* bytes of a page before this layer's part */
} ck_cached_attention_args;

/* Keeps keys and values of the rows, then each query against all positions up to its own. The bits of
 * ck_attention_forward over the whole document, however the document is cut in calls. Sequences must
 * not share a page that is written. */
void ck_cached_attention(ck_engine *e, const ck_cached_attention_args *a);

/* ------------------------------------------------------------------ norms, rotary, activations */

/* y = x*r*w, r = 1/sqrt(mean(x^2)+eps), fp32 inside, one rounding. Mean: lanes. rstd: [rows]. */
void ck_rmsnorm_forward(ck_engine *e, ck_dtype type, long rows, long n, const void *x,
                        const void *w, float eps, void *y, float *rstd);
/* dx = r*(dy*w - x*r*mean(dy*w*x*r)), rounded once. dw_parts[p][n] = chain over the rows of part p
 * (rows p*part_rows ...) of dy*x*r; parts = ceil(rows/part_rows); overwritten. dw_parts may be NULL. */
void ck_rmsnorm_backward(ck_engine *e, ck_dtype type, long rows, long n, const void *x,
                         const void *w, const float *rstd, const void *dy, void *dx,
                         float *dw_parts, long part_rows);

/* y = (x - mean)*rstd*w + b of each row, rstd = 1/sqrt(mean((x - mean)^2) + eps), fp32 inside, one
 * rounding. Both means: lanes. mean, rstd [rows] are kept for the backward. */
void ck_layernorm_forward(ck_engine *e, ck_dtype type, long rows, long n, const void *x,
                          const void *w, const void *b, float eps, void *y, float *mean,
                          float *rstd);
/* With g = dy*w and h = (x - mean)*rstd: dx = rstd*(g - mean(g) - h*mean(g*h)), rounded once;
 * dw[n] = chain over rows of dy*h, db[n] = chain over rows of dy; overwritten. dx, or dw and db
 * together, may be NULL. */
void ck_layernorm_backward(ck_engine *e, ck_dtype type, long rows, long n, const void *x,
                           const void *w, const float *mean, const float *rstd, const void *dy,
                           void *dx, float *dw, float *db);

/* QK-norm and rotary embedding of a fused row [t][groups][ratio+2][d] (ratio queries, key, value).
 * Queries and keys: RMSNorm over d with wq / wk, then q' = q*cos + rot(q)*sin with rot(x) = [-x2,x1]
 * and cos, sin [t][d/2]; values are copied. fp32 inside, one rounding. rstd [t][groups][ratio+1].
 * wq NULL: no norm (rotary only). */
typedef struct {
  ck_dtype type;
  long tokens;
  int groups, ratio, d;
  float eps;
  const void *wq, *wk;
  const float *cos, *sin;
} ck_qkrope;
void ck_qkrope_forward(ck_engine *e, const ck_qkrope *s, const void *qkv, void *out, float *rstd);
/* dqkv from dout (same layout). dwq_parts, dwk_parts [groups/part_groups][d]: part p sums its groups:
 * chain over (token, group in part, head), ascending. */
void ck_qkrope_backward(ck_engine *e, const ck_qkrope *s, const void *qkv, const float *rstd,
                        const void *dout, void *dqkv, float *dwq_parts, float *dwk_parts,
                        int part_groups);

/* x [rows][parts][2][width]: gate then up in each part; y [rows][parts*width] = silu(gate)*up*scale.
 * scale [rows] or NULL. */
void ck_swiglu_forward(ck_engine *e, ck_dtype type, long rows, int parts, long width,
                       const void *x, const float *scale, void *y);
/* dscale [rows] = lanes sum of dy*silu(gate)*up over the parts*width columns; NULL if not wanted. */
void ck_swiglu_backward(ck_engine *e, ck_dtype type, long rows, int parts, long width,
                        const void *x, const float *scale, const void *dy, void *dx,
                        float *dscale);

/* GELU: x/2 (1 + tanh(sqrt(2/pi)(x + 0.044715 x^3))), or x F(x) with the normal distribution F. */
typedef enum { CK_GELU_TANH = 0, CK_GELU_ERF = 1 } ck_gelu_form;
void ck_gelu_forward(ck_engine *e, ck_gelu_form form, ck_dtype type, long n, const void *x,
                     void *y);
void ck_gelu_backward(ck_engine *e, ck_gelu_form form, ck_dtype type, long n, const void *x,
                      const void *dy, void *dx);

/* out = a + b element by element, fp32 inside, rounded to out_type. out may be a or b. */
void ck_add(ck_engine *e, long n, ck_dtype a_type, const void *a, ck_dtype b_type, const void *b,
            ck_dtype out_type, void *out);
void ck_convert(ck_engine *e, long n, ck_dtype from, const void *x, ck_dtype to, void *y);
/* y += x ; y *= s ; y = value, fp32. */
void ck_accumulate(ck_engine *e, long n, const float *x, float *y);
void ck_scale(ck_engine *e, long n, float s, float *y);
void ck_fill(ck_engine *e, long n, float value, float *y);
/* Zeros in `bytes` bytes, by all threads. */
void ck_zero(ck_engine *e, size_t bytes, void *y);

/* y = x/(1-probability) where an element stays, else 0; y may be x. Element c of row r is drawn from
 * (key, row_keys[r], first_column + c) alone; p >= 1 leaves nothing but one element in 2^32. */
void ck_dropout(ck_engine *e, ck_dtype type, long rows, long n, const void *x, void *y,
                float probability, uint64_t key, const uint64_t *row_keys, long first_column);

/* ------------------------------------------------------------------ rows */

/* out[i] = first <= ids[i] < first+count ? table[ids[i]-first] : -0.0 (so that a sum over ranks is exact). */
void ck_embedding_forward(ck_engine *e, ck_dtype type, long tokens, long h, const int32_t *ids,
                          long first, long count, const void *table, void *out);
/* dtable[ids[i]-first] += dout[i], tokens in ascending order; dtable fp32 [count][h]. */
void ck_embedding_backward(ck_engine *e, ck_dtype type, long tokens, long h, const int32_t *ids,
                           long first, long count, const void *dout, float *dtable);
/* out[i] = x[rows[i]] (rows[i] < 0: zeros). */
void ck_gather_rows(ck_engine *e, ck_dtype type, long count, long h, const int32_t *rows,
                    const void *x, void *out);
/* out[i] = sum over j = 0..k-1 of weight[i*k+j] * x[slot[i*k+j]], chain over j, slots < 0 skipped,
 * rounded once; weight NULL = 1. */
void ck_combine_rows(ck_engine *e, ck_dtype type, long count, long h, int k, const int32_t *slot,
                     const float *weight, const void *x, void *out);

/* y[c*ldy + r] = x[r*ldx + c] for elements of `size` bytes (1, 2, 4 or 8), bit for bit; x and y share no
 * memory. On the caller's thread, for those who move weights and have no engine; level < 0 takes the
 * best the CPU has, as in ck_engine_create, otherwise it must be available. */
void ck_transpose(int level, int size, long rows, long columns, const void *x, long ldx, void *y,
                  long ldy);

/* Copies bytes that this processor will not look at again, past its caches. x and y share no memory. */
void ck_copy_past(int level, void *y, const void *x, size_t bytes);

/* ------------------------------------------------------------------ softmax, cross-entropy */

/* y = softmax of each fp32 row; sum: lanes. y may be x. lse [rows] (natural) or NULL. */
void ck_softmax_rows(ck_engine *e, long rows, long n, const float *x, float *y, float *lse);

/* The vocabulary-parallel pieces, over fp32 logits [rows][n] of this rank:
 *   max:  m[r] = max_j z[r][j]
 *   sums: parts[r][p] = lanes sum over part p of exp(z - m[r]); parts cut n equally;
 *         target[r] = z[r][label[r]] - m[r] if 0 <= label[r] < n else -0.0  (label is local)
 *   grad: g[r][j] = (exp(z - m[r])*(1/sum[r]) - [j == label[r]]) * seed[r], in `type`; may be z if
 *         fp32. */
void ck_ce_max(ck_engine *e, long rows, long n, const float *z, float *m);
void ck_ce_sums(ck_engine *e, long rows, long n, int parts, const float *z, const float *m,
                const int32_t *label, float *part_sums, float *target);
void ck_ce_grad(ck_engine *e, ck_dtype type, long rows, long n, const float *z, const float *m,
                const float *sum, const int32_t *label, const float *seed, void *g);

/* Own elementary functions, the same bits as inside the vector kernels at every level. */
float ck_expf(float x);
float ck_logf(float x);
float ck_sigmoidf(float x);

/* ------------------------------------------------------------------ optimizer */

typedef enum {
  CK_MASTER_F32 = 0,      /* master [n] fp32; param is its rounding (bf16) or is not written (NULL) */
  CK_MASTER_REMAINDER = 1 /* param bf16 + int16 remainder hold the fp32 word exactly */
} ck_master;

typedef struct {
  long n;
  ck_master master_kind;
  float *master;      /* MASTER_F32 */
  int16_t *remainder; /* MASTER_REMAINDER */
  void *param;        /* model weight: bf16, or fp32 copy of master, or NULL */
  ck_dtype param_type;
  const void *grad;
  ck_dtype grad_type;
  void *m, *v; /* fp32 or bf16 (rounded to nearest even) */
  ck_dtype m_type, v_type;
  float grad_scale; /* clipping factor, applied to the gradient first */
  double beta1, beta2; /* fp64: 1 - (float)0.999 is off by 1e-5 */
  float lr, eps, weight_decay;
  float bias1, bias2; /* 1 - beta^t */
} ck_adamw_args;

/* m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
 * p = p*(1 - lr*wd); p = p - lr * (m/bias1) / (sqrt(v/bias2) + eps)   (Loshchilov & Hutter 2019). */
void ck_adamw(ck_engine *e, const ck_adamw_args *a);
/* buf = mu*buf + (g*scale + wd*p); p = p - lr*buf (first step: buf = g*scale + wd*p). */
void ck_sgd(ck_engine *e, long n, float *p, const void *grad, ck_dtype grad_type, float *buf,
            int first, float grad_scale, float lr, float momentum, float weight_decay);

/* Split and join of the bf16 weight + int16 remainder; see docs/optimizer.md. */
void ck_split_master(ck_engine *e, long n, const float *master, uint16_t *hi, int16_t *lo);
void ck_join_master(ck_engine *e, long n, const uint16_t *hi, const int16_t *lo, float *master);

/* Largest magnitude; NaN if any element is NaN. */
float ck_absmax(ck_engine *e, long n, ck_dtype type, const void *x);
/* sum over i of floor((x[i] * 2^-exponent)^2 * 2^62), exact and free of order; |x| <= 2^exponent.
 * Returned as hi*2^32 + lo with 0 <= lo per element accumulated in 64 bits (n <= 2^31 per call). */
typedef struct {
  int64_t hi, lo;
} ck_exact_sum;
ck_exact_sum ck_sum_squares(ck_engine *e, long n, ck_dtype type, const void *x, int exponent);

/* Storage of moments in 8 or 16 bits with one scale per tensor: y = round(x * inverse). */
void ck_to_f16(ck_engine *e, long n, const float *x, float inverse, uint16_t *y);
void ck_from_f16(ck_engine *e, long n, const uint16_t *x, float scale, float *y);
void ck_to_f8e4m3(ck_engine *e, long n, const float *x, float inverse, uint8_t *y);
void ck_from_f8e4m3(ck_engine *e, long n, const uint8_t *x, float scale, float *y);

#ifdef __cplusplus
}
#endif

#include "CKernelsReference.h"
