/* Decoding of what clients are told: tasks with all that is known of them, lists, the overview. */
#include "queue/decode.h"

#include "queue/decode_impl.h"
#include "util/text.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct member {
    const char *name;
    bool number; /* uint64_t, else const char * */
    size_t at;
};

#define NUMBER(member)                                                                             \
    {                                                                                              \
#member, true, offsetof(struct lh_task_info, member)                                       \
    }
#define TEXT(name, member)                                                                         \
    {                                                                                              \
        name, false, offsetof(struct lh_task_info, member)                                         \
    }

static const struct member members[] = {NUMBER(claim),
                                        NUMBER(attempts),
                                        NUMBER(failures),
                                        NUMBER(submitted_ms),
                                        NUMBER(taken_ms),
                                        NUMBER(heard_ms),
                                        NUMBER(ended_ms),
                                        NUMBER(due_ms),
                                        NUMBER(total),
                                        NUMBER(bytes),
                                        NUMBER(sent),
                                        NUMBER(active_ms),
                                        NUMBER(rate_bps),
                                        NUMBER(streams),
                                        TEXT("want", want),
                                        TEXT("f:source", source),
                                        TEXT("f:destination", destination),
                                        TEXT("worker", worker),
                                        TEXT("workers", workers),
                                        TEXT("error", error),
                                        TEXT("error_status", error_status),
                                        TEXT("digest", digest),
                                        TEXT("map", map),
                                        TEXT("inflight", inflight)};
#define N_MEMBERS (sizeof(members) / sizeof(members[0]))

static void info_init(struct lh_task_info *info)
{
    memset(info, 0, sizeof(*info));
    for (size_t i = 0; i < N_MEMBERS; i++) {
        if (!members[i].number)
            *(const char **)(void *)((char *)info + members[i].at) = "";
    }
}

static bool info_set(struct lh_task_info *info, const struct redisReply *name,
                     const struct redisReply *value)
{
    int n;

    if (strcmp(name->str, "state") == 0) {
        n = lh_task_state_parse(value->str, value->len);
        info->state = (enum lh_task_state)(n < 0 ? 0 : n);
        return n >= 0;
    }
    if (strcmp(name->str, "priority") == 0) {
        n = lh_priority_parse(value->str, value->len);
        info->priority = (enum lh_priority)(n < 0 ? 0 : n);
        return n >= 0;
    }
    for (size_t i = 0; i < N_MEMBERS; i++) {
        char *at = (char *)info + members[i].at;

        if (strcmp(name->str, members[i].name) != 0)
            continue;
        if (members[i].number)
            return lh_decode_u64(value, (uint64_t *)(void *)at);
        *(const char **)(void *)at = value->str;
        return true;
    }
    return true; /* of a later version, or of no use here */
}

/* Names and values from element `from` on. */
static int info_read(struct lh_task_info *info, const struct redisReply *r, size_t from,
                     struct lh_err *err)
{
    bool has_state = false;

    if (!lh_decode_texts(r) || (r->elements - from) % 2 != 0)
        return lh_decode_wrong(err, "what is known of a task");
    for (size_t i = from; i < r->elements; i += 2) {
        if (!info_set(info, r->element[i], r->element[i + 1])) {
            char what[160];
            char shown[64];

            lh_text_escape(shown, sizeof(shown), r->element[i]->str, r->element[i]->len);
            snprintf(what, sizeof(what), "'%s' of task %s", shown, info->id);
            return lh_decode_wrong(err, what);
        }
        has_state |= strcmp(r->element[i]->str, "state") == 0;
    }
    return has_state ? 0 : lh_decode_wrong(err, "a task without a state");
}

static int read_fields(struct lh_task_detail *d, const struct redisReply *hash, struct lh_err *err)
{
    d->fields = calloc(hash->elements / 2 + 1, sizeof(*d->fields));
    if (d->fields == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    for (size_t i = 0; i < hash->elements; i += 2) {
        const struct redisReply *name = hash->element[i];
        const struct redisReply *value = hash->element[i + 1];

        if (strncmp(name->str, "f:", 2) != 0)
            continue;
        d->fields[d->n_fields++] =
            (struct lh_field){name->str + 2, name->len - 2, value->str, value->len};
    }
    return 0;
}

/* [id, [name, value...]] */
static bool read_record(struct lh_record_info *rec, const struct redisReply *r)
{
    const struct redisReply *f;
    size_t len;

    *rec = (struct lh_record_info){.worker = "", .map = ""};
    if (!lh_decode_array(r, 2) || !lh_decode_text(r->element[0]) ||
        !lh_decode_array(r->element[1], 0))
        return false;
    f = r->element[1];
    len = strcspn(r->element[0]->str, "-");
    if (!lh_decode_texts(f) || f->elements % 2 != 0 || len > r->element[0]->len ||
        !lh_decode_u64_text(r->element[0]->str, len, &rec->at_ms))
        return false;
    for (size_t i = 0; i < f->elements; i += 2) {
        const char *name = f->element[i]->str;
        const struct redisReply *value = f->element[i + 1];
        bool fine = true;

        if (strcmp(name, "claim") == 0)
            fine = lh_decode_u64(value, &rec->claim);
        else if (strcmp(name, "bytes") == 0)
            fine = lh_decode_u64(value, &rec->bytes);
        else if (strcmp(name, "total") == 0)
            fine = lh_decode_u64(value, &rec->total);
        else if (strcmp(name, "worker") == 0)
            rec->worker = value->str;
        else if (strcmp(name, "ranges") == 0)
            rec->map = value->str;
        if (!fine)
            return false;
    }
    return true;
}

static int read_records(struct lh_task_detail *d, const struct redisReply *r, struct lh_err *err)
{
    d->records = calloc(r->elements + 1, sizeof(*d->records));
    if (d->records == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    for (; d->n_records < r->elements; d->n_records++) {
        if (!read_record(&d->records[d->n_records], r->element[d->n_records]))
            return lh_decode_wrong(err, "a progress record");
    }
    return 0;
}

int lh_decode_get(const struct redisReply *reply, const char *id, struct lh_task_detail *out,
                  bool *found, struct lh_err *err)
{
    struct lh_task_detail d = {.n_fields = 0};
    int ret;

    if (!lh_decode_array(reply, 0))
        return lh_decode_wrong(err, "a task");
    if (reply->elements == 0) {
        *found = false;
        return 0;
    }
    if (!lh_decode_array(reply, 3) || !lh_decode_u64(reply->element[0], &d.now_ms) ||
        !lh_decode_array(reply->element[1], 0) || !lh_decode_array(reply->element[2], 0))
        return lh_decode_wrong(err, "a task");
    info_init(&d.task);
    snprintf(d.task.id, sizeof(d.task.id), "%s", id);
    ret = info_read(&d.task, reply->element[1], 0, err);
    if (ret == 0)
        ret = read_fields(&d, reply->element[1], err);
    if (ret == 0)
        ret = read_records(&d, reply->element[2], err);
    if (ret != 0) {
        lh_detail_free(&d);
        return ret;
    }
    *out = d;
    *found = true;
    return 0;
}

void lh_detail_free(struct lh_task_detail *detail)
{
    free(detail->fields);
    free(detail->records);
    detail->fields = NULL;
    detail->records = NULL;
}

int lh_decode_list(const struct redisReply *reply, struct lh_task_list *out, struct lh_err *err)
{
    struct lh_task_list list = {.n = 0};
    size_t n;

    if (!lh_decode_array(reply, 2) || !lh_decode_u64(reply->element[0], &list.now_ms) ||
        !lh_decode_text(reply->element[1]) || reply->element[1]->len >= sizeof(list.next))
        return lh_decode_wrong(err, "a list");
    n = reply->elements - 2;
    if (n > LH_QUEUE_LIST_MAX)
        return lh_decode_wrong(err, "a list of more tasks than were asked for");
    memcpy(list.next, reply->element[1]->str, reply->element[1]->len);
    list.more = reply->element[1]->len > 0;
    list.tasks = calloc(n + 1, sizeof(*list.tasks));
    if (list.tasks == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    for (; list.n < n; list.n++) {
        const struct redisReply *row = reply->element[list.n + 2];
        struct lh_task_info *info = &list.tasks[list.n];
        int ret = 0;

        info_init(info);
        if (!lh_decode_array(row, 1) || !lh_decode_id(row->element[0], info->id))
            ret = lh_decode_wrong(err, "a task of a list");
        if (ret == 0)
            ret = info_read(info, row, 1, err);
        if (ret != 0) {
            free(list.tasks);
            return ret;
        }
    }
    *out = list;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct lh_worker_info *)a)->name,
                  ((const struct lh_worker_info *)b)->name);
}

static int read_workers(struct lh_queue_overview *o, const struct redisReply *r, struct lh_err *err)
{
    if (r->elements % 2 != 0 || !lh_decode_texts(r))
        return lh_decode_wrong(err, "the workers");
    o->workers = calloc(r->elements / 2 + 1, sizeof(*o->workers));
    if (o->workers == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    for (size_t i = 0; i < r->elements; i += 2) {
        struct lh_worker_info *w = &o->workers[o->n_workers];
        const struct redisReply *health = r->element[i + 1];

        if (!lh_decode_id(r->element[i], w->name) ||
            lh_health_read(health->str, health->len, w) != 0) {
            free(o->workers);
            return lh_decode_wrong(err, "the health of a worker");
        }
        o->n_workers++;
    }
    if (o->n_workers > 1)
        qsort(o->workers, o->n_workers, sizeof(*o->workers), by_name);
    return 0;
}

static bool hex_bytes(const struct redisReply *r, uint8_t out[16])
{
    char hex[33];

    if (!lh_decode_text(r))
        return false;
    memset(out, 0, 16);
    if (r->len == 0)
        return true;
    if (r->len != 32 || strspn(r->str, "0123456789abcdef") != 32)
        return false;
    memcpy(hex, r->str, 33);
    for (size_t i = 0; i < 16; i++)
        sscanf(hex + 2 * i, "%2hhx", &out[i]);
    return true;
}

int lh_decode_overview(const struct redisReply *reply, struct lh_queue_overview *out,
                       struct lh_err *err)
{
    struct lh_queue_overview o = {.now_ms = 0};
    uint64_t *const numbers[] = {&o.active,    &o.delayed,      &o.paused,      &o.dead,
                                 &o.recent_ms, &o.recent_tasks, &o.recent_bytes};
    int ret;

    if (!lh_decode_array(reply, 13) || !lh_decode_u64(reply->element[0], &o.now_ms) ||
        !hex_bytes(reply->element[1], o.incarnation) || !lh_decode_array(reply->element[12], 0))
        return lh_decode_wrong(err, "the overview");
    for (size_t i = 0; i < 7; i++) {
        if (!lh_decode_u64(reply->element[2 + i], numbers[i]))
            return lh_decode_wrong(err, "a number of the overview");
    }
    for (size_t i = 0; i < LH_N_PRIORITIES; i++) {
        const struct redisReply *pair = reply->element[9 + i];

        if (!lh_decode_array(pair, 2) || !lh_decode_u64(pair->element[0], &o.queued[i]) ||
            !lh_decode_u64(pair->element[1], &o.oldest_ms[i]))
            return lh_decode_wrong(err, "the depth of a queue");
    }
    ret = read_workers(&o, reply->element[12], err);
    if (ret == 0)
        *out = o;
    return ret;
}
