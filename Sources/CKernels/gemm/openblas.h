/* OpenBLAS as another multiplier of fp32 matrices.
 *
 * The library is loaded when it is asked for and not linked: it starts a thread per core as soon as
 * it is loaded, which no other run should pay for. */
#pragma once
#include "../include/CKernels.h"

typedef struct ck_blas ck_blas;

/* NULL where the library is not installed. One handle per engine. */
ck_blas *ck_blas_load(int threads);
void ck_blas_unload(ck_blas *b);
/* One product; chunks are not kept apart. `gathered` holds the indexed rows if there are any. */
void ck_blas_gemm(const ck_blas *b, const ck_gemm_args *g, float *gathered);
/* Floats of `gathered`. */
long ck_blas_scratch(const ck_gemm_args *g);
/* Whether the library can do it: fp32 in and out. */
int ck_blas_takes(const ck_gemm_args *g);
