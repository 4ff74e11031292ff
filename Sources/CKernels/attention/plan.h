/* Attention's work, cut in fixed blocks anchored at the start of each document. */
#pragma once
#include "../internal.h"

enum {
  AT_ROWS = 12,    /* rows that share one causal limit of keys */
  AT_QUERIES = 48, /* query block of the forward */
  AT_KEYS = CK_PAGE, /* key block of the forward */
  AT_STEP = 32,    /* keys are masked one by one, skipped in steps of this */
  AT_BLOCK = 96,   /* query and key block of the backward */
  AT_SPAN = 10 * AT_BLOCK, /* keys whose packed form a thread keeps */
  AT_SPANS = 8     /* at most so many partial sums of dQ per document */
};

/* A block of a document: its first row inside the document. */
typedef struct {
  int32_t document, start;
} at_block;

/* One partial sum of the backward: keys [start, start+length) of a document against all queries of
 * one head. */
typedef struct {
  int32_t document, head;
  long start, length;
  float *dq, *dk, *dv; /* fp32, rows of d rounded up to 32; dq from row `first_query` on */
  long first_query;
} at_partial;

struct ck_attention_plan {
  const ck_attention_args *a;
  const ck_attention_grad_args *g;
  const ck_kit *kit, *f32; /* of the type; of fp32 score tiles */
  long width;              /* d rounded up to 32 */
  long cells;              /* cells of d */
  long first_group, groups; /* of this pass */
  const at_block *query_blocks, *key_blocks;
  long query_count, key_count;
  const int64_t *starts; /* per document: first packed key, a multiple of AT_KEYS */
  long packed_keys;      /* per group */
  uint32_t *keys, *values; /* packed, group by group */
  const at_partial *partials;
};

static inline long at_length(const ck_attention_args *a, long document) {
  return a->cu[document + 1] - a->cu[document];
}
static inline const char *at_head(const ck_attention_args *a, const void *p, ck_heads s, long token,
                                  long head, int kv) {
  long group = head / a->ratio, r = kv ? 0 : head % a->ratio;
  return ck_at(p, a->type, token * s.token + group * s.group + r * a->d);
}

/* One thread's buffers of the forward. */
typedef struct {
  float score[AT_QUERIES * AT_KEYS], out[AT_QUERIES * CK_MAX_D];
  float sum[AT_QUERIES * 16], top[AT_QUERIES];
  uint32_t q[AT_QUERIES * CK_MAX_D + 16], p[AT_ROWS * AT_KEYS + 16];
  uint16_t half[AT_ROWS * AT_KEYS];
} at_forward_scratch;

/* One thread's buffers of the backward; what the pointers name lies behind the struct. */
typedef struct {
  float *p, *ds;        /* [keys][queries] */
  uint16_t *p_half, *ds_half;
  float lse[AT_BLOCK], dot[AT_BLOCK];
  uint32_t *key_rows, *value_rows, *key_cols;      /* of a span */
  uint32_t *q_rows, *do_rows, *q_cols, *do_cols;   /* of a query block */
  uint32_t *p_pack, *ds_pack, *ds_turned;
} at_backward_scratch;
