/* Clock, network and faults of the simulator, and the run of one seed. */
#include "test/sim/world.h"

#include "util/mutant.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define EVENTS_MAX 400000
#define PATIENCE_US (900 * 1000000ull) /* after the faults, until it has to be done */
#define SECOND_US 1000000ull

static const char *const names[SIM_WHATS] = {
    "nothing",         "OFFER",      "ACCEPT",   "BLOCK",       "ACK",         "AGAIN",
    "HASHES_WANTED",   "HASHES",     "RETRACT",  "RETRACTED",   "FINISH",      "DONE",
    "CONFIRM",         "REFUSED",    "eof@recv", "eof@send",    "run",         "dial",
    "stream up",       "send",       "write",    "commit tick", "data synced", "journal synced",
    "receiver starts", "close poll", "fault"};

const char *sim_what_name(enum sim_what what)
{
    return names[what];
}

void sim_trace(struct sim_world *w, const char *fmt, ...)
{
    va_list ap;

    if (!w->trace)
        return;
    printf("# %11.3f ms  ", (double)w->now / 1000);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
}

void sim_broken(struct sim_world *w, const char *fmt, ...)
{
    va_list ap;

    w->failed = true;
    va_start(ap, fmt);
    vsnprintf(w->why, sizeof(w->why), fmt, ap);
    va_end(ap);
    sim_trace(w, "BROKEN: %s", w->why);
    longjmp(w->stop, 1);
}

bool sim_next_run(uint64_t mask, uint64_t *at, uint64_t *first, uint64_t *end)
{
    while (*at < SIM_BLOCKS && !(mask & sim_bit(*at)))
        ++*at;
    *first = *at;
    while (*at < SIM_BLOCKS && (mask & sim_bit(*at)))
        ++*at;
    *end = *at;
    return *first < *end;
}

uint64_t sim_mask_of(const struct lh_runs *r)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < r->n; i++)
        mask |= sim_bit(r->v[i].end) - sim_bit(r->v[i].first);
    return mask;
}

/* ---- the source ---- */

struct sim_block sim_contents(const struct sim_world *w, uint64_t block)
{
    struct sim_block b;

    for (uint32_t i = 0; i < SIM_SECTORS; i++)
        b.sector[i] = w->source.gen << 20 | w->source.sub[block] << 8 | (uint32_t)block << 2 | i;
    return b;
}

struct lh_hash sim_hash(const struct sim_block *b)
{
    struct lh_hash h;

    lh_hash_bytes(b, sizeof(*b), &h);
    return h;
}

/* Both senders see the same contents under other device, inode and ctime numbers. */
struct lh_identity sim_identity(const struct sim_world *w, int sender)
{
    return (struct lh_identity){.dev = (uint64_t)sender + 1,
                                .ino = (uint64_t)sender + 100,
                                .size = (uint64_t)w->n_blocks * w->grid,
                                .mtime = {.sec = w->source.gen},
                                .ctime = {.sec = sender * 7 + 1, .nsec = w->source.changes}};
}

static void change_source(struct sim_world *w)
{
    bool keep_mtime = lh_rng_one_in(&w->rng, 2);

    if (!w->changes_while_sending && sim_sender_active(w))
        return;
    w->source.changes++;
    /* Once it may be done, "done" is answered by size and mtime alone. */
    if (!keep_mtime || w->source.finishing || w->source.changes > 2000) {
        w->source.gen++;
        w->source.finishing = false;
        memset(w->source.sub, 0, sizeof(w->source.sub));
        sim_trace(w, "the source is another version");
        return;
    }
    for (unsigned b = 0; b < w->n_blocks; b++)
        if (lh_rng_one_in(&w->rng, 4))
            w->source.sub[b]++;
    sim_trace(w, "the source is rewritten and its mtime put back");
}

/* ---- clock ---- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push(struct sim_world *w, uint64_t at, const struct sim_msg *msg)
{
    struct sim_event e = {.at = at, .order = w->order++, .msg = *msg};
    unsigned i = w->n_events++;

    if (w->n_events > SIM_EVENTS)
        sim_broken(w, "more than %d events pending", SIM_EVENTS);
    for (; i > 0 && before(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = e;
}

static struct sim_event pop(struct sim_world *w)
{
    struct sim_event top = w->heap[0];
    const struct sim_event *last = &w->heap[--w->n_events];
    unsigned i = 0;

    for (;;) {
        unsigned c = 2 * i + 1;

        if (c >= w->n_events)
            break;
        if (c + 1 < w->n_events && before(&w->heap[c + 1], &w->heap[c]))
            c++;
        if (!before(&w->heap[c], last))
            break;
        w->heap[i] = w->heap[c];
        i = c;
    }
    w->heap[i] = *last;
    return top;
}

void sim_after(struct sim_world *w, uint64_t delay_us, const struct sim_msg *msg)
{
    push(w, w->now + delay_us, msg);
}

uint64_t sim_about(struct sim_world *w, uint64_t us)
{
    return us / 2 + lh_rng_below(&w->rng, us + 1);
}

/* ---- network ---- */

/* Frames of a control connection keep their order; blocks overtake each other. */
static uint64_t arrival(struct sim_world *w, const struct sim_msg *msg, int way)
{
    struct sim_session *s = &w->sessions[msg->session];
    uint64_t at = w->now + sim_about(w, w->net_us);

    if (!w->calm && lh_rng_one_in(&w->rng, 100))
        at += sim_about(w, w->net_us * 20);
    if (msg->what == SIM_BLOCK)
        return at;
    if (at < s->ctl_at[way])
        at = s->ctl_at[way];
    s->ctl_at[way] = at;
    return at;
}

void sim_to_receiver(struct sim_world *w, const struct sim_msg *msg)
{
    push(w, arrival(w, msg, 0), msg);
}

void sim_to_sender(struct sim_world *w, const struct sim_msg *msg)
{
    push(w, arrival(w, msg, 1), msg);
}

/* From now on nothing that is sent arrives. Each end that is still there hears of it: soon, or when
 * it misses heartbeats. */
void sim_cut_session(struct sim_world *w, int session, bool noticed)
{
    struct sim_session *s = &w->sessions[session];
    uint64_t delay = noticed ? w->net_us : 15 * SECOND_US;
    struct sim_msg msg = {.session = session, .sender = s->sender, .run = s->run};

    if (!s->cut)
        s->silent_at = w->now;
    s->cut = true;
    if (s->open_s) {
        msg.what = SIM_EOF_AT_SENDER;
        sim_after(w, sim_about(w, delay), &msg);
    }
    if (s->open_r && (noticed || lh_rng_one_in(&w->rng, 2))) {
        msg.what = SIM_EOF_AT_RECEIVER;
        sim_after(w, sim_about(w, noticed ? delay : 4 * delay), &msg);
    }
}

/* Of what is under way when a connection breaks, some gets through. */
static bool lost(struct sim_world *w, const struct sim_msg *msg)
{
    const struct sim_session *s = &w->sessions[msg->session];
    const struct sim_sender *from = &w->senders[s->sender];
    bool broken = s->cut;

    if (msg->what == SIM_BLOCK && from->run == s->run &&
        from->streams[msg->stream].gen != msg->stream_gen)
        broken = true;
    return broken && lh_rng_one_in(&w->rng, 2);
}

static void deliver(struct sim_world *w, struct sim_msg *msg)
{
    const struct sim_session *s = &w->sessions[msg->session];
    bool up = msg->what == SIM_OFFER || msg->what == SIM_BLOCK || msg->what == SIM_HASHES_WANTED ||
              msg->what == SIM_RETRACT || msg->what == SIM_FINISH || msg->what == SIM_CONFIRM;

    if (lost(w, msg))
        return;
    if (!up && s->open_s)
        sim_sender_gets(w, msg);
    if (up && s->life == w->life && (s->open_r || msg->what == SIM_BLOCK))
        sim_receiver_gets(w, msg);
}

/* ---- faults ---- */

static void kill_receiver(struct sim_world *w, bool power)
{
    struct sim_msg start = {.what = SIM_RECEIVER_START};

    if (w->life % 2 == 1)
        sim_after(w, sim_about(w, 700000), &start);
    sim_trace(w, power ? "power cut" : "the receiver is killed");
    sim_receiver_dies(w);
    w->disk.stopped = false;
    w->disk.stop_in = 0;
    if (power) {
        w->stats->n_power_cuts++;
        sim_power_cut(&w->disk);
    } else {
        w->stats->n_receiver_kills++;
        sim_disk_abandon(&w->disk);
    }
}

static void calm_down(struct sim_world *w)
{
    struct sim_msg run = {.what = SIM_RUN, .sender = 0};

    sim_trace(w, "the faults are over");
    w->calm = true;
    w->corrupt = 0;
    w->disk.fail_sync = 0;
    w->disk.stop_in = 0;
    sim_after(w, 0, &run);
}

static void fault(struct sim_world *w, struct sim_msg *again)
{
    int sender = (int)lh_rng_below(&w->rng, SIM_SENDERS);
    struct sim_sender *s = &w->senders[sender];
    struct sim_msg run = {.what = SIM_RUN, .sender = sender};

    if (w->now >= w->faults_end) {
        calm_down(w);
        return;
    }
    switch (lh_rng_below(&w->rng, 10)) {
    case 0:
        kill_receiver(w, false);
        break;
    case 1:
        kill_receiver(w, true);
        break;
    case 2:
    case 3:
        w->disk.stop_in = 1 + (unsigned)lh_rng_below(&w->rng, 60);
        break;
    case 4:
        w->stats->n_sender_kills += s->state != SIM_AWAY;
        sim_trace(w, "sender %d is killed", sender);
        sim_sender_dies(w, sender);
        break;
    case 5:
        if (s->session >= 0)
            sim_cut_session(w, s->session, !lh_rng_one_in(&w->rng, 3));
        break;
    case 6:
        for (unsigned i = 0; i < w->n_streams; i++)
            if (lh_rng_one_in(&w->rng, 2))
                sim_stream_lost(w, sender, i);
        break;
    case 7:
        change_source(w);
        break;
    case 8:
        w->disk.fail_sync = w->disk.fail_sync ? 0 : 6;
        break;
    default:
        sim_after(w, 0, &run);
        break;
    }
    sim_after(w, sim_about(w, w->faults_end / 16), again);
}

/* ---- one seed ---- */

static void draw(struct sim_world *w)
{
    static const uint32_t grids[] = {64 * 1024, 256 * 1024, 1024 * 1024};
    struct lh_rng *r = &w->rng;

    w->n_blocks = (unsigned)lh_rng_below(r, lh_rng_one_in(r, 8) ? 3 : SIM_BLOCKS);
    w->grid = grids[lh_rng_below(r, 3)];
    w->n_streams = 1 + (unsigned)lh_rng_below(r, SIM_STREAMS);
    w->window = (1 + lh_rng_below(r, 64)) * 1024 * 1024;
    w->max_pending = 2 + lh_rng_below(r, 60);
    w->n_writers = 1 + (unsigned)lh_rng_below(r, 4);
    w->net_us = 100 + lh_rng_below(r, 50000);
    w->send_us = 100 + lh_rng_below(r, 20000);
    w->disk_us = 50 + lh_rng_below(r, 10000);
    w->commit_us = 2000 + lh_rng_below(r, 200000);
    w->corrupt = lh_rng_one_in(r, 2) ? 10 : 0;
    w->queue = lh_rng_one_in(r, 3);
    w->changes_while_sending = lh_rng_one_in(r, 3);
    w->faults_end = lh_rng_below(r, 20) * SECOND_US;
    w->disk.dir_ordered = lh_rng_one_in(r, 2);
    w->source.gen = 1;
    w->life = 1;
    for (int i = 0; i < SIM_SENDERS; i++)
        w->senders[i].session = -1;
}

static void handle(struct sim_world *w, struct sim_msg *msg)
{
    if (msg->what <= SIM_REFUSED) {
        deliver(w, msg);
        return;
    }
    switch (msg->what) {
    case SIM_FAULT:
        fault(w, msg);
        break;
    case SIM_RECEIVER_START:
        sim_receiver_start(w);
        break;
    case SIM_EOF_AT_SENDER:
    case SIM_RUN:
    case SIM_DIAL:
    case SIM_STREAM_UP:
    case SIM_STREAM_SEND:
        sim_sender_step(w, msg);
        break;
    default:
        sim_receiver_step(w, msg);
        break;
    }
}

static void steps(struct sim_world *w)
{
    while (!w->success) {
        struct sim_event e;

        if (w->n_events == 0)
            sim_broken(w, "nothing happens any more, and it is not done");
        e = pop(w);
        w->now = e.at;
        if (++w->stats->n_events, w->order > EVENTS_MAX || w->now > w->faults_end + PATIENCE_US)
            sim_broken(w, "it does not end");
        if (e.msg.what != SIM_COMMIT_TICK && e.msg.what != SIM_CLOSE_POLL)
            sim_trace(w, "%s session=%d sender=%d block=%d mask=%llx epoch=%d",
                      sim_what_name(e.msg.what), e.msg.session, e.msg.sender, (int)e.msg.block,
                      (unsigned long long)e.msg.mask, (int)e.msg.epoch);
        handle(w, &e.msg);
        if (w->disk.stopped) {
            w->stats->n_stopped++;
            kill_receiver(w, lh_rng_one_in(&w->rng, 2));
        }
        sim_check(w);
    }
}

bool sim_run(struct sim_world *w, uint64_t seed)
{
    struct sim_stats *stats = w->stats;
    struct sim_msg run = {.what = SIM_RUN, .sender = 0};
    struct sim_msg trouble = {.what = SIM_FAULT};
    bool trace = w->trace;

    memset(w, 0, offsetof(struct sim_world, heap));
    w->stats = stats;
    w->trace = trace;
    w->rng.state = seed;
    sim_disk_init(&w->disk, &w->rng);
    draw(w);
    if (setjmp(w->stop) == 0) {
        sim_after(w, 0, &run);
        sim_after(w, sim_about(w, w->faults_end / 16), &trouble);
        steps(w);
    }
    stats->n_failed_syncs += w->disk.n_failed_syncs;
    if (w->sink.have_ledger)
        lh_ledger_free(&w->sink.ledger);
    lh_batch_free(&w->sink.batch);
    for (int i = 0; i < SIM_SENDERS; i++)
        if (w->senders[i].have_sched)
            lh_sched_free(&w->senders[i].sched);
    sim_disk_free(&w->disk);
    return !w->failed;
}
