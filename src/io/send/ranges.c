/* Where in its file a send stands, as ranges of bytes.
 *
 * Thread: main loop. The schedule knows it in blocks; between two sessions there is none, and what
 * was durable at the end of the last holds. */
#include "io/send/sender.h"

static struct lh_range bytes_of(const struct lh_send *s, const struct lh_run *run)
{
    uint64_t first = run->first * s->opts.block_bytes;
    uint64_t end = run->end * s->opts.block_bytes;

    if (end > s->stats.bytes_total) /* the last block is shorter */
        end = s->stats.bytes_total;
    return (struct lh_range){.offset = first, .length = end - first};
}

static size_t durable(const struct lh_send *s, struct lh_range *out, size_t max)
{
    const struct lh_runs *runs = s->sched_ready ? &s->sched.durable : &s->known;

    if (s->delivered) { /* all of it, and there may never have been a schedule */
        if (s->stats.bytes_total > 0 && max > 0)
            out[0] = (struct lh_range){.offset = 0, .length = s->stats.bytes_total};
        return s->stats.bytes_total > 0;
    }
    for (size_t i = 0; i < runs->n && i < max; i++)
        out[i] = bytes_of(s, &runs->v[i]);
    return runs->n;
}

static size_t in_flight(const struct lh_send *s, struct lh_range *out, size_t max)
{
    struct lh_run run;
    size_t n = 0;

    if (s->phase != LH_PHASE_MOVING)
        return 0;
    for (uint64_t at = 0; lh_sched_in_flight(&s->sched, at, &run.first, &run.end); at = run.end) {
        if (n < max)
            out[n] = bytes_of(s, &run);
        n++;
    }
    return n;
}

size_t lh_send_ranges(const struct lh_send *s, enum lh_ranges which, struct lh_range *out,
                      size_t max)
{
    return which == LH_RANGES_DURABLE ? durable(s, out, max) : in_flight(s, out, max);
}
