/* Reading and writing elements of either type, one by one. */
#pragma once
#include <string.h>

#include "../internal.h"

static inline float ck_reference_get(const void *p, ck_dtype type, long i) {
  if (type == CK_F32) return ((const float *)p)[i];
  uint32_t u = (uint32_t)((const uint16_t *)p)[i] << 16;
  float x;
  memcpy(&x, &u, 4);
  return x;
}

static inline void ck_reference_put(void *p, ck_dtype type, long i, float x) {
  if (type == CK_F32) {
    ((float *)p)[i] = x;
    return;
  }
  uint32_t u;
  memcpy(&u, &x, 4);
  uint32_t rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
  ((uint16_t *)p)[i] = (uint16_t)(x != x ? (u >> 16) | 0x40 : rounded);
}
