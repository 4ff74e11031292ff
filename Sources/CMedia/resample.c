// Resampling of RGB bytes. The fixed-point passes give Pillow's bits; see the room's README.
#include <math.h>
#include <stdlib.h>

#include "internal.h"

// Compiled for several instruction sets; integers and single additions give the same bits in all.
#if defined(__x86_64__) && defined(__linux__)
#define CLONES __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define CLONES
#endif

enum { BITS = 22 };

// Which inputs an output is made of: `first[i]`, `taps` weights from `weights + i · taps` on
// (unused ones are 0 and their inputs exist or are never read).
typedef struct {
  int64_t taps;
  int64_t *first;
  int64_t *used;
  double *weights;
} window;

static double bilinear(double x) {
  x = fabs(x);
  return x < 1 ? 1 - x : 0;
}

// Keys' cubic with a = −0.5.
static double bicubic(double x) {
  const double a = -0.5;
  x = fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

static void free_window(window *w) {
  free(w->first);
  free(w->used);
  free(w->weights);
}

static int make_window(window *w, int64_t in, int64_t out, cmedia_filter filter) {
  double scale = (double)in / (double)out;
  double stretch = scale < 1 ? 1 : scale;
  double support = (filter == CMEDIA_BICUBIC ? 2.0 : 1.0) * stretch;
  w->taps = (int64_t)ceil(support) * 2 + 1;
  w->first = malloc((size_t)out * sizeof(int64_t));
  w->used = malloc((size_t)out * sizeof(int64_t));
  w->weights = calloc((size_t)(out * w->taps), sizeof(double));
  if (!w->first || !w->used || !w->weights) {
    free_window(w);
    return 0;
  }
  for (int64_t i = 0; i < out; i++) {
    double centre = ((double)i + 0.5) * scale;
    int64_t low = (int64_t)(centre - support + 0.5);
    int64_t high = (int64_t)(centre + support + 0.5);
    if (low < 0) low = 0;
    if (high > in) high = in;
    double *k = w->weights + i * w->taps, sum = 0;
    for (int64_t j = low; j < high; j++) {
      double x = ((double)j - centre + 0.5) * (1.0 / stretch);
      double value = filter == CMEDIA_BICUBIC ? bicubic(x) : bilinear(x);
      k[j - low] = value;
      sum += value;
    }
    for (int64_t j = 0; j < high - low; j++)
      if (sum != 0) k[j] /= sum;
    w->first[i] = low;
    w->used[i] = high - low;
  }
  return 1;
}

// Weights as integers with 22 bits behind the point, halves away from zero.
static int32_t *fixed_weights(const window *w, int64_t out) {
  int32_t *fixed = malloc((size_t)(out * w->taps) * sizeof(int32_t));
  if (!fixed) return NULL;
  for (int64_t i = 0; i < out * w->taps; i++) {
    double value = w->weights[i] * (1 << BITS);
    fixed[i] = (int32_t)(value < 0 ? value - 0.5 : value + 0.5);
  }
  return fixed;
}

static inline uint8_t clip(int32_t value) {
  value >>= BITS;
  return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

// Rows that are done together, so that a weight serves whole vectors.
enum { ROWS = 4, LANES = 4 * ROWS };
typedef int32_t lanes __attribute__((vector_size(LANES * 4), aligned(4)));

// [w, rows, 4] → rows of [out, 3]: per output one sum for each row and colour (the fourth is thrown
// away).
CLONES static void horizontal_rows(
    const int32_t *restrict row, uint8_t *restrict target, int64_t stride, const int64_t *first,
    const int64_t *used, const int32_t *weights, int64_t taps, int64_t out, int64_t rows) {
  for (int64_t x = 0; x < out; x++) {
    const int32_t *pixel = row + LANES * first[x], *k = weights + x * taps;
    lanes sums = {0};
    for (int64_t j = 0; j < used[x]; j++) sums += *(const lanes *)(pixel + LANES * j) * k[j];
    sums = (sums + (1 << (BITS - 1))) >> BITS;
    sums &= ~(sums >> 31);
    lanes over = sums > 255;
    sums = (sums & ~over) | (over & 255);
    int32_t bytes[LANES];
    memcpy(bytes, &sums, sizeof bytes);
    for (int64_t r = 0; r < rows; r++)
      for (int c = 0; c < 3; c++) target[r * stride + 3 * x + c] = (uint8_t)bytes[4 * r + c];
  }
}

CLONES static void spread_row(const uint8_t *restrict source, int32_t *restrict row, int64_t w) {
  for (int64_t x = 0; x < w; x++)
    for (int c = 0; c < 3; c++) row[LANES * x + c] = source[3 * x + c];
}

typedef int32_t sums16 __attribute__((vector_size(64), aligned(4)));
typedef uint8_t bytes16 __attribute__((vector_size(16), aligned(1)));

static inline __attribute__((always_inline)) void put16(const sums16 *from, uint8_t *target) {
  sums16 sums = *from >> BITS;
  sums &= ~(sums >> 31);
  sums16 over = sums > 255;
  sums = (sums & ~over) | (over & 255);
  *(bytes16 *)target = __builtin_convertvector(sums, bytes16);
}

// `used` rows of [.., n] weighted into one row: 64 columns at a time, whose sums stay in registers.
CLONES static void vertical_row(
    const uint8_t *restrict source, uint8_t *restrict target, int64_t n, const int32_t *k,
    int64_t used) {
  const sums16 half = (sums16){0} + (1 << (BITS - 1));
  int64_t x = 0;
  for (; x + 64 <= n; x += 64) {
    sums16 a = half, b = half, c = half, d = half;
    for (int64_t j = 0; j < used; j++) {
      const uint8_t *row = source + j * n + x;
      int32_t weight = k[j];
      a += __builtin_convertvector(*(const bytes16 *)row, sums16) * weight;
      b += __builtin_convertvector(*(const bytes16 *)(row + 16), sums16) * weight;
      c += __builtin_convertvector(*(const bytes16 *)(row + 32), sums16) * weight;
      d += __builtin_convertvector(*(const bytes16 *)(row + 48), sums16) * weight;
    }
    put16(&a, target + x);
    put16(&b, target + x + 16);
    put16(&c, target + x + 32);
    put16(&d, target + x + 48);
  }
  for (; x < n; x++) {
    int32_t sum = 1 << (BITS - 1);
    for (int64_t j = 0; j < used; j++) sum += source[j * n + x] * k[j];
    target[x] = clip(sum);
  }
}

static cmedia_status horizontal(
    const uint8_t *source, int64_t h, int64_t w, uint8_t *target, int64_t out,
    cmedia_filter filter) {
  window win;
  if (!make_window(&win, w, out, filter)) return CMEDIA_NO_MEMORY;
  int32_t *fixed = fixed_weights(&win, out), *row = calloc((size_t)w, LANES * sizeof(int32_t));
  if (fixed && row)
    for (int64_t y = 0; y < h; y += ROWS) {
      int64_t rows = h - y < ROWS ? h - y : ROWS;
      for (int64_t r = 0; r < rows; r++) spread_row(source + (y + r) * w * 3, row + 4 * r, w);
      horizontal_rows(
          row, target + y * out * 3, out * 3, win.first, win.used, fixed, win.taps, out, rows);
    }
  cmedia_status status = fixed && row ? CMEDIA_OK : CMEDIA_NO_MEMORY;
  free(fixed);
  free(row);
  free_window(&win);
  return status;
}

static cmedia_status vertical(
    const uint8_t *source, int64_t h, int64_t n, uint8_t *target, int64_t out,
    cmedia_filter filter) {
  window win;
  if (!make_window(&win, h, out, filter)) return CMEDIA_NO_MEMORY;
  int32_t *fixed = fixed_weights(&win, out);
  if (fixed)
    for (int64_t y = 0; y < out; y++)
      vertical_row(
          source + win.first[y] * n, target + y * n, n, fixed + y * win.taps, win.used[y]);
  cmedia_status status = fixed ? CMEDIA_OK : CMEDIA_NO_MEMORY;
  free(fixed);
  free_window(&win);
  return status;
}

cmedia_status cmedia_resize(
    const uint8_t *source, int64_t h, int64_t w, uint8_t *target, int64_t out_h, int64_t out_w,
    cmedia_filter filter, int vertical_first) {
  if (h == out_h && w == out_w) {
    memcpy(target, source, (size_t)(h * w * 3));
    return CMEDIA_OK;
  }
  if (h == out_h) return horizontal(source, h, w, target, out_w, filter);
  if (w == out_w) return vertical(source, h, w * 3, target, out_h, filter);
  int64_t rows = vertical_first ? out_h : h, columns = vertical_first ? w : out_w;
  uint8_t *between = malloc((size_t)(rows * columns * 3));
  if (!between) return CMEDIA_NO_MEMORY;
  cmedia_status status;
  if (vertical_first) {
    status = vertical(source, h, w * 3, between, out_h, filter);
    if (!status) status = horizontal(between, out_h, w, target, out_w, filter);
  } else {
    status = horizontal(source, h, w, between, out_w, filter);
    if (!status) status = vertical(between, h, out_w * 3, target, out_h, filter);
  }
  free(between);
  return status;
}

// One pass of the definition: along rows (`step` 3, lines w·3 apart) or columns.
static cmedia_status reference_pass(
    const uint8_t *source, int64_t lines, int64_t in, uint8_t *target, int64_t out,
    int64_t source_line, int64_t source_step, int64_t target_line, int64_t target_step,
    cmedia_filter filter) {
  window win;
  if (!make_window(&win, in, out, filter)) return CMEDIA_NO_MEMORY;
  for (int64_t line = 0; line < lines; line++)
    for (int64_t i = 0; i < out; i++) {
      int64_t sum = 1 << (BITS - 1);
      for (int64_t j = 0; j < win.used[i]; j++) {
        double k = win.weights[i * win.taps + j] * (1 << BITS);
        sum += source[line * source_line + (win.first[i] + j) * source_step] * (int64_t)round(k);
      }
      sum >>= BITS;
      target[line * target_line + i * target_step] =
          (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
    }
  free_window(&win);
  return CMEDIA_OK;
}

cmedia_status cmedia_resize_reference(
    const uint8_t *source, int64_t h, int64_t w, uint8_t *target, int64_t out_h, int64_t out_w,
    cmedia_filter filter, int vertical_first) {
  int64_t rows = vertical_first ? out_h : h, columns = vertical_first ? w : out_w;
  uint8_t *between = malloc((size_t)(rows * columns * 3));
  if (!between) return CMEDIA_NO_MEMORY;
  cmedia_status status = CMEDIA_OK;
  for (int pass = 0; pass < 2 && !status; pass++) {
    int along = pass == (vertical_first ? 1 : 0);
    const uint8_t *from = pass ? between : source;
    uint8_t *to = pass ? target : between;
    int64_t in_h = pass ? rows : h, in_w = pass ? columns : w;
    int64_t to_h = pass ? out_h : rows, to_w = pass ? out_w : columns;
    if (in_h == to_h && in_w == to_w) {
      memcpy(to, from, (size_t)(in_h * in_w * 3));
      continue;
    }
    for (int c = 0; c < 3 && !status; c++)
      status = along ? reference_pass(
                           from + c, in_h, in_w, to + c, to_w, in_w * 3, 3, to_w * 3, 3, filter)
                     : reference_pass(
                           from + c, in_w, in_h, to + c, to_h, 3, in_w * 3, 3, to_w * 3, filter);
  }
  free(between);
  return status;
}

// A row of floats [w, 4] to [out, 4].
CLONES static void horizontal_floats(
    const float *restrict row, float *restrict target, const window *win, const float *weights,
    int64_t out) {
  for (int64_t x = 0; x < out; x++) {
    const float *pixel = row + 4 * win->first[x], *k = weights + x * win->taps;
    float sums[4] = {0, 0, 0, 0};
    for (int64_t j = 0; j < win->used[x]; j++)
      for (int c = 0; c < 4; c++) sums[c] += pixel[4 * j + c] * k[j];
    for (int c = 0; c < 4; c++) target[4 * x + c] = sums[c];
  }
}

CLONES static void spread_floats(const uint8_t *restrict source, float *restrict row, int64_t w) {
  for (int64_t x = 0; x < w; x++) {
    for (int c = 0; c < 3; c++) row[4 * x + c] = source[3 * x + c];
    row[4 * x + 3] = 0;
  }
}

CLONES static void vertical_floats(
    const float *restrict source, float *restrict sums, int64_t n, const float *k, int64_t used) {
  for (int64_t x = 0; x < n; x++) sums[x] = 0;
  for (int64_t j = 0; j < used; j++) {
    const float *row = source + j * n;
    for (int64_t x = 0; x < n; x++) sums[x] += row[x] * k[j];
  }
}

CLONES static void round_row(const float *restrict sums, uint8_t *restrict target, int64_t w) {
  for (int64_t x = 0; x < w; x++)
    for (int c = 0; c < 3; c++) {
      float value = rintf(sums[4 * x + c]);
      target[3 * x + c] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}

static float *float_weights(const window *win, int64_t out) {
  float *weights = malloc((size_t)(out * win->taps) * sizeof(float));
  for (int64_t i = 0; weights && i < out * win->taps; i++) weights[i] = (float)win->weights[i];
  return weights;
}

cmedia_status cmedia_resize_float(
    const uint8_t *source, int64_t h, int64_t w, uint8_t *target, int64_t out_h, int64_t out_w) {
  if (h == out_h && w == out_w) {
    memcpy(target, source, (size_t)(h * w * 3));
    return CMEDIA_OK;
  }
  window across, down;
  if (!make_window(&across, w, out_w, CMEDIA_BICUBIC)) return CMEDIA_NO_MEMORY;
  if (!make_window(&down, h, out_h, CMEDIA_BICUBIC)) {
    free_window(&across);
    return CMEDIA_NO_MEMORY;
  }
  float *kx = float_weights(&across, out_w), *ky = float_weights(&down, out_h);
  float *row = malloc((size_t)w * 4 * sizeof(float));
  float *between = malloc((size_t)(h * out_w) * 4 * sizeof(float));
  float *sums = malloc((size_t)out_w * 4 * sizeof(float));
  cmedia_status status = kx && ky && row && between && sums ? CMEDIA_OK : CMEDIA_NO_MEMORY;
  if (!status) {
    for (int64_t y = 0; y < h; y++) {
      spread_floats(source + y * w * 3, row, w);
      horizontal_floats(row, between + y * out_w * 4, &across, kx, out_w);
    }
    for (int64_t y = 0; y < out_h; y++) {
      vertical_floats(
          between + down.first[y] * out_w * 4, sums, out_w * 4, ky + y * down.taps, down.used[y]);
      round_row(sums, target + y * out_w * 3, out_w);
    }
  }
  free(kx);
  free(ky);
  free(row);
  free(between);
  free(sums);
  free_window(&across);
  free_window(&down);
  return status;
}
