/* queue/duty: many random stories against what must always hold. */
#include "duty_rig.h"
#include "test/lib/rng.h"
#include "test/lib/tap.h"

#include <string.h>

#define STORY_TASKS 400
#define STORY_STEPS 1500

struct story {
    struct lh_duty_task task; /* first: the step's task is cast back */
    bool taken, started, delivered, ended, dropped, cancelled, confirmed;
};

static struct story stories[STORY_TASKS];
static unsigned n_taken, n_dropped, n_running;
static bool take_out, wait_out, report_out, finish_out;
static size_t finish_n, report_n;
static const char *broken;

static void must(bool cond, const char *what)
{
    if (!cond && broken == NULL)
        broken = what;
}

static void do_steps(void)
{
    for (unsigned i = 0; i < 10000; i++) {
        struct story *s;

        rig_next();
        s = (struct story *)(void *)step.task;
        switch (step.what) {
        case LH_DUTY_START:
            must(!s->started && !s->dropped, "started once");
            s->started = true;
            n_running++;
            must(n_running <= duty.opts.jobs, "no more sends than jobs");
            break;
        case LH_DUTY_CANCEL:
            must(s->started && !s->ended && !s->cancelled, "cancelled once, while it is sent");
            s->cancelled = true;
            break;
        case LH_DUTY_CONFIRM:
            must(s->delivered && !s->ended && !s->confirmed, "confirmed once, when delivered");
            must(!step.forget || s->task.outcome == LH_OUTCOME_DONE, "forgotten when done");
            s->confirmed = true;
            break;
        case LH_DUTY_FINISH:
            must(!finish_out && duty.up && step.n > 0, "one finish at a time");
            finish_out = true;
            finish_n = step.n;
            break;
        case LH_DUTY_TAKE:
            must(!take_out && !wait_out && duty.up && !duty.stopping && step.n > 0, "one take");
            take_out = true;
            break;
        case LH_DUTY_WAIT:
            must(!take_out && !wait_out && duty.up && !duty.stopping && step.ms > 0, "one wait");
            wait_out = true;
            break;
        case LH_DUTY_REPORT:
            must(!report_out && duty.up, "one report");
            report_out = true;
            report_n = step.n;
            break;
        case LH_DUTY_DROP:
            must(!s->dropped && (!s->started || s->ended), "dropped once, without a send");
            s->dropped = true;
            n_dropped++;
            break;
        default:
            must(lh_duty_wake_ms(&duty, now_ms) > now_ms, "no spin");
            return;
        }
    }
    must(false, "steps come to an end");
}

static int any_status(struct lh_rng *rng)
{
    static const int statuses[] = {-LH_E_NETWORK, -LH_E_BUSY, -LH_E_REFUSED};

    return statuses[lh_rng_below(rng, 3)];
}

static size_t some_tasks(struct lh_rng *rng, size_t most)
{
    static const char *const hosts[] = {"a", "b", "c"};
    size_t n = lh_rng_below(rng, most + 1);

    for (size_t i = 0; i < n; i++) {
        struct story *s = &stories[n_taken];

        if (n_taken == STORY_TASKS)
            return i;
        rig_task(&s->task, hosts[lh_rng_below(rng, 3)]);
        s->task.status = lh_rng_below(rng, 20) == 0 ? -LH_E_INVAL : 0;
        s->taken = true;
        n_taken++;
        lh_duty_taken(&duty, &s->task, now_ms);
    }
    return n;
}

static void answer(struct lh_rng *rng)
{
    enum lh_duty_answer answers[LH_DUTY_TASKS_MAX];
    int status = !duty.up ? -LH_E_NETWORK : lh_rng_below(rng, 8) == 0 ? any_status(rng) : 0;

    if (take_out && lh_rng_below(rng, 2) == 0) {
        take_out = false;
        lh_duty_took(&duty, status, status == 0 ? some_tasks(rng, duty.asked_n) : 0,
                     lh_rng_below(rng, 5000), now_ms);
    }
    if (wait_out && lh_rng_below(rng, 2) == 0) {
        wait_out = false;
        lh_duty_waited(&duty, status, status == 0 ? some_tasks(rng, 3) : 0, 0, now_ms);
    }
    for (size_t i = 0; i < LH_DUTY_TASKS_MAX; i++)
        answers[i] =
            lh_rng_below(rng, 6) == 0 ? (enum lh_duty_answer)lh_rng_below(rng, 5) : LH_DUTY_SAID_OK;
    if (report_out && lh_rng_below(rng, 2) == 0) {
        report_out = false;
        lh_duty_reported(&duty, status, answers, now_ms);
    }
    for (size_t i = 0; i < LH_DUTY_TASKS_MAX; i++)
        answers[i] =
            (enum lh_duty_answer)(lh_rng_below(rng, 6) == 0 ? 1 + lh_rng_below(rng, 2) : 0);
    if (finish_out && lh_rng_below(rng, 2) == 0) {
        finish_out = false;
        lh_duty_finished(&duty, status, answers, now_ms);
    }
}

static void send_goes_on(struct lh_rng *rng, struct story *s)
{
    static const int ends[] = {-LH_E_NETWORK, -LH_E_SOURCE, -LH_E_FENCED, -LH_E_BUSY};

    if (!s->started || s->ended)
        return;
    if (s->confirmed) {
        s->ended = true;
        lh_duty_ended(&duty, &s->task, 0, now_ms);
    } else if (!s->delivered && s->cancelled && lh_rng_below(rng, 2) == 0) {
        s->ended = true;
        n_running--;
        lh_duty_ended(&duty, &s->task, -LH_E_CANCELLED, now_ms);
    } else if (!s->delivered && lh_rng_below(rng, 10) == 0) {
        n_running--;
        if (lh_rng_below(rng, 2) == 0) {
            s->delivered = true;
            lh_duty_delivered(&duty, &s->task, now_ms);
        } else {
            s->ended = true;
            lh_duty_ended(&duty, &s->task, ends[lh_rng_below(rng, 4)], now_ms);
        }
    }
}

static void story(uint64_t seed)
{
    struct lh_rng rng = {seed};

    memset(stories, 0, sizeof(stories));
    n_taken = n_dropped = n_running = 0;
    take_out = wait_out = report_out = finish_out = false;
    rig_begin(1 + (unsigned)lh_rng_below(&rng, 8), (unsigned)lh_rng_below(&rng, 4));
    for (unsigned i = 0; i < STORY_STEPS && broken == NULL; i++) {
        now_ms += lh_rng_below(&rng, 400);
        if (lh_rng_below(&rng, 40) == 0)
            duty.up ? lh_duty_down(&duty, now_ms) : lh_duty_up(&duty, now_ms);
        if (i == STORY_STEPS - 100) {
            lh_duty_stop(&duty, now_ms);
        }
        for (unsigned j = 0; j < n_taken; j++)
            send_goes_on(&rng, &stories[j]);
        answer(&rng);
        do_steps();
    }
    now_ms += LH_DUTY_STOP_MS;
    for (unsigned i = 0; i < 100 && broken == NULL; i++) {
        for (unsigned j = 0; j < n_taken; j++)
            send_goes_on(&rng, &stories[j]);
        answer(&rng);
        do_steps();
    }
    must(lh_duty_stopped(&duty, now_ms), "it stops");
    must(n_dropped == n_taken, "each task is dropped");
    must(duty.n_acts == 0, "no act is left");
}

int main(void)
{
    unsigned taken = 0;

    for (uint64_t seed = 1; seed <= 2000 && broken == NULL; seed++) {
        story(seed);
        taken += n_taken;
        if (broken != NULL)
            diag("seed %ju", (uintmax_t)seed);
    }
    ok(broken == NULL, "random stories: %s", broken != NULL ? broken : "what must hold holds");
    ok(taken > 10000, "%u tasks in random stories", taken);
    return done_testing();
}
