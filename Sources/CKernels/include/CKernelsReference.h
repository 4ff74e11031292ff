/* Plain forms beside the fast kernels: loops a reader can check against the formula. The product is
 * in fp32 and in the stated order of additions, everything else in fp64. For tests; slow. */
#pragma once
#include "CKernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* C of a product, one fused multiply-add chain per chunk, chunks added as the balanced tree: the bits
 * of every level that widens bf16. */
void ck_reference_gemm(const ck_gemm_args *g);

/* o [tokens][groups*ratio][d], lse [groups*ratio][tokens]. */
void ck_reference_attention(const ck_attention_args *a, double *o, double *lse);
/* dq [tokens][groups*ratio][d], dk and dv [tokens][groups][d]; from the exact forward. */
void ck_reference_attention_backward(const ck_attention_grad_args *g, double *dq, double *dk,
                                     double *dv);

void ck_reference_rmsnorm(ck_dtype type, long rows, long n, const void *x, const void *w, double eps,
                          double *y);
/* dx [rows][n], dw [n] over all rows. */
void ck_reference_rmsnorm_backward(ck_dtype type, long rows, long n, const void *x, const void *w,
                                   double eps, const void *dy, double *dx, double *dw);

/* out [t][groups][ratio+2][d]. */
void ck_reference_qkrope(const ck_qkrope *s, const void *qkv, double *out);
/* dqkv as qkv; dwq, dwk [groups][d], one sum per group; untouched where there is no norm. */
void ck_reference_qkrope_backward(const ck_qkrope *s, const void *qkv, const void *dout, double *dqkv,
                                  double *dwq, double *dwk);

void ck_reference_swiglu(ck_dtype type, long rows, int parts, long width, const void *x,
                         const float *scale, double *y);
void ck_reference_swiglu_backward(ck_dtype type, long rows, int parts, long width, const void *x,
                                  const float *scale, const void *dy, double *dx, double *dscale);

void ck_reference_layernorm(ck_dtype type, long rows, long n, const void *x, const void *w,
                            const void *b, double eps, double *y);
void ck_reference_layernorm_backward(ck_dtype type, long rows, long n, const void *x,
                                     const void *w, double eps, const void *dy, double *dx,
                                     double *dw, double *db);

double ck_reference_gelu(ck_gelu_form form, double x);
double ck_reference_gelu_slope(ck_gelu_form form, double x);

/* As ck_transpose, element by element. */
void ck_reference_transpose(int size, long rows, long columns, const void *x, long ldx, void *y,
                            long ldy);

#ifdef __cplusplus
}
#endif
