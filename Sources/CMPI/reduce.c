// Sums of the ranks' values along one fixed tree.
//
// Every world calls this one function, so the bits cannot differ between them. The work goes in
// blocks small enough for the first cache level; inside a block the tree is walked once per node
// over all elements, which leaves plain loops over vectors. Vector width changes which elements
// are computed together, never the additions of one element.
#include "internal.h"

#include <string.h>

#define BLOCK 1024

// Unaligned vectors; all loads of an iteration come before its store, so `out` may be a source.
typedef float lanes __attribute__((vector_size(64), aligned(4)));
#define LANES 16
#define AT(p, i) (*(const lanes *)((p) + (i)))
#define PUT(p, i) (*(lanes *)((p) + (i)))

// The same loops for several instruction sets. `pair` is a + b, `quad` is (a + b) + (c + d).
typedef struct {
  void (*pair)(float *out, const float *a, const float *b, size_t count);
  void (*quad)(
      float *out, const float *a, const float *b, const float *c, const float *d, size_t count);
} adders;

#define ADDERS(name, attributes)                                                                  \
  attributes static void name##_pair(                                                             \
      float *out, const float *a, const float *b, size_t count) {                                 \
    size_t i = 0;                                                                                 \
    for (; i + LANES <= count; i += LANES) PUT(out, i) = AT(a, i) + AT(b, i);                     \
    for (; i < count; i++) out[i] = a[i] + b[i];                                                  \
  }                                                                                               \
  attributes static void name##_quad(                                                             \
      float *out, const float *a, const float *b, const float *c, const float *d,                 \
      size_t count) {                                                                             \
    size_t i = 0;                                                                                 \
    for (; i + LANES <= count; i += LANES) {                                                      \
      PUT(out, i) = (AT(a, i) + AT(b, i)) + (AT(c, i) + AT(d, i));                                \
    }                                                                                             \
    for (; i < count; i++) out[i] = (a[i] + b[i]) + (c[i] + d[i]);                                \
  }                                                                                               \
  static const adders name = {name##_pair, name##_quad};

ADDERS(plain_adders, )
#if defined(__x86_64__)
ADDERS(avx2_adders, __attribute__((target("avx2"))))
ADDERS(avx512_adders, __attribute__((target("avx512f"))))
#endif

// Asked per call and not once: it is a few loads, and there is no state to keep. No ifunc
// (target_clones): its resolvers run before a sanitizer is ready and crash such builds.
static const adders *best_adders(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return &avx512_adders;
  if (__builtin_cpu_supports("avx2")) return &avx2_adders;
#endif
  return &plain_adders;
}

// What stays the same over the whole tree.
typedef struct {
  const float *const *sources;
  const adders *add;
  int distant;
} forest;

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
static int sum_leaves(const forest *f, subtree t, size_t at, size_t count, float *out) {
  const float *const *leaf = f->sources + t.first;
  const int d = t.stride;
  if (t.n == 2) {
    f->add->pair(out, leaf[0] + at, leaf[d] + at, count);
    return 1;
  }
  if (t.n == 4) {
    const int near = f->distant ? 2 : 1, far = f->distant ? 1 : 2;
    f->add->quad(
        out, leaf[0] + at, leaf[near * d] + at, leaf[far * d] + at, leaf[3 * d] + at, count);
    return 1;
  }
  return 0;
}

// `out` is no source here.
static void sum_block(const forest *f, subtree t, size_t at, size_t count, float *out) {
  if (sum_leaves(f, t, at, count, out)) return;
  if (t.n == 1) {
    memcpy(out, f->sources[t.first] + at, count * sizeof *out);
    return;
  }
  subtree left, right;
  halves(t, f->distant, &left, &right);
  sum_block(f, left, at, count, out);
  if (right.n == 1) {
    f->add->pair(out, out, f->sources[right.first] + at, count);
  } else {
    float other[BLOCK];
    sum_block(f, right, at, count, other);
    f->add->pair(out, out, other, count);
  }
}

static void tree_sum(const float *const *s, int n, int distant, float *out, size_t count) {
  const subtree all = {0, 1, n};
  const forest f = {s, best_adders(), distant};
  if (n == 1) {
    if (out != s[0]) memmove(out, s[0], count * sizeof *out);
    return;
  }
  for (size_t at = 0; at < count; at += BLOCK) {
    size_t part = count - at < BLOCK ? count - at : BLOCK;
    if (sum_leaves(&f, all, at, part, out + at)) continue;
    float sum[BLOCK];
    sum_block(&f, all, at, part, sum);
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
