/* A tree's numbers: the lane's and those of its big files, live and ended, as one.
 *
 * Thread: main loop. */
#include "io/tree/tree_impl.h"

#include "util/clock.h"

#include <stdio.h>
#include <string.h>

#define N_SAMPLES                                                                                  \
    (sizeof(((struct lh_tree *)0)->samples) / sizeof(((struct lh_tree *)0)->samples[0]))

/* What is counted up by every send alike. */
static void add(struct lh_send_stats *sum, const struct lh_send_stats *s)
{
    sum->bytes_sent += s->bytes_sent;
    sum->bytes_holes += s->bytes_holes;
    sum->retransmits += s->retransmits;
    sum->zero_copy_bytes += s->zero_copy_bytes;
    sum->fallback_bytes += s->fallback_bytes;
    sum->zero_copy_count += s->zero_copy_count;
    sum->fallback_count += s->fallback_count;
    sum->verification_failures += s->verification_failures;
    sum->bytes_repeated += s->bytes_repeated;
    sum->reconnects += s->reconnects;
}

/* What held it up is what held up the part that sent the most. */
static void heed_limit(struct lh_send_stats *sum, uint64_t *most_bytes,
                       const struct lh_send_stats *s)
{
    if (s->bytes_sent <= *most_bytes || s->limit[0] == '\0')
        return;
    *most_bytes = s->bytes_sent;
    memcpy(sum->limit, s->limit, sizeof(sum->limit));
    memcpy(sum->limit_reason, s->limit_reason, sizeof(sum->limit_reason));
}

void lh_tree_refresh(struct lh_tree *t)
{
    struct lh_send_stats *s = &t->stats.send;
    uint64_t most_bytes = t->lane_stats.bytes_sent;

    *s = t->lane_stats;
    s->bytes_total = t->bytes_found;
    s->bytes_skipped = t->bytes_kept;
    s->bytes_durable = t->bytes_settled + t->bytes_kept + t->bytes_there;
    add(s, &t->bigs_ended);
    heed_limit(s, &most_bytes, &t->biggest);
    for (unsigned i = 0; i < LH_TREE_BIGS_AT_ONCE; i++) {
        const struct lh_send_stats *big = &t->big[i].stats;

        add(s, big);
        s->bytes_durable += big->bytes_durable;
        s->streams += big->streams;
    }
    s->duration_s = (double)(lh_now_ms() - t->started_ms) / 1000;
    s->digest[0] = '\0';
    t->stats.walking = !t->walk_over && t->stage <= LH_TREE_MOVING;
}

uint64_t lh_tree_recent_rate(struct lh_tree *t)
{
    unsigned last = t->n_samples < N_SAMPLES ? t->n_samples : N_SAMPLES - 1;
    uint64_t bytes = t->stats.send.bytes_durable;
    uint64_t now_ms = lh_now_ms();
    uint64_t span_ms;

    memmove(&t->samples[1], &t->samples[0], last * sizeof(t->samples[0]));
    t->samples[0].ms = now_ms;
    t->samples[0].bytes = bytes;
    t->n_samples = last + 1;
    span_ms = now_ms - t->samples[last].ms;
    if (span_ms == 0 || bytes < t->samples[last].bytes)
        return 0;
    return (bytes - t->samples[last].bytes) * 8 * 1000 / span_ms;
}

void lh_tree_big_ended(struct lh_tree *t, const struct lh_send_stats *stats)
{
    add(&t->bigs_ended, stats);
    if (stats->bytes_sent > t->biggest.bytes_sent)
        t->biggest = *stats;
}
