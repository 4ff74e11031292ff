#ifndef CMEDIA_INTERNAL_H
#define CMEDIA_INTERNAL_H

#include <stdio.h>
#include <string.h>

#include "CMedia.h"

static inline cmedia_status cmedia_fail(cmedia_note *note, cmedia_status status, const char *text) {
  if (note) snprintf(note->text, sizeof note->text, "%s", text ? text : "");
  return status;
}

// Pillow's rounding division by 255.
static inline uint8_t cmedia_div255(unsigned x) {
  x += 128;
  return (uint8_t)((x + (x >> 8)) >> 8);
}

cmedia_status jpeg_header(const uint8_t *, size_t, cmedia_picture *, cmedia_note *);
cmedia_status jpeg_rgb(const uint8_t *, size_t, const cmedia_picture *, uint8_t *, cmedia_note *);
cmedia_status png_header(const uint8_t *, size_t, cmedia_picture *, cmedia_note *);
cmedia_status png_rgb(
    const uint8_t *, size_t, const cmedia_picture *, int, uint8_t *, int *, cmedia_note *);
cmedia_status webp_header(const uint8_t *, size_t, cmedia_picture *, cmedia_note *);
cmedia_status webp_rgb(
    const uint8_t *, size_t, const cmedia_picture *, int, uint8_t *, cmedia_note *);
cmedia_status gif_header(const uint8_t *, size_t, cmedia_picture *, cmedia_note *);
cmedia_status gif_rgb(const uint8_t *, size_t, const cmedia_picture *, uint8_t *, cmedia_note *);

// One RGBA pixel put on white, as Pillow's paste with a mask.
static inline void cmedia_on_white(const uint8_t *rgba, uint8_t *rgb) {
  for (int c = 0; c < 3; c++)
    rgb[c] = cmedia_div255(255u * (255u - rgba[3]) + (unsigned)rgba[c] * rgba[3]);
}

#endif
