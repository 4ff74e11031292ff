#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

int cfetch_append(
    cfetch_answer *answer, size_t *room, size_t limit, const char *data, size_t count) {
  size_t wanted = answer->count + count;
  if (wanted > limit) return 0;
  if (wanted > *room) {
    size_t size = *room ? *room : 1 << 16;
    while (size < wanted) size *= 2;
    uint8_t *grown = realloc(answer->bytes, size);
    if (!grown) return 0;
    answer->bytes = grown;
    *room = size;
  }
  memcpy(answer->bytes + answer->count, data, count);
  answer->count = wanted;
  return 1;
}

typedef struct {
  cfetch_answer *answer;
  size_t room, limit;
  int too_large;
} sink;

static size_t receive(char *data, size_t size, size_t members, void *context) {
  sink *to = context;
  size_t count = size * members;
  if (to->answer->count + count > to->limit) to->too_large = 1;
  return cfetch_append(to->answer, &to->room, to->limit, data, count) ? count : 0;
}

// A proxy of the environment cannot reach this machine's own addresses.
static int is_local(const char *address) {
  const char *host = strstr(address, "://");
  if (!host) return 0;
  host += 3;
  static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
  for (size_t i = 0; i < 3; i++) {
    size_t size = strlen(names[i]);
    if (strncmp(host, names[i], size) == 0 && (!host[size] || strchr(":/?#", host[size]))) return 1;
  }
  return 0;
}

CURL *cfetch_open(const char *address, char *words) {
  pthread_once(&once, start);
  CURL *handle = curl_easy_init();
  if (!handle) return NULL;
  curl_easy_setopt(handle, CURLOPT_URL, address);
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, words);
  curl_easy_setopt(handle, CURLOPT_USERAGENT, "megatron-sft");
  // Where a site has authorities of its own. That certificates are checked cannot be turned off.
  const char *authorities = getenv("SSL_CERT_FILE");
  if (authorities && *authorities) curl_easy_setopt(handle, CURLOPT_CAINFO, authorities);
  if (is_local(address)) curl_easy_setopt(handle, CURLOPT_NOPROXY, "*");
  return handle;
}

cfetch_code cfetch(
    const char *address, double seconds, size_t limit, int redirects, cfetch_answer *answer) {
  memset(answer, 0, sizeof *answer);
  char words[CURL_ERROR_SIZE] = "";
  CURL *handle = cfetch_open(address, words);
  if (!handle) return CFETCH_FAILED;
  sink to = {answer, 0, limit, 0};
  curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(handle, CURLOPT_MAXREDIRS, (long)redirects);
  curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)(seconds * 1000) + 1);
  curl_easy_setopt(handle, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)limit);
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, receive);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &to);
  CURLcode code = curl_easy_perform(handle);
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &answer->status);
  curl_easy_cleanup(handle);
  snprintf(answer->note, sizeof answer->note, "%s", words[0] ? words : curl_easy_strerror(code));
  if (to.too_large || code == CURLE_FILESIZE_EXCEEDED) return CFETCH_TOO_LARGE;
  if (code == CURLE_OPERATION_TIMEDOUT) return CFETCH_TIME;
  if (code != CURLE_OK) return CFETCH_FAILED;
  return answer->status == 200 ? CFETCH_OK : CFETCH_STATUS;
}

void cfetch_free(cfetch_answer *answer) {
  free(answer->bytes);
  free(answer->header);
  answer->bytes = NULL;
  answer->header = NULL;
}
