/* AVX2 and FMA. */
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

#include "../attention/plan.h"
#include "../inference/panels.h"
#include "../internal.h"
#include "../math_constants.h"

#define CK_LEVEL_TABLE ck_table_avx2
#define CK_LEVEL_MR 6
#define CK_LEVEL_NV 1
#define CK_LEVEL_VECTOR 32 /* bytes of integer vectors */

#pragma clang diagnostic ignored "-Wpsabi" /* vectors never leave this file */
#define CK_LEVEL_TARGET \
  target("avx2,fma,bmi2,f16c")
#pragma clang attribute push(__attribute__(( \
    CK_LEVEL_TARGET, min_vector_width(256))), apply_to = function)
#include "all.inc"
#pragma clang attribute pop
#endif
