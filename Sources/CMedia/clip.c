// Frames of clips by FFmpeg. A first walk over the packets counts the frames and notes their times;
// then single frames are decoded, from the key frame before each.
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "internal.h"
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libswscale/swscale.h>

// Containers that hold their media themselves. Play lists, which name other files, are none.
static const char containers[] =
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,gif,apng,ivf,h264,hevc";

typedef struct {
  int64_t pts;
  int64_t dts;
  int is_key;
} entry;

typedef struct {
  const uint8_t *bytes;
  int64_t count;
  int64_t at;
} memory;

struct cmedia_clip {
  AVFormatContext *format;
  AVIOContext *io;
  memory source;
  char *url;
  AVCodecContext *decoder;
  struct SwsContext *scaler;
  struct SwsContext *coloured;  // the scaler that matrix and range were given to
  int matrix, range;
  AVPacket *packet;
  AVFrame *frame;
  int stream;
  entry *entries;  // by time of display
  int64_t count;
  int by_time;       // every frame has a time of its own, so that it is found by it
  int64_t position;  // number of the frame that was decoded last, −1 before the first
  int draining;
  int rotation;      // 0, 90, 180, 270, clockwise
  int width, height; // of the decoded frames
  uint8_t *rows[4];  // a converted frame; its lines have room for whole vectors
  int strides[4];
};

static cmedia_status fault(cmedia_note *note, cmedia_status status, int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = "";
  av_strerror(code, text, sizeof text);
  return cmedia_fail(note, status, text);
}

static int read_memory(void *opaque, uint8_t *target, int wanted) {
  memory *source = opaque;
  int64_t left = source->count - source->at;
  if (left <= 0) return AVERROR_EOF;
  int size = wanted < left ? wanted : (int)left;
  memcpy(target, source->bytes + source->at, (size_t)size);
  source->at += size;
  return size;
}

static int64_t seek_memory(void *opaque, int64_t offset, int whence) {
  memory *source = opaque;
  if (whence == AVSEEK_SIZE) return source->count;
  int64_t base = whence == SEEK_CUR ? source->at : whence == SEEK_END ? source->count : 0;
  if (base + offset < 0 || base + offset > source->count) return AVERROR(EINVAL);
  return source->at = base + offset;
}

static void close_input(cmedia_clip *clip) {
  avformat_close_input(&clip->format);
  if (clip->io) {
    av_freep(&clip->io->buffer);
    avio_context_free(&clip->io);
  }
}

static int open_input(cmedia_clip *clip) {
  clip->format = avformat_alloc_context();
  if (!clip->format) return AVERROR(ENOMEM);
  if (!clip->url) {
    clip->source.at = 0;
    uint8_t *buffer = av_malloc(1 << 16);
    clip->io = buffer ? avio_alloc_context(
                            buffer, 1 << 16, 0, &clip->source, read_memory, NULL, seek_memory)
                      : NULL;
    if (!clip->io) {
      av_free(buffer);
      avformat_free_context(clip->format);
      clip->format = NULL;
      return AVERROR(ENOMEM);
    }
    clip->format->pb = clip->io;
  }
  AVDictionary *options = NULL;
  av_dict_set(&options, "format_whitelist", containers, 0);
  av_dict_set(&options, "protocol_whitelist", "file", 0);
  int code = avformat_open_input(&clip->format, clip->url ? clip->url : "", NULL, &options);
  av_dict_free(&options);
  return code;
}

// Degrees clockwise by which frames are to be turned for display.
static int rotation_of(const AVStream *stream) {
  size_t size = 0;
  const uint8_t *data = av_stream_get_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
  if (!data || size < 9 * sizeof(int32_t)) return 0;
  double angle = -av_display_rotation_get((const int32_t *)data);
  if (isnan(angle)) return 0;
  int turns = (int)lround(angle / 90);
  return fabs(angle - 90.0 * turns) < 1 ? ((turns % 4 + 4) % 4) * 90 : 0;
}

static int earlier(const void *a, const void *b) {
  const entry *x = a, *y = b;
  return x->pts < y->pts ? -1 : x->pts > y->pts;
}

// Walks over the packets without decoding. Times that are missing or repeat make frames countable
// only in order.
static cmedia_status index_packets(cmedia_clip *clip, int64_t limit, cmedia_note *note) {
  int64_t room = 0;
  clip->by_time = 1;
  for (;;) {
    int code = av_read_frame(clip->format, clip->packet);
    if (code == AVERROR_EOF) break;
    if (code < 0) return fault(note, CMEDIA_DAMAGED, code);
    AVPacket *p = clip->packet;
    if (p->stream_index == clip->stream && !(p->flags & AV_PKT_FLAG_DISCARD)) {
      if (clip->count >= limit) {
        av_packet_unref(p);
        return cmedia_fail(note, CMEDIA_TOO_LARGE, "frames");
      }
      if (clip->count == room) {
        room = room ? room * 2 : 256;
        entry *grown = realloc(clip->entries, (size_t)room * sizeof(entry));
        if (!grown) {
          av_packet_unref(p);
          return cmedia_fail(note, CMEDIA_NO_MEMORY, "");
        }
        clip->entries = grown;
      }
      if (p->pts == AV_NOPTS_VALUE) clip->by_time = 0;
      int64_t dts = p->dts == AV_NOPTS_VALUE ? p->pts : p->dts;
      clip->entries[clip->count++] = (entry){p->pts, dts, (p->flags & AV_PKT_FLAG_KEY) != 0};
    }
    av_packet_unref(p);
  }
  if (!clip->by_time || clip->count == 0) return CMEDIA_OK;
  qsort(clip->entries, (size_t)clip->count, sizeof(entry), earlier);
  for (int64_t i = 1; i < clip->count; i++)
    if (clip->entries[i].pts == clip->entries[i - 1].pts) clip->by_time = 0;
  return CMEDIA_OK;
}

// Goes back to the first packet.
static int rewind_clip(cmedia_clip *clip) {
  clip->position = -1;
  clip->draining = 0;
  avcodec_flush_buffers(clip->decoder);
  close_input(clip);
  int code = open_input(clip);
  // Containers without a table of streams show them only when packets are looked at.
  if (code >= 0 && clip->stream >= (int)clip->format->nb_streams)
    code = avformat_find_stream_info(clip->format, NULL);
  if (code < 0) return code;
  if (clip->stream >= (int)clip->format->nb_streams) return AVERROR_STREAM_NOT_FOUND;
  for (unsigned i = 0; i < clip->format->nb_streams; i++)
    if ((int)i != clip->stream) clip->format->streams[i]->discard = AVDISCARD_ALL;
  return 0;
}

static cmedia_status open_decoder(
    cmedia_clip *clip, const AVCodec *codec, int64_t pixels, cmedia_note *note) {
  AVStream *stream = clip->format->streams[clip->stream];
  clip->decoder = avcodec_alloc_context3(codec);
  clip->packet = av_packet_alloc();
  clip->frame = av_frame_alloc();
  if (!clip->decoder || !clip->packet || !clip->frame)
    return cmedia_fail(note, CMEDIA_NO_MEMORY, "");
  int code = avcodec_parameters_to_context(clip->decoder, stream->codecpar);
  clip->decoder->thread_count = 1;
  clip->decoder->max_pixels = pixels;
  clip->decoder->pkt_timebase = stream->time_base;
  if (code >= 0) code = avcodec_open2(clip->decoder, codec, NULL);
  return code < 0 ? fault(note, CMEDIA_DAMAGED, code) : CMEDIA_OK;
}

static cmedia_status open_stream(
    cmedia_clip *clip, cmedia_clip_limits limits, cmedia_clip_info *info, cmedia_note *note) {
  int code = open_input(clip);
  if (code == AVERROR_INVALIDDATA) return fault(note, CMEDIA_DAMAGED, code);
  // No container of the list takes the bytes for its own.
  if (code == AVERROR(EINVAL)) return cmedia_fail(note, CMEDIA_UNKNOWN, "");
  if (code < 0) return fault(note, CMEDIA_UNREADABLE, code);
  for (unsigned i = 0; i < clip->format->nb_streams; i++) {
    const AVCodecParameters *p = clip->format->streams[i]->codecpar;
    if (p->codec_type == AVMEDIA_TYPE_VIDEO && p->width > 0 &&
        (int64_t)p->width * p->height > limits.pixels)
      return cmedia_fail(note, CMEDIA_TOO_LARGE, "pixels");
    if (clip->format->streams[i]->nb_frames > limits.frames &&
        p->codec_type == AVMEDIA_TYPE_VIDEO)
      return cmedia_fail(note, CMEDIA_TOO_LARGE, "frames");
  }
  code = avformat_find_stream_info(clip->format, NULL);
  if (code < 0) return fault(note, CMEDIA_DAMAGED, code);
  const AVCodec *codec = NULL;
  clip->stream = av_find_best_stream(clip->format, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
  if (clip->stream == AVERROR_DECODER_NOT_FOUND)
    return cmedia_fail(note, CMEDIA_UNSUPPORTED, "there is no decoder for its pictures");
  if (clip->stream < 0) return cmedia_fail(note, CMEDIA_NO_PICTURES, "");
  AVStream *stream = clip->format->streams[clip->stream];
  clip->width = stream->codecpar->width;
  clip->height = stream->codecpar->height;
  if (clip->width < 1 || clip->height < 1)
    return cmedia_fail(note, CMEDIA_DAMAGED, "the size of its pictures is not known");
  if ((int64_t)clip->width * clip->height > limits.pixels)
    return cmedia_fail(note, CMEDIA_TOO_LARGE, "pixels");
  clip->rotation = rotation_of(stream);
  int turned = clip->rotation % 180 != 0;
  info->width = turned ? clip->height : clip->width;
  info->height = turned ? clip->width : clip->height;
  AVRational rate = stream->avg_frame_rate;
  info->rate = rate.num > 0 && rate.den > 0 ? (double)rate.num / rate.den : 0;
  return open_decoder(clip, codec, limits.pixels, note);
}

cmedia_status cmedia_clip_open(
    const char *path, const uint8_t *bytes, size_t count, cmedia_clip_limits limits,
    cmedia_clip **result, cmedia_clip_info *info, cmedia_note *note) {
  if (note) note->text[0] = 0;
  *result = NULL;
  memset(info, 0, sizeof *info);
  av_log_set_level(AV_LOG_QUIET);
  cmedia_clip *clip = calloc(1, sizeof *clip);
  if (!clip) return cmedia_fail(note, CMEDIA_NO_MEMORY, "");
  clip->source = (memory){bytes, (int64_t)count, 0};
  if (path) {
    size_t size = strlen(path) + 6;
    clip->url = malloc(size);
    if (clip->url) snprintf(clip->url, size, "file:%s", path);
  }
  cmedia_status status =
      path && !clip->url ? CMEDIA_NO_MEMORY : open_stream(clip, limits, info, note);
  int64_t pixels = info->width * info->height;
  int64_t frames = limits.frames;
  if (!status && limits.total / pixels < frames) frames = limits.total / pixels;
  for (unsigned i = 0; !status && i < clip->format->nb_streams; i++)
    if ((int)i != clip->stream) clip->format->streams[i]->discard = AVDISCARD_ALL;
  if (!status) status = index_packets(clip, frames, note);
  if (!status && rewind_clip(clip) < 0)
    status = cmedia_fail(note, CMEDIA_DAMAGED, "it cannot be read twice");
  if (status) {
    cmedia_clip_close(clip);
    return status;
  }
  info->frames = clip->count;
  *result = clip;
  return CMEDIA_OK;
}

// Decodes the next frame in order of display. - Returns: 0, AVERROR_EOF or a fault.
static int next_frame(cmedia_clip *clip) {
  for (;;) {
    int code = avcodec_receive_frame(clip->decoder, clip->frame);
    if (code != AVERROR(EAGAIN)) return code;
    code = clip->draining ? AVERROR_EOF : av_read_frame(clip->format, clip->packet);
    if (code == AVERROR_EOF && !clip->draining) {
      clip->draining = 1;
      code = avcodec_send_packet(clip->decoder, NULL);
    } else if (code >= 0) {
      if (clip->packet->stream_index == clip->stream)
        code = avcodec_send_packet(clip->decoder, clip->packet);
      av_packet_unref(clip->packet);
    }
    if (code < 0) return code;
  }
}

static int64_t number_of(const cmedia_clip *clip, int64_t pts) {
  entry wanted = {pts, 0, 0};
  entry *found =
      bsearch(&wanted, clip->entries, (size_t)clip->count, sizeof(entry), earlier);
  return found ? found - clip->entries : -1;
}

// Jumps to the last key frame that is not behind `index`, if that saves decoding.
static void jump(cmedia_clip *clip, int64_t index) {
  int64_t key = index;
  while (key > clip->position && !clip->entries[key].is_key) key--;
  // The first frames after a key frame may show what was before it; those are never asked for.
  if (key <= clip->position + 1) return;
  if (av_seek_frame(clip->format, clip->stream, clip->entries[key].dts, AVSEEK_FLAG_BACKWARD) < 0)
    return;
  avcodec_flush_buffers(clip->decoder);
  clip->draining = 0;
}

// Decodes until frame `index` is in `clip->frame`.
static int find_frame(cmedia_clip *clip, int64_t index) {
  if (clip->by_time) jump(clip, index);
  while (clip->position < index || clip->position < 0) {
    int code = next_frame(clip);
    if (code < 0) return code;
    if (!clip->by_time) {
      clip->position++;
      continue;
    }
    int64_t number = number_of(clip, clip->frame->pts);
    if (number < 0 || number > index) return AVERROR_BUG;
    clip->position = number;
  }
  return 0;
}

// Copies the converted frame [h, w] without gaps, turned clockwise by the clip's angle.
static void copy_turned(const cmedia_clip *clip, uint8_t *rgb) {
  int64_t w = clip->width, h = clip->height;
  for (int64_t y = 0; y < h; y++) {
    const uint8_t *row = clip->rows[0] + y * clip->strides[0];
    if (clip->rotation == 0) memcpy(rgb + y * w * 3, row, (size_t)w * 3);
    else
      for (int64_t x = 0; x < w; x++) {
        int64_t place = clip->rotation == 90    ? x * h + (h - 1 - y)
                        : clip->rotation == 270 ? (w - 1 - x) * h + y
                                                : (h - 1 - y) * w + (w - 1 - x);
        memcpy(rgb + 3 * place, row + 3 * x, 3);
      }
  }
}

// Which colours the frame means by its numbers, where it says so.
static void set_colours(cmedia_clip *clip) {
  const AVFrame *frame = clip->frame;
  struct SwsContext *scaler = clip->scaler;
  if (clip->coloured == scaler && clip->matrix == (int)frame->colorspace &&
      clip->range == (int)frame->color_range)
    return;
  clip->coloured = scaler;
  clip->matrix = (int)frame->colorspace;
  clip->range = (int)frame->color_range;
  int *from = NULL, *to = NULL, from_full = 0, to_full = 0, brightness = 0, contrast = 0, hue = 0;
  if (sws_getColorspaceDetails(
          scaler, &from, &from_full, &to, &to_full, &brightness, &contrast, &hue) < 0)
    return;
  const int *matrix = from;
  if (frame->colorspace != AVCOL_SPC_UNSPECIFIED) matrix = sws_getCoefficients(frame->colorspace);
  if (frame->color_range != AVCOL_RANGE_UNSPECIFIED)
    from_full = frame->color_range == AVCOL_RANGE_JPEG;
  sws_setColorspaceDetails(scaler, matrix, from_full, to, to_full, brightness, contrast, hue);
}

static cmedia_status write_rgb(cmedia_clip *clip, uint8_t *rgb, cmedia_note *note) {
  const AVFrame *f = clip->frame;
  clip->scaler = sws_getCachedContext(
      clip->scaler, f->width, f->height, f->format, clip->width, clip->height, AV_PIX_FMT_RGB24,
      SWS_BICUBIC, NULL, NULL, NULL);
  if (!clip->scaler) return cmedia_fail(note, CMEDIA_UNSUPPORTED, "its colours are not read here");
  set_colours(clip);
  if (!clip->rows[0] && av_image_alloc(
                            clip->rows, clip->strides, clip->width + 32, clip->height,
                            AV_PIX_FMT_RGB24, 64) < 0)
    return cmedia_fail(note, CMEDIA_NO_MEMORY, "");
  int code = sws_scale(
      clip->scaler, (const uint8_t *const *)f->data, f->linesize, 0, f->height, clip->rows,
      clip->strides);
  if (code < 0) return fault(note, CMEDIA_DAMAGED, code);
  copy_turned(clip, rgb);
  return CMEDIA_OK;
}

cmedia_status cmedia_clip_frame(
    cmedia_clip *clip, int64_t index, uint8_t *rgb, cmedia_note *note) {
  if (note) note->text[0] = 0;
  if (index < 0 || index >= clip->count || index < clip->position)
    return cmedia_fail(note, CMEDIA_DAMAGED, "there is no such frame");
  int code = find_frame(clip, index);
  if (code < 0 && clip->by_time) {
    // Times or jumps that mislead: count the frames from the beginning.
    clip->by_time = 0;
    code = rewind_clip(clip);
    if (code >= 0) code = find_frame(clip, index);
  }
  if (code < 0) return fault(note, CMEDIA_DAMAGED, code);
  return write_rgb(clip, rgb, note);
}

void cmedia_clip_close(cmedia_clip *clip) {
  if (!clip) return;
  close_input(clip);
  avcodec_free_context(&clip->decoder);
  sws_freeContext(clip->scaler);
  av_packet_free(&clip->packet);
  av_frame_free(&clip->frame);
  free(clip->entries);
  av_freep(&clip->rows[0]);
  free(clip->url);
  free(clip);
}
