/* Plain C: any machine; a fused multiply-add is the instruction where the compiler may use one and
 * libm's otherwise. */
#include <string.h>


#include "../attention/plan.h"
#include "../inference/panels.h"
#include "../internal.h"
#include "../math_constants.h"

#define CK_LEVEL_TABLE ck_table_portable
#define CK_LEVEL_MR 4
#define CK_LEVEL_NV 1

#pragma clang diagnostic ignored "-Wpsabi" /* vectors never leave this file */

#include "all.inc"

