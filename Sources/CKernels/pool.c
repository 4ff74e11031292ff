/* Threads of one rank: a job is a counter of items, joined by whoever is awake.
 *
 * The caller never waits for a worker that did not join: it closes the job and waits only for those
 * inside. Workers spin for some tens of microseconds, then sleep; on a machine with more threads
 * than cores spinning longer is ruinous. */
#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "internal.h"

enum { SPIN_NANOSECONDS = 30000, OPEN = 1 << 16, ACTIVE = OPEN - 1, GENERATION = 1 << 17 };

struct worker {
  ck_pool *pool;
  pthread_t id;
  int thread;
};

struct ck_pool {
  int threads;
  struct worker *workers;
  int started;
  /* [generation | open bit | number of workers inside] */
  _Alignas(64) _Atomic uint32_t state;
  _Alignas(64) _Atomic uint32_t wake; /* changes with every job and at the end */
  _Atomic uint32_t sleepers, waiting;
  _Atomic int stop;
  _Alignas(64) _Atomic long next;
  long items;
  ck_item_fn fn;
  void *ctx;
  int busy; /* written by the caller only, read by nested calls of the same job */
#if !defined(__linux__)
  pthread_mutex_t lock;
  pthread_cond_t changed;
#endif
};

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static long nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void sleep_on(ck_pool *p, _Atomic uint32_t *word, uint32_t value) {
#if defined(__linux__)
  (void)p;
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
#else
  pthread_mutex_lock(&p->lock);
  while (atomic_load(word) == value) pthread_cond_wait(&p->changed, &p->lock);
  pthread_mutex_unlock(&p->lock);
#endif
}

static void wake_up(ck_pool *p, _Atomic uint32_t *word, int count) {
#if defined(__linux__)
  (void)p;
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
#else
  (void)word, (void)count;
  pthread_mutex_lock(&p->lock);
  pthread_cond_broadcast(&p->changed);
  pthread_mutex_unlock(&p->lock);
#endif
}

static void run_items(ck_pool *p, int thread) {
  for (;;) {
    long i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
    if (i >= p->items) return;
    p->fn(p->ctx, thread, i);
  }
}

/* Enters the open job, works, leaves. Returns 0 if there was nothing open. */
static int join(ck_pool *p, int thread) {
  uint32_t s = atomic_load(&p->state);
  do {
    if (!(s & OPEN)) return 0;
  } while (!atomic_compare_exchange_weak(&p->state, &s, s + 1));
  run_items(p, thread);
  /* Out of items: nobody else needs to join. */
  atomic_fetch_and(&p->state, ~(uint32_t)OPEN);
  s = atomic_fetch_sub(&p->state, 1) - 1;
  if (!(s & ACTIVE) && atomic_load(&p->waiting)) wake_up(p, &p->state, 1);
  return 1;
}

static void *work(void *arg) {
  struct worker *w = arg;
  ck_pool *p = w->pool;
  while (!atomic_load(&p->stop)) {
    uint32_t seen = atomic_load(&p->wake);
    if (join(p, w->thread)) continue;
    long until = nanoseconds() + SPIN_NANOSECONDS;
    int changed = 0;
    while (!(changed = atomic_load(&p->wake) != seen)) {
      for (int i = 0; i < 16; i++) relax();
      if (nanoseconds() >= until) break;
    }
    if (changed || atomic_load(&p->stop)) continue;
    atomic_fetch_add(&p->sleepers, 1);
    sleep_on(p, &p->wake, seen);
    atomic_fetch_sub(&p->sleepers, 1);
  }
  return NULL;
}

static void announce(ck_pool *p, int count) {
  atomic_fetch_add(&p->wake, 1);
  if (atomic_load(&p->sleepers)) wake_up(p, &p->wake, count);
}

static void wait_until_left(ck_pool *p) {
  uint32_t s = atomic_fetch_and(&p->state, ~(uint32_t)OPEN) & ~(uint32_t)OPEN;
  if (!(s & ACTIVE)) return;
  long until = nanoseconds() + SPIN_NANOSECONDS;
  while ((s = atomic_load(&p->state)) & ACTIVE) {
    if (nanoseconds() < until) {
      relax();
      continue;
    }
    atomic_store(&p->waiting, 1);
    s = atomic_load(&p->state);
    if (s & ACTIVE) sleep_on(p, &p->state, s);
    atomic_store(&p->waiting, 0);
  }
}

void ck_pool_run(ck_pool *p, long items, ck_item_fn fn, void *ctx) {
  if (items <= 0) return;
  if (p->threads == 1 || items == 1 || p->busy) {
    for (long i = 0; i < items; i++) fn(ctx, 0, i);
    return;
  }
  p->fn = fn, p->ctx = ctx, p->items = items, p->busy = 1;
  atomic_store(&p->next, 0);
  uint32_t s = atomic_load(&p->state);
  atomic_store(&p->state, ((s & ~(uint32_t)(OPEN | ACTIVE)) + GENERATION) | OPEN);
  announce(p, items > p->threads ? INT_MAX : (int)items - 1);
  run_items(p, 0);
  wait_until_left(p);
  p->busy = 0;
}

/* Worker i to the i-th CPU of this process. The caller stays free: threads that it starts later
 * (reading data, writing checkpoints) inherit its CPUs. With fewer CPUs than threads nothing is
 * pinned. */
static void pin_workers(ck_pool *p) {
#if defined(__linux__)
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  if (CPU_COUNT(&allowed) < p->threads) return;
  int index = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE && index <= p->started; cpu++) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (index) pthread_setaffinity_np(p->workers[index - 1].id, sizeof one, &one);
    index++;
  }
#else
  (void)p;
#endif
}

ck_pool *ck_pool_create(int threads, int pin) {
  ck_pool *p = NULL;
  if (posix_memalign((void **)&p, 64, sizeof *p) != 0) return NULL;
  *p = (ck_pool){.threads = threads};
  p->workers = calloc((size_t)threads, sizeof *p->workers);
  if (!p->workers) {
    free(p);
    return NULL;
  }
#if !defined(__linux__)
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->changed, NULL);
#endif
  for (int i = 0; i + 1 < threads; i++) {
    p->workers[i] = (struct worker){.pool = p, .thread = i + 1};
    if (pthread_create(&p->workers[i].id, NULL, work, &p->workers[i]) != 0) {
      ck_pool_destroy(p);
      return NULL;
    }
    p->started++;
  }
  if (pin) pin_workers(p);
  return p;
}

void ck_pool_destroy(ck_pool *p) {
  if (!p) return;
  atomic_store(&p->stop, 1);
  atomic_fetch_add(&p->wake, 1);
  wake_up(p, &p->wake, INT_MAX);
  for (int i = 0; i < p->started; i++) pthread_join(p->workers[i].id, NULL);
#if !defined(__linux__)
  pthread_mutex_destroy(&p->lock);
  pthread_cond_destroy(&p->changed);
#endif
  free(p->workers);
  free(p);
}
