// Files of named one-dimensional arrays. One thread uses a file at a time; several may use
// different files. Every function but `chdf5_close` returns 0, or −1 with words in `note`.
#ifndef CHDF5_H
#define CHDF5_H

#include <stddef.h>
#include <stdint.h>

typedef struct chdf5_file chdf5_file;

typedef struct {
  char text[200];
} chdf5_note;

typedef enum { CHDF5_BYTES, CHDF5_INT32, CHDF5_INT64, CHDF5_FLOAT } chdf5_type;

// Creates a file; one of that name is replaced.
int chdf5_create(const char *path, chdf5_file **file, chdf5_note *note);

// Opens a file for reading.
int chdf5_open(const char *path, chdf5_file **file, chdf5_note *note);

// Forces everything to the file. - Returns: 0, or −1 if that failed.
int chdf5_close(chdf5_file *file);

// Appends to an array, which is made when it is not there; `count` may be 0. Numbers lie
// little-endian in the file, in chunks with a Fletcher-32 sum each.
int chdf5_append(
    chdf5_file *file, const char *name, chdf5_type type, const void *values, int64_t count,
    chdf5_note *note);

// The length of an array, −1 in `count` for one that is not there.
int chdf5_count(chdf5_file *file, const char *name, int64_t *count, chdf5_note *note);

// Reads a part of an array whose elements must be of the type.
int chdf5_read(
    chdf5_file *file, const char *name, chdf5_type type, int64_t first, int64_t count,
    void *values, chdf5_note *note);

#endif
