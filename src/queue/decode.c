/* Decoding of what workers are told: hello, tasks, answers. Every step asks for the shape it needs
 * before it looks inside; the first thing that is wrong ends it. */
#include "queue/decode.h"

#include "queue/decode_impl.h"

#include <stdlib.h>
#include <string.h>

int lh_decode_wrong(struct lh_err *err, const char *what)
{
    return lh_err_set(err, LH_E_PROTOCOL,
                      "Redis gave an answer of the wrong shape (%s): the queue's keys are damaged, "
                      "or another version of longhaul is at work",
                      what);
}

bool lh_decode_array(const struct redisReply *r, size_t min)
{
    return r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements >= min &&
           (r->elements == 0 || r->element != NULL);
}

bool lh_decode_text(const struct redisReply *r)
{
    return r != NULL && (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS) &&
           r->str != NULL;
}

bool lh_decode_texts(const struct redisReply *r)
{
    for (size_t i = 0; i < r->elements; i++) {
        if (!lh_decode_text(r->element[i]))
            return false;
    }
    return true;
}

bool lh_decode_u64_text(const char *text, size_t len, uint64_t *out)
{
    uint64_t v = 0;

    if (len == 0)
        return false;
    for (size_t i = 0; i < len; i++) {
        uint64_t digit = (uint64_t)(unsigned char)text[i] - '0';

        if (digit > 9 || v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return true;
}

bool lh_decode_u64(const struct redisReply *r, uint64_t *out)
{
    if (r != NULL && r->type == REDIS_REPLY_INTEGER && r->integer >= 0) {
        *out = (uint64_t)r->integer;
        return true;
    }
    return lh_decode_text(r) && lh_decode_u64_text(r->str, r->len, out);
}

bool lh_decode_id(const struct redisReply *r, char id[LH_TASK_ID_SIZE])
{
    if (!lh_decode_text(r) || !lh_task_id_valid(r->str, r->len))
        return false;
    memcpy(id, r->str, r->len);
    id[r->len] = '\0';
    return true;
}

int lh_decode_hello(const struct redisReply *reply, char hex[33], uint64_t *now_ms,
                    struct lh_err *err)
{
    const struct redisReply *r;

    if (!lh_decode_array(reply, 2) || !lh_decode_text(reply->element[0]) ||
        !lh_decode_u64(reply->element[1], now_ms))
        return lh_decode_wrong(err, "hello");
    r = reply->element[0];
    if (r->len != 0 && (r->len != 32 || strspn(r->str, "0123456789abcdef") != 32))
        return lh_decode_wrong(err, "an incarnation that is none");
    memcpy(hex, r->str, r->len);
    hex[r->len] = '\0';
    return 0;
}

/* The fields of an entry, checked. A malformed one is no error here, but what the worker is told.
 */
static int take_fields(const struct redisReply *r, struct lh_taken *t, struct lh_err *err)
{
    struct lh_field fields[LH_DECODE_FIELDS];
    struct lh_err why;
    size_t n;
    int ret;

    if (!lh_decode_array(r, 0) || r->elements % 2 != 0 || r->elements > 2 * LH_DECODE_FIELDS ||
        !lh_decode_texts(r))
        return lh_decode_wrong(err, "the fields of a task");
    n = r->elements / 2;
    for (size_t i = 0; i < n; i++) {
        fields[i].name = r->element[2 * i]->str;
        fields[i].name_len = r->element[2 * i]->len;
        fields[i].value = r->element[2 * i + 1]->str;
        fields[i].value_len = r->element[2 * i + 1]->len;
    }
    t->task = malloc(sizeof(*t->task));
    if (t->task == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    ret = lh_task_parse(t->task, fields, n, &why);
    if (ret == 0)
        return 0;
    free(t->task);
    t->task = NULL;
    if (ret == -LH_E_NOMEM)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    t->status = -LH_E_INVAL;
    memcpy(t->text, why.text, sizeof(t->text));
    return 0;
}

static int take_one(const struct redisReply *r, const uint8_t incarnation[16], struct lh_taken *t,
                    struct lh_err *err)
{
    const struct redisReply *problem;
    uint64_t reaped;
    int priority;

    if (!lh_decode_array(r, 10) || !lh_decode_id(r->element[0], t->claim.id) ||
        !lh_decode_u64(r->element[1], &t->claim.number) || !lh_decode_text(r->element[2]) ||
        !lh_decode_u64(r->element[3], &t->attempts) ||
        !lh_decode_u64(r->element[4], &t->failures) || !lh_decode_u64(r->element[5], &t->bytes) ||
        !lh_decode_u64(r->element[6], &t->total) || !lh_decode_u64(r->element[7], &reaped) ||
        !lh_decode_text(r->element[8]))
        return lh_decode_wrong(err, "a task");
    priority = lh_priority_parse(r->element[2]->str, r->element[2]->len);
    if (priority < 0)
        return lh_decode_wrong(err, "a priority that is none");
    memcpy(t->claim.incarnation, incarnation, sizeof(t->claim.incarnation));
    t->priority = (enum lh_priority)priority;
    t->reaped = reaped != 0;
    problem = r->element[8];
    if (problem->len == 0)
        return take_fields(r->element[9], t, err);
    t->status = -LH_E_INVAL;
    strncpy(t->text, problem->str, sizeof(t->text) - 1); /* the rest is zeroed */
    return 0;
}

int lh_decode_take(const struct redisReply *reply, const uint8_t incarnation[16],
                   struct lh_taking *out, uint64_t *now_ms, struct lh_err *err)
{
    struct lh_taking taking = {.n = 0};
    uint64_t now;
    size_t n;

    if (!lh_decode_array(reply, 2) || !lh_decode_u64(reply->element[0], &taking.soonest_ms) ||
        !lh_decode_u64(reply->element[1], &now))
        return lh_decode_wrong(err, "take");
    n = reply->elements - 2;
    if (n > LH_QUEUE_TAKE_MAX)
        return lh_decode_wrong(err, "more tasks than were asked for");
    taking.taken = calloc(n > 0 ? n : 1, sizeof(*taking.taken));
    if (taking.taken == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    for (; taking.n < n; taking.n++) {
        int ret = take_one(reply->element[taking.n + 2], incarnation, &taking.taken[taking.n], err);

        if (ret != 0) {
            lh_taking_free(&taking);
            return ret;
        }
    }
    *out = taking;
    *now_ms = now;
    return 0;
}

void lh_taking_free(struct lh_taking *taking)
{
    for (size_t i = 0; i < taking->n; i++) {
        if (taking->taken[i].task != NULL) {
            lh_task_free(taking->taken[i].task);
            free(taking->taken[i].task);
        }
    }
    free(taking->taken);
    taking->taken = NULL;
    taking->n = 0;
}

/* "longhaul:{NAME}:tasks:high" */
static int stream_priority(const struct redisReply *r)
{
    const char *last;

    if (!lh_decode_text(r))
        return -1;
    last = memrchr(r->str, ':', r->len);
    return last == NULL ? -1 : lh_priority_parse(last + 1, r->len - (size_t)(last + 1 - r->str));
}

int lh_decode_wait(const struct redisReply *reply, struct lh_delivered *out, size_t max,
                   size_t *n_out, struct lh_err *err)
{
    size_t n = 0;

    if (reply != NULL && reply->type == REDIS_REPLY_NIL) {
        *n_out = 0;
        return 0;
    }
    if (!lh_decode_array(reply, 0))
        return lh_decode_wrong(err, "XREADGROUP");
    for (size_t i = 0; i < reply->elements; i++) {
        const struct redisReply *stream = reply->element[i];
        int priority;

        if (!lh_decode_array(stream, 2) || !lh_decode_array(stream->element[1], 0))
            return lh_decode_wrong(err, "XREADGROUP");
        priority = stream_priority(stream->element[0]);
        if (priority < 0)
            return lh_decode_wrong(err, "XREADGROUP of another stream");
        for (size_t j = 0; j < stream->element[1]->elements; j++) {
            const struct redisReply *entry = stream->element[1]->element[j];

            if (!lh_decode_array(entry, 1) || !lh_decode_text(entry->element[0]) ||
                entry->element[0]->len >= sizeof(out[n].entry) || n >= max)
                return lh_decode_wrong(err, "XREADGROUP");
            out[n].priority = (enum lh_priority)priority;
            memcpy(out[n].entry, entry->element[0]->str, entry->element[0]->len);
            out[n].entry[entry->element[0]->len] = '\0';
            n++;
        }
    }
    *n_out = n;
    return 0;
}

static int word_place(const struct redisReply *r, const char *const *words, int n)
{
    for (int i = 0; i < n && lh_decode_text(r); i++) {
        if (strlen(words[i]) == r->len && memcmp(words[i], r->str, r->len) == 0)
            return i;
    }
    return -1;
}

int lh_decode_answers(const struct redisReply *reply, enum lh_queue_answer *out, size_t n,
                      struct lh_err *err)
{
    static const char *const words[] = {"ok", "lost", "gone", "paused", "cancelled"};

    if (!lh_decode_array(reply, 0) || reply->elements != n)
        return lh_decode_wrong(err, "not one answer for each task");
    for (size_t i = 0; i < n; i++) {
        int at = word_place(reply->element[i], words, LH_N_QUEUE_ANSWERS);

        if (at < 0)
            return lh_decode_wrong(err, "an answer that is none");
        out[i] = (enum lh_queue_answer)at;
    }
    return 0;
}

int lh_decode_submit(const struct redisReply *reply, char id[LH_TASK_ID_SIZE], struct lh_err *err)
{
    if (!lh_decode_array(reply, 0) || reply->elements > 1)
        return lh_decode_wrong(err, "submit");
    id[0] = '\0';
    if (reply->elements == 1 && !lh_decode_id(reply->element[0], id))
        return lh_decode_wrong(err, "an id that is none");
    return 0;
}

int lh_decode_control(const struct redisReply *reply, enum lh_queue_effect *effect,
                      enum lh_task_state *state, struct lh_err *err)
{
    static const char *const words[] = {"ok", "asked", "already", "refused", "unknown"};
    int at;
    int in = 0;

    if (!lh_decode_array(reply, 2) || !lh_decode_text(reply->element[1]))
        return lh_decode_wrong(err, "control");
    at = word_place(reply->element[0], words, LH_N_EFFECTS);
    if (at >= 0 && at != LH_EFFECT_UNKNOWN)
        in = lh_task_state_parse(reply->element[1]->str, reply->element[1]->len);
    if (at < 0 || in < 0)
        return lh_decode_wrong(err, "control");
    *effect = (enum lh_queue_effect)at;
    *state = (enum lh_task_state)in;
    return 0;
}
