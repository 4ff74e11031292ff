// Pictures and clips to RGB bytes. Every function is safe to call from several threads on
// different objects; input is untrusted.
#ifndef CMEDIA_H
#define CMEDIA_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
  CMEDIA_OK = 0,
  CMEDIA_UNKNOWN,      // no format that is read here
  CMEDIA_TRUNCATED,    // the data end too early
  CMEDIA_DAMAGED,      // the data contradict their format
  CMEDIA_UNSUPPORTED,  // a known format in a form that is not read
  CMEDIA_TOO_LARGE,    // over a limit that the caller gave
  CMEDIA_NO_PICTURES,  // a container without a picture stream
  CMEDIA_NO_MEMORY,
  CMEDIA_UNREADABLE,   // the file cannot be opened
} cmedia_status;

// What the library said, in its own words; empty if nothing.
typedef struct {
  char text[200];
} cmedia_note;

typedef enum { CMEDIA_JPEG = 1, CMEDIA_PNG, CMEDIA_WEBP, CMEDIA_GIF } cmedia_format;

typedef struct {
  int32_t format;
  int64_t width;
  int64_t height;
  int32_t has_alpha;  // colour with alpha (not grey with alpha)
  int32_t is_grey16;  // 16-bit grey: values over 255 are clipped, as Pillow does
} cmedia_picture;

// Reads the header only; no memory that grows with the picture.
cmedia_status cmedia_picture_header(
    const uint8_t *bytes, size_t count, cmedia_picture *picture, cmedia_note *note);

// Decodes to 8-bit RGB rows [height, width, 3] without gaps, as Pillow's convert("RGB") gives them:
// no rotation, alpha dropped. `on_white` puts colour with alpha on white instead.
// `clipped` becomes 1 if 16-bit grey values over 255 were met.
cmedia_status cmedia_picture_rgb(
    const uint8_t *bytes, size_t count, const cmedia_picture *picture, int on_white, uint8_t *rgb,
    int *clipped, cmedia_note *note);

typedef enum { CMEDIA_BILINEAR = 2, CMEDIA_BICUBIC = 3 } cmedia_filter;

// Pillow's resampling of [h, w, 3] to [out_h, out_w, 3], bit for bit: fixed-point weights with 22
// bits, each pass rounded to 8 bits. `vertical_first` chooses the order of the passes.
cmedia_status cmedia_resize(
    const uint8_t *source, int64_t h, int64_t w, uint8_t *target, int64_t out_h, int64_t out_w,
    cmedia_filter filter, int vertical_first);

// The same by the definition, a pixel at a time; for tests.
cmedia_status cmedia_resize_reference(
    const uint8_t *source, int64_t h, int64_t w, uint8_t *target, int64_t out_h, int64_t out_w,
    cmedia_filter filter, int vertical_first);

// Antialiased bicubic resampling in floats, rounded once (half to even) at the end.
cmedia_status cmedia_resize_float(
    const uint8_t *source, int64_t h, int64_t w, uint8_t *target, int64_t out_h, int64_t out_w);

// Writes frame `slot` of `slots` into patches [h/p · w/p, 3, slots, p, p] in merged order: block
// row, block column, row and column inside the block of merge × merge patches.
void cmedia_patches(
    const uint8_t *frame, int64_t h, int64_t w, int64_t patch, int64_t merge, int64_t slot,
    int64_t slots, uint8_t *patches);

// Bytes [count, 3, slots, area] to floats [count, 3, out_slots, area]: (v − middle) / spread of each
// colour; with one slot the same bytes fill every slot of the output.
void cmedia_normalize(
    const uint8_t *patches, int64_t count, int64_t slots, int64_t out_slots, int64_t area,
    const float *middle, const float *spread, float *values);

typedef struct cmedia_clip cmedia_clip;

typedef struct {
  int64_t frames;  // packets of the picture stream
  double rate;     // average frames per second
  int64_t width;   // after the rotation that the container asks for
  int64_t height;
} cmedia_clip_info;

typedef struct {
  int64_t pixels;  // of one frame
  int64_t frames;
  int64_t total;   // pixels of all frames
} cmedia_clip_limits;

// Opens a clip: a local file, or bytes when `path` is NULL (they must outlive the clip).
cmedia_status cmedia_clip_open(
    const char *path, const uint8_t *bytes, size_t count, cmedia_clip_limits limits,
    cmedia_clip **clip, cmedia_clip_info *info, cmedia_note *note);

// Decodes frame `index` (display order, from 0) to RGB [height, width, 3]; indices of later calls
// may not be smaller.
cmedia_status cmedia_clip_frame(
    cmedia_clip *clip, int64_t index, uint8_t *rgb, cmedia_note *note);

void cmedia_clip_close(cmedia_clip *clip);

#endif
