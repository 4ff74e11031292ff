// JPEG by libjpeg-turbo with its defaults (accurate integer transform, smooth chroma), which are
// Pillow's.
#include <setjmp.h>
#include <stdlib.h>

#include "internal.h"
// jpeglib.h wants FILE and size_t first.
#include <jerror.h>
#include <jpeglib.h>

typedef struct {
  struct jpeg_error_mgr base;
  jmp_buf escape;
  cmedia_status status;
  cmedia_note *note;
} error_manager;

static void leave(j_common_ptr info) {
  error_manager *errors = (error_manager *)info->err;
  char text[JMSG_LENGTH_MAX];
  info->err->format_message(info, text);
  if (errors->status == CMEDIA_OK)
    errors->status =
        info->err->msg_code == JERR_OUT_OF_MEMORY ? CMEDIA_NO_MEMORY : CMEDIA_DAMAGED;
  cmedia_fail(errors->note, errors->status, text);
  longjmp(errors->escape, 1);
}

// Warnings are passed over, as Pillow does, except that the data ended: libjpeg would go on in grey.
static void warn(j_common_ptr info, int level) {
  if (level >= 0) return;
  if (info->err->msg_code == JWRN_JPEG_EOF) {
    ((error_manager *)info->err)->status = CMEDIA_TRUNCATED;
    leave(info);
  }
  info->err->num_warnings++;
}

static void say_nothing(j_common_ptr info) { (void)info; }

static void open_errors(struct jpeg_decompress_struct *info, error_manager *errors) {
  info->err = jpeg_std_error(&errors->base);
  errors->base.error_exit = leave;
  errors->base.emit_message = warn;
  errors->base.output_message = say_nothing;
}

cmedia_status jpeg_header(
    const uint8_t *bytes, size_t count, cmedia_picture *picture, cmedia_note *note) {
  struct jpeg_decompress_struct info;
  error_manager errors = {.status = CMEDIA_OK, .note = note};
  open_errors(&info, &errors);
  if (setjmp(errors.escape)) {
    jpeg_destroy_decompress(&info);
    return errors.status;
  }
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, bytes, count);
  jpeg_read_header(&info, TRUE);
  picture->width = info.image_width;
  picture->height = info.image_height;
  jpeg_destroy_decompress(&info);
  return CMEDIA_OK;
}

// One row of CMYK to RGB; `inverted` for files with the Adobe mark, which store 255 − ink.
static void cmyk_row(const uint8_t *cmyk, uint8_t *rgb, size_t width, int inverted) {
  for (size_t x = 0; x < width; x++) {
    unsigned ink[4];
    for (int c = 0; c < 4; c++) ink[c] = inverted ? 255u - cmyk[4 * x + c] : cmyk[4 * x + c];
    unsigned light = 255u - ink[3];
    for (int c = 0; c < 3; c++) {
      int value = (int)light - (int)cmedia_div255(ink[c] * light);
      rgb[3 * x + c] = (uint8_t)(value < 0 ? 0 : value);
    }
  }
}

static void grey_row(const uint8_t *grey, uint8_t *rgb, size_t width) {
  for (size_t x = 0; x < width; x++) rgb[3 * x] = rgb[3 * x + 1] = rgb[3 * x + 2] = grey[x];
}

cmedia_status jpeg_rgb(
    const uint8_t *bytes, size_t count, const cmedia_picture *picture, uint8_t *rgb,
    cmedia_note *note) {
  struct jpeg_decompress_struct info;
  error_manager errors = {.status = CMEDIA_OK, .note = note};
  uint8_t *volatile row = NULL;
  open_errors(&info, &errors);
  if (setjmp(errors.escape)) {
    jpeg_destroy_decompress(&info);
    free(row);
    return errors.status;
  }
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, bytes, count);
  jpeg_read_header(&info, TRUE);
  if (info.num_components == 1) info.out_color_space = JCS_GRAYSCALE;
  else if (info.num_components == 4) info.out_color_space = JCS_CMYK;
  else info.out_color_space = JCS_RGB;
  size_t width = (size_t)picture->width;
  row = malloc(width * 4);
  if (!row || (int64_t)info.image_width != picture->width ||
      (int64_t)info.image_height != picture->height) {
    jpeg_destroy_decompress(&info);
    free(row);
    return cmedia_fail(note, row ? CMEDIA_DAMAGED : CMEDIA_NO_MEMORY, "");
  }
  int inverted = info.saw_Adobe_marker;
  jpeg_start_decompress(&info);
  while (info.output_scanline < info.output_height) {
    uint8_t *target = rgb + (size_t)info.output_scanline * width * 3;
    JSAMPROW rows[1] = {info.num_components == 3 ? target : row};
    jpeg_read_scanlines(&info, rows, 1);
    if (info.num_components == 1) grey_row(row, target, width);
    if (info.num_components == 4) cmyk_row(row, target, width, inverted);
  }
  jpeg_finish_decompress(&info);
  jpeg_destroy_decompress(&info);
  free(row);
  return CMEDIA_OK;
}
