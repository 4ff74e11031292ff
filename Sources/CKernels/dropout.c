/* Inverted dropout with counter-based random numbers: an element is kept or not by where it stands
 * in the whole tensor, so every layout, every number of threads and every recomputation drops the
 * same ones. The mixing function has no bias above 1e-4 in any bit of its avalanche matrix
 * (two rounds of multiply and xor-shift on 32 bits). */
#include "internal.h"

typedef struct {
  ck_dtype type;
  long n;
  const void *x;
  void *y;
  const uint64_t *row_keys;
  uint64_t key;
  long first_column;
  uint32_t threshold;
  float scale;
} dropout_ctx;

static inline uint32_t mix32(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

static inline uint64_t mix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

/* 1 where element c of the row stays. */
static inline int stays(uint32_t low, uint32_t high, uint32_t column, uint32_t threshold) {
  return mix32(mix32(column * 0x9e3779b9u + low) ^ high) >= threshold;
}

static inline float bf16_wide(uint16_t x) {
  union {
    uint32_t i;
    float f;
  } u = {.i = (uint32_t)x << 16};
  return u.f;
}

static inline uint16_t bf16_round(float x) {
  union {
    float f;
    uint32_t i;
  } u = {.f = x};
  if (x != x) return (uint16_t)((u.i >> 16) | 0x40);
  return (uint16_t)((u.i + 0x7fffu + ((u.i >> 16) & 1u)) >> 16);
}

static void dropout_rows(void *ctx, long begin, long end) {
  const dropout_ctx *s = ctx;
  for (long r = begin; r < end; r++) {
    uint64_t row = mix64(s->row_keys[r] ^ s->key);
    uint32_t low = (uint32_t)row, high = (uint32_t)(row >> 32);
    uint32_t first = (uint32_t)s->first_column;
    if (s->type == CK_F32) {
      const float *x = (const float *)s->x + r * s->n;
      float *y = (float *)s->y + r * s->n;
      for (long c = 0; c < s->n; c++)
        y[c] = stays(low, high, first + (uint32_t)c, s->threshold) ? x[c] * s->scale : 0.0f;
    } else {
      const uint16_t *x = (const uint16_t *)s->x + r * s->n;
      uint16_t *y = (uint16_t *)s->y + r * s->n;
      for (long c = 0; c < s->n; c++)
        y[c] = stays(low, high, first + (uint32_t)c, s->threshold)
                   ? bf16_round(bf16_wide(x[c]) * s->scale)
                   : 0;
    }
  }
}

void ck_dropout(ck_engine *e, ck_dtype type, long rows, long n, const void *x, void *y,
                float probability, uint64_t key, const uint64_t *row_keys, long first_column) {
  double limit = (double)probability * 4294967296.0;
  dropout_ctx s = {.type = type,
                   .n = n,
                   .x = x,
                   .y = y,
                   .row_keys = row_keys,
                   .key = key,
                   .first_column = first_column,
                   .threshold = limit >= 4294967295.0 ? 0xffffffffu : (uint32_t)limit,
                   .scale = probability < 1.0f ? 1.0f / (1.0f - probability) : 0.0f};
  ck_parallel(e, rows, 16, dropout_rows, &s);
}
