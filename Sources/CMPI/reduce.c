// Sums of the ranks' values along one fixed tree.
//
// Every world calls this one function, so the bits cannot differ between them. The work goes in
// blocks small enough for the first cache level; inside a block the tree is walked once per node
// over all elements, which leaves plain loops over vectors. Vector width changes which elements
// are computed together, never the additions of one element.
#include "internal.h"

#include <string.h>

#define BLOCK 1024

#if defined(__x86_64__) && defined(__GLIBC__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#endif

// Unaligned vectors; all loads of an iteration come before its store, so `out` may be a source.
typedef float lanes __attribute__((vector_size(64), aligned(4)));
#define LANES 16
#define AT(p, i) (*(const lanes *)((p) + (i)))
#define PUT(p, i) (*(lanes *)((p) + (i)))

CLONES static void add2(float *out, const float *a, const float *b, size_t count) {
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) PUT(out, i) = AT(a, i) + AT(b, i);
  for (; i < count; i++) out[i] = a[i] + b[i];
}

// (a + b) + (c + d)
CLONES static void add4(
    float *out, const float *a, const float *b, const float *c, const float *d, size_t count) {
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    PUT(out, i) = (AT(a, i) + AT(b, i)) + (AT(c, i) + AT(d, i));
  }
  for (; i < count; i++) out[i] = (a[i] + b[i]) + (c[i] + d[i]);
}

// A subtree: `n` sources from `first` on, every `stride`-th.
typedef struct {
  int first, stride, n;
} subtree;

static int is_power_of_two(int n) { return (n & (n - 1)) == 0; }

static int power_below(int n) {
  int p = 1;
  while (p * 2 < n) p *= 2;
  return p;
}

static void halves(subtree t, int distant, subtree *left, subtree *right) {
  if (distant && is_power_of_two(t.n)) {
    *left = (subtree){t.first, t.stride * 2, t.n / 2};
    *right = (subtree){t.first + t.stride, t.stride * 2, t.n / 2};
  } else {
    int p = power_below(t.n);
    *left = (subtree){t.first, t.stride, p};
    *right = (subtree){t.first + p * t.stride, t.stride, t.n - p};
  }
}

// Two or four leaves in one pass; `out` may be one of them.
static int sum_leaves(
    const float *const *s, subtree t, int distant, size_t at, size_t count, float *out) {
  const float *const *leaf = s + t.first;
  const int d = t.stride;
  if (t.n == 2) {
    add2(out, leaf[0] + at, leaf[d] + at, count);
    return 1;
  }
  if (t.n == 4) {
    const int near = distant ? 2 : 1, far = distant ? 1 : 2;
    add4(
        out, leaf[0] + at, leaf[near * d] + at, leaf[far * d] + at, leaf[3 * d] + at, count);
    return 1;
  }
  return 0;
}

// `out` is no source here.
static void sum_block(
    const float *const *s, subtree t, int distant, size_t at, size_t count, float *out) {
  if (sum_leaves(s, t, distant, at, count, out)) return;
  if (t.n == 1) {
    memcpy(out, s[t.first] + at, count * sizeof *out);
    return;
  }
  subtree left, right;
  halves(t, distant, &left, &right);
  sum_block(s, left, distant, at, count, out);
  if (right.n == 1) {
    add2(out, out, s[right.first] + at, count);
  } else {
    float other[BLOCK];
    sum_block(s, right, distant, at, count, other);
    add2(out, out, other, count);
  }
}

static void tree_sum(const float *const *s, int n, int distant, float *out, size_t count) {
  subtree all = {0, 1, n};
  if (n == 1) {
    if (out != s[0]) memmove(out, s[0], count * sizeof *out);
    return;
  }
  for (size_t at = 0; at < count; at += BLOCK) {
    size_t part = count - at < BLOCK ? count - at : BLOCK;
    if (sum_leaves(s, all, distant, at, part, out + at)) continue;
    float sum[BLOCK];
    sum_block(s, all, distant, at, part, sum);
    memcpy(out + at, sum, part * sizeof *sum);
  }
}

static void max_float(const float *const *s, int n, float *out, size_t count) {
  for (size_t i = 0; i < count; i++) {
    float best = s[0][i];
    for (int r = 1; r < n; r++) {
      float x = s[r][i];
      if (best == best && (x > best || x != x)) best = x;
    }
    out[i] = best;
  }
}

static void max_int64(const int64_t *const *s, int n, int64_t *out, size_t count) {
  for (size_t i = 0; i < count; i++) {
    int64_t best = s[0][i];
    for (int r = 1; r < n; r++) best = s[r][i] > best ? s[r][i] : best;
    out[i] = best;
  }
}

static void sum_int64(const int64_t *const *s, int n, int64_t *out, size_t count) {
  for (size_t i = 0; i < count; i++) {
    uint64_t sum = 0;
    for (int r = 0; r < n; r++) sum += (uint64_t)s[r][i];
    out[i] = (int64_t)sum;
  }
}

void cmpi_combine(int kind, const void *const *sources, int n, void *out, size_t count) {
  switch (kind) {
  case CMPI_SUM_ADJACENT:
  case CMPI_SUM_DISTANT:
    tree_sum((const float *const *)sources, n, kind == CMPI_SUM_DISTANT, out, count);
    break;
  case CMPI_MAX_FLOAT: max_float((const float *const *)sources, n, out, count); break;
  case CMPI_MAX_INT64: max_int64((const int64_t *const *)sources, n, out, count); break;
  case CMPI_SUM_INT64: sum_int64((const int64_t *const *)sources, n, out, count); break;
  default: break;
  }
}
