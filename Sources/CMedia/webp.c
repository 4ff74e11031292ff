// WebP by libwebp: still pictures, and the first picture of an animation.
#include <stdlib.h>

#include "internal.h"
#include <webp/decode.h>
#include <webp/demux.h>

cmedia_status webp_header(
    const uint8_t *bytes, size_t count, cmedia_picture *picture, cmedia_note *note) {
  WebPBitstreamFeatures features;
  VP8StatusCode code = WebPGetFeatures(bytes, count, &features);
  if (code == VP8_STATUS_NOT_ENOUGH_DATA)
    return cmedia_fail(note, CMEDIA_TRUNCATED, "the data end too early");
  if (code != VP8_STATUS_OK) return cmedia_fail(note, CMEDIA_DAMAGED, "the header is no WebP");
  picture->width = features.width;
  picture->height = features.height;
  picture->has_alpha = features.has_alpha;
  return CMEDIA_OK;
}

static void drop_alpha(const uint8_t *rgba, uint8_t *rgb, size_t pixels, int on_white) {
  for (size_t i = 0; i < pixels; i++) {
    if (on_white) cmedia_on_white(rgba + 4 * i, rgb + 3 * i);
    else memcpy(rgb + 3 * i, rgba + 4 * i, 3);
  }
}

static cmedia_status first_frame(
    const WebPData *data, const cmedia_picture *picture, int on_white, uint8_t *rgb,
    cmedia_note *note) {
  WebPAnimDecoderOptions options;
  if (!WebPAnimDecoderOptionsInit(&options)) return cmedia_fail(note, CMEDIA_NO_MEMORY, "");
  options.color_mode = MODE_RGBA;
  options.use_threads = 0;
  WebPAnimDecoder *decoder = WebPAnimDecoderNew(data, &options);
  if (!decoder) return cmedia_fail(note, CMEDIA_DAMAGED, "the animation cannot be read");
  uint8_t *canvas = NULL;
  int time = 0;
  cmedia_status status = CMEDIA_OK;
  if (WebPAnimDecoderGetNext(decoder, &canvas, &time))
    drop_alpha(canvas, rgb, (size_t)(picture->width * picture->height), on_white);
  else
    status = cmedia_fail(note, CMEDIA_DAMAGED, "the first picture cannot be read");
  WebPAnimDecoderDelete(decoder);
  return status;
}

cmedia_status webp_rgb(
    const uint8_t *bytes, size_t count, const cmedia_picture *picture, int on_white, uint8_t *rgb,
    cmedia_note *note) {
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config)) return cmedia_fail(note, CMEDIA_NO_MEMORY, "");
  VP8StatusCode code = WebPGetFeatures(bytes, count, &config.input);
  if (code != VP8_STATUS_OK || config.input.width != picture->width ||
      config.input.height != picture->height)
    return cmedia_fail(note, CMEDIA_DAMAGED, "the header is no WebP");
  if (config.input.has_animation) {
    WebPData data = {bytes, count};
    return first_frame(&data, picture, on_white, rgb, note);
  }
  size_t pixels = (size_t)(picture->width * picture->height);
  int blends = on_white && picture->has_alpha;
  int channels = blends ? 4 : 3;
  uint8_t *rgba = blends ? malloc(pixels * 4) : NULL;
  if (blends && !rgba) return cmedia_fail(note, CMEDIA_NO_MEMORY, "");
  config.output.colorspace = blends ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = blends ? rgba : rgb;
  config.output.u.RGBA.stride = (int)picture->width * channels;
  config.output.u.RGBA.size = pixels * (size_t)channels;
  code = WebPDecode(bytes, count, &config);
  if (code == VP8_STATUS_OK && blends) drop_alpha(rgba, rgb, pixels, 1);
  free(rgba);
  WebPFreeDecBuffer(&config.output);
  if (code == VP8_STATUS_OK) return CMEDIA_OK;
  if (code == VP8_STATUS_NOT_ENOUGH_DATA || code == VP8_STATUS_SUSPENDED)
    return cmedia_fail(note, CMEDIA_TRUNCATED, "the data end too early");
  if (code == VP8_STATUS_OUT_OF_MEMORY) return cmedia_fail(note, CMEDIA_NO_MEMORY, "");
  return cmedia_fail(note, CMEDIA_DAMAGED, "the picture data cannot be read");
}
