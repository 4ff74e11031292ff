// Requests over http and https. Safe to call from several threads.
#ifndef CFETCH_H
#define CFETCH_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
  CFETCH_OK = 0,
  CFETCH_STATUS,     // cfetch only: the server answered with another status than 200
  CFETCH_TIME,       // not complete in time, or no bytes for too long
  CFETCH_TOO_LARGE,  // more than `limit` bytes, told or met
  CFETCH_NO_HOST,    // the name is not known, or nobody listens there
  CFETCH_UNTRUSTED,  // the certificate of the server is not valid
  CFETCH_CUT,        // the connection broke off
  CFETCH_STOPPED,    // `stopped` said so
  CFETCH_NO_DISK,    // the bytes cannot be written; `error` is the system's number
  CFETCH_FAILED,     // everything else; the note says what
} cfetch_code;

typedef struct {
  uint8_t *bytes;  // to be given to cfetch_free
  size_t count;
  long status;        // the last answer's status, 0 without one
  char *header;       // lines "name: value" of the last answer, cfetch_send only
  int64_t file_end;   // end of what was written to the file, cfetch_send only
  int error;
  char note[256];
} cfetch_answer;

// One download into memory.
// - Parameters: seconds for the whole; most bytes; most redirects, to http and https only.
cfetch_code cfetch(
    const char *address, double seconds, size_t limit, int redirects, cfetch_answer *answer);

// A request of any kind. Redirects are given back, not followed: who asks decides what goes along.
typedef struct {
  const char *method, *address;
  const char *const *headers;  // lines "Name: value"
  size_t header_count;
  // What is sent: bytes, or bytes [body_start, body_start + body_count) of a file that is open.
  const uint8_t *body;
  int body_file;  // -1 for none
  int64_t body_start;
  size_t body_count;
  double connect_seconds, stall_seconds;
  // Most bytes of an answer that is kept in memory.
  size_t limit;
  // Where the body of an answer 200 or 206 goes instead, from byte `file_start` on; -1 for memory. A
  // whole answer to a request for the rest begins at byte 0 again. At most `file_limit` bytes.
  int file;
  int64_t file_start, file_limit;
  int (*stopped)(void);
} cfetch_request;

cfetch_code cfetch_send(const cfetch_request *request, cfetch_answer *answer);

void cfetch_free(cfetch_answer *answer);

#endif
