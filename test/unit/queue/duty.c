/* queue/duty: each rule by a story. (Random stories: duty_random.c.) */
#include "duty_rig.h"
#include "test/lib/tap.h"

static const char *const words[] = {"nothing", "start", "cancel", "confirm", "finish",
                                    "take",    "wait",  "report", "drop"};

static bool is_next(enum lh_duty_do want, const char *what)
{
    return is_str(words[rig_next()], words[want], "%s", what);
}

static void answer_report(enum lh_duty_answer answer)
{
    enum lh_duty_answer answers[LH_DUTY_TASKS_MAX];

    for (size_t i = 0; i < LH_DUTY_TASKS_MAX; i++)
        answers[i] = answer;
    lh_duty_reported(&duty, 0, answers, now_ms);
}

static void answer_finish(enum lh_duty_answer answer)
{
    enum lh_duty_answer answers[LH_DUTY_TASKS_MAX];

    for (size_t i = 0; i < LH_DUTY_TASKS_MAX; i++)
        answers[i] = answer;
    lh_duty_finished(&duty, 0, answers, now_ms);
}

/* Up, with the first report answered; the next step is the first take. */
static void come_up(void)
{
    lh_duty_up(&duty, now_ms);
    is_next(LH_DUTY_TAKE, "up: take at once");
    ok(!step.reap, "but reap nothing yet");
    is_next(LH_DUTY_REPORT, "and say that it is there");
    answer_report(LH_DUTY_SAID_OK);
}

/* `n` tasks come with the take that is under way. */
static void tasks_come(struct lh_duty_task *tasks, size_t n, const char *host)
{
    for (size_t i = 0; i < n; i++) {
        rig_task(&tasks[i], host);
        lh_duty_taken(&duty, &tasks[i], now_ms);
    }
    lh_duty_took(&duty, 0, n, 0, now_ms);
}

/* One task of one slot, moving. */
static void one_moves(struct lh_duty_task *task)
{
    rig_begin(1, 0);
    come_up();
    tasks_come(task, 1, "a");
    is_next(LH_DUTY_START, "it is started");
    is_next(LH_DUTY_NOTHING, "with all slots taken nothing is taken");
}

static void test_done(void)
{
    struct lh_duty_task t;

    one_moves(&t);
    lh_duty_delivered(&duty, &t, now_ms);
    is_next(LH_DUTY_FINISH, "delivered: Redis is told");
    ok(step.n == 1 && step.tasks[0] == &t && t.outcome == LH_OUTCOME_DONE, "that it is done");
    is_next(LH_DUTY_TAKE, "in the same flight the next one is taken");
    is_next(LH_DUTY_NOTHING, "the receiver is not told before Redis has answered");
    answer_finish(LH_DUTY_SAID_OK);
    is_next(LH_DUTY_CONFIRM, "then it is");
    ok(step.task == &t && step.forget, "and may forget");
    is_next(LH_DUTY_NOTHING, "dropped is nothing that has a send");
    lh_duty_ended(&duty, &t, 0, now_ms);
    is_next(LH_DUTY_DROP, "its send has ended: over");
    ok(step.task == &t && t.end == LH_END_SETTLED, "and settled");
}

static void test_failures(void)
{
    struct lh_duty_task t;

    one_moves(&t);
    lh_duty_ended(&duty, &t, -LH_E_NETWORK, now_ms);
    is_next(LH_DUTY_FINISH, "a failure is told");
    ok(t.outcome == LH_OUTCOME_RETRY && t.failures == 1 && t.due_ms >= 500 && t.due_ms <= 1000,
       "it is tried again in about a second");
    answer_finish(LH_DUTY_SAID_OK);
    is_next(LH_DUTY_DROP, "over");

    one_moves(&t);
    t.failures = 3;
    lh_duty_ended(&duty, &t, -LH_E_NETWORK, now_ms);
    is_next(LH_DUTY_FINISH, "the last one that is allowed");
    is_u64(t.outcome, LH_OUTCOME_DEAD, "a dead letter");

    one_moves(&t);
    lh_duty_ended(&duty, &t, -LH_E_FENCED, now_ms);
    is_next(LH_DUTY_DROP, "fenced: nothing is told");
    is_u64(t.end, LH_END_LOST, "it is another worker's");

    rig_begin(1, 0);
    come_up();
    rig_task(&t, NULL);
    t.status = -LH_E_INVAL;
    lh_duty_taken(&duty, &t, now_ms);
    lh_duty_took(&duty, 0, 1, 0, now_ms);
    is_next(LH_DUTY_FINISH, "a malformed one is never started");
    is_u64(t.outcome, LH_OUTCOME_DEAD, "but a dead letter");
}

static void report_says(enum lh_duty_answer answer)
{
    now_ms += 5000;
    is_next(LH_DUTY_REPORT, "after 5 s it is reported");
    is_u64(step.n, 1, "it");
    answer_report(answer);
}

static void test_answers(void)
{
    static const struct {
        enum lh_duty_answer answer;
        enum lh_task_outcome outcome;
        const char *word;
    } asked[] = {{LH_DUTY_SAID_PAUSED, LH_OUTCOME_PAUSED, "paused"},
                 {LH_DUTY_SAID_CANCELLED, LH_OUTCOME_CANCELLED, "cancelled"}};
    struct lh_duty_task t;

    one_moves(&t);
    report_says(LH_DUTY_SAID_LOST);
    is_next(LH_DUTY_CANCEL, "lost: its send is cancelled");
    is_next(LH_DUTY_NOTHING, "until it has ended the slot is taken");
    lh_duty_ended(&duty, &t, -LH_E_CANCELLED, now_ms);
    is_next(LH_DUTY_DROP, "nothing is told");
    is_u64(t.end, LH_END_LOST, "it is lost");

    one_moves(&t);
    report_says(LH_DUTY_SAID_LOST);
    lh_duty_delivered(&duty, &t, now_ms);
    is_next(LH_DUTY_CONFIRM, "lost and delivered all the same: let go");
    ok(!step.forget, "the receiver keeps its record for the other worker");
    lh_duty_ended(&duty, &t, 0, now_ms);
    is_next(LH_DUTY_DROP, "over");

    one_moves(&t);
    report_says(LH_DUTY_SAID_GONE);
    is_next(LH_DUTY_NOTHING, "forgotten by Redis: it goes on");
    lh_duty_delivered(&duty, &t, now_ms);
    is_next(LH_DUTY_CONFIRM, "to its end");
    ok(!step.forget, "the record stays, should somebody queue it again");
    lh_duty_ended(&duty, &t, 0, now_ms);
    is_next(LH_DUTY_DROP, "nothing is told");
    is_u64(t.end, LH_END_GONE, "nobody knows it");

    for (size_t i = 0; i < 2; i++) {
        one_moves(&t);
        report_says(asked[i].answer);
        is_next(LH_DUTY_CANCEL, asked[i].word);
        lh_duty_ended(&duty, &t, -LH_E_CANCELLED, now_ms);
        is_next(LH_DUTY_FINISH, "so it is told");
        is_u64(t.outcome, asked[i].outcome, "%s", asked[i].word);

        one_moves(&t);
        report_says(asked[i].answer);
        is_next(LH_DUTY_CANCEL, asked[i].word);
        lh_duty_delivered(&duty, &t, now_ms);
        is_next(LH_DUTY_FINISH, "too late");
        is_u64(t.outcome, LH_OUTCOME_DONE, "it is done");
    }
}

/* Redis goes away between delivered and the answer. */
static void test_away(void)
{
    struct lh_duty_task t;

    one_moves(&t);
    lh_duty_delivered(&duty, &t, now_ms);
    is_next(LH_DUTY_FINISH, "told");
    lh_duty_down(&duty, now_ms);
    is_next(LH_DUTY_CONFIRM, "Redis is gone: the send is let go");
    ok(!step.forget, "the receiver keeps its record");
    lh_duty_ended(&duty, &t, 0, now_ms);
    lh_duty_finished(&duty, -LH_E_NETWORK, NULL, now_ms);
    is_next(LH_DUTY_NOTHING, "the outcome is kept");
    is_u64(lh_duty_wake_ms(&duty, now_ms), UINT64_MAX, "without a timer");
    lh_duty_up(&duty, now_ms);
    is_next(LH_DUTY_FINISH, "and told again when Redis is back");
    answer_finish(LH_DUTY_SAID_LOST);
    is_next(LH_DUTY_DROP, "settled already");
    is_u64(t.end, LH_END_SETTLED, "by the first time, which nobody heard of");

    one_moves(&t);
    lh_duty_delivered(&duty, &t, now_ms);
    is_next(LH_DUTY_FINISH, "told");
    is_next(LH_DUTY_TAKE, "(and a take)");
    lh_duty_finished(&duty, -LH_E_BUSY, NULL, now_ms);
    is_next(LH_DUTY_CONFIRM, "Redis is full: the send is let go");
    lh_duty_ended(&duty, &t, 0, now_ms);
    is_next(LH_DUTY_NOTHING, "not at once again");
    is_u64(lh_duty_wake_ms(&duty, now_ms), now_ms + 1000, "but in a second");
    now_ms += 1000;
    is_next(LH_DUTY_FINISH, "then");
    answer_finish(LH_DUTY_SAID_LOST);
    is_next(LH_DUTY_DROP, "it was never heard");
    is_u64(t.end, LH_END_LOST, "so somebody else has it");
}

static void test_reap(void)
{
    rig_begin(1, 0);
    come_up();
    for (unsigned s = 0; s < 14; s += 2) {
        lh_duty_took(&duty, 0, 0, 0, now_ms);
        is_next(LH_DUTY_WAIT, "nothing there: wait");
        is_u64(step.ms, s < 6 ? 10000 : 15000 - 1000 * s, "10 s, or until it may reap");
        now_ms += 2000;
        lh_duty_waited(&duty, 0, 0, 0, now_ms);
        is_next(LH_DUTY_TAKE, "then take");
        ok(!step.reap, "nothing is reaped after %u s", s + 2);
        if (rig_next() == LH_DUTY_REPORT)
            answer_report(LH_DUTY_SAID_OK);
    }
    now_ms += 1000;
    lh_duty_took(&duty, 0, 0, 5000, now_ms);
    is_next(LH_DUTY_WAIT, "wait");
    is_u64(step.ms, 5000, "until something may be had");
    now_ms += 3000;
    lh_duty_waited(&duty, 0, 0, 0, now_ms);
    is_next(LH_DUTY_TAKE, "after a claim time");
    ok(step.reap, "it reaps");
    is_next(LH_DUTY_REPORT, "(report)");
    answer_report(LH_DUTY_SAID_OK);
    now_ms += CLAIM_MS / 3 + 1;
    lh_duty_took(&duty, 0, 0, 300, now_ms);
    is_next(LH_DUTY_WAIT, "an answer came late: Redis was away, live workers may look idle");
    is_u64(step.ms, 300, "it waits, for what is due");
    now_ms += 300;
    lh_duty_waited(&duty, 0, 0, 0, now_ms);
    is_next(LH_DUTY_TAKE, "and takes");
    ok(!step.reap, "without reaping, for a claim time");
    is_next(LH_DUTY_REPORT, "(report)");
    lh_duty_reported(&duty, -LH_E_BUSY, NULL, now_ms);
    is_u64(lh_duty_wake_ms(&duty, now_ms), now_ms + 5000, "a report that Redis could not take");
}

/* A Redis that takes its time hears as often as any: else two reports that it refuses could make a
 * worker that lives look silent for a claim time. */
static void test_slow(void)
{
    struct lh_duty_task t;

    one_moves(&t);
    now_ms += 5000;
    is_next(LH_DUTY_REPORT, "a report");
    now_ms += 4000;
    answer_report(LH_DUTY_SAID_OK);
    is_next(LH_DUTY_NOTHING, "its answer takes 4 s");
    is_u64(lh_duty_wake_ms(&duty, now_ms), now_ms + 1000, "the next one leaves 5 s after it");
    now_ms += 1000;
    is_next(LH_DUTY_REPORT, "so it does");
    now_ms += 7000;
    is_next(LH_DUTY_NOTHING, "one at a time");
    answer_report(LH_DUTY_SAID_OK);
    is_next(LH_DUTY_REPORT, "late already: at once");
}

/* With a short claim time another worker may still be in its pause before it dials Redis again. */
static void test_reap_short(void)
{
    unsigned waited_ms = 0;

    rig_begin(1, 0);
    duty.opts.claim_ms = 2000;
    come_up();
    for (; waited_ms < 10000 && !step.reap; waited_ms += 500) {
        lh_duty_took(&duty, 0, 0, 0, now_ms);
        while (rig_next() != LH_DUTY_WAIT)
            answer_report(LH_DUTY_SAID_OK);
        now_ms += 500;
        lh_duty_waited(&duty, 0, 0, 0, now_ms);
        while (rig_next() != LH_DUTY_TAKE)
            answer_report(LH_DUTY_SAID_OK);
    }
    is_u64(waited_ms, 6500, "claims of 2 s: it reaps when all who live have been back for sure");
    lh_duty_jumped(&duty, now_ms);
    lh_duty_took(&duty, 0, 0, 60000, now_ms);
    is_next(LH_DUTY_WAIT, "the queue's clock has jumped ahead");
    now_ms += 20;
    lh_duty_waited(&duty, 0, 0, 0, now_ms);
    is_next(LH_DUTY_TAKE, "it still takes, whatever is due later");
    ok(!step.reap, "but reaps nobody: those who live look idle");
}

/* What this worker has put back itself it looks for in time. */
static void test_due_again(void)
{
    struct lh_duty_task t;

    rig_begin(2, 0);
    come_up();
    tasks_come(&t, 1, "a");
    is_next(LH_DUTY_START, "one moves");
    lh_duty_ended(&duty, &t, -LH_E_NETWORK, now_ms);
    is_next(LH_DUTY_FINISH, "it fails");
    uint64_t due_ms = t.due_ms;
    answer_finish(LH_DUTY_SAID_OK);
    is_next(LH_DUTY_DROP, "and is tried again later");
    is_next(LH_DUTY_WAIT, "nothing is there");
    is_u64(step.ms, due_ms, "until it is due");
}

static void test_soonest(void)
{
    rig_begin(2, 0);
    come_up();
    for (unsigned s = 0; s < 20; s += 4) { /* a claim time of contact */
        lh_duty_took(&duty, 0, 0, 0, now_ms);
        rig_next();
        now_ms += 4000;
        lh_duty_waited(&duty, 0, 0, 0, now_ms);
        rig_next();
        if (rig_next() == LH_DUTY_REPORT)
            answer_report(LH_DUTY_SAID_OK);
    }
    lh_duty_took(&duty, 0, 0, 700, now_ms);
    is_next(LH_DUTY_WAIT, "a task may be had in 700 ms");
    is_u64(step.ms, 700, "so long it waits");
    now_ms += 300;
    lh_duty_waited(&duty, 0, 0, 0, now_ms);
    is_next(LH_DUTY_WAIT, "a wait that ended before, without one, is gone on with");
    is_u64(step.ms, 400, "for the rest");
    now_ms += 400;
    lh_duty_waited(&duty, 0, 0, 0, now_ms);
    is_next(LH_DUTY_TAKE, "then it takes");
    ok(step.reap, "and reaps");
    lh_duty_took(&duty, 0, 0, 1, now_ms);
    is_next(LH_DUTY_WAIT, "or at once");
    ok(step.ms >= 20, "never for ever (0), never a spin");
}

static void test_places(void)
{
    struct lh_duty_task a[6];
    struct lh_duty_task b;

    rig_begin(4, 1);
    come_up();
    tasks_come(a, 4, "a");
    is_next(LH_DUTY_START, "one of four to the same receiver");
    ok(step.task == &a[0], "the oldest");
    is_next(LH_DUTY_TAKE, "three slots are free: others are looked for");
    is_u64(step.n, 3, "three");
    tasks_come(a + 4, 2, "a");
    is_next(LH_DUTY_FINISH, "the room is for four: one goes back");
    ok(step.n == 1 && step.tasks[0] == &a[5] && a[5].outcome == LH_OUTCOME_DEFERRED, "the latest");
    ok(a[5].due_ms >= 1000 && a[5].due_ms < 2000, "for a second or two");
    answer_finish(LH_DUTY_SAID_OK);
    is_next(LH_DUTY_DROP, "it is not this worker's any more");
    is_next(LH_DUTY_NOTHING, "a queue full of them is not churned");
    now_ms += 250;
    is_next(LH_DUTY_WAIT, "but looked at again");
    rig_task(&b, "b");
    lh_duty_taken(&duty, &b, now_ms);
    lh_duty_waited(&duty, 0, 1, 0, now_ms);
    is_next(LH_DUTY_START, "another receiver's task");
    ok(step.task == &b, "does not wait behind them");
    lh_duty_ended(&duty, &a[0], -LH_E_FENCED, now_ms);
    is_next(LH_DUTY_DROP, "(over)");
    is_next(LH_DUTY_START, "the next one of the first receiver");
    ok(step.task == &a[1], "by age");
    is_next(LH_DUTY_TAKE, "(take)");
    now_ms += CLAIM_MS;
    is_next(LH_DUTY_FINISH, "those that wait for a claim time go back");
    is_u64(step.n, 3, "another worker may have a place for them");
}

static void test_stop(void)
{
    struct lh_duty_task t[4];

    rig_begin(2, 1);
    come_up();
    tasks_come(t, 2, "a");
    is_next(LH_DUTY_START, "one moves, one waits");
    is_next(LH_DUTY_TAKE, "and a take is under way");
    lh_duty_stop(&duty, now_ms);
    is_next(LH_DUTY_CANCEL, "stop: the one that moves is cancelled");
    is_next(LH_DUTY_FINISH, "the one that waits is put back");
    ok(step.tasks[0] == &t[1] && t[1].outcome == LH_OUTCOME_DEFERRED && t[1].due_ms == 0,
       "to be taken at once");
    answer_finish(LH_DUTY_SAID_OK);
    is_next(LH_DUTY_DROP, "over");
    tasks_come(t + 2, 1, "a");
    is_next(LH_DUTY_FINISH, "what still comes is put back, too");
    lh_duty_ended(&duty, &t[0], -LH_E_CANCELLED, now_ms);
    ok(!lh_duty_stopped(&duty, now_ms), "not stopped while Redis has to hear");
    answer_finish(LH_DUTY_SAID_OK);
    is_next(LH_DUTY_DROP, "over");
    is_next(LH_DUTY_FINISH, "and the cancelled one");
    is_u64(t[0].outcome, LH_OUTCOME_DEFERRED, "which did not fail");
    ok(!lh_duty_stopped(&duty, now_ms + 4999), "Redis is waited for");
    ok(lh_duty_stopped(&duty, now_ms + 5000), "for 5 s");
    now_ms += 5000;
    lh_duty_finished(&duty, -LH_E_NETWORK, NULL, now_ms);
    is_next(LH_DUTY_DROP, "then it is dropped");
    is_u64(t[0].end, LH_END_UNTOLD, "untold");
    is_next(LH_DUTY_REPORT, "as long as it is there it says so");
    is_next(LH_DUTY_NOTHING, "nothing is left");

    rig_begin(1, 0);
    come_up();
    lh_duty_took(&duty, 0, 0, 0, now_ms);
    is_next(LH_DUTY_WAIT, "one that waits");
    lh_duty_stop(&duty, now_ms);
    ok(!lh_duty_stopped(&duty, now_ms), "is not stopped before that has ended");
    lh_duty_waited(&duty, 0, 0, 0, now_ms);
    ok(lh_duty_stopped(&duty, now_ms), "but then");
}

int main(void)
{
    test_done();
    test_failures();
    test_answers();
    test_away();
    test_reap();
    test_slow();
    test_reap_short();
    test_due_again();
    test_soonest();
    test_places();
    test_stop();
    return done_testing();
}
