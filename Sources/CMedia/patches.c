// Frames to patches, and bytes to the numbers that the tower takes.
#include "internal.h"

void cmedia_patches(
    const uint8_t *frame, int64_t h, int64_t w, int64_t patch, int64_t merge, int64_t slot,
    int64_t slots, uint8_t *patches) {
  int64_t area = patch * patch, block = patch * merge;
  uint8_t *target = patches;
  for (int64_t by = 0; by < h / block; by++)
    for (int64_t bx = 0; bx < w / block; bx++)
      for (int64_t my = 0; my < merge; my++)
        for (int64_t mx = 0; mx < merge; mx++) {
          const uint8_t *corner =
              frame + ((by * merge + my) * patch * w + (bx * merge + mx) * patch) * 3;
          for (int64_t y = 0; y < patch; y++) {
            const uint8_t *row = corner + y * w * 3;
            for (int64_t c = 0; c < 3; c++) {
              uint8_t *out = target + (c * slots + slot) * area + y * patch;
              for (int64_t x = 0; x < patch; x++) out[x] = row[3 * x + c];
            }
          }
          target += 3 * slots * area;
        }
}

// Compiled for several instruction sets; a single division gives the same bits in all.
#if defined(__x86_64__) && defined(__linux__)
#define CLONES __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define CLONES
#endif

CLONES static void scale(
    const uint8_t *restrict bytes, float *restrict out, int64_t area, float middle, float spread) {
  for (int64_t i = 0; i < area; i++) out[i] = ((float)bytes[i] - middle) / spread;
}

void cmedia_normalize(
    const uint8_t *patches, int64_t count, int64_t slots, int64_t out_slots, int64_t area,
    const float *middle, const float *spread, float *values) {
  for (int64_t p = 0; p < count * 3; p++) {
    int64_t c = p % 3;
    for (int64_t t = 0; t < out_slots; t++) {
      float *out = values + (p * out_slots + t) * area;
      const uint8_t *bytes = patches + (p * slots + (slots == 1 ? 0 : t)) * area;
      scale(bytes, out, area, middle[c], spread[c]);
    }
  }
}
