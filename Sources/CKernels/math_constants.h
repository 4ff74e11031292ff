/* Coefficients of e^r on |r| <= ln2/2, relative error 3.1e-9 before rounding (own minimax fit). */
#pragma once
#define CK_EXP_C2 0x1.fffffcp-2f
#define CK_EXP_C3 0x1.555490p-3f
#define CK_EXP_C4 0x1.5558f4p-5f
#define CK_EXP_C5 0x1.123a6cp-7f
#define CK_EXP_C6 0x1.6a2352p-10f
#define CK_EXP_LOG2E 0x1.715476p+0f
#define CK_EXP_LN2_HIGH 0x1.62e400p-1f
#define CK_EXP_LN2_LOW 0x1.7f7d1cp-20f
/* 1.5 * 2^23: adding it leaves the rounded integer in the low bits, for NaN too without trap. */
#define CK_ROUND_MAGIC 12582912.0f
