// One download into memory. Safe to call from several threads.
#ifndef CFETCH_H
#define CFETCH_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
  CFETCH_OK = 0,
  CFETCH_STATUS,     // the server answered with another status than 200
  CFETCH_TIME,       // not complete in time
  CFETCH_TOO_LARGE,  // more than `limit` bytes, told or met
  CFETCH_FAILED,     // everything else; the note says what
} cfetch_code;

typedef struct {
  uint8_t *bytes;  // to be given to cfetch_free
  size_t count;
  long status;  // the last answer's status, 0 without one
  char note[256];
} cfetch_answer;

// - Parameters: seconds for the whole; most bytes; most redirects, to http and https only.
cfetch_code cfetch(
    const char *address, double seconds, size_t limit, int redirects, cfetch_answer *answer);

void cfetch_free(cfetch_answer *answer);

#endif
