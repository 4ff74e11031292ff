/* Attention of one query at a time, in fp64. */
#include <math.h>
#include <stdlib.h>

#include "reference.h"

typedef struct {
  const ck_attention_args *a;
  long first, last; /* keys this query sees */
  long token, head, group;
} query;

static double at(const ck_attention_args *a, const void *p, ck_heads s, long token, long head,
                 int kv, long i) {
  long r = kv ? 0 : head % a->ratio;
  return ck_reference_get(p, a->type, token * s.token + head / a->ratio * s.group + r * a->d + i);
}

static double dot(const query *q, const void *x, ck_heads xs, const void *y, ck_heads ys,
                  long key) {
  double sum = 0;
  for (long i = 0; i < q->a->d; i++)
    sum += at(q->a, x, xs, q->token, q->head, 0, i) * at(q->a, y, ys, key, q->head, 1, i);
  return sum;
}

/* p[key - first] = softmax over the seen keys; returns the natural log of the sum. */
static double probabilities(const query *q, double *p) {
  double top = -INFINITY, sum = 0;
  for (long key = q->first; key < q->last; key++) {
    double s = q->a->scale * dot(q, q->a->q, q->a->qs, q->a->k, q->a->ks, key);
    p[key - q->first] = s;
    top = s > top ? s : top;
  }
  for (long n = 0; n < q->last - q->first; n++) sum += p[n] = exp(p[n] - top);
  for (long n = 0; n < q->last - q->first; n++) p[n] /= sum;
  return top + log(sum);
}

typedef void (*query_fn)(const query *q, double *p, void *ctx);

static void for_each_query(const ck_attention_args *a, query_fn fn, void *ctx) {
  double *p = malloc(((size_t)a->tokens + 1) * sizeof *p);
  if (!p) return;
  for (long doc = 0; doc < a->documents; doc++)
    for (long head = 0; head < (long)a->groups * a->ratio; head++)
      for (long token = a->cu[doc]; token < a->cu[doc + 1]; token++) {
        query q = {a, a->cu[doc], a->causal ? token + 1 : a->cu[doc + 1], token, head,
                   head / a->ratio};
        fn(&q, p, ctx);
      }
  free(p);
}

typedef struct {
  double *o, *lse;
} forward_out;

static void forward_query(const query *q, double *p, void *ctx) {
  forward_out *out = ctx;
  const ck_attention_args *a = q->a;
  double lse = probabilities(q, p);
  out->lse[q->head * a->tokens + q->token] = lse;
  for (long i = 0; i < a->d; i++) {
    double sum = 0;
    for (long key = q->first; key < q->last; key++)
      sum += p[key - q->first] * at(a, a->v, a->vs, key, q->head, 1, i);
    out->o[(q->token * a->groups * a->ratio + q->head) * a->d + i] = sum;
  }
}

void ck_reference_attention(const ck_attention_args *a, double *o, double *lse) {
  forward_out out = {o, lse};
  for_each_query(a, forward_query, &out);
}

typedef struct {
  const ck_attention_grad_args *g;
  double *dq, *dk, *dv;
} backward_out;

static void backward_query(const query *q, double *p, void *ctx) {
  backward_out *out = ctx;
  const ck_attention_args *a = q->a;
  const ck_attention_grad_args *g = out->g;
  probabilities(q, p);
  double mean = 0;
  for (long key = q->first; key < q->last; key++)
    mean += p[key - q->first] * dot(q, g->d_o, g->dos, a->v, a->vs, key);
  double *dq = out->dq + (q->token * a->groups * a->ratio + q->head) * a->d;
  for (long key = q->first; key < q->last; key++) {
    double pk = p[key - q->first];
    double ds = a->scale * pk * (dot(q, g->d_o, g->dos, a->v, a->vs, key) - mean);
    double *dk = out->dk + (key * a->groups + q->group) * a->d;
    double *dv = out->dv + (key * a->groups + q->group) * a->d;
    for (long i = 0; i < a->d; i++) {
      dq[i] += ds * at(a, a->k, a->ks, key, q->head, 1, i);
      dk[i] += ds * at(a, a->q, a->qs, q->token, q->head, 0, i);
      dv[i] += pk * at(a, g->d_o, g->dos, q->token, q->head, 0, i);
    }
  }
}

void ck_reference_attention_backward(const ck_attention_grad_args *g, double *dq, double *dk,
                                     double *dv) {
  const ck_attention_args *a = &g->f;
  size_t bytes = (size_t)(a->tokens * a->groups * a->d) * sizeof(double);
  memset(dq, 0, bytes * (size_t)a->ratio);
  memset(dk, 0, bytes);
  memset(dv, 0, bytes);
  backward_out out = {g, dq, dk, dv};
  for_each_query(a, backward_query, &out);
}
