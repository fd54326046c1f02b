/* Which side limited a transfer; the order of the decisions is told in verdict.h. */
#include "core/verdict.h"

#include "util/text.h"

#include <stdio.h>

#define NO_TIME_LEFT 0.85    /* of a thread */
#define HARDLY_ANY_LEFT 0.75 /* the same, where the closed window points to it already */
#define SLEPT 0.3
#define PACED 0.25 /* of TCP's time: so much of a closed window means all of it */
#define MOSTLY 0.5
#define AT_LIMIT 0.9 /* of the rate that was asked for */

const char *lh_limit_name(enum lh_limit limit)
{
    switch (limit) {
    case LH_LIMIT_TOO_SHORT:
        return "too short to tell";
    case LH_LIMIT_RATE:
        return "rate limit";
    case LH_LIMIT_SOURCE_DISK:
        return "source disk";
    case LH_LIMIT_SENDER_CPU:
        return "sender cpu";
    case LH_LIMIT_SEND_BUFFER:
        return "send buffer";
    case LH_LIMIT_NETWORK:
        return "network";
    case LH_LIMIT_RECEIVER_WINDOW:
        return "receiver window";
    case LH_LIMIT_RECEIVER_CPU:
        return "receiver cpu";
    case LH_LIMIT_RECEIVER_DISK:
        return "receiver disk";
    case LH_LIMIT_NONE:
        break;
    }
    return "";
}

static double share(double v)
{
    return v > 0 ? (v < 1 ? v : 1) : 0; /* what is no number is none */
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

static unsigned percent(double v)
{
    return (unsigned)(100 * share(v) + 0.5);
}

/* The transfer's time, parted; together 1. */
struct parts {
    double source;
    double walk; /* a part of that */
    double sndbuf;
    double network;
    double rwnd;
    double commits; /* waited for, with nothing to send */
    double cut;
};

static struct parts part(const struct lh_verdict_input *in)
{
    double disk =
        share(in->receiver_sync > in->receiver_write ? in->receiver_sync : in->receiver_write);
    double cut = share(in->cut);
    double window = least(share(in->window), 1 - cut);
    double walk = least(share(in->walk), 1 - cut - window);
    double tail = least(share(in->tail), 1 - cut - window - walk);
    double rest = 1 - cut - window - walk - tail;
    double starved = rest * share(in->starved);
    double rwnd = (rest - starved) * share(in->rwnd);
    double sndbuf = (rest - starved) * least(share(in->sndbuf), 1 - share(in->rwnd));
    double commits = window + least(tail, disk);

    return (struct parts){.source = walk + starved,
                          .walk = walk,
                          .sndbuf = sndbuf,
                          .rwnd = rwnd,
                          .commits = commits,
                          .cut = cut,
                          .network = 1 - walk - starved - rwnd - sndbuf - commits};
}

/* BBR takes the rate that a small window or buffer allows for the path's, and paces by it: most of
 * the time it then waits for its own clock. */
static struct parts see_through_pacing(struct parts p)
{
    double tcp = p.rwnd + p.sndbuf + p.network - p.cut;
    double *most = p.rwnd >= p.sndbuf ? &p.rwnd : &p.sndbuf;

    if (tcp > 0 && *most >= PACED * tcp) {
        *most += p.network - p.cut;
        p.network = p.cut;
    }
    return p;
}

/* What a stream has under way, and what the kernel's limit must be for twice the rate: half of it
 * is the kernel's own overhead. Texts of at least 24 bytes. */
static void sizes(const struct lh_verdict_input *in, char *have, char *need)
{
    double bytes = in->rate_Bps * in->rtt_s / (in->streams > 0 ? in->streams : 1);

    lh_text_bytes(have, 24, (uint64_t)bytes);
    lh_text_bytes(need, 24, (uint64_t)(4 * bytes));
}

#define SAY(...) snprintf(out->reason, sizeof(out->reason), __VA_ARGS__)

static enum lh_limit judge_source(const struct lh_verdict_input *in, const struct parts *p,
                                  struct lh_verdict *out)
{
    bool disk = in->hash_busy < MOSTLY;
    double waited = p->source - p->walk;

    if (p->walk > waited)
        SAY("nothing was found to send %u %% of the time, while the tree was being read; that had "
            "or wanted a core %u %% of its time",
            percent(p->walk), percent(in->hash_busy));
    else
        SAY("streams waited for blocks to be read and hashed %u %% of the time; hashing had or "
            "wanted a core %u %% of its time, the rest went into reading",
            percent(waited), percent(in->hash_busy));
    return disk ? LH_LIMIT_SOURCE_DISK : LH_LIMIT_SENDER_CPU;
}

static enum lh_limit judge_sndbuf(const struct lh_verdict_input *in, double waited,
                                  struct lh_verdict *out)
{
    char have[24], need[24];

    sizes(in, have, need);
    SAY("streams waited for room in their send buffers %u %% of the time with %s under way each: "
        "raise the third number of net.ipv4.tcp_wmem at the sender, to %s for twice the rate, or "
        "use more --streams",
        percent(waited), have, need);
    return LH_LIMIT_SEND_BUFFER;
}

static enum lh_limit judge_network(const struct lh_verdict_input *in, double waited,
                                   struct lh_verdict *out)
{
    bool there = in->receiver_known && in->receiver_loop_busy > in->loop_busy;
    double busy = there ? in->receiver_loop_busy : in->loop_busy;
    unsigned resent = (unsigned)(1000 * share(in->resent) + 0.5);

    if (busy >= NO_TIME_LEFT) {
        SAY("a stream loop of the %s had or wanted a core %u %% of the time",
            there ? "receiver" : "sender", percent(busy));
        return there ? LH_LIMIT_RECEIVER_CPU : LH_LIMIT_SENDER_CPU;
    }
    if (in->cut >= MOSTLY * waited)
        SAY("there was no connection %u %% of the time", percent(in->cut));
    else
        SAY("there was more to send than the network took, %u %% of the time; TCP sent %u.%u %% of "
            "it again",
            percent(waited), resent / 10, resent % 10);
    return LH_LIMIT_NETWORK;
}

static enum lh_limit judge_receiver(const struct lh_verdict_input *in, const struct parts *p,
                                    struct lh_verdict *out)
{
    char have[24], need[24];

    if (p->commits >= p->rwnd ||
        (in->receiver_write >= SLEPT && in->receiver_write > in->receiver_loop_busy)) {
        SAY("%u %% of the time went into waiting for its disk; writes slept %u %%, commits "
            "took %u %% of the time",
            percent(p->commits + p->rwnd), percent(in->receiver_write), percent(in->receiver_sync));
        return LH_LIMIT_RECEIVER_DISK;
    }
    if (in->receiver_loop_busy + in->receiver_write >= HARDLY_ANY_LEFT) {
        SAY("its window was closed %u %% of the time; a stream loop there had or wanted a core "
            "%u %% of it and slept in writes %u %%",
            percent(p->rwnd), percent(in->receiver_loop_busy), percent(in->receiver_write));
        return LH_LIMIT_RECEIVER_CPU;
    }
    if (in->receiver_pool >= SLEPT) {
        SAY("its window was closed %u %% of the time, and streams waited for its buffers %u "
            "%%: "
            "raise --pool of serve",
            percent(p->rwnd), percent(in->receiver_pool));
        return LH_LIMIT_RECEIVER_WINDOW;
    }
    sizes(in, have, need);
    SAY("its window was closed %u %% of the time with %s under way a stream: raise the third "
        "number of net.ipv4.tcp_rmem there, to %s for twice the rate, or use more --streams%s",
        percent(p->rwnd), have, need,
        in->receiver_known ? "" : " (or its disk is slow: it does not say)");
    return LH_LIMIT_RECEIVER_WINDOW;
}

void lh_verdict(const struct lh_verdict_input *in, struct lh_verdict *out)
{
    struct parts p = part(in);
    struct parts seen = see_through_pacing(p);
    double receiver = seen.rwnd + seen.commits;

    out->reason[0] = '\0';
    if (in->streams == 0) {
        out->limit = LH_LIMIT_NONE;
    } else if (in->seconds < LH_VERDICT_MIN_S || in->seconds < LH_VERDICT_MIN_RTTS * in->rtt_s) {
        SAY("contents moved for %.1f s", in->seconds);
        out->limit = LH_LIMIT_TOO_SHORT;
    } else if (in->limit_Bps > 0 && in->rate_Bps >= AT_LIMIT * in->limit_Bps) {
        SAY("it went at %u %% of the rate that was asked for",
            (unsigned)(100 * in->rate_Bps / in->limit_Bps));
        out->limit = LH_LIMIT_RATE;
    } else if (receiver >= seen.source && receiver >= seen.sndbuf && receiver >= seen.network) {
        out->limit = judge_receiver(in, &p, out);
    } else if (seen.source >= seen.sndbuf && seen.source >= seen.network) {
        out->limit = judge_source(in, &p, out);
    } else if (seen.sndbuf >= seen.network) {
        out->limit = judge_sndbuf(in, p.sndbuf, out);
    } else {
        out->limit = judge_network(in, p.network, out);
    }
}
