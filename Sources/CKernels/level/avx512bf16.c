/* AVX-512 with vdpbf16ps for bf16 products; everything else as avx512. */
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

#include "../attention/plan.h"
#include "../inference/panels.h"
#include "../internal.h"
#include "../math_constants.h"

#define CK_LEVEL_TABLE ck_table_avx512bf16
#define CK_LEVEL_MR 12
#define CK_LEVEL_NV 2
#define CK_LEVEL_VECTOR 64 /* bytes of integer vectors */
#define CK_LEVEL_AVX512 1
#define CK_LEVEL_PAIRS 1
#pragma clang diagnostic ignored "-Wpsabi" /* vectors never leave this file */
#define CK_LEVEL_TARGET \
  target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,bmi2,f16c")
#pragma clang attribute push(__attribute__(( \
    CK_LEVEL_TARGET, min_vector_width(512))), apply_to = function)
#include "all.inc"
#pragma clang attribute pop
#endif
