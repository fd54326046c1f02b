/* Streams that lag; the rule is told in laggard.h. */
#include "core/laggard.h"

#include "util/err.h"

#include <string.h>

static bool counts(const struct lh_laggard_sight *v)
{
    return v->busy && v->rate_Bps > 0;
}

/* Of the busy streams but one, the lower of two; 0 when there are too few. */
static uint64_t median_of_others(const struct lh_laggard_sight *v, unsigned n, unsigned but)
{
    uint64_t sorted[LH_LAGGARD_STREAMS];
    unsigned m = 0;

    for (unsigned i = 0; i < n; i++) {
        unsigned at = m;

        if (i == but || !counts(&v[i]))
            continue;
        while (at > 0 && sorted[at - 1] > v[i].rate_Bps)
            at--;
        memmove(&sorted[at + 1], &sorted[at], (m - at) * sizeof(sorted[0]));
        sorted[at] = v[i].rate_Bps;
        m++;
    }
    return m >= LH_LAGGARD_OTHERS ? sorted[(m - 1) / 2] : 0;
}

static bool due(const struct lh_laggards *l, const struct lh_laggard_sight *v, unsigned i,
                uint64_t now_ms)
{
    return l->since_ms[i] != 0 && now_ms - l->since_ms[i] >= LH_LAGGARD_MS &&
           now_ms - v[i].up_ms >= LH_LAGGARD_YOUNG_MS &&
           (l->redialled_ms[i] == 0 || now_ms - l->redialled_ms[i] >= LH_LAGGARD_PAUSE_MS);
}

bool lh_laggard_find(struct lh_laggards *l, const struct lh_laggard_sight *v, unsigned n,
                     uint64_t now_ms, unsigned *stream, uint64_t *median_Bps)
{
    bool found = false;

    LH_REQUIRE(n <= LH_LAGGARD_STREAMS);
    for (unsigned i = 0; i < n; i++) {
        uint64_t median = counts(&v[i]) ? median_of_others(v, n, i) : 0;

        if (v[i].rate_Bps >= median / LH_LAGGARD_TIMES)
            l->since_ms[i] = 0;
        else if (l->since_ms[i] == 0)
            l->since_ms[i] = now_ms;
        if (due(l, v, i, now_ms) && (!found || v[i].rate_Bps < v[*stream].rate_Bps)) {
            found = true;
            *stream = i;
            *median_Bps = median;
        }
    }
    if (found) {
        l->since_ms[*stream] = 0;
        l->redialled_ms[*stream] = now_ms;
    }
    return found;
}
