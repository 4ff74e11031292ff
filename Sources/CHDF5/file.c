#include "CHDF5.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct chdf5_file {
  hid_t id;
};

// Elements of a chunk: large enough for speed, small enough that short arrays stay small.
enum { CHUNK = 1 << 14 };

static herr_t keep_first(unsigned depth, const H5E_error2_t *error, void *target) {
  chdf5_note *note = target;
  (void)depth;
  if (!note->text[0] && error->desc) snprintf(note->text, sizeof note->text, "%s", error->desc);
  return 0;
}

// The innermost words of the library's stack of errors.
static int fail(chdf5_note *note) {
  if (note) {
    note->text[0] = 0;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, note);
  }
  H5Eclear2(H5E_DEFAULT);
  return -1;
}

static int say(chdf5_note *note, const char *text) {
  if (note) snprintf(note->text, sizeof note->text, "%s", text);
  return -1;
}

static hid_t stored(chdf5_type type) {
  switch (type) {
    case CHDF5_BYTES: return H5T_STD_U8LE;
    case CHDF5_INT32: return H5T_STD_I32LE;
    case CHDF5_INT64: return H5T_STD_I64LE;
    default: return H5T_IEEE_F32LE;
  }
}

static hid_t native(chdf5_type type) {
  switch (type) {
    case CHDF5_BYTES: return H5T_NATIVE_UINT8;
    case CHDF5_INT32: return H5T_NATIVE_INT32;
    case CHDF5_INT64: return H5T_NATIVE_INT64;
    default: return H5T_NATIVE_FLOAT;
  }
}

static int take(hid_t id, chdf5_file **file, chdf5_note *note) {
  if (id < 0) return fail(note);
  *file = malloc(sizeof **file);
  if (!*file) {
    H5Fclose(id);
    return say(note, "no memory");
  }
  (*file)->id = id;
  return 0;
}

int chdf5_create(const char *path, chdf5_file **file, chdf5_note *note) {
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  return take(H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), file, note);
}

int chdf5_open(const char *path, chdf5_file **file, chdf5_note *note) {
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  return take(H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT), file, note);
}

int chdf5_close(chdf5_file *file) {
  if (!file) return 0;
  int code = H5Fclose(file->id) < 0 ? -1 : 0;
  free(file);
  return code;
}

static hid_t create_array(chdf5_file *file, const char *name, chdf5_type type) {
  hsize_t none = 0, most = H5S_UNLIMITED, chunk = CHUNK;
  if (type == CHDF5_BYTES) chunk *= 16;
  hid_t space = H5Screate_simple(1, &none, &most);
  hid_t how = H5Pcreate(H5P_DATASET_CREATE), links = H5Pcreate(H5P_LINK_CREATE);
  H5Pset_chunk(how, 1, &chunk);
  H5Pset_fletcher32(how);
  H5Pset_create_intermediate_group(links, 1);
  hid_t array = H5Dcreate2(file->id, name, stored(type), space, links, how, H5P_DEFAULT);
  H5Sclose(space);
  H5Pclose(how);
  H5Pclose(links);
  return array;
}

// Whether every part of the path is there; H5Lexists wants the parts before to exist.
static int is_there(chdf5_file *file, const char *name) {
  char part[256];
  size_t size = strlen(name);
  if (size >= sizeof part) return 0;
  for (size_t i = 1; i <= size; i++) {
    if (name[i] != '/' && name[i] != 0) continue;
    memcpy(part, name, i);
    part[i] = 0;
    if (H5Lexists(file->id, part, H5P_DEFAULT) <= 0) return 0;
  }
  return 1;
}

// The length of an open array of one dimension, or −1.
static int64_t length(hid_t array) {
  hid_t space = H5Dget_space(array);
  hsize_t size = 0;
  int64_t result = -1;
  if (space >= 0 && H5Sget_simple_extent_ndims(space) == 1 &&
      H5Sget_simple_extent_dims(space, &size, NULL) == 1 && size <= INT64_MAX)
    result = (int64_t)size;
  if (space >= 0) H5Sclose(space);
  return result;
}

// Reads (`target`) or writes (`source`) elements of an open array.
static int transfer(
    hid_t array, chdf5_type type, int64_t first, int64_t count, const void *source, void *target) {
  hsize_t start = (hsize_t)first, size = (hsize_t)count;
  hid_t space = H5Dget_space(array), memory = H5Screate_simple(1, &size, NULL);
  herr_t code = -1;
  if (space >= 0 && memory >= 0 &&
      H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &size, NULL) >= 0)
    code = source ? H5Dwrite(array, native(type), memory, space, H5P_DEFAULT, source)
                  : H5Dread(array, native(type), memory, space, H5P_DEFAULT, target);
  if (space >= 0) H5Sclose(space);
  if (memory >= 0) H5Sclose(memory);
  return code < 0 ? -1 : 0;
}

int chdf5_append(
    chdf5_file *file, const char *name, chdf5_type type, const void *values, int64_t count,
    chdf5_note *note) {
  hid_t array = is_there(file, name) ? H5Dopen2(file->id, name, H5P_DEFAULT)
                                     : create_array(file, name, type);
  if (array < 0) return fail(note);
  int64_t before = length(array);
  hsize_t size = (hsize_t)(before + count);
  int code = before < 0 ? -1 : 0;
  if (code == 0 && count > 0) {
    if (H5Dset_extent(array, &size) < 0) code = -1;
    if (code == 0) code = transfer(array, type, before, count, values, NULL);
  }
  if (code < 0) fail(note);
  if (H5Dclose(array) < 0 && code == 0) code = fail(note);
  return code;
}

int chdf5_count(chdf5_file *file, const char *name, int64_t *count, chdf5_note *note) {
  *count = -1;
  if (!is_there(file, name)) return 0;
  hid_t array = H5Dopen2(file->id, name, H5P_DEFAULT);
  if (array < 0) return fail(note);
  *count = length(array);
  H5Dclose(array);
  return *count < 0 ? say(note, "the array is not of one dimension") : 0;
}

int chdf5_read(
    chdf5_file *file, const char *name, chdf5_type type, int64_t first, int64_t count,
    void *values, chdf5_note *note) {
  if (!is_there(file, name)) return say(note, "the array is not there");
  hid_t array = H5Dopen2(file->id, name, H5P_DEFAULT);
  if (array < 0) return fail(note);
  int64_t size = length(array);
  int code = 0;
  if (first < 0 || count < 0 || size < 0 || count > size - first) {
    code = say(note, "the array is shorter");
  } else {
    hid_t kind = H5Dget_type(array);
    if (kind < 0 || H5Tequal(kind, stored(type)) <= 0)
      code = say(note, "the array is of another type");
    else if (count > 0 && transfer(array, type, first, count, NULL, values) < 0)
      code = fail(note);
    if (kind >= 0) H5Tclose(kind);
  }
  H5Dclose(array);
  return code;
}
