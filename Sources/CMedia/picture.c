// Which decoder reads a picture: by its first bytes, never by its name.
#include "internal.h"

static int begins(const uint8_t *bytes, size_t count, const char *magic, size_t size) {
  return count >= size && memcmp(bytes, magic, size) == 0;
}

static int32_t format_of(const uint8_t *bytes, size_t count) {
  if (begins(bytes, count, "\xFF\xD8\xFF", 3)) return CMEDIA_JPEG;
  if (begins(bytes, count, "\x89PNG\r\n\x1A\n", 8)) return CMEDIA_PNG;
  if (begins(bytes, count, "GIF8", 4)) return CMEDIA_GIF;
  if (count >= 12 && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WEBP", 4) == 0)
    return CMEDIA_WEBP;
  return 0;
}

cmedia_status cmedia_picture_header(
    const uint8_t *bytes, size_t count, cmedia_picture *picture, cmedia_note *note) {
  if (note) note->text[0] = 0;
  memset(picture, 0, sizeof *picture);
  picture->format = format_of(bytes, count);
  cmedia_status status = CMEDIA_UNKNOWN;
  switch (picture->format) {
    case CMEDIA_JPEG: status = jpeg_header(bytes, count, picture, note); break;
    case CMEDIA_PNG: status = png_header(bytes, count, picture, note); break;
    case CMEDIA_WEBP: status = webp_header(bytes, count, picture, note); break;
    case CMEDIA_GIF: status = gif_header(bytes, count, picture, note); break;
    default: return cmedia_fail(note, CMEDIA_UNKNOWN, "");
  }
  if (status == CMEDIA_OK && (picture->width < 1 || picture->height < 1))
    return cmedia_fail(note, CMEDIA_DAMAGED, "the picture has no pixels");
  return status;
}

cmedia_status cmedia_picture_rgb(
    const uint8_t *bytes, size_t count, const cmedia_picture *picture, int on_white, uint8_t *rgb,
    int *clipped, cmedia_note *note) {
  if (note) note->text[0] = 0;
  *clipped = 0;
  switch (picture->format) {
    case CMEDIA_JPEG: return jpeg_rgb(bytes, count, picture, rgb, note);
    case CMEDIA_PNG: return png_rgb(bytes, count, picture, on_white, rgb, clipped, note);
    case CMEDIA_WEBP: return webp_rgb(bytes, count, picture, on_white, rgb, note);
    case CMEDIA_GIF: return gif_rgb(bytes, count, picture, rgb, note);
    default: return cmedia_fail(note, CMEDIA_UNKNOWN, "");
  }
}
