/* The receiver's end: what serve, sessions and streams do around its targets, which are the
 * program's.
 *
 * It is killed by making all that it does without effect (tw.dead), and letting it go to its end
 * like that: so its memory is freed by its own code. */
#include "test/sim/tree_world.h"

#include "test/lib/tap.h"
#include "util/mutant.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ---- sessions ---- */

struct lh_rsession_of {   /* a session, and its connection */
    struct lh_rsession r; /* first */
    struct tw_session *s; /* NULL: it has ended */
};

static struct tw_session *session_of(const struct lh_rsession *r)
{
    return ((const struct lh_rsession_of *)r)->s;
}

bool tw_receiver_accept(struct tw_session *s)
{
    struct lh_rsession_of *r;

    if (tw.serve == NULL || tw.dead)
        return false;
    r = calloc(1, sizeof(*r));
    if (r == NULL || (r->r.shared = calloc(1, sizeof(*r->r.shared))) == NULL)
        bail("out of memory");
    atomic_store(&r->r.shared->refs, 1);
    pthread_mutex_init(&r->r.shared->lock, NULL);
    r->r.shared->session = &r->r;
    r->r.serve = tw.serve;
    r->r.ctl.heard_ms = lh_now_ms();
    strcpy(r->r.peer, "sim");
    r->s = s;
    s->r = &r->r;
    r->r.next = tw.serve->sessions;
    tw.serve->sessions = &r->r;
    return true;
}

void lh_rsession_send(struct lh_rsession *r, uint16_t type, uint16_t flags,
                      const struct lh_target *t, const void *payload, size_t length)
{
    struct lh_frame head = {.type = type,
                            .flags = flags,
                            .transfer = t != NULL ? t->transfer : LH_NO_TRANSFER,
                            .epoch = t != NULL ? t->opened.epoch : 0,
                            .length = (uint32_t)length};
    struct tw_session *s = session_of(r);

    if (s == NULL || tw.dead)
        return;
    tw_trace("  session %u: receiver says %s, %zu bytes", s->id, lh_frame_name(type), length);
    tw_check_said(s, &head, payload);
    tw_session_say(s, &s->down, &head, payload);
}

/* As lh_ctl_send_runs has it. */
void lh_rsession_send_runs(struct lh_rsession *r, uint16_t type, uint16_t last_flags,
                           const struct lh_target *t, const struct lh_runs *runs)
{
    uint8_t payload[4 + 16 * 64];
    size_t i = 0;

    do {
        struct lh_block_run list[64];
        size_t n = 0;

        for (; n < 64 && i < runs->n; n++, i++)
            list[n] = (struct lh_block_run){runs->v[i].first, runs->v[i].end - runs->v[i].first};
        lh_rsession_send(r, type, i == runs->n ? last_flags : 0, t, payload,
                         lh_block_runs_encode(list, n, payload));
    } while (i < runs->n);
}

void lh_rsession_error(struct lh_rsession *r, uint32_t transfer, uint16_t code, uint32_t silent_ms,
                       const char *text)
{
    struct lh_error_frame error = {
        .code = code, .silent_ms = silent_ms, .text = text, .text_len = strlen(text)};
    struct lh_frame head = {.type = LH_FRAME_ERROR, .transfer = transfer};
    uint8_t payload[LH_ERROR_TEXT_MAX + 64];
    struct tw_session *s = session_of(r);

    if (error.text_len > LH_ERROR_TEXT_MAX)
        error.text_len = LH_ERROR_TEXT_MAX;
    if (s == NULL || tw.dead)
        return;
    tw_trace("  session %u: receiver says ERROR %u %s", s->id, code, text);
    if (code == LH_WIRE_PROTOCOL || code == LH_WIRE_INTERNAL)
        tw_broken("the receiver says that %s", text);
    tw.stats->n_busy += code == LH_WIRE_BUSY;
    tw.stats->n_refused++;
    head.length = (uint32_t)lh_error_encode(&error, payload);
    tw_session_say(s, &s->down, &head, payload);
}

void lh_rsession_end(struct lh_rsession *r, uint16_t code, const char *text)
{
    struct tw_session *s = session_of(r);
    struct lh_target *t;

    if (s == NULL)
        return;
    tw_trace("  session %u: ended by the receiver: %s", s->id, text);
    if (code != LH_WIRE_OK)
        lh_rsession_error(r, LH_NO_TRANSFER, code, 0, text);
    if (!tw.dead)
        tw_session_end(s, &s->down);
    ((struct lh_rsession_of *)r)->s = NULL;
    s->r = NULL;
    r->ended_ms = lh_now_ms();
    r->shared->closed = true;
    do {
        for (t = r->serve->targets; t != NULL && t->session != r; t = t->next)
            ;
        if (t != NULL)
            lh_target_let_go(t);
    } while (t != NULL);
}

void lh_rstats_begin(struct lh_rsession *r)
{
    (void)r;
}

void lh_rstats_send(struct lh_rsession *r)
{
    (void)r;
}

void lh_serve_maybe_stop(struct lh_serve *serve)
{
    (void)serve;
}

void lh_ctl_cork(struct lh_ctl *ctl)
{
    ctl->n_corks++;
}

void lh_ctl_uncork(struct lh_ctl *ctl)
{
    ctl->n_corks--;
}

void lh_ctl_pause(struct lh_ctl *ctl, bool paused)
{
    struct tw_session *s = session_of(LH_CONTAINER_OF(ctl, struct lh_rsession, ctl));

    tw.stats->n_paused += paused && !ctl->paused;
    ctl->paused = paused;
    if (!paused && s != NULL)
        tw_session_go_on(s);
}

void tw_receiver_lost(struct tw_session *s)
{
    if (s->r != NULL && !tw.dead)
        lh_rsession_end(s->r, LH_WIRE_OK, "the connection is lost");
}

/* ---- what comes ---- */

static void on_offer(struct lh_rsession *r, const struct tw_frame *f)
{
    struct lh_offer offer;
    const char *why = NULL;

    r->shared->offered = f->head.transfer + 1;
    if (lh_offer_decode(f->payload, f->head.length, &offer, &why) != 0)
        tw_broken("OFFER: %s", why);
    else
        lh_target_offer(r, f->head.transfer, &offer);
}

static void on_finish(struct lh_target *t, const struct tw_frame *f)
{
    struct lh_finish finish;
    const char *why = NULL;

    if (lh_finish_decode(f->payload, f->head.length, &finish, &why) != 0)
        tw_broken("FINISH: %s", why);
    else
        lh_target_finish(t, &finish);
}

void tw_receiver_heard(struct tw_session *s, const struct tw_frame *f)
{
    struct lh_rsession *r = s->r;
    struct lh_target *t;

    if (r == NULL || tw.dead)
        return;
    r->ctl.heard_ms = lh_now_ms();
    if (f->head.type == LH_FRAME_OFFER) {
        on_offer(r, f);
        return;
    }
    t = lh_target_find(r, f->head.transfer);
    if (t == NULL) {
        if (f->head.transfer >= r->shared->offered)
            tw_broken("%s of a transfer that was not offered", lh_frame_name(f->head.type));
        return;
    }
    if (f->head.type == LH_FRAME_FINISH)
        on_finish(t, f);
    else if (f->head.type == LH_FRAME_CONFIRM)
        lh_target_confirm(t);
    else
        lh_target_tree_frame(t, &f->head, f->payload);
}

/* As rstream.c has it. */
static void damaged(struct lh_rsession *r, const struct lh_target *t, uint64_t number)
{
    struct lh_runs runs;

    lh_runs_init(&runs, 4);
    if (lh_runs_add(&runs, number, number + 1) != 0)
        bail("out of memory");
    lh_rsession_send_runs(r, LH_FRAME_AGAIN, 0, t, &runs);
    lh_runs_free(&runs);
}

static void take_block(struct lh_rsession *r, struct lh_target *t, uint64_t epoch, uint64_t number,
                       const uint8_t *data, uint32_t len, const struct lh_hash *hash)
{
    struct lh_err err = {0};
    struct lh_hash have;
    bool soon = false;
    int claim;

    if (!t->store->ops->wants(t->store, epoch, number * TW_GRID))
        return;
    lh_hash_bytes(data, len, &have);
    if (memcmp(&have, hash, sizeof(have)) != 0 && !lh_mutant("skip-verify")) {
        damaged(r, t, number);
        return;
    }
    claim = t->store->ops->write(t->store, epoch, number * TW_GRID, data, len, hash, &soon, &err);
    if (claim == LH_CLAIM_OK)
        lh_committer_wrote(t->committer, len, soon);
    else if (claim == -LH_E_PROTOCOL && !tw.dead)
        tw_broken("a pack breaks the protocol: %s", err.text);
    else if (claim < 0)
        lh_target_fail(t, &err);
    else if (claim != LH_CLAIM_DUPLICATE && claim != LH_CLAIM_FENCED)
        tw_broken("a pack is refused: %d", claim);
}

void tw_receiver_block(struct tw_session *s, uint32_t transfer, uint64_t epoch, uint64_t number,
                       const uint8_t *data, uint32_t len, const struct lh_hash *hash)
{
    struct lh_target *t;
    enum lh_lookup found;

    if (s->r == NULL || tw.dead)
        return;
    found = lh_rshared_lookup(s->r->shared, transfer, &t);
    if (found == LH_LOOKUP_UNKNOWN)
        tw_broken("a pack of a transfer that nobody knows");
    if (found != LH_LOOKUP_FOUND)
        return;
    if (epoch != t->opened.epoch && !lh_mutant("ignore-epoch"))
        tw_broken("a pack of epoch %llu", (unsigned long long)epoch);
    take_block(s->r, t, epoch, number, data, len, hash);
    lh_target_unref(t);
}

/* ---- its process ---- */

void tw_receiver_start(void *arg)
{
    struct lh_serve *serve = calloc(1, sizeof(*serve));
    struct lh_err err = {0};

    (void)arg;
    if (serve == NULL)
        bail("out of memory");
    if (tw.over) {
        free(serve);
        return;
    }
    serve->opts.commit_ms = 1 + tw_below(1000);
    serve->opts.commit_bytes = 256ull << 20;
    serve->opts.holder_timeout_ms = TW_HOLDER_TIMEOUT_MS;
    lh_quota_init(&serve->tree_memory, tw.plan.tree_memory);
    tw.serve = serve;
    if (lh_place_open(CALLS_DEST, &serve->root, &err) != 0) {
        free(serve); /* whoever starts it tries again */
        tw.serve = NULL;
        tw_at(TW_WORLD, 1000, tw_receiver_start, NULL);
        return;
    }
    tw_trace("the receiver starts");
}

/* All that it was at comes to nothing. */
static void go(void)
{
    struct lh_serve *serve = tw.serve;

    for (struct tw_session *s = tw.sessions; s != NULL; s = s->next)
        if (s->r != NULL) {
            lh_rsession_end(s->r, LH_WIRE_OK, "killed");
            tw_session_cut(s, false);
        }
    tw_drain(TW_RECEIVER);
    if (serve->targets != NULL)
        tw_broken("a target was not let go");
    if (atomic_load(&serve->tree_memory.used) != 0)
        tw_broken("%zu bytes of what trees share were not given back",
                  (size_t)atomic_load(&serve->tree_memory.used));
    while (serve->sessions != NULL) {
        struct lh_rsession *r = serve->sessions;

        serve->sessions = r->next;
        lh_rshared_unref(r->shared);
        free(r);
    }
    while (serve->committers != NULL) {
        struct lh_committer *c = serve->committers;

        serve->committers = c->next;
        free(c);
    }
    lh_place_close(serve->root);
    free(serve);
    tw.serve = NULL;
}

static void die(void)
{
    tw.dead = true;
    tw.kill_in = 0;
    go();
    if (tw.power_cut) {
        tw_trace("the power goes at the receiver");
        tw.stats->n_power_cuts++;
        fs_power_cut(&tw.dest, &tw.rng);
        tw_check_after_cut();
    } else {
        tw_trace("the receiver is killed");
        tw.stats->n_receiver_kills++;
    }
    tw.dead = tw.power_cut = false;
    tw_at(TW_WORLD, 1000 + tw_below(3000000), tw_receiver_start, NULL);
}

void tw_receiver_kill(bool power)
{
    if (tw.serve == NULL || tw.kill_in > 0)
        return;
    tw.power_cut = power;
    if (tw_one_in(2))
        tw.kill_in = 1 + tw_below(60);
    else
        die();
}

void tw_receiver_maybe_dead(void)
{
    if (tw.dead && tw.serve != NULL)
        die();
}

void tw_receiver_stop(void)
{
    tw.kill_in = 0;
    if (tw.serve == NULL)
        return;
    tw.dead = true;
    go();
    tw.dead = false;
}
