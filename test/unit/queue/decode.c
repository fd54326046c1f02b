/* Replies of the scripts, made by hand: what is right becomes a struct; anything else in any place
 * of it is refused with a sentence, and never read beyond. */
#include "queue/decode.h"
#include "test/lib/tap.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NODES 512

/* A reply as text: [ ] arrays, 'strings' and bare words, :integers, _ nil, !errors. */
struct tree {
    struct redisReply node[MAX_NODES];
    struct redisReply *element[MAX_NODES];

    size_t n;
    size_t n_elements;
    const char *at;
};

static struct redisReply *leaf(struct tree *t, int type, const char *text, size_t len)
{
    struct redisReply *r = &t->node[t->n++];

    *r = (struct redisReply){.type = type};
    if (type == REDIS_REPLY_INTEGER) {
        r->integer = atoll(text);
    } else if (type != REDIS_REPLY_NIL) {
        r->str = strndup(text, len); /* exactly: a sanitizer sees any read behind it */
        r->len = len;
    }
    return r;
}

static struct redisReply *parse(struct tree *t)
{
    struct redisReply *children[128];
    struct redisReply *r;
    size_t len;

    t->at += strspn(t->at, " ");
    if (*t->at == '\'') {
        len = strcspn(++t->at, "'");
        r = leaf(t, REDIS_REPLY_STRING, t->at, len);
        t->at += len + 1;
        return r;
    }
    if (*t->at != '[') {
        len = strcspn(t->at, " ]");
        if (*t->at == ':')
            r = leaf(t, REDIS_REPLY_INTEGER, t->at + 1, len);
        else if (*t->at == '!')
            r = leaf(t, REDIS_REPLY_ERROR, t->at + 1, len - 1);
        else if (*t->at == '_')
            r = leaf(t, REDIS_REPLY_NIL, NULL, 0);
        else
            r = leaf(t, REDIS_REPLY_STRING, t->at, len);
        t->at += len;
        return r;
    }
    r = leaf(t, REDIS_REPLY_NIL, NULL, 0);
    r->type = REDIS_REPLY_ARRAY;
    for (t->at++; t->at += strspn(t->at, " "), *t->at != ']';)
        children[r->elements++] = parse(t);
    t->at++;
    r->element = &t->element[t->n_elements];
    memcpy(r->element, children, r->elements * sizeof(children[0]));
    t->n_elements += r->elements;
    return r;
}

static void drop(struct tree *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->node[i].str);
    t->n = 0;
}

static struct redisReply *make(struct tree *t, const char *text)
{
    drop(t);
    memset(t, 0, sizeof(*t));
    t->at = text;
    return parse(t);
}

/* ---- what is right ---- */

static const uint8_t incarnation[16] = {1, 2, 3};

static const char take_text[] =
    "['50' '1700000000000' [one '1700000000000001' high '2' '1' '10' '100' '1' '' "
    "[v 1 source /a destination lh://h/x]] [two 2 low 1 0 0 0 0 '' [v 9]] "
    "[three 3 normal 1 0 0 0 0 'it has more than 64 fields' []]]";
static const char get_text[] =
    "['1700000000000' [state active want paused priority low claim 7 bytes 5 total 9 map 0-5 "
    "f:source /a f:x 'y z' entry 1-1 later 5] [[1700000000001-0 [v 1 claim 7 worker w ranges 0-5 "
    "bytes 5 total 9]] [1700000000000-2 []]]]";
static const char list_text[] = "['1700000000000' 'normal:1-1' [a state queued priority high "
                                "f:source /a f:destination lh://h/x] [b state dead error why]]";
static const char overview_text[] =
    "['1700000000000' 000102030405060708090a0b0c0d0e0f :1 :2 :3 :4 60000 '5' '6' [3 1000] [0 0] "
    "[:0 :0] [w2 'at=5 host=h pid=1 version=0.1 jobs=4 new=thing' w1 'at=6 claim_ms=15000']]";
static const char wait_text[] = "[[longhaul:{q}:tasks:low [[1-1 [v 1]]]]]";

static void right_take(void)
{
    static struct tree t;
    struct lh_taking taking;
    uint64_t now = 0;
    struct lh_err err;

    if (!ok(lh_decode_take(make(&t, take_text), incarnation, &taking, &now, &err) == 0, "a take"))
        return;
    is_u64(now, 1700000000000, "Redis's clock");
    is_u64(taking.soonest_ms, 50, "soonest");
    is_u64(taking.n, 3, "three tasks");
    is_str(taking.taken[0].claim.id, "one", "id");
    is_u64(taking.taken[0].claim.number, 1700000000000001, "claim");
    is_mem(taking.taken[0].claim.incarnation, incarnation, 16, "incarnation");
    is_i64(taking.taken[0].priority, LH_PRIORITY_HIGH, "priority");
    is_u64(taking.taken[0].attempts, 2, "attempts");
    is_u64(taking.taken[0].failures, 1, "failures");
    is_u64(taking.taken[0].bytes, 10, "bytes");
    is_u64(taking.taken[0].total, 100, "total");
    ok(taking.taken[0].reaped, "reaped");
    is_str(taking.taken[0].task->source, "/a", "its fields");
    ok(taking.taken[1].status == -LH_E_INVAL && taking.taken[1].task == NULL,
       "one that is malformed: %s", taking.taken[1].text);
    is_str(taking.taken[2].text, "it has more than 64 fields", "one that the script refused");
    lh_taking_free(&taking);
    drop(&t);
}

static void right_get(void)
{
    static struct tree t;
    struct lh_task_detail d;
    struct lh_err err;
    bool found = false;

    if (!ok(lh_decode_get(make(&t, get_text), "x", &d, &found, &err) == 0 && found, "a task"))
        return;
    is_str(d.task.id, "x", "its id");
    is_i64(d.task.state, LH_TASK_ACTIVE, "state");
    is_i64(d.task.priority, LH_PRIORITY_LOW, "priority");
    is_str(d.task.want, "paused", "want");
    is_u64(d.task.claim, 7, "claim");
    is_str(d.task.map, "0-5", "map");
    is_str(d.task.error, "", "no error is an empty string");
    is_u64(d.n_fields, 2, "two fields");
    is_mem(d.fields[1].value, "y z", 3, "the second");
    is_u64(d.n_records, 2, "two records");
    is_u64(d.records[0].at_ms, 1700000000001, "when");
    is_str(d.records[0].worker, "w", "who");
    is_str(d.records[1].map, "", "an empty one");
    lh_detail_free(&d);
    drop(&t);
    ok(lh_decode_get(make(&t, "[]"), "x", &d, &found, &err) == 0 && !found, "no such task");
}

static void right_list(void)
{
    static struct tree t;
    struct lh_task_list list;
    struct lh_err err;

    if (!ok(lh_decode_list(make(&t, list_text), &list, &err) == 0, "a list"))
        return;
    is_u64(list.n, 2, "two tasks");
    ok(list.more, "and more");
    is_str(list.next, "normal:1-1", "from here");
    is_str(list.tasks[0].destination, "lh://h/x", "destination");
    is_str(list.tasks[1].error, "why", "error");
    free(list.tasks);
    drop(&t);
}

static void right_overview(void)
{
    static struct tree t;
    struct lh_queue_overview o;
    struct lh_err err;

    if (!ok(lh_decode_overview(make(&t, overview_text), &o, &err) == 0, "an overview"))
        return;
    is_u64(o.incarnation[15], 15, "incarnation");
    is_u64(o.active + 10 * o.delayed + 100 * o.paused + 1000 * o.dead, 4321, "how many are where");
    is_u64(o.recent_tasks, 5, "done of late");
    is_u64(o.queued[LH_PRIORITY_HIGH], 3, "queued");
    is_u64(o.oldest_ms[LH_PRIORITY_HIGH], 1000, "since");
    is_u64(o.n_workers, 2, "two workers");
    is_str(o.workers[0].name, "w1", "by name");
    is_u64(o.workers[0].claim_ms, 15000, "claim time");
    is_str(o.workers[1].health.host, "h", "host");
    is_u64(o.workers[1].health.jobs, 4, "jobs");
    free(o.workers);
    drop(&t);
}

static void right_others(void)
{
    static struct tree t;
    struct lh_delivered delivered[3];
    enum lh_queue_answer answers[5];
    enum lh_queue_effect effect;
    enum lh_task_state state;
    struct lh_err err;
    char hex[33];
    char id[LH_TASK_ID_SIZE];
    uint64_t now;
    size_t n = 9;

    ok(lh_decode_hello(make(&t, "[000102030405060708090a0b0c0d0e0f '5']"), hex, &now, &err) == 0 &&
           now == 5 && strlen(hex) == 32,
       "hello");
    ok(lh_decode_hello(make(&t, "['' '5']"), hex, &now, &err) == 0 && hex[0] == '\0',
       "hello to a queue that never had a worker");
    ok(lh_decode_wait(make(&t, wait_text), delivered, 3, &n, &err) == 0 && n == 1 &&
           delivered[0].priority == LH_PRIORITY_LOW && strcmp(delivered[0].entry, "1-1") == 0,
       "an entry that was waited for");
    ok(lh_decode_wait(make(&t, "_"), delivered, 3, &n, &err) == 0 && n == 0, "in vain");
    ok(lh_decode_answers(make(&t, "[ok lost gone paused cancelled]"), answers, 5, &err) == 0 &&
           answers[0] == LH_QUEUE_OK && answers[4] == LH_QUEUE_CANCELLED,
       "answers");
    ok(lh_decode_submit(make(&t, "[n1-1]"), id, &err) == 0 && strcmp(id, "n1-1") == 0, "an id");
    ok(lh_decode_submit(make(&t, "[]"), id, &err) == 0 && id[0] == '\0', "there is one");
    ok(lh_decode_control(make(&t, "[asked active]"), &effect, &state, &err) == 0 &&
           effect == LH_EFFECT_ASKED && state == LH_TASK_ACTIVE,
       "control");
    ok(lh_decode_control(make(&t, "[unknown '']"), &effect, &state, &err) == 0 &&
           effect == LH_EFFECT_UNKNOWN,
       "of an unknown one");
}

/* ---- what is wrong ---- */

static int any(const char *kind, const struct redisReply *r, struct lh_err *err)
{
    struct lh_taking taking;
    struct lh_task_detail d;
    struct lh_task_list list;
    struct lh_queue_overview o;
    struct lh_delivered delivered[3];
    bool found;
    uint64_t now;
    size_t n;
    int ret;

    if (strcmp(kind, "take") == 0) {
        ret = lh_decode_take(r, incarnation, &taking, &now, err);
        if (ret == 0)
            lh_taking_free(&taking);
    } else if (strcmp(kind, "get") == 0) {
        ret = lh_decode_get(r, "x", &d, &found, err);
        if (ret == 0 && found)
            lh_detail_free(&d);
    } else if (strcmp(kind, "list") == 0) {
        ret = lh_decode_list(r, &list, err);
        if (ret == 0)
            free(list.tasks);
    } else if (strcmp(kind, "overview") == 0) {
        ret = lh_decode_overview(r, &o, err);
        if (ret == 0)
            free(o.workers);
    } else {
        ret = lh_decode_wait(r, delivered, 3, &n, err);
    }
    return ret;
}

/* Every node of a right reply, one after the other, becomes something else. */
static void damage(const char *kind, const char *text)
{
    static const char *const others[] = {"_",     ":-1", "!ERR",   "[]",
                                         "[_ _]", "''",  "'\x01'", "99999999999999999999999"};
    static struct tree t;
    static struct tree u;
    unsigned n_refused = 0;
    unsigned n_taken = 0;
    unsigned n_bad = 0;

    make(&t, text);
    for (size_t i = 0; i <= t.n_elements; i++) {
        for (size_t j = 0; j <= sizeof(others) / sizeof(others[0]); j++) {
            struct redisReply *was = i < t.n_elements ? t.element[i] : NULL;
            struct redisReply *other = NULL; /* at last: none at all */
            struct lh_err err = {.text = ""};
            int ret;

            memset(&u, 0, sizeof(u));
            if (j < sizeof(others) / sizeof(others[0]))
                other = make(&u, others[j]);
            if (was != NULL)
                t.element[i] = other;
            ret = any(kind, was != NULL ? &t.node[0] : other, &err);
            if (was != NULL)
                t.element[i] = was;
            n_taken += ret == 0;
            n_refused += ret == -LH_E_PROTOCOL;
            n_bad += ret != 0 && (ret != -LH_E_PROTOCOL || err.text[0] == '\0');
            drop(&u);
        }
    }
    is_u64(n_bad, 0, "%s: damage in any place is refused in words, or harmless", kind);
    ok(n_refused > n_taken, "%s: %u refused, %u harmless", kind, n_refused, n_taken);
    drop(&t);
}

static void wrong(void)
{
    static const struct {
        const char *kind;
        const char *text;
    } table[] = {
        {"take", "[]"},
        {"take", "['-5' '1']"},
        {"take", "['5' '1' [a/b 1 high 1 0 0 0 0 '' []]]"},
        {"take", "['5' '1' [a 1 highest 1 0 0 0 0 '' []]]"},
        {"take", "['5' '1' [a 1 high 1 0 0 0 0 '' [v]]]"},
        {"take", "['5' '1' [a 1 high 1 0 0 0 0 '']]"},
        {"take", "['5' '1' [a 1x high 1 0 0 0 0 '' []]]"},
        {"get", "['1' [state busy] []]"},
        {"get", "['1' [priority high] []]"},
        {"get", "['1' [state active bytes many] []]"},
        {"get", "['1' [state active] [[x []]]]"},
        {"get", "['1' [state active] [[5-5 [claim]]]]"},
        {"list", "['1' '' []]"},
        {"list", "['1' '' [a state]]"},
        {"overview", "['1' 00 :1 :2 :3 :4 5 5 6 [3 1] [0 0] [0 0] []]"},
        {"overview", "['1' '' :1 :2 :3 :4 5 5 6 [3 1] [0 0] [0 0] [w 'no words']]"},
        {"overview", "['1' '' :1 :2 :3 :4 5 5 6 [3 1] [0 0] [0 0] ['a b' 'at=1']]"},
        {"wait", "[[longhaul:{q}:tasks:other [[1-1 []]]]]"},
        {"wait", "[[a:low [[1-1 []] [1-2 []] [1-3 []] [1-4 []]]]]"},
        {"wait", "[[a:low [[1234567890123456789012345678901234567890123456789-1 []]]]]"},
    };
    static struct tree t;
    enum lh_queue_answer answers[2];
    struct lh_err err;

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        ok(any(table[i].kind, make(&t, table[i].text), &err) == -LH_E_PROTOCOL, "%s %s: %s",
           table[i].kind, table[i].text, err.text);
        drop(&t);
    }
    is_i64(lh_decode_answers(make(&t, "[ok]"), answers, 2, &err), -LH_E_PROTOCOL,
           "too few answers");
    is_i64(lh_decode_answers(make(&t, "[ok maybe]"), answers, 2, &err), -LH_E_PROTOCOL,
           "an answer that is none");
}

static void health(void)
{
    struct lh_health h = {"my host\n", 1, "0.1.0", 2, 3, 4, 5, 6, 7, 8};
    struct lh_health most = {.pid = UINT64_MAX,
                             .jobs = UINT64_MAX,
                             .active = UINT64_MAX,
                             .done = UINT64_MAX,
                             .failed = UINT64_MAX,
                             .bytes = UINT64_MAX,
                             .rate_bps = UINT64_MAX,
                             .uptime_ms = UINT64_MAX};
    struct lh_worker_info w = {.name = "w"};
    char text[LH_HEALTH_TEXT];
    size_t len = lh_health_write(text, &h, 9);

    is_i64(lh_health_read(text, len, &w), 0, "health is read back: %s", text);
    is_str(w.health.host, "my_host_", "a host that is one word");
    ok(w.health.pid == 1 && w.health.rate_bps == 7 && w.claim_ms == 9, "its numbers");
    memset(most.host, 'h', sizeof(most.host) - 1);
    memset(most.version, 'v', sizeof(most.version) - 1);
    len = lh_health_write(text, &most, UINT64_MAX);
    ok(len < sizeof(text) && lh_health_read(text, len, &w) == 0, "the longest: %zu bytes", len);
    ok(w.health.pid == UINT64_MAX && w.claim_ms == UINT64_MAX, "is whole");
}

int main(void)
{
    right_take();
    right_get();
    right_list();
    right_overview();
    right_others();
    wrong();
    damage("take", take_text);
    damage("get", get_text);
    damage("list", list_text);
    damage("overview", overview_text);
    damage("wait", wait_text);
    health();
    return done_testing();
}
