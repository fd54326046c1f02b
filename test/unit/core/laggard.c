/* core/laggard: who is dialled again, and who is not. */
#include "core/laggard.h"

#include "test/lib/tap.h"

#include <string.h>

#define MB 1000000ull
#define T0 1000000ull

struct rig {
    struct lh_laggards l;
    struct lh_laggard_sight v[8];
    uint64_t now_ms;
    unsigned stream;
    uint64_t median_Bps;
};

static void begin(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    r->now_ms = T0;
    for (unsigned i = 0; i < 8; i++)
        r->v[i] = (struct lh_laggard_sight){.busy = true, .rate_Bps = 10 * MB, .up_ms = T0 - 60000};
}

/* How often somebody is dialled again in so many seconds. */
static unsigned seconds(struct rig *r, unsigned n, unsigned streams)
{
    unsigned found = 0;

    for (unsigned i = 0; i < n * 4; i++, r->now_ms += 250)
        found += lh_laggard_find(&r->l, r->v, streams, r->now_ms, &r->stream, &r->median_Bps);
    return found;
}

int main(void)
{
    struct rig r;

    begin(&r);
    is_u64(seconds(&r, 60, 8), 0, "all alike");
    r.v[3].rate_Bps = 3 * MB;
    is_u64(seconds(&r, 60, 8), 0, "a third of the others' rate is nothing");
    r.v[3].rate_Bps = 2 * MB;
    is_u64(seconds(&r, 5, 8), 0, "a fifth: not at once");
    is_u64(seconds(&r, 1, 8), 1, "after 5 s");
    ok(r.stream == 3 && r.median_Bps == 10 * MB, "that one");
    is_u64(seconds(&r, 59, 8), 0, "not again within a minute");
    is_u64(seconds(&r, 1, 8), 1, "then once more");

    begin(&r);
    r.v[3].rate_Bps = 2 * MB;
    is_u64(seconds(&r, 4, 8), 0, "4 s");
    r.v[3].busy = false;
    is_u64(seconds(&r, 1, 8), 0, "with nothing to send for a moment");
    r.v[3].busy = true;
    is_u64(seconds(&r, 5, 8), 0, "it begins anew");
    is_u64(seconds(&r, 1, 8), 1, "and ends as before");

    begin(&r);
    r.v[3].rate_Bps = 1 * MB;
    r.v[3].up_ms = T0;
    is_u64(seconds(&r, 9, 8), 0, "a young connection is still finding its rate");
    is_u64(seconds(&r, 2, 8), 1, "one of 10 s is not");

    begin(&r);
    r.v[3].rate_Bps = 0;
    is_u64(seconds(&r, 60, 8), 0, "a rate that is not known is none to judge by");
    for (unsigned i = 0; i < 8; i++)
        r.v[i].rate_Bps = MB / 100;
    is_u64(seconds(&r, 60, 8), 0, "all slow");
    for (unsigned i = 0; i < 5; i++)
        r.v[i].rate_Bps = MB / 1000;
    is_u64(seconds(&r, 60, 8), 0, "most slow");

    begin(&r);
    r.v[0].rate_Bps = MB / 10;
    is_u64(seconds(&r, 60, 2), 0, "two streams: who is the laggard?");
    is_u64(seconds(&r, 10, 3), 1, "three: the one that differs");
    is_u64(r.stream, 0, "that one");

    begin(&r);
    r.v[5].rate_Bps = 2 * MB;
    r.v[6].rate_Bps = 1 * MB;
    is_u64(seconds(&r, 5, 8), 0, "two of them");
    is_u64(lh_laggard_find(&r.l, r.v, 8, r.now_ms, &r.stream, &r.median_Bps), 1, "one at a time");
    is_u64(r.stream, 6, "the slower first");
    is_u64(lh_laggard_find(&r.l, r.v, 8, r.now_ms, &r.stream, &r.median_Bps), 1, "then");
    is_u64(r.stream, 5, "the other");
    return done_testing();
}
