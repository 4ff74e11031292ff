// What the files of this shim share; never included from outside.
#ifndef CMPI_INTERNAL_H
#define CMPI_INTERNAL_H

#include "CMPI.h"

#include <mpi.h>

struct cmpi_comm {
  MPI_Comm comm;
  int rank;
  int size;
  // The world's own communicator is not ours to free.
  int owned;
};

// A barrier occupies its own cache lines, so that spinning disturbs no data.
#define CMPI_BARRIER_BYTES 256
void cmpi_barrier_init(cmpi_barrier *barrier, int members);

#endif
