/* Entry points that move bytes, for callers without an engine. */
#include "internal.h"

void ck_transpose(int level, int size, long rows, long columns, const void *x, long ldx, void *y,
                  long ldy) {
  ck_table_of(level)->transpose(size, rows, columns, x, ldx * size, y, ldy * size);
}

void ck_copy_past(int level, void *y, const void *x, size_t bytes) {
  ck_table_of(level)->copy_past(y, x, bytes);
}
