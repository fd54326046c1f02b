/* The receiver: one target, its ledger and its commits, in the order of src/io. */
#include "test/sim/world.h"

#include "util/mutant.h"

#include <string.h>

#define POLL_US 1000

static void later(struct sim_world *w, enum sim_what what, uint64_t delay_us)
{
    struct sim_msg msg = {.what = what, .run = w->sink.number};

    sim_after(w, delay_us, &msg);
}

void sim_refuse(struct sim_world *w, int session, int status)
{
    struct sim_msg msg = {.what = SIM_REFUSED, .session = session, .status = status};

    w->stats->n_busy += status == LH_E_BUSY;
    sim_to_sender(w, &msg);
}

/* ---- letting go ---- */

void sim_sink_release(struct sim_world *w)
{
    if (!w->sink.open || w->sink.closing)
        return;
    w->sink.closing = true;
    lh_ledger_fence(&w->sink.ledger);
    later(w, SIM_CLOSE_POLL, POLL_US);
}

void sim_sink_fail(struct sim_world *w, const char *why)
{
    struct sim_sink *k = &w->sink;

    sim_trace(w, "sink fails: %s", why);
    lh_ledger_lost(&k->ledger, &k->batch);
    lh_batch_free(&k->batch);
    k->commit = SIM_IDLE;
    k->failed = true;
    sim_refuse(w, k->session, LH_E_DEST);
    sim_sink_release(w);
}

static void sink_free(struct sim_world *w)
{
    struct sim_sink *k = &w->sink;

    if (k->have_ledger)
        lh_ledger_free(&k->ledger);
    lh_batch_free(&k->batch);
    k->have_ledger = false;
    k->open = false;
    k->number++; /* whatever is still under way is of the past */
}

/* ---- commits ---- */

static uint64_t sync_time(struct sim_world *w)
{
    bool slow = !w->calm && lh_rng_one_in(&w->rng, 50);

    return sim_about(w, slow ? 3000000 : w->disk_us * 3);
}

static void commit_begin(struct sim_world *w)
{
    struct sim_sink *k = &w->sink;

    if (k->commit != SIM_IDLE || k->failed || k->done)
        return;
    if (!lh_mutant("late-snapshot") && !lh_ledger_snapshot(&k->ledger, &k->batch))
        return;
    if (!lh_mutant("drop-data-sync") && sim_sync_start(&w->disk, k->data) < 0)
        return;
    k->commit = SIM_SYNCING_DATA;
    later(w, SIM_DATA_SYNCED, sync_time(w));
}

static void data_synced(struct sim_world *w)
{
    struct sim_sink *k = &w->sink;
    int rc = lh_mutant("drop-data-sync") ? 0 : sim_sync_end(&w->disk, k->data);

    if (w->disk.stopped)
        return;
    if (lh_mutant("late-snapshot") && !lh_ledger_snapshot(&k->ledger, &k->batch)) {
        k->commit = SIM_IDLE;
        return;
    }
    if (rc < 0) {
        sim_sink_fail(w, "data sync");
        return;
    }
    if (sim_journal_blocks_write(w) < 0)
        return;
    if (!lh_mutant("drop-journal-sync") && sim_sync_start(&w->disk, k->log) < 0)
        return;
    k->commit = SIM_SYNCING_JOURNAL;
    later(w, SIM_JOURNAL_SYNCED, sync_time(w));
}

static uint64_t mask_of_batch(const struct lh_batch *b)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < b->n; i++)
        mask |= sim_bit(b->v[i].block);
    return mask;
}

static void retract(struct sim_world *w, const struct sim_msg *msg);

static void journal_synced(struct sim_world *w)
{
    struct sim_sink *k = &w->sink;
    struct sim_msg ack = {.what = SIM_ACK, .session = k->session};
    int rc = lh_mutant("drop-journal-sync") ? 0 : sim_sync_end(&w->disk, k->log);

    if (w->disk.stopped)
        return;
    if (rc < 0) {
        sim_journal_cut_back(w);
        sim_sink_fail(w, "journal sync");
        return;
    }
    k->journal.end = k->log_end;
    k->journal.next_seq = k->log_seq;
    if (lh_ledger_synced(&k->ledger, &k->batch) != 0)
        sim_broken(w, "the ledger refuses what became durable");
    ack.mask = mask_of_batch(&k->batch);
    if (lh_mutant("ack-early"))
        ack.mask |= sim_mask_of(&k->ledger.taken);
    lh_batch_free(&k->batch);
    k->commit = SIM_IDLE;
    w->acked |= ack.mask;
    w->check_due = true;
    sim_to_sender(w, &ack);
    if (k->retract.what == SIM_RETRACT) {
        struct sim_msg msg = k->retract;

        k->retract.what = SIM_NOTHING;
        retract(w, &msg);
    } else if (lh_ledger_all_taken(&k->ledger)) {
        commit_begin(w);
    }
}

static void close_poll(struct sim_world *w)
{
    struct sim_sink *k = &w->sink;
    struct sim_msg next = k->next;

    if (!lh_ledger_quiet(&k->ledger) || k->commit != SIM_IDLE) {
        later(w, SIM_CLOSE_POLL, POLL_US);
        return;
    }
    if (!k->failed && !k->done && k->ledger.pending.n > 0) {
        commit_begin(w);
        later(w, SIM_CLOSE_POLL, POLL_US);
        return;
    }
    sim_trace(w, "sink closed");
    sink_free(w);
    if (next.what == SIM_OFFER && w->sessions[next.session].open_r)
        sim_sink_open(w, &next);
}

/* ---- frames ---- */

static uint64_t silence_ms(const struct sim_world *w, int session)
{
    const struct sim_session *s = &w->sessions[session];

    if (!s->open_r)
        return UINT64_MAX;
    return s->cut ? (w->now - s->silent_at) / 1000 : 0;
}

static void offer(struct sim_world *w, const struct sim_msg *msg)
{
    struct sim_sink *k = &w->sink;
    enum lh_hold_answer answer = LH_HOLD_TAKE_OVER;

    if (!k->open) {
        sim_sink_open(w, msg);
        return;
    }
    if (k->closing && k->next.what == SIM_OFFER) {
        /* Somebody waits already; only he himself may come again. */
        bool same = memcmp(k->next.asker.id, msg->asker.id, sizeof(msg->asker.id)) == 0;

        if (!same && w->sessions[k->next.session].open_r)
            answer = LH_HOLD_BUSY;
    } else if (!k->done) {
        answer = lh_hold_offer(&k->holder, &msg->asker,
                               lh_identity_same_version(&k->source, &msg->identity),
                               silence_ms(w, k->session), SIM_HOLDER_TIMEOUT_MS);
    }
    if (answer == LH_HOLD_BUSY || answer == LH_HOLD_FENCED) {
        sim_refuse(w, msg->session, answer == LH_HOLD_BUSY ? LH_E_BUSY : LH_E_FENCED);
        return;
    }
    w->stats->n_takeovers++;
    if (!k->closing && !k->done)
        sim_refuse(w, k->session, LH_E_FENCED);
    k->next = *msg;
    sim_sink_release(w);
}

static void block(struct sim_world *w, struct sim_msg *msg)
{
    struct sim_sink *k = &w->sink;
    struct lh_hash hash = sim_hash(&msg->contents);
    struct sim_msg again = {
        .what = SIM_AGAIN, .session = msg->session, .mask = sim_bit(msg->block)};
    enum lh_claim claim;

    /* A transfer is looked up by its session; its epoch decides only where that finds it. */
    if (!k->open || k->done || (msg->session != k->session && msg->epoch == k->holder.epoch))
        return;
    if (k->ledger.n_writing >= w->n_writers) {
        sim_after(w, sim_about(w, POLL_US + w->disk_us), msg);
        return;
    }
    if (memcmp(&hash, &msg->hash, sizeof(hash)) != 0 && !lh_mutant("skip-verify")) {
        w->stats->n_again++;
        sim_to_sender(w, &again);
        return;
    }
    claim = lh_ledger_claim(&k->ledger, msg->epoch, msg->block);
    w->stats->n_duplicates += claim == LH_CLAIM_DUPLICATE;
    w->stats->n_fenced_blocks += claim == LH_CLAIM_FENCED;
    w->stats->n_full += claim == LH_CLAIM_FULL;
    if (claim == LH_CLAIM_FULL)
        sim_after(w, sim_about(w, POLL_US + w->commit_us / 4), msg);
    if (claim == LH_CLAIM_BOUNDS || claim == LH_CLAIM_NOMEM)
        sim_broken(w, "the ledger refuses block %d", (int)msg->block);
    if (claim != LH_CLAIM_OK)
        return;
    sim_check_claim(w, msg);
    k->writing |= sim_bit(msg->block);
    msg->what = SIM_WRITE_STEP;
    msg->run = k->number;
    msg->step = 0;
    sim_after(w, sim_about(w, w->disk_us / 2), msg);
}

/* A write takes two steps, so that a power cut can come in between. */
static void write_step(struct sim_world *w, struct sim_msg *msg)
{
    struct sim_sink *k = &w->sink;
    size_t half = SIM_BLOCK_BYTES / 2;
    size_t off = msg->block * SIM_BLOCK_BYTES + msg->step * half;
    bool fails = !w->calm && lh_rng_one_in(&w->rng, 4000);

    if (sim_write(&w->disk, k->data, off, (uint8_t *)&msg->contents + msg->step * half, half) < 0)
        return;
    if (!fails && msg->step++ == 0) {
        sim_after(w, sim_about(w, w->disk_us / 2), msg);
        return;
    }
    k->writing &= ~sim_bit(msg->block);
    if (fails) {
        lh_ledger_failed(&k->ledger, msg->block);
        if (!k->failed)
            sim_sink_fail(w, "write");
        return;
    }
    if (lh_ledger_wrote(&k->ledger, msg->block, &msg->hash) == 0 && lh_ledger_all_taken(&k->ledger))
        commit_begin(w);
}

static void hashes_wanted(struct sim_world *w, const struct sim_msg *msg)
{
    struct sim_sink *k = &w->sink;
    struct sim_msg reply = {.what = SIM_HASHES, .session = msg->session, .mask = msg->mask};
    struct sim_journal j;

    if ((msg->mask & ~sim_mask_of(&k->ledger.durable)) != 0) {
        sim_refuse(w, msg->session, LH_E_PROTOCOL);
        return;
    }
    sim_journal_scan(w, k->log->image[SIM_SEEN], k->log->len[SIM_SEEN], &j);
    memcpy(w->sessions[msg->session].hashes, j.hash, sizeof(j.hash));
    sim_to_sender(w, &reply);
}

static void retract(struct sim_world *w, const struct sim_msg *msg)
{
    struct sim_sink *k = &w->sink;
    struct sim_msg reply = {
        .what = SIM_RETRACTED, .session = msg->session, .mask = msg->mask, .last = msg->last};
    struct lh_journal_epoch epoch;
    uint64_t first;
    uint64_t end;

    if (k->failed || (msg->mask & ~sim_mask_of(&k->ledger.durable)) != 0) {
        sim_refuse(w, msg->session, LH_E_PROTOCOL);
        return;
    }
    for (uint64_t at = 0; sim_next_run(msg->mask, &at, &first, &end);) {
        w->acked &= ~(sim_bit(end) - sim_bit(first));
        if (sim_journal_drop(w, first, end) < 0) {
            if (!w->disk.stopped)
                sim_sink_fail(w, "drop record");
            return;
        }
        w->stats->n_retracted += end - first;
        if (lh_ledger_retract(&k->ledger, first, end) != 0)
            sim_broken(w, "the ledger refuses to retract");
    }
    epoch = k->journal.epoch;
    epoch.compared = 1;
    if (msg->last && sim_journal_epoch(w, &epoch) < 0) {
        if (!w->disk.stopped)
            sim_sink_fail(w, "epoch record");
        return;
    }
    sim_to_sender(w, &reply);
}

void sim_receiver_gets(struct sim_world *w, struct sim_msg *msg)
{
    struct sim_sink *k = &w->sink;
    bool holder = k->open && !k->closing && k->session == msg->session;

    if (msg->what == SIM_OFFER) {
        offer(w, msg);
    } else if (msg->what == SIM_BLOCK) {
        block(w, msg);
    } else if (!holder || k->failed) {
        return;
    } else if (msg->what == SIM_CONFIRM && k->done) {
        sim_unlink(&w->disk, SIM_JOURNAL);
        sim_sink_release(w);
    } else if (k->done) {
        return;
    } else if (k->commit != SIM_IDLE && msg->what == SIM_RETRACT) {
        k->retract = *msg; /* one job at a time on one sink */
    } else if (k->commit != SIM_IDLE && msg->what == SIM_FINISH) {
        sim_after(w, POLL_US, msg);
    } else if (msg->what == SIM_HASHES_WANTED) {
        hashes_wanted(w, msg);
    } else if (msg->what == SIM_RETRACT) {
        retract(w, msg);
    } else if (msg->what == SIM_FINISH) {
        sim_finish(w, msg);
    }
}

/* ---- time ---- */

static void session_gone(struct sim_world *w, int session)
{
    w->sessions[session].open_r = false;
    if (w->sink.open && w->sink.session == session && (w->sink.done || lh_rng_one_in(&w->rng, 2)))
        sim_sink_release(w);
}

void sim_receiver_step(struct sim_world *w, struct sim_msg *msg)
{
    if (msg->what == SIM_EOF_AT_RECEIVER) {
        session_gone(w, msg->session);
        return;
    }
    if (!w->sink.open || msg->run != w->sink.number)
        return;
    switch (msg->what) {
    case SIM_WRITE_STEP:
        write_step(w, msg);
        break;
    case SIM_COMMIT_TICK:
        commit_begin(w);
        sim_after(w, sim_about(w, w->commit_us), msg);
        break;
    case SIM_DATA_SYNCED:
        if (w->sink.commit == SIM_SYNCING_DATA)
            data_synced(w);
        break;
    case SIM_JOURNAL_SYNCED:
        if (w->sink.commit == SIM_SYNCING_JOURNAL)
            journal_synced(w);
        break;
    default:
        close_poll(w);
        break;
    }
}

void sim_receiver_start(struct sim_world *w)
{
    if (w->life % 2 == 0)
        w->life++;
}

void sim_receiver_dies(struct sim_world *w)
{
    if (w->life % 2 == 0)
        return;
    w->life++;
    sink_free(w);
    memset(&w->sink, 0, offsetof(struct sim_sink, ledger));
    w->sink.number = w->life * 1000000; /* as after an open that never was */
    for (int i = 0; i < w->n_sessions; i++)
        if (w->sessions[i].open_r) {
            w->sessions[i].open_r = false;
            sim_cut_session(w, i, !lh_rng_one_in(&w->rng, 4));
        }
}
