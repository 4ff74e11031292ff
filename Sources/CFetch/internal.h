#ifndef CFETCH_INTERNAL_H
#define CFETCH_INTERNAL_H

#include <curl/curl.h>

#include "CFetch.h"

// A handle with what every request has: http and https only, no signals, certificates checked.
CURL *cfetch_open(const char *address, char *words);

// Bytes at the end of the answer. Returns 0 when they are over the limit or there is no memory.
int cfetch_append(cfetch_answer *answer, size_t *room, size_t limit, const char *data, size_t count);

#endif
