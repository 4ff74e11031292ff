// Frames to patches, and bytes to the numbers that the tower takes.
#include "internal.h"

// Compiled for several instruction sets; a single division gives the same bits in all.
#if defined(__x86_64__) && defined(__linux__)
#define CLONES __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define CLONES
#endif

typedef uint8_t bytes16 __attribute__((vector_size(16), aligned(1)));

// 16 pixels of three colours to 16 bytes of each: a pixel's colour c stands at 3x + c of the 48 bytes.
static inline __attribute__((always_inline)) void split_colours(
    const uint8_t *row, uint8_t *red, uint8_t *green, uint8_t *blue) {
  bytes16 a = *(const bytes16 *)row, b = *(const bytes16 *)(row + 16),
          c = *(const bytes16 *)(row + 32);
  bytes16 r = __builtin_shufflevector(
      a, b, 0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, -1, -1, -1, -1, -1);
  bytes16 g = __builtin_shufflevector(
      a, b, 1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, -1, -1, -1, -1, -1);
  bytes16 u = __builtin_shufflevector(
      a, b, 2, 5, 8, 11, 14, 17, 20, 23, 26, 29, -1, -1, -1, -1, -1, -1);
  *(bytes16 *)red =
      __builtin_shufflevector(r, c, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 20, 23, 26, 29);
  *(bytes16 *)green =
      __builtin_shufflevector(g, c, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 18, 21, 24, 27, 30);
  *(bytes16 *)blue =
      __builtin_shufflevector(u, c, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 19, 22, 25, 28, 31);
}

// One patch from its corner in the frame; colours lie `plane` bytes apart in the target.
CLONES static void cut_patch(
    const uint8_t *restrict corner, int64_t stride, int64_t patch, uint8_t *restrict target,
    int64_t plane) {
  for (int64_t y = 0; y < patch; y++) {
    const uint8_t *row = corner + y * stride;
    uint8_t *out = target + y * patch;
    if (patch == 16) {
      split_colours(row, out, out + plane, out + 2 * plane);
      continue;
    }
    for (int64_t c = 0; c < 3; c++)
      for (int64_t x = 0; x < patch; x++) out[c * plane + x] = row[3 * x + c];
  }
}

void cmedia_patches(
    const uint8_t *frame, int64_t h, int64_t w, int64_t patch, int64_t merge, int64_t slot,
    int64_t slots, uint8_t *patches) {
  int64_t area = patch * patch, block = patch * merge;
  uint8_t *target = patches + slot * area;
  for (int64_t by = 0; by < h / block; by++)
    for (int64_t bx = 0; bx < w / block; bx++)
      for (int64_t my = 0; my < merge; my++)
        for (int64_t mx = 0; mx < merge; mx++) {
          const uint8_t *corner =
              frame + ((by * merge + my) * patch * w + (bx * merge + mx) * patch) * 3;
          cut_patch(corner, w * 3, patch, target, slots * area);
          target += 3 * slots * area;
        }
}

typedef float floats16 __attribute__((vector_size(64)));

// One plane of a patch into `copies` planes that follow each other.
CLONES static void scale(
    const uint8_t *restrict bytes, float *restrict out, int64_t area, int64_t copies, float middle,
    float spread) {
  if ((uintptr_t)out % 64 != 0 || area % 16 != 0) {
    for (int64_t t = 0; t < copies; t++)
      for (int64_t i = 0; i < area; i++) out[t * area + i] = ((float)bytes[i] - middle) / spread;
    return;
  }
  // The numbers are read much later: they go past the caches, which then need not fetch the lines.
  for (int64_t i = 0; i < area; i += 16) {
    floats16 v = __builtin_convertvector(*(const bytes16 *)(bytes + i), floats16);
    v = (v - middle) / spread;
    for (int64_t t = 0; t < copies; t++)
      __builtin_nontemporal_store(v, (floats16 *)(out + t * area + i));
  }
}

void cmedia_normalize(
    const uint8_t *patches, int64_t count, int64_t slots, int64_t out_slots, int64_t area,
    const float *middle, const float *spread, float *values) {
  for (int64_t p = 0; p < count * 3; p++) {
    int64_t c = p % 3;
    float *out = values + p * out_slots * area;
    const uint8_t *bytes = patches + p * slots * area;
    // A picture fills every slot with the same.
    if (slots == 1) scale(bytes, out, area, out_slots, middle[c], spread[c]);
    else
      for (int64_t t = 0; t < out_slots; t++)
        scale(bytes + t * area, out + t * area, area, 1, middle[c], spread[c]);
  }
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
