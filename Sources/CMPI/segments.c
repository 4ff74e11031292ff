// Memory shared by the ranks of one node.
//
// Plain shared memory and not MPI_Win_allocate_shared: pages are reserved when the segment is made,
// so that a node without room is an answer that all members get together, instead of a bus error
// in the middle of a step.
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

// How the members find the file that rank 0 made.
typedef struct {
  int kind; // 0 none, 1 memfd of process `pid`, 2 POSIX shared memory `name`
  int descriptor;
  int64_t pid;
  uint64_t device, inode;
  char name[64];
} address;

enum { NOWHERE, ANONYMOUS, NAMED };

// A file without a name leaves nothing behind however the job dies, and is not bound to the size
// of /dev/shm. A named one is the way out where /proc of another rank cannot be opened.
static int make_file(int kind, size_t bytes, address *at) {
  memset(at, 0, sizeof *at);
  int file = -1;
  if (kind == ANONYMOUS) {
#ifdef MFD_CLOEXEC
    file = memfd_create("megatron", MFD_CLOEXEC);
#endif
  } else {
    for (int attempt = 0; attempt < 100 && file < 0; attempt++) {
      struct timespec time;
      clock_gettime(CLOCK_REALTIME, &time);
      snprintf(
          at->name, sizeof at->name, "/megatron-%ld-%lx-%lx", (long)getpid(),
          (unsigned long)time.tv_sec, (unsigned long)time.tv_nsec);
      file = shm_open(at->name, O_CREAT | O_EXCL | O_RDWR, 0600);
      if (file < 0 && errno != EEXIST) break;
    }
  }
  if (file < 0) return -1;
  struct stat facts;
  if (ftruncate(file, (off_t)bytes) != 0 || fstat(file, &facts) != 0) {
    if (kind == NAMED) shm_unlink(at->name);
    close(file);
    return -1;
  }
  at->kind = kind;
  at->descriptor = file;
  at->pid = (int64_t)getpid();
  at->device = (uint64_t)facts.st_dev;
  at->inode = (uint64_t)facts.st_ino;
  return file;
}

static int open_file(const address *at) {
  int file = -1;
  if (at->kind == ANONYMOUS) {
    char path[96];
    snprintf(path, sizeof path, "/proc/%lld/fd/%d", (long long)at->pid, at->descriptor);
    file = open(path, O_RDWR | O_CLOEXEC);
  } else if (at->kind == NAMED) {
    file = shm_open(at->name, O_RDWR, 0);
  }
  if (file < 0) return -1;
  // In another name space of processes the same number may be another process.
  struct stat facts;
  if (fstat(file, &facts) == 0 && (uint64_t)facts.st_dev == at->device &&
      (uint64_t)facts.st_ino == at->inode) {
    return file;
  }
  close(file);
  return -1;
}

// 1 when this member's own pages are reserved and everything is mapped.
static int map_all(int file, int rank, cmpi_segments *box) {
  if (file < 0 || !box) return 0;
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

// Tries one kind of file; *all says whether every member has it mapped.
static int attempt(cmpi_comm *comm, int kind, cmpi_segments *box, int *all) {
  address at;
  memset(&at, 0, sizeof at);
  int file = comm->rank == 0 && box ? make_file(kind, box->total, &at) : -1;
  int error = MPI_Bcast(&at, sizeof at, MPI_BYTE, 0, comm->comm);
  if (error == MPI_SUCCESS && comm->rank != 0) file = open_file(&at);
  int mine = error == MPI_SUCCESS && map_all(file, comm->rank, box);
  if (mine && comm->rank == 0) cmpi_barrier_init((cmpi_barrier *)box->base, comm->size);
  if (error == MPI_SUCCESS) {
    error = MPI_Allreduce(&mine, all, 1, MPI_INT, MPI_MIN, comm->comm);
  }
  // Every member has it open or never will: the name can go.
  if (comm->rank == 0 && at.kind == NAMED) shm_unlink(at.name);
  if (file >= 0) close(file);
  if (mine && (error != MPI_SUCCESS || !*all)) {
    munmap(box->base, box->total);
    box->base = NULL;
  }
  return error;
}

int cmpi_segments_create(cmpi_comm *comm, int64_t bytes, cmpi_segments **out) {
  *out = NULL;
  const size_t page = head();
  cmpi_segments *box = calloc(1, sizeof *box);
  if (box) {
    box->bytes = ((size_t)bytes + page - 1) / page * page;
    box->total = page + box->bytes * (size_t)comm->size;
  }
  int all = 0;
  int error = attempt(comm, ANONYMOUS, box, &all);
  if (error == MPI_SUCCESS && !all) error = attempt(comm, NAMED, box, &all);
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
