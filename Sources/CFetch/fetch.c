#include "CFetch.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void) { curl_global_init(CURL_GLOBAL_DEFAULT); }

typedef struct {
  cfetch_answer *answer;
  size_t room, limit;
  int too_large;
} sink;

static size_t receive(char *data, size_t size, size_t members, void *context) {
  sink *to = context;
  size_t count = size * members, wanted = to->answer->count + count;
  if (wanted > to->limit) {
    to->too_large = 1;
    return 0;
  }
  if (wanted > to->room) {
    size_t room = to->room ? to->room : 1 << 16;
    while (room < wanted) room *= 2;
    uint8_t *grown = realloc(to->answer->bytes, room);
    if (!grown) return 0;
    to->answer->bytes = grown;
    to->room = room;
  }
  memcpy(to->answer->bytes + to->answer->count, data, count);
  to->answer->count = wanted;
  return count;
}

// A proxy of the environment cannot reach this machine's own addresses.
static int is_local(const char *address) {
  const char *host = strstr(address, "://");
  if (!host) return 0;
  host += 3;
  static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
  for (size_t i = 0; i < 3; i++) {
    size_t size = strlen(names[i]);
    if (strncmp(host, names[i], size) == 0 && strchr(":/?#", host[size])) return 1;
  }
  return 0;
}

cfetch_code cfetch(
    const char *address, double seconds, size_t limit, int redirects, cfetch_answer *answer) {
  pthread_once(&once, start);
  memset(answer, 0, sizeof *answer);
  CURL *handle = curl_easy_init();
  if (!handle) return CFETCH_FAILED;
  sink to = {answer, 0, limit, 0};
  char words[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(handle, CURLOPT_URL, address);
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(handle, CURLOPT_MAXREDIRS, (long)redirects);
  curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, (long)(seconds * 1000) + 1);
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)limit);
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, receive);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &to);
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, words);
  curl_easy_setopt(handle, CURLOPT_USERAGENT, "megatron-sft");
  if (is_local(address)) curl_easy_setopt(handle, CURLOPT_NOPROXY, "*");
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
  answer->bytes = NULL;
}
