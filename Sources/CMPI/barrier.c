// A barrier for processes or threads that share memory: one atomic addition to arrive, a short
// spin, then sleep in a futex. MPI's own barrier spins for ever, which on a node with more ranks
// than cores takes the core from the rank that is waited for.
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

struct cmpi_barrier {
  _Alignas(64) _Atomic uint32_t arrived;
  uint32_t members;
  _Alignas(64) _Atomic uint32_t generation;
  _Atomic uint32_t sleepers;
  // 0 or 1 + the index of the member that left.
  _Atomic uint32_t poison;
};
_Static_assert(sizeof(struct cmpi_barrier) <= CMPI_BARRIER_BYTES, "barrier outgrew its place");

// While sleeping, a rank looks at the poison and lets MPI work this often.
#define NAP_MS 10

static void nap(_Atomic uint32_t *word, uint32_t expected, int64_t ms) {
  struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
#ifdef __linux__
  syscall(SYS_futex, word, FUTEX_WAIT, expected, &time, NULL, 0);
#else
  (void)expected;
  time.tv_sec = 0;
  time.tv_nsec = 50000;
  nanosleep(&time, NULL);
#endif
}

static void wake(_Atomic uint32_t *word) {
#ifdef __linux__
  syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
#else
  (void)word;
#endif
}

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static int64_t now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

void cmpi_barrier_init(cmpi_barrier *barrier, int members) {
  memset(barrier, 0, sizeof *barrier);
  barrier->members = (uint32_t)members;
}

cmpi_barrier *cmpi_barrier_create(int members) {
  cmpi_barrier *barrier = aligned_alloc(64, CMPI_BARRIER_BYTES);
  if (barrier) cmpi_barrier_init(barrier, members);
  return barrier;
}

void cmpi_barrier_destroy(cmpi_barrier *barrier) { free(barrier); }

void cmpi_barrier_poison(cmpi_barrier *barrier, int who) {
  uint32_t none = 0;
  atomic_compare_exchange_strong(&barrier->poison, &none, (uint32_t)who + 1);
  wake(&barrier->generation);
}

int cmpi_barrier_poisoned_by(const cmpi_barrier *barrier) {
  return (int)atomic_load(&((cmpi_barrier *)barrier)->poison) - 1;
}

// Sleeps until the generation is no longer `seen`.
static int sleep_through(cmpi_barrier *barrier, uint32_t seen, int64_t timeout_ms, int progress) {
  int64_t begin = now_ms();
  atomic_fetch_add(&barrier->sleepers, 1);
  int result = 0;
  while (atomic_load_explicit(&barrier->generation, memory_order_acquire) == seen) {
    if (atomic_load(&barrier->poison)) {
      // A member may leave right after it completed this barrier: completion counts.
      result =
          atomic_load_explicit(&barrier->generation, memory_order_acquire) == seen ? CMPI_POISONED
                                                                                   : 0;
      break;
    }
    if (timeout_ms >= 0 && now_ms() - begin >= timeout_ms) {
      result = CMPI_TIMEOUT;
      break;
    }
    nap(&barrier->generation, seen, NAP_MS);
    if (progress) {
      // A message this rank has started may need the library's hands while we sleep here;
      // without them a rank of another node could wait for it for ever.
      int flag = 0;
      MPI_Iprobe(MPI_ANY_SOURCE, 0, MPI_COMM_SELF, &flag, MPI_STATUS_IGNORE);
    }
  }
  atomic_fetch_sub(&barrier->sleepers, 1);
  return result;
}

int cmpi_barrier_wait(cmpi_barrier *barrier, int spins, int64_t timeout_ms, int progress) {
  uint32_t seen = atomic_load_explicit(&barrier->generation, memory_order_acquire);
  uint32_t place = atomic_fetch_add_explicit(&barrier->arrived, 1, memory_order_acq_rel) + 1;
  if (place == barrier->members) {
    atomic_store_explicit(&barrier->arrived, 0, memory_order_relaxed);
    // Sequentially consistent with `sleepers`: either the sleeper sees the new generation or we
    // see the sleeper.
    atomic_fetch_add(&barrier->generation, 1);
    if (atomic_load(&barrier->sleepers)) wake(&barrier->generation);
    return 0;
  }
  for (int i = 0; i < spins; i++) {
    if (atomic_load_explicit(&barrier->generation, memory_order_acquire) != seen) return 0;
    relax();
  }
  return sleep_through(barrier, seen, timeout_ms, progress);
}
