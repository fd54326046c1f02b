/* The verdict: which side limited a transfer, from shares of its time.
 *
 * At any moment of a transfer one of these holds; the shares make a whole:
 *
 *   cut       no stream was connected                            -> network
 *   window    nothing might be sent: too much was not durable    -> receiver
 *   walk      nothing was found to send: a tree was being read    -> source
 *   tail      all was sent, and not all was durable yet          -> receiver, as far as its disk
 *                                                                   was busy; else network
 *   the rest, by what the streams waited for:
 *   starved   blocks that were not read and hashed yet           -> source
 *   else TCP, by its own account of the time in which it had something to send:
 *   rwnd      the receiver's window was full                     -> receiver
 *   sndbuf    the send buffer was too small                      -> send buffer
 *   else      congestion control, pacing, or nobody fed it       -> network
 *
 * A window or buffer that held TCP up in a quarter of its time and more gets what is left of that
 * time too: BBR paces by the rate that they allow, and then waits for its own clock most of the
 * time.
 *
 * Precedence: without a stream that carried contents there is none; a transfer of less than
 * LH_VERDICT_MIN_S, or of fewer than LH_VERDICT_MIN_RTTS round trips, is too short to tell; one
 * that kept to its rate limit was held by that. Then the largest of the four has it; of equal ones
 * the first of receiver, source, send buffer, network. Within it:
 *
 *   source     the threads that hash mostly slept in their jobs: source disk; else sender CPU
 *   network    a stream loop had no time left: CPU of that side (of the busier one); else network
 *   receiver   waiting for commits outweighs the closed window, or its stream loops slept in writes
 *              more than they worked: receiver disk; they had hardly any time left: receiver CPU;
 *              else receiver window
 *
 * "No time left" and "slept" are judged by threads that ran or waited for a core: on a host that
 * others keep busy, waiting for a core is CPU, not disk. Pure. */
#ifndef LH_CORE_VERDICT_H
#define LH_CORE_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#define LH_VERDICT_MIN_S 1.0
#define LH_VERDICT_MIN_RTTS 10
#define LH_VERDICT_REASON_SIZE 320

enum lh_limit {
    LH_LIMIT_NONE, /* nothing was sent */
    LH_LIMIT_TOO_SHORT,
    LH_LIMIT_RATE, /* that was asked for */
    LH_LIMIT_SOURCE_DISK,
    LH_LIMIT_SENDER_CPU,
    LH_LIMIT_SEND_BUFFER,
    LH_LIMIT_NETWORK,
    LH_LIMIT_RECEIVER_WINDOW,
    LH_LIMIT_RECEIVER_CPU,
    LH_LIMIT_RECEIVER_DISK
};

/* What was measured. Shares are 0 to 1; what is outside is taken as the nearer of them. */
struct lh_verdict_input {
    double seconds;   /* from the first stream's start until all was durable */
    double rate_Bps;  /* in that time, bytes a second */
    double limit_Bps; /* that was asked for; 0: none */
    double rtt_s;     /* of the streams, the mean; 0: not known */
    unsigned streams; /* that carried contents */
    /* Of the time: */
    double cut;
    double window;
    double walk;
    double tail;
    /* Of the time in which a stream had blocks to send, over all streams: */
    double starved;
    /* Of the time in which TCP had something to send, over all streams: */
    double rwnd;
    double sndbuf;
    double resent; /* by TCP, of what it delivered */
    /* Threads that ran or waited for a core: of the time of hashing jobs, of the time. */
    double hash_busy;
    double loop_busy; /* the busiest stream loop */
    /* What the receiver said, as shares of the time. */
    bool receiver_known;
    double receiver_loop_busy;
    double receiver_write; /* a stream loop slept in writes, the one that did so most */
    double receiver_sync;  /* a commit was under way */
    double receiver_pool;  /* a stream loop had streams that waited for a buffer */
};

struct lh_verdict {
    enum lh_limit limit;
    char reason[LH_VERDICT_REASON_SIZE]; /* a sentence without its full stop, with the numbers; "":
                                            none */
};

void lh_verdict(const struct lh_verdict_input *in, struct lh_verdict *out);

/* "network", "source disk" …, "" for none; static. For people and programs. */
const char *lh_limit_name(enum lh_limit limit);

#endif
