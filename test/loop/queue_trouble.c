/* A queue in trouble: entries that are none, a Redis that forgets, restarts, is full. */
#include "test/lib/tap.h"
#include "test/loop/desk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct redis_server server;

static void empty(void)
{
    redis_server_ask(&server, "FLUSHALL");
}

static void add(const char *words)
{
    char text[512];

    snprintf(text, sizeof(text), "XADD " DESK_KEY "tasks:normal * %s", words);
    redis_server_ask(&server, text);
}

/* Take one that cannot be read, and end it as the worker does. */
static void bury_malformed(struct desk *w, const char *what, const char *words)
{
    struct lh_taken t;

    desk_take_one(w, false, &t);
    ok(t.status == -LH_E_INVAL && strstr(t.text, words) != NULL, "%s: %s", what, t.text);
    is_i64(desk_finish(w, &t.claim, LH_OUTCOME_DEAD, 0), LH_QUEUE_OK, "%s: ended", what);
    is_i64(desk_state(w, t.claim.id), LH_TASK_DEAD, "%s: a dead letter by name, %s", what,
           t.claim.id);
}

/* Whatever somebody puts there: it becomes a dead letter with a name, and the next task comes. */
static void test_poison(void)
{
    static char big[70000];
    struct desk w;
    struct lh_taken t;
    char id[LH_TASK_ID_SIZE];
    const char *at;

    desk_open(&w, &server, "w");
    add("source /a destination lh://h/x");
    bury_malformed(&w, "no version", "'v' is missing");
    add("v 2 source /a destination lh://h/x task later");
    bury_malformed(&w, "another version", "'v' is '2'");
    is_str(w.info.id, "later", "under its own id");
    add("v 1 source /a destination http://h/x");
    bury_malformed(&w, "no address", "lh://");
    add("v 1 source /a destination lh://h/x task a/b");
    bury_malformed(&w, "no id", "'task' is 'a/b'");
    add("v 1 source /a source /b destination lh://h/x");
    bury_malformed(&w, "a field twice", "twice");
    add("hello world");
    bury_malformed(&w, "something else", "is missing");
    memset(big, 'x', sizeof(big) - 1);
    redis_server_ask(&server, "XADD " DESK_KEY "tasks:normal * v 1 source %s destination lh://h/x",
                     big);
    bury_malformed(&w, "too long", "64 KiB");
    redis_server_ask(&server, "EVAL %s 1 " DESK_KEY "tasks:normal",
                     "local a = {} for i = 1, 3000 do a[2 * i - 1] = 'f' .. i a[2 * i] = 'v' end "
                     "redis.call('XADD', KEYS[1], '*', unpack(a)) return 1");
    bury_malformed(&w, "too many fields", "more than 64 fields");

    redis_server_ask(&server, "SET " DESK_KEY "task:broken nonsense");
    add("v 1 source /a destination lh://h/x task broken");
    add("v 1 source /good destination lh://h/x task good");
    desk_take_one(&w, false, &t);
    is_str(t.claim.id, "good", "a task whose key is damaged does not stop the next");
    is_str(w.source[0], "/good", "which is whole");
    desk_list(&w, LH_TASK_DEAD, NULL, 20);
    at = strstr(w.listed, "broken-n");
    if (!ok(at != NULL, "the damaged one is a dead letter: %s", w.listed))
        return;
    snprintf(id, sizeof(id), "%.*s", (int)strcspn(at, " "), at);
    desk_get(&w, id);
    ok(strstr(w.error, "damaged") != NULL, "with the reason: %s", w.error);
    desk_overview(&w);
    is_u64(w.overview.dead, 9, "all of them");
    is_u64(w.overview.active, 1, "and the good one");
    desk_close(&w);
}

/* Keys that somebody has overwritten, and a stream whose last id is used. */
static void test_damaged(void)
{
    struct desk w;
    struct lh_taken t[3];

    desk_open(&w, &server, "w");
    desk_submit(&w, LH_PRIORITY_NORMAL, "progress");
    desk_submit(&w, LH_PRIORITY_NORMAL, "hash");
    desk_submit(&w, LH_PRIORITY_NORMAL, "stream");
    for (int i = 0; i < 3; i++)
        desk_take_one(&w, false, &t[i]);
    redis_server_ask(&server, "SET " DESK_KEY "progress:progress nonsense");
    redis_server_ask(&server, "SET " DESK_KEY "task:hash nonsense");
    redis_server_ask(&server,
                     "XADD " DESK_KEY "tasks:normal 18446744073709551615-18446744073709551615"
                     " v 1");
    is_i64(desk_report(&w, &t[0].claim, "0-10"), LH_QUEUE_OK, "no records, but the task is kept");
    is_i64(desk_state(&w, "progress"), LH_TASK_ACTIVE, "and shown");
    is_i64(desk_report(&w, &t[1].claim, "0-10"), LH_QUEUE_GONE, "an overwritten task is gone");
    is_i64(desk_finish(&w, &t[1].claim, LH_OUTCOME_DONE, 0), LH_QUEUE_GONE, "and stays so");
    is_i64(desk_finish(&w, &t[0].claim, LH_OUTCOME_DONE, 0), LH_QUEUE_OK, "the other ends well");
    desk_overview(&w);
    is_u64(w.overview.active, 1, "what is gone is not counted");
    redis_server_ask(&server, "ZADD " DESK_KEY "active 1 hash");
    desk_list(&w, LH_TASK_ACTIVE, NULL, 20);
    is_str(w.listed, "stream", "nor listed, and the others are");
    is_i64(desk_finish(&w, &t[2].claim, LH_OUTCOME_DEFERRED, 0), LH_QUEUE_OK, "put back");
    is_i64(desk_state(&w, "stream"), LH_TASK_DEAD, "into a stream that is full: a dead letter");
    ok(strstr(w.error, "takes no entries") != NULL, "with the reason: %s", w.error);
    desk_control(&w, LH_QUEUE_RETRY, "stream");
    is_i64(w.effect, LH_EFFECT_REFUSED, "which cannot be queued again");
    is_i64(desk_state(&w, "stream"), LH_TASK_DEAD, "and stays one");
    redis_server_ask(&server, "DEL " DESK_KEY "tasks:normal");
    desk_control(&w, LH_QUEUE_RETRY, "stream");
    is_i64(w.effect, LH_EFFECT_OK, "until the stream is removed");
    redis_server_ask(&server,
                     "HSET " DESK_KEY "task:stream bytes many failures -1 total nan attempts 1e99");
    desk_take_one(&w, false, &t[0]);
    ok(strcmp(t[0].claim.id, "stream") == 0 && t[0].attempts == 1 && t[0].failures == 0 &&
           t[0].bytes == 0 && t[0].total == 0,
       "numbers that are none are 0");
    redis_server_ask(&server, "HSET " DESK_KEY "task:stream streams few");
    is_i64(desk_state(&w, "stream"), LH_TASK_ACTIVE, "and are shown as that");
    desk_list(&w, LH_TASK_ACTIVE, NULL, 20);
    ok(strstr(w.listed, "stream") != NULL, "in a list, too: %s", w.listed);
    is_i64(desk_finish(&w, &t[0].claim, LH_OUTCOME_DONE, 0), LH_QUEUE_OK, "it ends well");
    desk_close(&w);
}

/* A second entry for a task that has not ended is no second task. */
static void test_twice(void)
{
    struct desk w;
    struct lh_taken t;

    desk_open(&w, &server, "w");
    add("v 1 source /a destination lh://h/x task same");
    add("v 1 source /a destination lh://h/x task same");
    add("v 1 source /b destination lh://h/x task other");
    desk_take(&w, 8, false);
    is_u64(w.n, 2, "three entries, two tasks");
    t = w.taken[0];
    is_u64(redis_server_ask(&server, "XLEN " DESK_KEY "tasks:normal"), 2, "the second is gone");
    desk_finish(&w, &t.claim, LH_OUTCOME_RETRY, 3600000);
    add("v 1 source /a destination lh://h/x task same");
    desk_take(&w, 8, false);
    is_u64(w.n, 0, "nor while it is delayed");
    is_i64(desk_state(&w, "same"), LH_TASK_DELAYED, "which it stays");
    desk_close(&w);
}

/* Entries that somebody trims away. */
static void test_trimmed(void)
{
    struct desk w;
    struct desk w2;
    struct lh_taken t;
    char plain[LH_TASK_ID_SIZE];

    desk_open(&w, &server, "w");
    desk_open(&w2, &server, "w2");
    add("v 1 source /a destination lh://h/x task named");
    add("v 1 source /a destination lh://h/x");
    desk_take(&w, 2, false);
    snprintf(plain, sizeof(plain), "%s", w.taken[1].claim.id);
    desk_silence(&w, "named", 10 * DESK_CLAIM_MS);
    desk_silence(&w, plain, 10 * DESK_CLAIM_MS);
    redis_server_ask(&server, "XTRIM " DESK_KEY "tasks:normal MAXLEN 0");
    do
        desk_take(&w2, 4, true);
    while (desk_state(&w2, plain) == LH_TASK_ACTIVE);
    is_u64(w2.n, 0, "what was trimmed cannot be taken over");
    is_i64(desk_state(&w2, "named"), LH_TASK_DEAD, "it is a dead letter, by its name");
    ok(strstr(w2.error, "trimmed") != NULL, "with the reason: %s", w2.error);
    is_i64(desk_state(&w2, plain), LH_TASK_DEAD, "also without one of its own");
    is_i64(redis_server_ask(&server, "XPENDING " DESK_KEY "tasks:normal workers"), 0,
           "nothing is pending");

    add("v 1 source /a destination lh://h/x task alive");
    desk_take_one(&w, false, &t);
    redis_server_ask(&server, "XTRIM " DESK_KEY "tasks:normal MAXLEN 0");
    is_i64(desk_report(&w, &t.claim, "0-10"), LH_QUEUE_OK, "while its worker lives, it goes on");
    desk_take(&w2, 4, true);
    is_i64(desk_finish(&w, &t.claim, LH_OUTCOME_DONE, 0), LH_QUEUE_OK, "to its end");
    is_i64(desk_state(&w, "alive"), LH_TASK_DONE, "which is well");

    add("v 1 source /a destination lh://h/x task orphan");
    desk_take_one(&w, false, &t);
    redis_server_ask(&server, "XTRIM " DESK_KEY "tasks:normal MAXLEN 0");
    desk_report(&w, &t.claim, "0-10");
    redis_server_ask(&server, "HSET " DESK_KEY "task:orphan heard_ms 1");
    redis_server_ask(&server, "ZADD " DESK_KEY "trimmed 1 orphan");
    do
        desk_take(&w2, 4, true);
    while (desk_state(&w2, "orphan") == LH_TASK_ACTIVE);
    is_i64(desk_state(&w2, "orphan"), LH_TASK_DEAD, "its worker dies: a dead letter");
    is_i64(desk_control(&w, LH_QUEUE_RETRY, "orphan"), 0, "queue it again");
    desk_take_one(&w, false, &t);
    is_str(w.source[0], "/a", "and it is whole");

    desk_submit(&w, LH_PRIORITY_LOW, "early");
    redis_server_ask(&server, "XTRIM " DESK_KEY "tasks:low MAXLEN 0");
    desk_control(&w, LH_QUEUE_RETRY, "early");
    is_i64(w.effect, LH_EFFECT_OK, "trimmed before anybody took it: retry puts it back");
    desk_take_one(&w, false, &t);
    is_str(t.claim.id, "early", "where it is taken");
    desk_close(&w);
    desk_close(&w2);
}

/* Entries of a plain XADD can be looked at and stopped before anybody has taken them. */
static void test_plain(void)
{
    struct desk w;
    char id[LH_TASK_ID_SIZE];

    desk_open(&w, &server, "w");
    add("v 1 source /a destination lh://h/x");
    add("v 1 source /b destination lh://h/x task b");
    desk_list(&w, LH_TASK_QUEUED, NULL, 1);
    snprintf(id, sizeof(id), "%.64s", w.listed);
    ok(id[0] == 'n', "it is listed as %s", id);
    desk_list(&w, LH_TASK_QUEUED, w.next, 1);
    is_str(w.listed, "b", "the next page");
    is_str(w.next, "", "which is the last");
    is_i64(desk_state(&w, id), LH_TASK_QUEUED, "it is known");
    is_u64(w.n_fields, 3, "with its fields");
    desk_overview(&w);
    is_u64(w.overview.queued[LH_PRIORITY_NORMAL], 2, "two are queued");
    desk_control(&w, LH_QUEUE_PAUSE, id);
    is_i64(w.effect, LH_EFFECT_OK, "it can be paused");
    desk_take(&w, 8, false);
    is_u64(w.n, 1, "then only the other is taken");
    desk_control(&w, LH_QUEUE_RESUME, id);
    desk_take(&w, 8, false);
    is_str(w.source[0], "/a", "until it is resumed");
    redis_server_ask(&server, "DEL " DESK_KEY "tasks:high");
    add("v 1 source /c destination lh://h/x");
    desk_take(&w, 8, true);
    is_u64(w.n, 1, "a stream that was removed is made again");
    desk_close(&w);
}

static void on_waited(void *arg, int status, const char *text, struct lh_taking *reply)
{
    struct desk *d = arg;

    d->called = true;
    d->status = status;
    d->n = status == 0 ? reply->n : 0;
    if (d->n > 0)
        d->taken[0].claim = reply->taken[0].claim;
}

static void test_wait(void)
{
    struct desk w;
    struct desk c;

    desk_open(&w, &server, "w");
    desk_open(&c, &server, NULL);
    is_i64(desk_wait(&w, 10), 0, "a wait that ends: %s", w.text);
    is_u64(w.n, 0, "with nothing");
    w.called = false;
    is_i64(lh_queue_wait(w.queue, 60000, on_waited, &w), 0, "a longer one");
    is_i64(lh_queue_wait(w.queue, 60000, on_waited, &w), -LH_E_BUSY, "one at a time");
    uv_run(&w.loop, UV_RUN_NOWAIT);
    desk_submit(&c, LH_PRIORITY_LOW, "late");
    while (!w.called)
        desk_turn(&w);
    is_i64(w.status, 0, "it ends with a task");
    is_u64(w.n, 1, "one");
    is_str(w.taken[0].claim.id, "late", "that came");
    is_i64(desk_report(&w, &w.taken[0].claim, NULL), LH_QUEUE_OK, "and is its own");
    is_i64(lh_queue_wait(c.queue, 10, on_waited, &c), -LH_E_INVAL, "a client does not wait");
    is_i64(lh_queue_take(c.queue, 1, false, on_waited, &c), -LH_E_INVAL, "nor take");

    w.called = false;
    lh_queue_wait(w.queue, 60000, on_waited, &w);
    uv_run(&w.loop, UV_RUN_NOWAIT);
    desk_close(&w);
    ok(w.called && w.status == -LH_E_NETWORK, "closed in the middle of it: it was told");
    desk_close(&c);
}

/* A Redis that has forgotten everything. */
static void test_forgotten(void)
{
    struct desk w;
    struct lh_taken t;
    struct lh_taken u;

    desk_open(&w, &server, "w");
    desk_submit(&w, LH_PRIORITY_NORMAL, "f");
    desk_take_one(&w, false, &t);
    empty();
    is_i64(desk_report(&w, &t.claim, NULL), LH_QUEUE_GONE, "the task is gone");
    is_i64(desk_finish(&w, &t.claim, LH_OUTCOME_DONE, 0), LH_QUEUE_GONE, "its end too");
    is_i64(redis_server_ask(&server, "EXISTS " DESK_KEY "task:f"), 0, "and leaves nothing");
    is_i64(desk_take(&w, 1, true), -LH_E_BUSY, "a take: %s", w.text);
    desk_until_up(&w, 2);
    ok(w.n_down == 1 && w.down_status == LH_E_BUSY, "hello was said again: %s", w.why);
    desk_submit(&w, LH_PRIORITY_NORMAL, "f");
    desk_take_one(&w, false, &u);
    ok(memcmp(u.claim.incarnation, t.claim.incarnation, 16) != 0, "in a new incarnation");
    is_i64(desk_report(&w, &t.claim, NULL), LH_QUEUE_LOST, "the old claim is not the new one's");
    is_i64(desk_finish(&w, &u.claim, LH_OUTCOME_DONE, 0), LH_QUEUE_OK, "work goes on");
    empty();
    is_i64(desk_wait(&w, 1000), -LH_E_BUSY, "a wait: %s", w.text);
    desk_until_up(&w, 3);
    is_i64(desk_wait(&w, 10), 0, "and again");
    desk_close(&w);
}

/* A Redis that restarts with what it had. */
static void test_restart(void)
{
    static const char *const aof[] = {"--appendonly", "yes", "--appendfsync", "always", NULL};
    struct redis_server other;
    struct desk w;
    struct lh_taken t;
    struct lh_taken u;

    redis_server_start(&other, aof);
    desk_open(&w, &other, "w");
    desk_submit(&w, LH_PRIORITY_NORMAL, "before");
    desk_submit(&w, LH_PRIORITY_NORMAL, "after");
    desk_take_one(&w, false, &t);
    redis_server_kill(&other);
    while (w.n_down == 0)
        desk_turn(&w);
    ok(!lh_queue_up(w.queue), "it is down: %s", w.why);
    is_i64(lh_queue_overview(w.queue, NULL, NULL), -LH_E_NETWORK, "and says so");
    redis_server_again(&other);
    desk_until_up(&w, 2);
    is_i64(desk_report(&w, &t.claim, "0-10"), LH_QUEUE_OK, "what was held is held");
    desk_take_one(&w, false, &u);
    is_str(u.claim.id, "after", "what was queued is queued");
    ok(memcmp(u.claim.incarnation, t.claim.incarnation, 16) != 0, "a new incarnation");
    ok(u.claim.number > t.claim.number, "and a greater number all the same");
    is_i64(desk_finish(&w, &t.claim, LH_OUTCOME_DONE, 0), LH_QUEUE_OK, "the old one ends");
    is_i64(desk_finish(&w, &u.claim, LH_OUTCOME_DONE, 0), LH_QUEUE_OK, "and the new one");
    desk_close(&w);
    redis_server_stop(&other);
}

/* A Redis that is full: who has a task keeps it and can end it; nothing is half done. */
static void test_full(void)
{
    struct desk w;
    struct lh_taken t;

    desk_open(&w, &server, "w");
    desk_submit(&w, LH_PRIORITY_NORMAL, "o");
    desk_take_one(&w, false, &t);
    desk_submit(&w, LH_PRIORITY_NORMAL, "waits");
    desk_submit(&w, LH_PRIORITY_LOW, "waits-too");
    redis_server_ask(&server, "CONFIG SET maxmemory 1");
    is_i64(desk_submit(&w, LH_PRIORITY_NORMAL, "p"), -LH_E_BUSY, "no new task: %s", w.text);
    is_i64(redis_server_ask(&server, "EXISTS " DESK_KEY "task:p"), 0, "and nothing of it");
    is_i64(desk_report(&w, &t.claim, "0-10"), LH_QUEUE_OK, "its worker is heard");
    is_i64(desk_finish(&w, &t.claim, LH_OUTCOME_RETRY, 3600000), LH_QUEUE_OK, "and can end it");
    is_i64(desk_state(&w, "o"), LH_TASK_DELAYED, "as it should");
    is_i64(desk_wait(&w, 1000), 0, "what is queued can be waited for: %s", w.text);
    is_u64(w.n, 2, "and taken");
    is_i64(desk_state(&w, "waits"), LH_TASK_ACTIVE, "it is active");
    redis_server_ask(&server, "CONFIG SET maxmemory 0");
    is_i64(desk_submit(&w, LH_PRIORITY_NORMAL, "p"), 0, "there is room again: %s", w.text);
    desk_close(&w);
}

/* The rights that docs/queue.md asks for are enough; fewer are said so. */
static void test_rights(void)
{
    static const char rights[] =
        "ACL SETUSER worker reset on >secret ~longhaul:{t}:* +eval +evalsha +time +info +select "
        "+hget "
        "+hmget +hset +hgetall +hdel +xadd +xack +xdel +xclaim +xpending +xrange +xrevrange +xlen "
        "+xreadgroup +xgroup +xinfo +zadd +zrem +zrange +zrevrange +zrangebyscore +zcard +sadd "
        "+srem +smembers +scard +del +exists +pexpire +persist +ping";
    struct redis_server as = server;
    struct lh_taken t;
    struct desk w;

    redis_server_ask(&server, rights);
    snprintf(as.url, sizeof(as.url), "unix://worker:secret@%.70s", server.path);
    desk_open(&w, &as, "w");
    is_i64(desk_submit(&w, LH_PRIORITY_NORMAL, "a"), 0, "submit: %s", w.text);
    is_i64(desk_wait(&w, 1000), 0, "wait: %s", w.text);
    is_u64(w.n, 1, "with a task");
    t = w.taken[0];
    is_i64(desk_report(&w, &t.claim, "0-10"), LH_QUEUE_OK, "report");
    is_i64(desk_get(&w, "a"), 0, "get: %s", w.text);
    for (int i = 0; i < LH_TASK_CANCELLED; i++)
        is_i64(desk_list(&w, (enum lh_task_state)i, NULL, 9), 0, "list: %s", w.text);
    is_i64(desk_overview(&w), 0, "overview: %s", w.text);
    desk_silence(&w, "a", 10 * DESK_CLAIM_MS);
    desk_take_one(&w, true, &t);
    is_i64(desk_finish(&w, &t.claim, LH_OUTCOME_RETRY, 1), LH_QUEUE_OK, "finish");
    is_i64(desk_control(&w, LH_QUEUE_PAUSE, "a"), 0, "control: %s", w.text);
    is_i64(desk_control(&w, LH_QUEUE_RESUME, "a"), 0, "control: %s", w.text);
    is_i64(desk_control(&w, LH_QUEUE_CANCEL, "a"), 0, "control: %s", w.text);
    is_i64(desk_control(&w, LH_QUEUE_RETRY, "a"), 0, "control: %s", w.text);
    desk_take_one(&w, true, &t);
    desk_finish(&w, &t.claim, LH_OUTCOME_DONE, 0);
    is_i64(desk_control(&w, LH_QUEUE_DROP, "a"), 0, "control: %s", w.text);
    is_i64(desk_leave(&w), 0, "leave: %s", w.text);
    desk_close(&w);

    redis_server_ask(&server, "ACL SETUSER worker -info -xadd");
    desk_open(&w, &as, "w");
    ok(true, "INFO is not needed");
    is_i64(desk_submit(&w, LH_PRIORITY_NORMAL, "b"), -LH_E_REFUSED, "XADD is: %s", w.text);
    desk_close(&w);
}

/* The biggest there can be, many times: what Redis keeps of one task is bounded. */
static void test_bounds(void)
{
    static char map[LH_MAP_TEXT_MAX + 2];
    struct desk w;
    struct lh_taken t;
    long long bytes;
    size_t len = 0;

    for (unsigned i = 0; len < LH_MAP_TEXT_MAX - 40; i++)
        len += (size_t)snprintf(map + len, sizeof(map) - len, "%s%u-%u", i > 0 ? "," : "",
                                1000000000 + i * 10, 1000000005 + i * 10);
    desk_open(&w, &server, "w");
    desk_submit(&w, LH_PRIORITY_NORMAL, "b");
    desk_take_one(&w, false, &t);
    for (unsigned i = 0; i < 200; i++) {
        if (desk_report(&w, &t.claim, map) != LH_QUEUE_OK)
            bail("report");
    }
    bytes = redis_server_ask(&server, "MEMORY USAGE " DESK_KEY "task:b SAMPLES 0") +
            redis_server_ask(&server, "MEMORY USAGE " DESK_KEY "progress:b SAMPLES 0");
    ok(bytes > 16384 && bytes < 512 * 1024, "200 records of the biggest map: %lld bytes", bytes);
    desk_get(&w, "b");
    is_u64(w.n_records, 16, "the last records are there");
    memset(map, '1', sizeof(map) - 1);
    ok(lh_queue_report(w.queue, &(struct lh_health){.pid = 1},
                       &(struct lh_report){.claim = t.claim, .map = map}, 1, NULL,
                       NULL) == -LH_E_INVAL,
       "a bigger one is refused");
    desk_finish(&w, &t.claim, LH_OUTCOME_DONE, 0);
    bytes = redis_server_ask(&server, "MEMORY USAGE " DESK_KEY "task:b SAMPLES 0");
    ok(bytes < 4096, "done, it is small: %lld bytes", bytes);
    is_i64(redis_server_ask(&server, "EXISTS " DESK_KEY "progress:b"), 0, "without records");
    ok(redis_server_ask(&server, "TTL " DESK_KEY "task:b") > 86400, "and goes by itself one day");
    desk_close(&w);
}

int main(void)
{
    static void (*const tests[])(void) = {test_poison,    test_damaged, test_rights, test_twice,
                                          test_trimmed,   test_plain,   test_wait,   test_full,
                                          test_forgotten, test_bounds};

    redis_server_start(&server, NULL);
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        tests[i]();
        empty();
    }
    redis_server_stop(&server);
    test_restart();
    return done_testing();
}
