// Memory shared by the ranks of one node.
//
// Plain POSIX shared memory and not MPI_Win_allocate_shared: pages are reserved when the segment is
// made, so that a small /dev/shm (64 MB in many containers) is an answer that all members get
// together, instead of a bus error in the middle of a step.
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct cmpi_segments {
  char *base;
  size_t bytes; // per member, whole pages
  size_t total;
};

// The first page holds the barrier.
static size_t head(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static int open_new(char *name, size_t capacity) {
  for (int attempt = 0; attempt < 100; attempt++) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    snprintf(
        name, capacity, "/megatron-%ld-%lx-%lx", (long)getpid(), (unsigned long)time.tv_sec,
        (unsigned long)time.tv_nsec);
    int file = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (file >= 0 || errno != EEXIST) return file;
  }
  return -1;
}

// 1 when this member's own pages are reserved and everything is mapped.
static int map_all(int file, int rank, cmpi_segments *box) {
  if (file < 0) return 0;
  // Each member reserves its own part: the pages then lie in the memory nearest to it.
  off_t at = rank == 0 ? 0 : (off_t)(head() + (size_t)rank * box->bytes);
  off_t length = (off_t)(rank == 0 ? head() + box->bytes : box->bytes);
  int error;
  do {
    error = posix_fallocate(file, at, length);
  } while (error == EINTR);
  if (error != 0) return 0;
  void *base = mmap(NULL, box->total, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (base == MAP_FAILED) return 0;
  box->base = base;
  return 1;
}

static int all_true(cmpi_comm *comm, int mine, int *all) {
  return MPI_Allreduce(&mine, all, 1, MPI_INT, MPI_MIN, comm->comm);
}

int cmpi_segments_create(cmpi_comm *comm, int64_t bytes, cmpi_segments **out) {
  *out = NULL;
  cmpi_segments *box = calloc(1, sizeof *box);
  const size_t page = head();
  if (box) {
    box->bytes = ((size_t)bytes + page - 1) / page * page;
    box->total = page + box->bytes * (size_t)comm->size;
  }
  char name[64] = "";
  int file = -1;
  if (comm->rank == 0 && box) {
    file = open_new(name, sizeof name);
    if (file >= 0 && ftruncate(file, (off_t)box->total) != 0) {
      close(file);
      shm_unlink(name);
      file = -1;
    }
    if (file < 0) name[0] = 0;
  }
  int error = MPI_Bcast(name, sizeof name, MPI_BYTE, 0, comm->comm);
  if (error == MPI_SUCCESS && comm->rank != 0 && name[0] && box) file = shm_open(name, O_RDWR, 0);
  int mine = error == MPI_SUCCESS && box && map_all(file, comm->rank, box), all = 0;
  if (mine && comm->rank == 0) cmpi_barrier_init((cmpi_barrier *)box->base, comm->size);
  if (error == MPI_SUCCESS) error = all_true(comm, mine, &all);
  // Every member has it open or will never have: the name can go, so that no death leaves a file.
  if (comm->rank == 0 && name[0]) shm_unlink(name);
  if (file >= 0) close(file);
  if (error == MPI_SUCCESS && all) {
    *out = box;
    return 0;
  }
  cmpi_segments_free(box);
  return error;
}

void *cmpi_segments_base(cmpi_segments *segments, int rank) {
  return segments->base + head() + (size_t)rank * segments->bytes;
}

int64_t cmpi_segments_bytes(const cmpi_segments *segments) { return (int64_t)segments->bytes; }

cmpi_barrier *cmpi_segments_barrier(cmpi_segments *segments) {
  return (cmpi_barrier *)segments->base;
}

void cmpi_segments_free(cmpi_segments *segments) {
  if (!segments) return;
  if (segments->base) munmap(segments->base, segments->total);
  free(segments);
}
