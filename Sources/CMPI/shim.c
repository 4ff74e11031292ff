// Life of the process and groups.
#define _GNU_SOURCE
#include "internal.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cmpi_init(int threads, int *granted) {
  int running = 0, provided = MPI_THREAD_SINGLE;
  int error = MPI_Initialized(&running);
  if (error == MPI_SUCCESS) {
    error = running ? MPI_Query_thread(&provided)
                    : MPI_Init_thread(
                          NULL, NULL, threads ? MPI_THREAD_MULTIPLE : MPI_THREAD_FUNNELED,
                          &provided);
  }
  *granted = provided == MPI_THREAD_MULTIPLE;
  if (error != MPI_SUCCESS) return error;
  // Communicators split later inherit the handler; without it every error kills the process
  // before a message can be written.
  error = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  if (error != MPI_SUCCESS) return error;
  return MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
}

int cmpi_is_running(void) {
  int started = 0, ended = 0;
  MPI_Initialized(&started);
  MPI_Finalized(&ended);
  return started && !ended;
}

int cmpi_finalize(void) { return cmpi_is_running() ? MPI_Finalize() : 0; }

_Noreturn void cmpi_abort(int code) {
  fflush(stdout);
  fflush(stderr);
  if (cmpi_is_running()) MPI_Abort(MPI_COMM_WORLD, code);
  _exit(code);
}

void cmpi_error_text(int error, char *text, size_t capacity) {
  const char *own = NULL;
  switch (error) {
  case CMPI_POISONED: own = "a member left the group"; break;
  case CMPI_TIMEOUT: own = "the other members did not come in time"; break;
  case CMPI_NO_MEMORY: own = "no memory for the communication's own buffers"; break;
  case CMPI_TOO_LARGE: own = "a count is larger than the MPI library can take"; break;
  default: break;
  }
  char library[MPI_MAX_ERROR_STRING] = "";
  if (!own) {
    int length = 0;
    if (MPI_Error_string(error, library, &length) != MPI_SUCCESS) {
      snprintf(library, sizeof library, "MPI error %d", error);
    }
    own = library;
  }
  snprintf(text, capacity, "%s", own);
}

void cmpi_library_version(char *text, size_t capacity) {
  char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(version, &length);
  // Open MPI adds its whole build identity after the first comma.
  version[strcspn(version, ",\n")] = 0;
  snprintf(text, capacity, "%s", version);
}

void cmpi_host_name(char *text, size_t capacity) {
  if (capacity == 0) return;
  if (gethostname(text, capacity) != 0) snprintf(text, capacity, "unknown");
  text[capacity - 1] = 0;
}

int cmpi_usable_cores(void) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  int count = CPU_COUNT(&set);
  return count > 0 ? count : 1;
}

int cmpi_online_cores(void) {
  long count = sysconf(_SC_NPROCESSORS_ONLN);
  return count > 0 ? (int)count : 1;
}

static int wrap(MPI_Comm comm, int owned, cmpi_comm **out) {
  cmpi_comm *box = malloc(sizeof *box);
  if (!box) return CMPI_NO_MEMORY;
  box->comm = comm;
  box->owned = owned;
  int error = MPI_Comm_rank(comm, &box->rank);
  if (error == MPI_SUCCESS) error = MPI_Comm_size(comm, &box->size);
  if (error != MPI_SUCCESS) {
    free(box);
    return error;
  }
  *out = box;
  return 0;
}

int cmpi_world(cmpi_comm **out) { return wrap(MPI_COMM_WORLD, 0, out); }

int cmpi_split(cmpi_comm *comm, int64_t color, int64_t key, cmpi_comm **out) {
  if (color < 0 || color > INT32_MAX || key < INT32_MIN || key > INT32_MAX) return CMPI_TOO_LARGE;
  MPI_Comm part = MPI_COMM_NULL;
  int error = MPI_Comm_split(comm->comm, (int)color, (int)key, &part);
  return error != MPI_SUCCESS ? error : wrap(part, 1, out);
}

int cmpi_split_node(cmpi_comm *comm, cmpi_comm **out) {
  MPI_Comm part = MPI_COMM_NULL;
  int error =
      MPI_Comm_split_type(comm->comm, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &part);
  return error != MPI_SUCCESS ? error : wrap(part, 1, out);
}

void cmpi_free(cmpi_comm *comm) {
  if (!comm) return;
  if (comm->owned && cmpi_is_running()) MPI_Comm_free(&comm->comm);
  free(comm);
}

int cmpi_rank(const cmpi_comm *comm) { return comm->rank; }
int cmpi_size(const cmpi_comm *comm) { return comm->size; }
