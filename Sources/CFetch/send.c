#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "internal.h"

// Most bytes of all header lines of an answer.
#define HEADER_LIMIT (1 << 18)

typedef struct {
  const cfetch_request *request;
  cfetch_answer *answer;
  CURL *handle;
  size_t room;
  size_t header_size;
  size_t sent;
  int64_t at;  // where the next byte of the file goes, -1 before the first
  int64_t range_start;
  cfetch_code trouble;
} exchange;

static size_t take_header(char *line, size_t size, size_t members, void *context) {
  exchange *self = context;
  size_t count = size * members;
  if (count >= 5 && strncasecmp(line, "HTTP/", 5) == 0) {
    // A new answer, after an interim one.
    self->header_size = 0;
    self->range_start = -1;
    return count;
  }
  static const char range[] = "content-range: bytes ";
  if (count > sizeof range && strncasecmp(line, range, sizeof range - 1) == 0)
    self->range_start = strtoll(line + sizeof range - 1, NULL, 10);
  if (self->header_size + count + 1 > HEADER_LIMIT) return 0;
  char *grown = realloc(self->answer->header, self->header_size + count + 1);
  if (!grown) return 0;
  memcpy(grown + self->header_size, line, count);
  self->header_size += count;
  grown[self->header_size] = 0;
  self->answer->header = grown;
  return count;
}

// Finds where the body goes in the file. Returns 0 when the server sends another part.
static int place_in_file(exchange *self, long status) {
  if (status == 206) {
    self->at = self->request->file_start;
    return self->range_start == self->request->file_start;
  }
  self->at = 0;
  return ftruncate(self->request->file, 0) == 0;
}

static size_t take_body(char *data, size_t size, size_t members, void *context) {
  exchange *self = context;
  size_t count = size * members;
  long status = 0;
  curl_easy_getinfo(self->handle, CURLINFO_RESPONSE_CODE, &status);
  if (self->request->file < 0 || (status != 200 && status != 206)) {
    if (cfetch_append(self->answer, &self->room, self->request->limit, data, count)) return count;
    // What a fault page says is only shown: its beginning is enough.
    if (status >= 300) return count;
    self->trouble = CFETCH_TOO_LARGE;
    return 0;
  }
  if (self->at < 0 && !place_in_file(self, status)) {
    self->trouble = CFETCH_CUT;
    return 0;
  }
  if (self->at + (int64_t)count > self->request->file_limit) {
    self->trouble = CFETCH_TOO_LARGE;
    return 0;
  }
  for (size_t done = 0; done < count;) {
    ssize_t put = pwrite(self->request->file, data + done, count - done, self->at);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) {
      self->answer->error = put < 0 ? errno : ENOSPC;
      self->trouble = CFETCH_NO_DISK;
      return 0;
    }
    done += (size_t)put;
    self->at += put;
  }
  return count;
}

static size_t give_body(char *buffer, size_t size, size_t members, void *context) {
  exchange *self = context;
  size_t count = size * members, left = self->request->body_count - self->sent;
  if (count > left) count = left;
  if (!count) return 0;
  if (self->request->body_file < 0) {
    memcpy(buffer, self->request->body + self->sent, count);
  } else {
    ssize_t got =
        pread(self->request->body_file, buffer, count, self->request->body_start + (off_t)self->sent);
    if (got <= 0) return CURL_READFUNC_ABORT;
    count = (size_t)got;
  }
  self->sent += count;
  return count;
}

// A connection that was closed while it waited makes libcurl send again.
static int seek_body(void *context, curl_off_t offset, int origin) {
  exchange *self = context;
  if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  self->sent = (size_t)offset;
  return CURL_SEEKFUNC_OK;
}

static int progress(
    void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
  (void)a, (void)b, (void)c, (void)d;
  exchange *self = context;
  return self->request->stopped && self->request->stopped();
}

static cfetch_code meaning(CURLcode code) {
  switch (code) {
  case CURLE_OK: return CFETCH_OK;
  case CURLE_OPERATION_TIMEDOUT: return CFETCH_TIME;
  case CURLE_COULDNT_RESOLVE_HOST:
  case CURLE_COULDNT_RESOLVE_PROXY:
  case CURLE_COULDNT_CONNECT: return CFETCH_NO_HOST;
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_ISSUER_ERROR: return CFETCH_UNTRUSTED;
  case CURLE_PARTIAL_FILE:
  case CURLE_GOT_NOTHING:
  case CURLE_SEND_ERROR:
  case CURLE_RECV_ERROR:
  case CURLE_SSL_CONNECT_ERROR:
  case CURLE_HTTP2:
  case CURLE_HTTP2_STREAM: return CFETCH_CUT;
  case CURLE_ABORTED_BY_CALLBACK: return CFETCH_STOPPED;
  default: return CFETCH_FAILED;
  }
}

static void set_method(CURL *handle, const cfetch_request *request) {
  if (strcmp(request->method, "HEAD") == 0) {
    curl_easy_setopt(handle, CURLOPT_NOBODY, 1L);
  } else if (strcmp(request->method, "POST") == 0) {
    curl_easy_setopt(handle, CURLOPT_POST, 1L);
    curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_count);
  } else if (strcmp(request->method, "PUT") == 0) {
    curl_easy_setopt(handle, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(handle, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->body_count);
  }
}

static void set_callbacks(CURL *handle, exchange *self) {
  curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, take_header);
  curl_easy_setopt(handle, CURLOPT_HEADERDATA, self);
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, self);
  curl_easy_setopt(handle, CURLOPT_READFUNCTION, give_body);
  curl_easy_setopt(handle, CURLOPT_READDATA, self);
  curl_easy_setopt(handle, CURLOPT_SEEKFUNCTION, seek_body);
  curl_easy_setopt(handle, CURLOPT_SEEKDATA, self);
  curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, progress);
  curl_easy_setopt(handle, CURLOPT_XFERINFODATA, self);
  curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
}

cfetch_code cfetch_send(const cfetch_request *request, cfetch_answer *answer) {
  memset(answer, 0, sizeof *answer);
  char words[CURL_ERROR_SIZE] = "";
  CURL *handle = cfetch_open(request->address, words);
  if (!handle) return CFETCH_FAILED;
  exchange self = {request, answer, handle, 0, 0, 0, -1, -1, CFETCH_OK};
  struct curl_slist *lines = NULL;
  for (size_t i = 0; i < request->header_count; i++)
    lines = curl_slist_append(lines, request->headers[i]);
  // No round trip that asks whether the body may come.
  lines = curl_slist_append(lines, "Expect:");
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, lines);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, (long)(request->connect_seconds * 1000) + 1);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, (long)request->stall_seconds + 1);
  set_method(handle, request);
  set_callbacks(handle, &self);
  CURLcode code = curl_easy_perform(handle);
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &answer->status);
  curl_easy_cleanup(handle);
  curl_slist_free_all(lines);
  answer->file_end = self.at < 0 ? 0 : self.at;
  snprintf(answer->note, sizeof answer->note, "%s", words[0] ? words : curl_easy_strerror(code));
  return self.trouble != CFETCH_OK ? self.trouble : meaning(code);
}
