// PNG by libpng, to what Pillow's convert("RGB") gives for every kind of PNG.
#include <setjmp.h>
#include <stdlib.h>

#include "internal.h"
#include <png.h>

typedef struct {
  const uint8_t *bytes;
  size_t count;
  size_t at;
  cmedia_status status;
  cmedia_note *note;
} reader;

static void leave(png_structp png, png_const_charp text) {
  reader *source = png_get_error_ptr(png);
  if (source->status == CMEDIA_OK) source->status = CMEDIA_DAMAGED;
  cmedia_fail(source->note, source->status, text);
  longjmp(png_jmpbuf(png), 1);
}

static void say_nothing(png_structp png, png_const_charp text) {
  (void)png;
  (void)text;
}

static void read_bytes(png_structp png, png_bytep target, size_t wanted) {
  reader *source = png_get_io_ptr(png);
  if (source->count - source->at < wanted) {
    source->status = CMEDIA_TRUNCATED;
    png_error(png, "the data end too early");
  }
  memcpy(target, source->bytes + source->at, wanted);
  source->at += wanted;
}

// - Returns: a reader behind the header, or NULL with the fault in `source`.
static png_structp open_png(reader *source, png_infop *info) {
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, source, leave, say_nothing);
  if (!png) return NULL;
  *info = png_create_info_struct(png);
  if (!*info) {
    png_destroy_read_struct(&png, NULL, NULL);
    return NULL;
  }
  // Sizes are limited by the caller; chunks of text and profiles are limited here.
  png_set_user_limits(png, 0x7fffffff, 0x7fffffff);
  png_set_chunk_malloc_max(png, 8u << 20);
  png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_set_read_fn(png, source, read_bytes);
  return png;
}

cmedia_status png_header(
    const uint8_t *bytes, size_t count, cmedia_picture *picture, cmedia_note *note) {
  // Width, height, depth and colour stand at fixed places of the first chunk.
  if (count < 33) return cmedia_fail(note, CMEDIA_TRUNCATED, "the data end too early");
  if (memcmp(bytes + 12, "IHDR", 4) != 0)
    return cmedia_fail(note, CMEDIA_DAMAGED, "the header is missing");
  const uint8_t *head = bytes + 16;
  picture->width = (int64_t)head[0] << 24 | head[1] << 16 | head[2] << 8 | head[3];
  picture->height = (int64_t)head[4] << 24 | head[5] << 16 | head[6] << 8 | head[7];
  int depth = head[8], colour = head[9];
  picture->has_alpha = colour == PNG_COLOR_TYPE_RGB_ALPHA;
  picture->is_grey16 = colour == PNG_COLOR_TYPE_GRAY && depth == 16;
  // Deflate cannot make more than 1032 bytes from one: a longer picture is cut short for sure.
  static const int channels[7] = {1, 0, 3, 1, 2, 0, 4};
  int per_pixel = (colour <= 6 ? channels[colour] : 0) * depth;
  if (per_pixel == 0) return cmedia_fail(note, CMEDIA_DAMAGED, "the kind of colour is unknown");
  double raw = (double)picture->width * (double)picture->height * per_pixel / 8;
  if (raw > 1032.0 * (double)count && raw < 1e18 && picture->width * picture->height < (1LL << 28))
    return cmedia_fail(note, CMEDIA_TRUNCATED, "too few bytes for its size");
  return CMEDIA_OK;
}

typedef struct {
  int colour, depth, on_white;
  int *clipped;
} conversion;

// One row as libpng gives it after its own steps, to RGB.
static void convert_row(
    const uint8_t *row, uint8_t *rgb, size_t width, const conversion *how) {
  int wide = how->depth == 16 ? 2 : 1;
  for (size_t x = 0; x < width; x++) {
    uint8_t *target = rgb + 3 * x;
    switch (how->colour) {
      case PNG_COLOR_TYPE_GRAY: {
        unsigned value = row[x * wide];
        if (wide == 2) {
          value = value << 8 | row[2 * x + 1];
          if (value > 255) {
            value = 255;
            *how->clipped = 1;
          }
        }
        target[0] = target[1] = target[2] = (uint8_t)value;
        break;
      }
      case PNG_COLOR_TYPE_GRAY_ALPHA:
        target[0] = target[1] = target[2] = row[2 * x * wide];
        break;
      case PNG_COLOR_TYPE_RGB_ALPHA: {
        uint8_t pixel[4];
        for (int c = 0; c < 4; c++) pixel[c] = row[(4 * x + c) * wide];
        if (how->on_white) cmedia_on_white(pixel, target);
        else memcpy(target, pixel, 3);
        break;
      }
      default:
        for (int c = 0; c < 3; c++) target[c] = row[(3 * x + c) * wide];
    }
  }
}

// Steps that libpng takes: palette to colours, 1 to 4 bits of grey to 8.
static void set_steps(png_structp png, png_infop info, conversion *how) {
  if (how->colour == PNG_COLOR_TYPE_PALETTE) {
    png_set_palette_to_rgb(png);
    if (png_get_valid(png, info, PNG_INFO_tRNS)) png_set_strip_alpha(png);
    how->colour = PNG_COLOR_TYPE_RGB;
    how->depth = 8;
  } else if (how->colour == PNG_COLOR_TYPE_GRAY && how->depth < 8) {
    png_set_expand_gray_1_2_4_to_8(png);
    how->depth = 8;
  }
}

cmedia_status png_rgb(
    const uint8_t *bytes, size_t count, const cmedia_picture *picture, int on_white, uint8_t *rgb,
    int *clipped, cmedia_note *note) {
  reader source = {bytes, count, 0, CMEDIA_OK, note};
  png_infop info = NULL;
  png_structp png = open_png(&source, &info);
  if (!png) return cmedia_fail(note, CMEDIA_NO_MEMORY, "");
  uint8_t *volatile buffer = NULL;
  if (setjmp(png_jmpbuf(png))) {
    png_destroy_read_struct(&png, &info, NULL);
    free(buffer);
    return source.status == CMEDIA_OK ? CMEDIA_DAMAGED : source.status;
  }
  png_read_info(png, info);
  conversion how = {
      png_get_color_type(png, info), png_get_bit_depth(png, info), on_white, clipped};
  set_steps(png, info, &how);
  int passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  size_t width = (size_t)picture->width, height = (size_t)picture->height;
  size_t stride = png_get_rowbytes(png, info);
  // Interlaced rows are met several times, so all of them are kept until the end.
  size_t kept = passes > 1 ? height : 1;
  buffer = calloc(kept, stride);
  if (!buffer || png_get_image_width(png, info) != width ||
      png_get_image_height(png, info) != height) {
    source.status = buffer ? CMEDIA_DAMAGED : CMEDIA_NO_MEMORY;
    png_error(png, "the header cannot be used");
  }
  for (int pass = 0; pass < passes; pass++) {
    for (size_t y = 0; y < height; y++) {
      uint8_t *row = buffer + (passes > 1 ? y * stride : 0);
      png_read_row(png, row, NULL);
      if (pass == passes - 1) convert_row(row, rgb + y * width * 3, width, &how);
    }
  }
  png_read_end(png, NULL);
  png_destroy_read_struct(&png, &info, NULL);
  free(buffer);
  return CMEDIA_OK;
}
