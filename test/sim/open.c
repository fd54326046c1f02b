/* Opening, finishing and forgetting the target, in the order of src/io/disk/sink_open.c and sink.c.
 *
 * Each is one event, but every operation of the disk within it is a crash point. */
#include "test/sim/world.h"

#include "util/mutant.h"

#include <string.h>

#define DATA_CHUNK 4

enum found { FOUND_NOTHING, FOUND_PARTIAL, FOUND_RENAMED, FOUND_DONE };

static int dir_sync(struct sim_world *w)
{
    return lh_mutant("drop-dir-sync") ? 0 : sim_dir_sync(&w->disk);
}

static bool is_staging(const struct sim_world *w, const struct sim_journal *j,
                       const struct sim_file *f)
{
    return f != NULL && f->ino == j->head.staging_ino &&
           (int64_t)f->btime == j->head.staging_btime.sec &&
           f->len[SIM_SEEN] == w->n_blocks * SIM_BLOCK_BYTES;
}

static enum found look(const struct sim_world *w, const struct sim_msg *offer)
{
    const struct sim_journal *j = &w->sink.journal;
    const struct sim_file *target = w->disk.dir[SIM_SEEN][SIM_TARGET];
    const struct sim_file *part = w->disk.dir[SIM_SEEN][SIM_PART];
    bool target_is_it =
        j->finished && is_staging(w, j, target) && target->mtime[SIM_SEEN] == j->finish.mtime.sec;

    if (!j->valid || offer->restart || j->head.block_bytes != w->grid ||
        !lh_identity_same_version(&j->head.source, &offer->identity))
        return FOUND_NOTHING;
    if (j->done)
        return target_is_it ? FOUND_DONE : FOUND_NOTHING;
    if (is_staging(w, j, part))
        return FOUND_PARTIAL;
    return part == NULL && target_is_it ? FOUND_RENAMED : FOUND_NOTHING;
}

static bool is_fenced(const struct sim_journal *j, const struct lh_holder *asker)
{
    struct lh_holder last = {.claim = j->epoch.claim, .epoch = j->epoch.epoch};

    memcpy(last.id, j->epoch.holder, sizeof(last.id));
    memcpy(last.incarnation, j->epoch.incarnation, sizeof(last.incarnation));
    return lh_hold_reopen(j->valid ? &last : NULL, asker) == LH_HOLD_FENCED;
}

static struct lh_journal_epoch epoch_of(const struct sim_msg *offer, uint64_t epoch, bool compared)
{
    struct lh_journal_epoch e = {.epoch = epoch,
                                 .claim = offer->asker.claim,
                                 .source = offer->identity,
                                 .compared = compared};

    memcpy(e.holder, offer->asker.id, sizeof(e.holder));
    memcpy(e.incarnation, offer->asker.incarnation, sizeof(e.incarnation));
    return e;
}

static int start_over(struct sim_world *w, const struct sim_msg *offer, struct sim_msg *accept)
{
    struct sim_sink *k = &w->sink;
    struct lh_journal_epoch e =
        epoch_of(offer, k->journal.valid ? k->journal.epoch.epoch + 1 : 1, true);

    w->acked = 0;
    w->bound = offer->identity;
    if (sim_journal_reset(w) < 0)
        return -1;
    if (w->disk.dir[SIM_SEEN][SIM_PART] != NULL && sim_unlink(&w->disk, SIM_PART) < 0)
        return -1;
    k->data = sim_create(&w->disk, SIM_PART, DATA_CHUNK);
    if (k->data == NULL || sim_truncate(&w->disk, k->data, w->n_blocks * SIM_BLOCK_BYTES) < 0)
        return -1;
    if (sim_journal_begin(w, &e) < 0)
        return -1;
    accept->epoch = e.epoch;
    return 0;
}

static int resume(struct sim_world *w, const struct sim_msg *offer, struct sim_msg *accept)
{
    struct sim_sink *k = &w->sink;
    const struct sim_journal *j = &k->journal;
    bool compare = j->durable != 0 &&
                   (!lh_identity_same(&j->epoch.source, &offer->identity) || !j->epoch.compared);
    struct lh_journal_epoch e = epoch_of(offer, j->epoch.epoch + 1, !compare);
    uint64_t first;
    uint64_t end;

    k->data = w->disk.dir[SIM_SEEN][SIM_PART];
    for (uint64_t at = 0; sim_next_run(j->durable, &at, &first, &end);)
        if (lh_ledger_restore(&k->ledger, first, end) != 0)
            sim_broken(w, "the ledger refuses what the journal says");
    accept->mask = j->durable;
    accept->compare = compare;
    accept->epoch = e.epoch;
    w->stats->n_resumed += j->durable != 0;
    return sim_journal_epoch(w, &e);
}

/* DONE is said: from here on the target must stay. */
static void say_done(struct sim_world *w)
{
    struct sim_msg done = {.what = SIM_DONE, .session = w->sink.session};

    w->sink.done = true;
    w->acked = 0;
    w->done_said = true;
    w->done_file = w->disk.dir[SIM_SEEN][SIM_TARGET];
    w->check_due = true;
    sim_to_sender(w, &done);
}

static int already_done(struct sim_world *w, bool recorded, struct sim_msg *accept)
{
    if (dir_sync(w) < 0 || (!recorded && sim_journal_done(w) < 0))
        return -1;
    w->stats->n_done_again++;
    accept->done = true;
    accept->epoch = w->sink.journal.epoch.epoch;
    sim_to_sender(w, accept);
    say_done(w);
    return 0;
}

static int open_journal(struct sim_world *w)
{
    struct sim_sink *k = &w->sink;

    k->log = w->disk.dir[SIM_SEEN][SIM_JOURNAL];
    if (k->log == NULL)
        k->log = sim_create(&w->disk, SIM_JOURNAL, 64);
    if (k->log == NULL)
        return -1;
    /* What a killed process has left may be seen and yet, after a sync that failed, be on no
     * platter and never get there: only what is read from there again can be trusted. */
    if (sim_sync(&w->disk, k->log) < 0 || sim_drop_cache(&w->disk, k->log) < 0)
        return -1;
    sim_journal_scan(w, k->log->image[SIM_SEEN], k->log->len[SIM_SEEN], &k->journal);
    if (!k->journal.torn)
        return 0;
    w->stats->n_torn++;
    if (sim_truncate(&w->disk, k->log, k->journal.end) < 0)
        return -1;
    return sim_sync(&w->disk, k->log);
}

/* Returns 0, -1 when the disk failed or stopped, 1 when the asker is fenced. */
static int take_up(struct sim_world *w, const struct sim_msg *offer)
{
    struct sim_sink *k = &w->sink;
    struct sim_msg accept = {.what = SIM_ACCEPT, .session = offer->session};
    bool ours = !offer->restart && lh_identity_same_version(&w->bound, &offer->identity);
    enum found found;
    int rc = open_journal(w);

    if (rc < 0)
        return rc;
    found = look(w, offer);
    sim_check_opened(w, &k->journal, ours);
    if (found == FOUND_DONE || found == FOUND_RENAMED)
        return already_done(w, found == FOUND_DONE, &accept);
    if (is_fenced(&k->journal, &offer->asker))
        return 1;
    if (found != FOUND_PARTIAL && ours && w->acked != 0)
        sim_broken(w, "starts over though blocks are acknowledged");
    rc = found == FOUND_PARTIAL ? resume(w, offer, &accept) : start_over(w, offer, &accept);
    if (rc < 0 || dir_sync(w) < 0)
        return -1;
    lh_ledger_hold(&k->ledger, accept.epoch);
    k->holder = offer->asker;
    k->holder.epoch = accept.epoch;
    /* LEDGER acknowledges as ACK does. */
    w->acked |= accept.mask;
    w->check_due = true;
    sim_to_sender(w, &accept);
    return 0;
}

int sim_sink_open(struct sim_world *w, const struct sim_msg *offer)
{
    struct sim_sink *k = &w->sink;
    uint32_t number = k->number + 1;
    struct sim_msg tick = {.what = SIM_COMMIT_TICK, .run = number};
    int rc;

    memset(k, 0, sizeof(*k));
    k->number = number;
    k->session = offer->session;
    k->source = offer->identity;
    lh_ledger_init(&k->ledger, w->n_blocks, w->max_pending);
    k->have_ledger = true;
    rc = take_up(w, offer);
    if (rc == 0) {
        k->open = true;
        sim_after(w, sim_about(w, w->commit_us), &tick);
        return 0;
    }
    lh_ledger_free(&k->ledger);
    k->have_ledger = false;
    if (!w->disk.stopped)
        sim_refuse(w, offer->session, rc > 0 ? LH_E_FENCED : LH_E_DEST);
    return -1;
}

static int finish_steps(struct sim_world *w, const struct sim_msg *msg)
{
    struct lh_journal_finish finish = {.mode = 0644, .mtime = msg->identity.mtime};
    struct sim_sink *k = &w->sink;

    if (sim_set_mtime(&w->disk, k->data, msg->identity.mtime.sec) < 0)
        return -1;
    if (!lh_mutant("drop-data-sync") && sim_sync(&w->disk, k->data) < 0)
        return -1;
    if (sim_journal_finish(w, &finish) < 0)
        return -1;
    if (sim_rename(&w->disk, SIM_PART, SIM_TARGET) < 0)
        return -1;
    w->done_said = false; /* what was there before is replaced */
    memcpy(w->promised, w->sessions[msg->session].promised, sizeof(w->promised));
    if (dir_sync(w) < 0)
        return -1;
    return sim_journal_done(w);
}

void sim_finish(struct sim_world *w, const struct sim_msg *msg)
{
    struct sim_sink *k = &w->sink;

    if (!lh_ledger_complete(&k->ledger) || !lh_identity_same_version(&k->source, &msg->identity)) {
        sim_refuse(w, msg->session, LH_E_PROTOCOL);
        return;
    }
    if (finish_steps(w, msg) < 0) {
        if (!w->disk.stopped)
            sim_sink_fail(w, "cannot finish");
        return;
    }
    w->stats->n_finished++;
    say_done(w);
}
