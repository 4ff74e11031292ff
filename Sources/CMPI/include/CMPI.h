// An opaque face of MPI and of memory shared by the ranks of one node.
//
// mpi.h is not visible here: its constants are macros and pointer casts that Swift cannot import,
// and no other room shall know that MPI exists. Functions return 0 or an error code whose text
// cmpi_error_text gives. All byte counts are 64 bit; splitting for MPI's int counts happens inside
// and depends only on counts that both sides know, so no agreement is needed.
#ifndef CMPI_H
#define CMPI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cmpi_comm cmpi_comm;
typedef struct cmpi_segments cmpi_segments;
typedef struct cmpi_barrier cmpi_barrier;

// Own error codes lie above MPI_ERR_LASTCODE of every implementation in use.
enum {
  CMPI_POISONED = 1 << 20, // a member of the barrier left the group
  CMPI_TIMEOUT,            // the barrier was not complete in time
  CMPI_NO_MEMORY,          // malloc failed
  CMPI_TOO_LARGE,          // a count or color does not fit the library's int
};

// ---- life of the process (shim.c) ----

// Starts MPI with returning errors. Works without mpirun (a world of one). The library is asked for
// MPI_THREAD_FUNNELED, with `threads` for MPI_THREAD_MULTIPLE; *granted is 1 if it gives that.
int cmpi_init(int threads, int *granted);
int cmpi_is_running(void);
int cmpi_finalize(void);
// Ends every rank of the job with `code`.
_Noreturn void cmpi_abort(int code);
void cmpi_error_text(int error, char *text, size_t capacity);
void cmpi_library_version(char *text, size_t capacity);
void cmpi_host_name(char *text, size_t capacity);
// Cores this process may run on, 1 if unknown; `online` counts those of the whole machine.
int cmpi_usable_cores(void);
int cmpi_online_cores(void);

// ---- groups (shim.c) ----

int cmpi_world(cmpi_comm **out);
int cmpi_split(cmpi_comm *comm, int64_t color, int64_t key, cmpi_comm **out);
// The members on this node (those that can share memory).
int cmpi_split_node(cmpi_comm *comm, cmpi_comm **out);
void cmpi_free(cmpi_comm *comm);
int cmpi_rank(const cmpi_comm *comm);
int cmpi_size(const cmpi_comm *comm);

// ---- messages (messages.c) ----

int cmpi_barrier_all(cmpi_comm *comm);
int cmpi_broadcast(cmpi_comm *comm, void *buffer, int64_t bytes, int root);
int cmpi_send(cmpi_comm *comm, const void *buffer, int64_t bytes, int peer, int tag);
int cmpi_receive(cmpi_comm *comm, void *buffer, int64_t bytes, int peer, int tag);
// receive = size blocks of `bytes`.
int cmpi_allgather(cmpi_comm *comm, const void *send, int64_t bytes, void *receive);
// Block r of `receive` lies at offset[r] and has count[r] bytes; send may be that block itself.
int cmpi_allgatherv(
    cmpi_comm *comm, const void *send, void *receive, const int64_t *count, const int64_t *offset);
// To rank r go send_count[r] bytes at send + send_offset[r]; the like for receive.
int cmpi_alltoallv(
    cmpi_comm *comm, const void *send, const int64_t *send_count, const int64_t *send_offset,
    void *receive, const int64_t *receive_count, const int64_t *receive_offset);
// The library's own sum, whose order of additions is not ours: only for comparison in benchmarks.
int cmpi_library_allreduce(cmpi_comm *comm, float *buffer, int64_t count);

// ---- memory shared by the members of one node (segments.c) ----

// One segment of `bytes` (rounded up to pages) per member, visible to all, with a barrier.
// Collective. *out is NULL with return value 0 when the node has no room for it:
// then every member gets NULL.
int cmpi_segments_create(cmpi_comm *comm, int64_t bytes, cmpi_segments **out);
void *cmpi_segments_base(cmpi_segments *segments, int rank);
int64_t cmpi_segments_bytes(const cmpi_segments *segments);
cmpi_barrier *cmpi_segments_barrier(cmpi_segments *segments);
void cmpi_segments_free(cmpi_segments *segments);

// ---- barrier in shared memory (barrier.c) ----

// For threads of one process; processes find theirs in the segments.
cmpi_barrier *cmpi_barrier_create(int members);
void cmpi_barrier_destroy(cmpi_barrier *barrier);
// Spins `spins` times, then sleeps. timeout_ms < 0 waits for ever. With `progress` the MPI library
// may work while this rank sleeps. Everything written before is visible to all members after.
int cmpi_barrier_wait(cmpi_barrier *barrier, int spins, int64_t timeout_ms, int progress);
// Makes every incomplete and later wait return CMPI_POISONED. The first `who` is kept.
void cmpi_barrier_poison(cmpi_barrier *barrier, int who);
// The `who` of the poison, -1 without.
int cmpi_barrier_poisoned_by(const cmpi_barrier *barrier);

// ---- element-wise combination of the ranks' values (reduce.c) ----

enum {
  CMPI_SUM_ADJACENT = 0, // float, ((0+1)+(2+3))
  CMPI_SUM_DISTANT = 1,  // float, ((0+2)+(1+3))
  CMPI_MAX_FLOAT = 2,    // NaN wins, the first one's bits
  CMPI_MAX_INT64 = 3,
  CMPI_SUM_INT64 = 4, // wraps
};

// out[i] = combination over r of sources[r][i], for i < count. `out` may be one of the sources.
void cmpi_combine(int kind, const void *const *sources, int n, void *out, size_t count);

#ifdef __cplusplus
}
#endif
#endif
