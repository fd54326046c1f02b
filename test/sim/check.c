/* What must hold, after every step.
 *
 * The strict way: not "did this power cut lose anything" but "could one, now": the platter's own
 * images are read as recovery would read them. */
#include "test/sim/world.h"

#include <string.h>

/* The staging file as the platter has it: under its hidden name, or renamed already. */
static const struct sim_file *staging_on_platter(const struct sim_world *w,
                                                 const struct sim_journal *j)
{
    for (int i = 0; i < SIM_NAMES; i++) {
        const struct sim_file *f = w->disk.dir[SIM_PLATTER][i];

        if (f != NULL && i != SIM_JOURNAL && f->ino == j->head.staging_ino &&
            (int64_t)f->btime == j->head.staging_btime.sec &&
            f->len[SIM_PLATTER] == w->n_blocks * SIM_BLOCK_BYTES)
            return f;
    }
    return NULL;
}

/* No unverified byte is kept, and no version mixed: a durable block on the platter is what its hash
 * says, whole, at its place, and of the version that the journal is bound to. */
static void check_block(struct sim_world *w, const struct sim_journal *j, const struct sim_file *f,
                        uint64_t b)
{
    struct sim_block have;
    struct lh_hash hash;

    memcpy(&have, f->image[SIM_PLATTER] + b * SIM_BLOCK_BYTES, SIM_BLOCK_BYTES);
    hash = sim_hash(&have);
    if (memcmp(&hash, &j->hash[b], sizeof(hash)) != 0)
        sim_broken(w, "block %d is recorded as durable, but the disk has other contents", (int)b);
    for (uint32_t i = 0; i < SIM_SECTORS; i++)
        if ((have.sector[i] & 0xff) != (b << 2 | i) || have.sector[i] >> 8 != have.sector[0] >> 8)
            sim_broken(w, "block %d mixes versions or places", (int)b);
    if (!w->changes_while_sending && have.sector[0] >> 20 != (uint32_t)j->head.source.mtime.sec)
        sim_broken(w, "block %d is of another version than the journal", (int)b);
}

static void check_journal(struct sim_world *w)
{
    const struct sim_file *log = w->disk.dir[SIM_PLATTER][SIM_JOURNAL];
    const struct sim_file *f = NULL;
    struct sim_journal j = {0};

    if (log != NULL)
        sim_journal_scan(w, log->image[SIM_PLATTER], log->len[SIM_PLATTER], &j);
    if (j.valid)
        f = staging_on_platter(w, &j);
    if (w->acked != 0 && (f == NULL || (w->acked & ~j.durable) != 0))
        sim_broken(w, "a power cut now would lose acknowledged blocks (%s)",
                   log == NULL ? "no journal"
                   : !j.valid  ? "journal empty"
                   : f == NULL ? "no staging file"
                               : "not in the journal");
    for (uint64_t b = 0; f != NULL && b < w->n_blocks; b++)
        if (j.durable & sim_bit(b))
            check_block(w, &j, f, b);
}

/* What was said to be done stays, until somebody replaces it with something whole. */
static void check_target(struct sim_world *w)
{
    const struct sim_file *f = w->disk.dir[SIM_PLATTER][SIM_TARGET];

    if (f != w->done_file)
        sim_broken(w, "a power cut now would lose a target that was said to be done");
    if (memcmp(f->image[SIM_PLATTER], w->promised, w->n_blocks * SIM_BLOCK_BYTES) != 0)
        sim_broken(w, "a target that was said to be done is not the source, on the platter");
}

void sim_check(struct sim_world *w)
{
    if (!w->check_due && w->checked_changes == w->disk.n_changes)
        return;
    w->check_due = false;
    w->checked_changes = w->disk.n_changes;
    check_journal(w);
    if (w->done_said)
        check_target(w);
}

/* A claim has just been granted for this block. */
void sim_check_claim(struct sim_world *w, const struct sim_msg *msg)
{
    const struct sim_sink *k = &w->sink;

    if (k->closing || msg->session != k->session || msg->epoch != k->holder.epoch)
        sim_broken(w, "block %d is written for one who is not the holder", (int)msg->block);
    if (k->writing & sim_bit(msg->block))
        sim_broken(w, "block %d is written twice at a time", (int)msg->block);
    if (w->acked & sim_bit(msg->block) || lh_runs_has(&k->ledger.durable, msg->block))
        sim_broken(w, "block %d is durable and written again", (int)msg->block);
}

/* The receiver has read its journal anew. */
void sim_check_opened(struct sim_world *w, const struct sim_journal *found, bool same_version)
{
    if (same_version && (w->acked & ~found->durable) != 0)
        sim_broken(w, "acknowledged blocks are gone after recovery");
}

/* A sender has heard that its transfer is done. */
void sim_check_done(struct sim_world *w, const struct sim_sender *s)
{
    const struct sim_file *f = w->disk.dir[SIM_SEEN][SIM_TARGET];
    struct lh_identity now = sim_identity(w, (int)(s - w->senders));

    if (f == NULL)
        sim_broken(w, "done, but there is no target");
    if (memcmp(f->image[SIM_SEEN], w->promised, w->n_blocks * SIM_BLOCK_BYTES) != 0)
        sim_broken(w, "done, but the target is not what the sender checked before FINISH");
    if (!lh_identity_same(&now, &s->identity))
        return; /* changed after the last check: the next run will find it */
    for (uint64_t b = 0; b < w->n_blocks; b++) {
        struct sim_block want = sim_contents(w, b);

        if (memcmp(f->image[SIM_SEEN] + b * SIM_BLOCK_BYTES, &want, sizeof(want)) != 0)
            sim_broken(w, "done, but block %d of the target is not the source's", (int)b);
    }
}
