/* Tasks of a queue in a real Redis: who gets them, who keeps them, how they end. */
#include "test/lib/tap.h"
#include "test/loop/desk.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct redis_server server;

static void empty(void)
{
    redis_server_ask(&server, "FLUSHALL");
}

/* One task from being put in to its end. */
static void test_one(void)
{
    struct desk w;
    struct desk c;
    struct lh_taken t;

    desk_open(&w, &server, "w1");
    desk_open(&c, &server, NULL);
    is_i64(desk_submit(&c, LH_PRIORITY_NORMAL, "one"), 0, "a task is put in: %s", c.text);
    is_str(c.id, "one", "under the id it brings");
    is_i64(desk_state(&c, "one"), LH_TASK_QUEUED, "it is queued");
    is_u64(c.n_fields, 5, "its fields are there");
    is_i64(desk_submit(&c, LH_PRIORITY_HIGH, "one"), -LH_E_EXISTS, "not twice: %s", c.text);
    is_i64(desk_take(&w, 4, true), 0, "a worker takes: %s", w.text);
    is_u64(w.n, 1, "the one there is");
    t = w.taken[0];
    is_str(t.claim.id, "one", "its id");
    is_str(w.source[0], "one", "its source");
    ok(t.claim.number > 0 && !t.reaped, "its claim");
    is_u64(t.attempts, 1, "the first attempt");
    is_i64(desk_state(&c, "one"), LH_TASK_ACTIVE, "it is active");
    is_str(c.worker_name, "w1", "at its worker");
    is_i64(desk_report(&w, &t.claim, NULL), LH_QUEUE_OK, "a report without a record");
    is_i64(desk_report(&w, &t.claim, "0-10"), LH_QUEUE_OK, "and with one");
    desk_get(&c, "one");
    is_str(c.map, "0-10", "the map is kept");
    is_u64(c.info.bytes, 10, "what is durable");
    is_u64(c.info.total, 100, "of how much");
    is_u64(c.info.rate_bps, 8000, "how fast");
    is_u64(c.n_records, 1, "one record");
    is_i64(desk_overview(&c), 0, "the overview: %s", c.text);
    is_u64(c.overview.active, 1, "one is active");
    is_u64(c.overview.n_workers, 1, "one worker");
    is_str(c.workers_info[0].name, "w1", "by its name");
    is_str(c.workers_info[0].health.host, "a_host", "on its host");
    is_u64(c.workers_info[0].claim_ms, DESK_CLAIM_MS, "with its claim time");
    is_i64(desk_finish(&w, &t.claim, LH_OUTCOME_DONE, 0), LH_QUEUE_OK, "it ends");
    is_i64(desk_state(&c, "one"), LH_TASK_DONE, "it is done");
    is_u64(c.info.bytes, 100, "all of it");
    is_u64(redis_server_ask(&server, "XLEN " DESK_KEY "tasks:normal"), 0, "its entry is gone");
    is_i64(desk_finish(&w, &t.claim, LH_OUTCOME_DEAD, 0), LH_QUEUE_LOST, "ended twice: lost");
    is_i64(desk_state(&c, "one"), LH_TASK_DONE, "and nothing was changed");
    is_i64(desk_report(&w, &t.claim, NULL), LH_QUEUE_LOST, "a late report: lost");
    is_i64(desk_leave(&w), 0, "the worker leaves");
    desk_overview(&c);
    is_u64(c.overview.n_workers, 0, "and is listed no more");
    is_u64(c.overview.recent_tasks, 1, "one task done of late");
    is_u64(c.overview.recent_bytes, 100, "of so many bytes");
    desk_close(&w);
    desk_close(&c);
}

/* Many tasks, two workers: each task goes to one of them, under a claim of its own. */
static void test_two_workers(void)
{
    struct desk w[2];
    uint64_t last = 0;
    unsigned n_taken = 0;
    bool seen[20] = {false};
    bool rising = true;

    desk_open(&w[0], &server, "w1");
    desk_open(&w[1], &server, "w2");
    for (int i = 0; i < 20; i++) {
        char id[16];

        snprintf(id, sizeof(id), "t%02d", i);
        desk_submit(&w[0], LH_PRIORITY_NORMAL, id);
    }
    for (int i = 0; i < 12; i++) {
        struct desk *d = &w[i % 2];

        desk_take(d, 3, i % 3 == 0);
        for (size_t j = 0; j < d->n; j++) {
            unsigned k = (unsigned)atoi(d->taken[j].claim.id + 1);

            rising = rising && d->taken[j].claim.number > last;
            last = d->taken[j].claim.number;
            ok(k < 20 && !seen[k], "%s goes to %s alone", d->taken[j].claim.id, d->worker);
            seen[k % 20] = true;
            n_taken++;
        }
    }
    is_u64(n_taken, 20, "every task was taken");
    ok(rising, "each claim is greater than the one before");
    desk_close(&w[0]);
    desk_close(&w[1]);
}

/* A worker that is not heard of loses its task; one that is heard of does not; and one that slept
 * does not get it back by reporting. */
static void test_reap(void)
{
    struct desk w1;
    struct desk w2;
    struct lh_taken old;
    struct lh_taken new;

    desk_open(&w1, &server, "w1");
    desk_open(&w2, &server, "w2");
    desk_submit(&w1, LH_PRIORITY_NORMAL, "r");
    desk_take_one(&w1, true, &old);
    desk_take(&w2, 4, true);
    is_u64(w2.n, 0, "a task of a worker that was just heard of stays");
    ok(w2.soonest_ms > 0 && w2.soonest_ms <= DESK_CLAIM_MS, "soonest: %d ms", (int)w2.soonest_ms);
    desk_silence(&w1, "r", DESK_CLAIM_MS / 2);
    desk_take(&w2, 4, true);
    is_u64(w2.n, 0, "so does one of a worker that is silent, but not for too long");
    ok(w2.soonest_ms > 0 && w2.soonest_ms <= DESK_CLAIM_MS / 2, "soonest: %d ms",
       (int)w2.soonest_ms);
    desk_silence(&w1, "r", 10 * DESK_CLAIM_MS);
    is_i64(desk_report(&w1, &old.claim, "0-10"), LH_QUEUE_OK, "it is heard of again in time");
    desk_take(&w2, 4, true);
    is_u64(w2.n, 0, "and keeps its task");

    redis_server_ask(&server, "HSET " DESK_KEY "workers w1 %s", "at=1 claim_ms=660000");
    desk_silence(&w1, "r", 10 * DESK_CLAIM_MS);
    desk_take(&w2, 4, true);
    is_u64(w2.n, 0, "who has a longer claim time may be silent for so long");
    redis_server_ask(&server, "HSET " DESK_KEY "workers w1 %s", "at=1 claim_ms=1000");
    desk_silence(&w1, "r", DESK_CLAIM_MS - 5000);
    desk_take(&w2, 4, true);
    is_u64(w2.n, 0, "a shorter one counts for nothing");

    desk_silence(&w1, "r", 10 * DESK_CLAIM_MS);
    desk_take(&w2, 4, false);
    is_u64(w2.n, 0, "nobody reaps who does not ask to");
    desk_take_one(&w2, true, &new);
    is_str(new.claim.id, "r", "another takes what is not heard of");
    ok(new.reaped &&new.claim.number > old.claim.number, "under a greater claim");
    is_u64(new.attempts, 2, "the second attempt");
    is_u64(new.bytes, 10, "with what was on record");
    is_i64(desk_report(&w1, &old.claim, "0-99"), LH_QUEUE_LOST, "the old one reports: lost");
    is_i64(redis_server_ask(&server, "EVAL %s 1 " DESK_KEY "tasks:normal",
                            "return redis.call('XPENDING', KEYS[1], 'workers', '-', '+', 1)[1][2] "
                            "== 'w2' and 1 or 0"),
           1, "and its report takes nothing back");
    is_i64(desk_finish(&w1, &old.claim, LH_OUTCOME_DEAD, 0), LH_QUEUE_LOST, "it ends it: lost");
    is_i64(desk_state(&w2, "r"), LH_TASK_ACTIVE, "the task is where it was");
    is_str(w2.worker_name, "w2", "at its new worker");
    is_str(w2.workers, "w1,w2", "who had it");
    is_str(w2.map, "0-10", "with the map of before");
    is_i64(desk_finish(&w2, &new.claim, LH_OUTCOME_DONE, 0), LH_QUEUE_OK, "which ends it");
    desk_close(&w1);
    desk_close(&w2);
}

static void wake_server(uv_timer_t *timer)
{
    kill(server.pid, SIGCONT);
}

/* Runs when the take has been asked for: a slow machine must not wake Redis sooner than it may
 * reap. */
static void on_asked(uv_timer_t *timer)
{
    uv_timer_start(timer, wake_server, 1500, 0);
}

/* A take that waited in a Redis that did not run reaps nobody: who could have been heard of? */
static void test_reap_late(void)
{
    struct desk w1;
    struct desk w2;
    struct lh_taken t;
    uv_timer_t timer;

    desk_open(&w1, &server, "w1");
    desk_open(&w2, &server, "w2");
    desk_submit(&w1, LH_PRIORITY_NORMAL, "l");
    desk_take_one(&w1, false, &t);
    desk_silence(&w1, "l", 10 * DESK_CLAIM_MS);
    uv_timer_init(&w2.loop, &timer);
    uv_timer_start(&timer, on_asked, 0, 0);
    kill(server.pid, SIGSTOP);
    is_i64(desk_take(&w2, 1, true), 0, "a take is answered by a Redis that slept: %s", w2.text);
    is_u64(w2.n, 0, "and has reaped nobody");
    is_u64(w2.soonest_ms, 1, "whether there is somebody is to be asked again");
    uv_close((uv_handle_t *)&timer, NULL);
    desk_take_one(&w2, true, &t);
    is_str(t.claim.id, "l", "the next one does");
    desk_finish(&w2, &t.claim, LH_OUTCOME_DONE, 0);
    desk_close(&w1);
    desk_close(&w2);
}

/* Tasks that failed come back at their time; what was put back is not counted as an attempt. */
static void test_again(void)
{
    struct desk w;
    struct lh_taken t;

    desk_open(&w, &server, "w");
    desk_submit(&w, LH_PRIORITY_LOW, "a");
    desk_take_one(&w, false, &t);
    is_i64(desk_finish(&w, &t.claim, LH_OUTCOME_RETRY, 3600000), LH_QUEUE_OK, "failed, in an hour");
    is_i64(desk_state(&w, "a"), LH_TASK_DELAYED, "it is delayed");
    is_str(w.error, "no way", "with the reason");
    is_str(w.error_status, "NETWORK", "and its name");
    ok(w.info.due_ms > w.info.submitted_ms + 3000000, "until then");
    desk_take(&w, 1, false);
    is_u64(w.n, 0, "nothing is there to be taken");
    ok(w.soonest_ms > 3000000 && w.soonest_ms <= 3600000, "soonest: it");
    desk_control(&w, LH_QUEUE_RETRY, "a");
    desk_take_one(&w, false, &t);
    is_u64(t.attempts, 2, "asked for at once: the second attempt");
    is_u64(t.failures, 1, "after one that failed");
    is_i64(t.priority, LH_PRIORITY_LOW, "of the priority it had");
    desk_finish(&w, &t.claim, LH_OUTCOME_RETRY, 30);
    desk_take_one(&w, false, &t);
    is_u64(t.attempts, 3, "it came back by itself");
    is_str(w.source[0], "a", "with its fields");
    is_i64(desk_finish(&w, &t.claim, LH_OUTCOME_DEFERRED, 20), LH_QUEUE_OK, "put back");
    is_i64(desk_state(&w, "a"), LH_TASK_DELAYED, "for a moment");
    desk_take_one(&w, false, &t);
    is_u64(t.attempts, 3, "not counted");
    desk_finish(&w, &t.claim, LH_OUTCOME_DEFERRED, 0);
    is_i64(desk_state(&w, "a"), LH_TASK_QUEUED, "put back for at once: it is queued");
    desk_take_one(&w, false, &t);
    is_u64(t.attempts, 3, "not counted either");
    is_i64(desk_finish(&w, &t.claim, LH_OUTCOME_DEAD, 0), LH_QUEUE_OK, "failed for good");
    is_i64(desk_state(&w, "a"), LH_TASK_DEAD, "it is a dead letter");
    desk_list(&w, LH_TASK_DEAD, NULL, 10);
    is_str(w.listed, "a", "and listed");
    desk_control(&w, LH_QUEUE_RETRY, "a");
    desk_take_one(&w, false, &t);
    is_u64(t.attempts + t.failures, 1, "queued again, everything is forgotten");
    desk_finish(&w, &t.claim, LH_OUTCOME_DONE, 0);
    desk_submit(&w, LH_PRIORITY_HIGH, "a");
    desk_take_one(&w, false, &t);
    is_u64(t.attempts, 1, "an id whose task has ended can be used anew");
    desk_finish(&w, &t.claim, LH_OUTCOME_DONE, 0);
    desk_close(&w);
}

static void test_priorities(void)
{
    static const char *const order[] = {"high", "normal", "low"};
    struct desk w;
    struct lh_taken t;
    int low_at = 0;

    desk_open(&w, &server, "w");
    for (int i = LH_N_PRIORITIES - 1; i >= 0; i--)
        desk_submit(&w, (enum lh_priority)i, order[i]);
    for (int i = 0; i < LH_N_PRIORITIES; i++) {
        desk_take_one(&w, false, &t);
        is_str(t.claim.id, order[i], "%s is taken next", order[i]);
    }
    for (int i = 0; i < 20; i++) {
        char id[16];

        snprintf(id, sizeof(id), "h%d", i);
        desk_submit(&w, LH_PRIORITY_HIGH, id);
    }
    desk_submit(&w, LH_PRIORITY_LOW, "patient");
    for (int i = 1; i <= 20 && low_at == 0; i++) {
        desk_take_one(&w, false, &t);
        if (strcmp(t.claim.id, "patient") == 0)
            low_at = i;
    }
    ok(low_at > 1 && low_at <= 16, "a low one is not starved by 20 high ones: the %dth", low_at);
    desk_close(&w);
}

/* ---- control ---- */

/* Bring a task of that id into a state. */
static void bring(struct desk *w, const char *id, enum lh_task_state state, struct lh_taken *t)
{
    desk_submit(w, LH_PRIORITY_NORMAL, id);
    if (state == LH_TASK_QUEUED)
        return;
    if (state == LH_TASK_PAUSED || state == LH_TASK_CANCELLED) {
        desk_control(w, state == LH_TASK_PAUSED ? LH_QUEUE_PAUSE : LH_QUEUE_CANCEL, id);
        return;
    }
    desk_take_one(w, false, t);
    if (state == LH_TASK_DELAYED)
        desk_finish(w, &t->claim, LH_OUTCOME_RETRY, 3600000);
    if (state == LH_TASK_DEAD)
        desk_finish(w, &t->claim, LH_OUTCOME_DEAD, 0);
    if (state == LH_TASK_DONE)
        desk_finish(w, &t->claim, LH_OUTCOME_DONE, 0);
}

enum { OK, ASKED, ALREADY, REFUSED }; /* LH_EFFECT_… */

/* What each verb does to a task in each state. */
static const struct {
    enum lh_task_state from;
    struct {
        int effect;
        int state; /* afterwards; -1 forgotten */
    } verb[LH_N_QUEUE_VERBS];
} controls[] = {
    /* pause, resume, cancel, retry, drop */
    {LH_TASK_QUEUED,
     {{OK, LH_TASK_PAUSED},
      {ALREADY, LH_TASK_QUEUED},
      {OK, LH_TASK_CANCELLED},
      {ALREADY, LH_TASK_QUEUED},
      {REFUSED, LH_TASK_QUEUED}}},
    {LH_TASK_ACTIVE,
     {{ASKED, LH_TASK_ACTIVE},
      {ALREADY, LH_TASK_ACTIVE},
      {ASKED, LH_TASK_ACTIVE},
      {ALREADY, LH_TASK_ACTIVE},
      {REFUSED, LH_TASK_ACTIVE}}},
    {LH_TASK_DELAYED,
     {{OK, LH_TASK_PAUSED},
      {ALREADY, LH_TASK_DELAYED},
      {OK, LH_TASK_CANCELLED},
      {OK, LH_TASK_QUEUED},
      {REFUSED, LH_TASK_DELAYED}}},
    {LH_TASK_PAUSED,
     {{ALREADY, LH_TASK_PAUSED},
      {OK, LH_TASK_QUEUED},
      {OK, LH_TASK_CANCELLED},
      {REFUSED, LH_TASK_PAUSED},
      {REFUSED, LH_TASK_PAUSED}}},
    {LH_TASK_DONE,
     {{REFUSED, LH_TASK_DONE},
      {REFUSED, LH_TASK_DONE},
      {REFUSED, LH_TASK_DONE},
      {REFUSED, LH_TASK_DONE},
      {OK, -1}}},
    {LH_TASK_DEAD,
     {{REFUSED, LH_TASK_DEAD},
      {REFUSED, LH_TASK_DEAD},
      {OK, LH_TASK_CANCELLED},
      {OK, LH_TASK_QUEUED},
      {OK, -1}}},
    {LH_TASK_CANCELLED,
     {{REFUSED, LH_TASK_CANCELLED},
      {REFUSED, LH_TASK_CANCELLED},
      {ALREADY, LH_TASK_CANCELLED},
      {OK, LH_TASK_QUEUED},
      {OK, -1}}},
};

/* Whether Redis has the task where one in such a state belongs. */
static void is_filed(const char *name, int state)
{
    static const char *const sets[] = {"active", "delayed", "paused", "dead"};
    static const int of_set[] = {LH_TASK_ACTIVE, LH_TASK_DELAYED, LH_TASK_PAUSED, LH_TASK_DEAD};
    int n_streams = (int)redis_server_ask(&server, "XLEN " DESK_KEY "tasks:normal");

    is_i64(n_streams, state == LH_TASK_QUEUED || state == LH_TASK_ACTIVE, "%s: its entry", name);
    for (size_t k = 0; k < 4; k++) {
        const char *type = k == 2 ? "SCARD" : "ZCARD";

        if (redis_server_ask(&server, "%s " DESK_KEY "%s", type, sets[k]) != (state == of_set[k]))
            ok(false, "%s: the set '%s' knows", name, sets[k]);
    }
}

/* One verb at a task in one state. */
static void try_verb(struct desk *w, enum lh_task_state from, int verb, int effect, int to)
{
    static const char *const verbs[] = {"pause", "resume", "cancel", "retry", "drop"};
    char name[64];
    struct lh_taken t;

    empty();
    desk_take(w, 1, false); /* says hello again */
    desk_until_up(w, w->n_up + (w->status != 0));
    bring(w, "c", from, &t);
    snprintf(name, sizeof(name), "%s of %s", verbs[verb], lh_task_state_name(from));
    is_i64(desk_control(w, (enum lh_queue_verb)verb, "c"), 0, "%s: %s", name, w->text);
    is_i64(w->effect, effect, "%s: the effect", name);
    is_i64(desk_state(w, "c"), to, "%s: the state", name);
    is_filed(name, to);
    if (to == LH_TASK_QUEUED) {
        desk_take_one(w, false, &t);
        is_str(w->source[0], "c", "%s: it is taken, with its fields", name);
        is_i64(redis_server_ask(&server, "TTL " DESK_KEY "task:c"), -1, "%s: for ever", name);
    }
}

static void test_control(void)
{
    struct desk w;

    desk_open(&w, &server, "w");
    for (size_t i = 0; i < sizeof(controls) / sizeof(controls[0]); i++)
        for (int v = 0; v < LH_N_QUEUE_VERBS; v++)
            try_verb(&w, controls[i].from, v, controls[i].verb[v].effect,
                     controls[i].verb[v].state);
    desk_control(&w, LH_QUEUE_PAUSE, "nobody");
    is_i64(w.effect, LH_EFFECT_UNKNOWN, "a task that there is not");
    is_i64(desk_control(&w, LH_QUEUE_PAUSE, "no/body"), -LH_E_INVAL, "an id that is none");
    desk_close(&w);
}

/* What is asked of an active task. */
static void test_asked(void)
{
    struct desk w;
    struct desk w2;
    struct lh_taken t;

    desk_open(&w, &server, "w");
    desk_open(&w2, &server, "w2");
    desk_submit(&w, LH_PRIORITY_NORMAL, "p");
    desk_take_one(&w, false, &t);
    desk_control(&w, LH_QUEUE_PAUSE, "p");
    is_i64(desk_report(&w, &t.claim, NULL), LH_QUEUE_PAUSED, "the worker hears of pause");
    desk_control(&w, LH_QUEUE_PAUSE, "p");
    is_i64(w.effect, LH_EFFECT_ALREADY, "asked for twice");
    is_i64(desk_finish(&w, &t.claim, LH_OUTCOME_PAUSED, 0), LH_QUEUE_OK, "and does");
    is_i64(desk_state(&w, "p"), LH_TASK_PAUSED, "it is paused");
    desk_list(&w, LH_TASK_PAUSED, NULL, 10);
    is_str(w.listed, "p", "and listed");
    desk_control(&w, LH_QUEUE_RESUME, "p");
    desk_take_one(&w, false, &t);

    desk_control(&w, LH_QUEUE_PAUSE, "p");
    desk_control(&w, LH_QUEUE_RESUME, "p");
    is_i64(w.effect, LH_EFFECT_OK, "pause is taken back");
    is_i64(desk_report(&w, &t.claim, NULL), LH_QUEUE_OK, "in time");
    desk_control(&w, LH_QUEUE_PAUSE, "p");
    desk_report(&w, &t.claim, NULL);
    desk_control(&w, LH_QUEUE_RESUME, "p");
    desk_finish(&w, &t.claim, LH_OUTCOME_PAUSED, 0);
    is_i64(desk_state(&w, "p"), LH_TASK_QUEUED, "or too late: it is queued again");
    desk_take_one(&w, false, &t);

    desk_control(&w, LH_QUEUE_CANCEL, "p");
    is_i64(desk_report(&w, &t.claim, NULL), LH_QUEUE_CANCELLED, "the worker hears of cancel");
    desk_control(&w, LH_QUEUE_PAUSE, "p");
    is_i64(w.effect, LH_EFFECT_REFUSED, "no pause after that");
    desk_silence(&w, "p", 10 * DESK_CLAIM_MS);
    do
        desk_take(&w2, 1, true);
    while (w2.n == 0 && desk_state(&w2, "p") == LH_TASK_ACTIVE);
    is_i64(desk_state(&w2, "p"), LH_TASK_CANCELLED, "its worker died: whoever reaps, settles it");
    is_i64(desk_finish(&w, &t.claim, LH_OUTCOME_CANCELLED, 0), LH_QUEUE_LOST,
           "without the old one");

    desk_submit(&w, LH_PRIORITY_NORMAL, "q");
    desk_take_one(&w, false, &t);
    desk_control(&w, LH_QUEUE_CANCEL, "q");
    is_i64(desk_finish(&w, &t.claim, LH_OUTCOME_RETRY, 1000), LH_QUEUE_OK, "failed meanwhile");
    is_i64(desk_state(&w, "q"), LH_TASK_CANCELLED, "cancelled all the same");
    desk_submit(&w, LH_PRIORITY_NORMAL, "s");
    desk_take_one(&w, false, &t);
    desk_control(&w, LH_QUEUE_CANCEL, "s");
    desk_finish(&w, &t.claim, LH_OUTCOME_DONE, 0);
    is_i64(desk_state(&w, "s"), LH_TASK_DONE, "done meanwhile: it is done");
    desk_list(&w, LH_TASK_DONE, NULL, 2);
    is_str(w.listed, "s q", "ended ones, the last first");
    desk_list(&w, LH_TASK_DONE, w.next, 2);
    is_str(w.listed, "p", "and the rest of them");
    is_str(w.next, "", "which is all");
    desk_close(&w);
    desk_close(&w2);
}

int main(void)
{
    redis_server_start(&server, NULL);
    test_one();
    empty();
    test_two_workers();
    empty();
    test_reap();
    empty();
    test_reap_late();
    empty();
    test_again();
    empty();
    test_priorities();
    test_control();
    empty();
    test_asked();
    redis_server_stop(&server);
    return done_testing();
}
