// Collectives over the MPI library. Only bytes travel: sums are added by reduce.c in our order.
#include "internal.h"

#include <stdlib.h>

// Longest single message. A longer block goes as several messages of the same tag, which MPI keeps
// in order; both sides cut by the same rule.
#define PIECE ((int64_t)1 << 30)
#define EXCHANGE_TAG 71
// Peers addressed at once in an all-to-all: bounds the unexpected messages a rank must hold.
#define WAVE 16

int cmpi_barrier_all(cmpi_comm *comm) { return MPI_Barrier(comm->comm); }

int cmpi_broadcast(cmpi_comm *comm, void *buffer, int64_t bytes, int root) {
  char *at = buffer;
  for (int64_t done = 0; done < bytes; done += PIECE) {
    int64_t part = bytes - done < PIECE ? bytes - done : PIECE;
    int error = MPI_Bcast(at + done, (int)part, MPI_BYTE, root, comm->comm);
    if (error != MPI_SUCCESS) return error;
  }
  return 0;
}

int cmpi_send(cmpi_comm *comm, const void *buffer, int64_t bytes, int peer, int tag) {
  const char *at = buffer;
  int64_t done = 0;
  // An empty message is still a message.
  do {
    int64_t part = bytes - done < PIECE ? bytes - done : PIECE;
    int error = MPI_Send(at + done, (int)part, MPI_BYTE, peer, tag, comm->comm);
    if (error != MPI_SUCCESS) return error;
    done += part;
  } while (done < bytes);
  return 0;
}

int cmpi_receive(cmpi_comm *comm, void *buffer, int64_t bytes, int peer, int tag) {
  char *at = buffer;
  int64_t done = 0;
  do {
    int64_t part = bytes - done < PIECE ? bytes - done : PIECE;
    MPI_Status status;
    int error = MPI_Recv(at + done, (int)part, MPI_BYTE, peer, tag, comm->comm, &status);
    if (error != MPI_SUCCESS) return error;
    int got = 0;
    MPI_Get_count(&status, MPI_BYTE, &got);
    // A shorter message means the two sides disagree about the length.
    if (got != (int)part) return MPI_ERR_TRUNCATE;
    done += part;
  } while (done < bytes);
  return 0;
}

static int pieces(int64_t bytes) { return (int)((bytes + PIECE - 1) / PIECE); }

// Starts receives (kind 0) or sends (kind 1) of one block; returns how many requests in *used.
static int start(
    cmpi_comm *comm, int kind, char *at, int64_t bytes, int peer, MPI_Request *requests,
    int *used) {
  for (int64_t done = 0; done < bytes; done += PIECE) {
    int part = (int)(bytes - done < PIECE ? bytes - done : PIECE);
    MPI_Request *slot = requests + *used;
    int error =
        kind ? MPI_Isend(at + done, part, MPI_BYTE, peer, EXCHANGE_TAG, comm->comm, slot)
             : MPI_Irecv(at + done, part, MPI_BYTE, peer, EXCHANGE_TAG, comm->comm, slot);
    if (error != MPI_SUCCESS) return error;
    *used += 1;
  }
  return 0;
}

// The block to self needs no message.
static int copy_self(cmpi_comm *comm, const char *from, int64_t sent, char *to, int64_t received) {
  (void)comm;
  if (sent != received) return MPI_ERR_TRUNCATE;
  if (sent > 0 && from != to) __builtin_memmove(to, from, (size_t)sent);
  return 0;
}

int cmpi_alltoallv(
    cmpi_comm *comm, const void *send, const int64_t *send_count, const int64_t *send_offset,
    void *receive, const int64_t *receive_count, const int64_t *receive_offset) {
  const int n = comm->size, me = comm->rank;
  char *in = receive, *out = (char *)send;
  int error = copy_self(
      comm, out + send_offset[me], send_count[me], in + receive_offset[me], receive_count[me]);
  if (error != MPI_SUCCESS) return error;
  // Wave k: partners at distance k·WAVE+1 … in both directions, so that all pairs meet.
  for (int first = 1; first < n; first += WAVE) {
    int last = first + WAVE < n ? first + WAVE : n, slots = 0, used = 0;
    for (int d = first; d < last; d++) {
      slots += pieces(send_count[(me + d) % n]) + pieces(receive_count[(me - d + n) % n]);
    }
    MPI_Request *requests = malloc(sizeof *requests * (size_t)(slots > 0 ? slots : 1));
    if (!requests) return CMPI_NO_MEMORY;
    for (int d = first; d < last && error == MPI_SUCCESS; d++) {
      int from = (me - d + n) % n;
      error = start(comm, 0, in + receive_offset[from], receive_count[from], from, requests, &used);
    }
    for (int d = first; d < last && error == MPI_SUCCESS; d++) {
      int to = (me + d) % n;
      error = start(comm, 1, out + send_offset[to], send_count[to], to, requests, &used);
    }
    // After an error the group is unusable; the open requests die with the job.
    if (error == MPI_SUCCESS) error = MPI_Waitall(used, requests, MPI_STATUSES_IGNORE);
    free(requests);
    if (error != MPI_SUCCESS) return error;
  }
  return 0;
}

int cmpi_allgather(cmpi_comm *comm, const void *send, int64_t bytes, void *receive) {
  const int n = comm->size;
  if (bytes == 0) return 0;
  if (bytes < PIECE / n) {
    return MPI_Allgather(
        send, (int)bytes, MPI_BYTE, receive, (int)bytes, MPI_BYTE, comm->comm);
  }
  int64_t *table = malloc(sizeof *table * 2 * (size_t)n);
  if (!table) return CMPI_NO_MEMORY;
  for (int r = 0; r < n; r++) {
    table[r] = bytes;
    table[n + r] = bytes * r;
  }
  int error = cmpi_allgatherv(comm, send, receive, table, table + n);
  free(table);
  return error;
}

// Every block by its own broadcast-free exchange: the same block goes to each peer.
static int allgather_large(
    cmpi_comm *comm, const void *send, void *receive, const int64_t *count,
    const int64_t *offset) {
  const int n = comm->size;
  int64_t *table = malloc(sizeof *table * 2 * (size_t)n);
  if (!table) return CMPI_NO_MEMORY;
  for (int r = 0; r < n; r++) {
    table[r] = count[comm->rank];
    table[n + r] = 0;
  }
  int error = cmpi_alltoallv(comm, send, table, table + n, receive, count, offset);
  free(table);
  return error;
}

int cmpi_allgatherv(
    cmpi_comm *comm, const void *send, void *receive, const int64_t *count,
    const int64_t *offset) {
  const int n = comm->size;
  int64_t end = 0, total = 0;
  for (int r = 0; r < n; r++) {
    total += count[r];
    if (offset[r] + count[r] > end) end = offset[r] + count[r];
  }
  // All ranks know the table, so they take the same path.
  if (total == 0) return 0;
  if (end >= PIECE) return allgather_large(comm, send, receive, count, offset);
  int *table = malloc(sizeof *table * 2 * (size_t)n);
  if (!table) return CMPI_NO_MEMORY;
  for (int r = 0; r < n; r++) {
    table[r] = (int)count[r];
    table[n + r] = (int)offset[r];
  }
  const int me = comm->rank;
  int in_place = (const char *)send == (char *)receive + offset[me];
  int error = MPI_Allgatherv(
      in_place ? MPI_IN_PLACE : send, table[me], MPI_BYTE, receive, table, table + n, MPI_BYTE,
      comm->comm);
  free(table);
  return error;
}

int cmpi_library_allreduce(cmpi_comm *comm, float *buffer, int64_t count) {
  const int64_t most = (int64_t)1 << 28;
  for (int64_t done = 0; done < count; done += most) {
    int part = (int)(count - done < most ? count - done : most);
    int error = MPI_Allreduce(MPI_IN_PLACE, buffer + done, part, MPI_FLOAT, MPI_SUM, comm->comm);
    if (error != MPI_SUCCESS) return error;
  }
  return 0;
}
