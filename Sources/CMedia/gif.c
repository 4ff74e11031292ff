// The first picture of a GIF by giflib.
#include <gif_lib.h>
#include <stdlib.h>

#include "internal.h"

typedef struct {
  const uint8_t *bytes;
  size_t count;
  size_t at;
} reader;

static int read_bytes(GifFileType *gif, GifByteType *target, int wanted) {
  reader *source = gif->UserData;
  size_t left = source->count - source->at;
  size_t size = (size_t)wanted < left ? (size_t)wanted : left;
  memcpy(target, source->bytes + source->at, size);
  source->at += size;
  return (int)size;
}

static cmedia_status fault(int code, cmedia_note *note) {
  int truncated = code == D_GIF_ERR_READ_FAILED || code == D_GIF_ERR_EOF_TOO_SOON;
  const char *text = GifErrorString(code);
  return cmedia_fail(note, truncated ? CMEDIA_TRUNCATED : CMEDIA_DAMAGED, text ? text : "");
}

cmedia_status gif_header(
    const uint8_t *bytes, size_t count, cmedia_picture *picture, cmedia_note *note) {
  if (count < 13) return cmedia_fail(note, CMEDIA_TRUNCATED, "the data end too early");
  picture->width = bytes[6] | bytes[7] << 8;
  picture->height = bytes[8] | bytes[9] << 8;
  return CMEDIA_OK;
}

// Reads records up to the first picture; `clear` becomes the transparent entry, or stays.
static int find_picture(GifFileType *gif, int *clear) {
  for (;;) {
    GifRecordType kind;
    if (DGifGetRecordType(gif, &kind) == GIF_ERROR) return GIF_ERROR;
    if (kind == IMAGE_DESC_RECORD_TYPE) return DGifGetImageDesc(gif);
    if (kind == TERMINATE_RECORD_TYPE) {
      gif->Error = D_GIF_ERR_NO_IMAG_DSCR;
      return GIF_ERROR;
    }
    int function;
    GifByteType *block;
    if (DGifGetExtension(gif, &function, &block) == GIF_ERROR) return GIF_ERROR;
    while (block) {
      if (function == GRAPHICS_EXT_FUNC_CODE && block[0] >= 4 && (block[1] & 1)) *clear = block[4];
      if (DGifGetExtensionNext(gif, &block) == GIF_ERROR) return GIF_ERROR;
    }
  }
}

static void colour(const ColorMapObject *map, int index, uint8_t *rgb) {
  if (!map || index >= map->ColorCount) {
    memset(rgb, 0, 3);
    return;
  }
  rgb[0] = map->Colors[index].Red;
  rgb[1] = map->Colors[index].Green;
  rgb[2] = map->Colors[index].Blue;
}

// Reads one line at a time onto the canvas; the lines of an interlaced picture come in four runs.
static int read_lines(
    GifFileType *gif, const ColorMapObject *map, GifPixelType *line, uint8_t *rgb, int width,
    int height) {
  const GifImageDesc *at = &gif->Image;
  static const int first[4] = {0, 4, 2, 1}, step[4] = {8, 8, 4, 2};
  for (int run = 0; run < (at->Interlace ? 4 : 1); run++) {
    int by = at->Interlace ? step[run] : 1;
    for (int y = at->Interlace ? first[run] : 0; y < at->Height; y += by) {
      if (DGifGetLine(gif, line, at->Width) == GIF_ERROR) return GIF_ERROR;
      if (at->Top + y >= height) continue;
      for (int x = 0; x < at->Width && at->Left + x < width; x++)
        colour(map, line[x], rgb + 3 * ((size_t)(at->Top + y) * width + at->Left + x));
    }
  }
  return GIF_OK;
}

cmedia_status gif_rgb(
    const uint8_t *bytes, size_t count, const cmedia_picture *picture, uint8_t *rgb,
    cmedia_note *note) {
  reader source = {bytes, count, 0};
  int code = 0;
  GifFileType *gif = DGifOpen(&source, read_bytes, &code);
  if (!gif) return fault(code, note);
  int clear = gif->SBackGroundColor;
  GifPixelType *line = NULL;
  int status = find_picture(gif, &clear);
  if (status == GIF_OK) {
    const ColorMapObject *map = gif->Image.ColorMap ? gif->Image.ColorMap : gif->SColorMap;
    int width = (int)picture->width, height = (int)picture->height;
    for (size_t i = 0; i < (size_t)width * height; i++) colour(map, clear, rgb + 3 * i);
    line = calloc((size_t)gif->Image.Width + 1, 1);
    status = line ? read_lines(gif, map, line, rgb, width, height) : GIF_ERROR;
  }
  code = gif->Error;
  free(line);
  DGifCloseFile(gif, NULL);
  return status == GIF_OK ? CMEDIA_OK : fault(code, note);
}
