#ifndef LH_WAN_LINK_H
#define LH_WAN_LINK_H
/* One direction of the emulated WAN: what arrives at a host waits in the kernel until the line
 * would have delivered it. A link runs on a thread of its own; settings and counts are the only
 * things that others touch. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { LH_LATE_NS = 1000000 };
enum lh_cut { LH_CUT_OFF, LH_CUT_BLACKHOLE, LH_CUT_RESET };

struct lh_link_settings {
    double rate_bps;     /* on the wire, Ethernet's headers counted; 0: no limit */
    double delay_ns;     /* one way */
    double jitter_ns;    /* up to this much more, for each packet; the order stays */
    double loss;         /* of each segment, 0 to 1 */
    double bad_enter;    /* Gilbert-Elliott: from the good state to the bad one, per segment */
    double bad_leave;    /* and back */
    double bad_loss;     /* loss in the bad state */
    double good_loss;    /* loss in the good one */
    double buffer_bytes; /* before the bottleneck; what does not fit is dropped */
    double reorder;      /* share of packets held back */
    double hold_ns;      /* by how much */
    double corrupt_body; /* share of segments that get a bit of their payload flipped */
    double corrupt_head; /* or a bit of their TCP header */
    enum lh_cut cut;
};

/* What happened so far, in segments unless it says otherwise. `late`: delivered more than
 * LH_LATE_NS after they were due. */
struct lh_link_counts {
    _Atomic uint64_t packets, arrived, wire_bytes, tail_dropped, lost, cut, corrupted, held, resets,
        delivered, delivered_wire_bytes, refused, queue_max_bytes, late_max_ns, late;
};

struct lh_link {
    struct lh_nfq *whole;   /* what arrives */
    struct lh_nfq *parts;   /* segments of what does not go through as it came */
    int reset_v4, reset_v6; /* raw sockets of the receiving host, which answer with resets */
    uint32_t mtu;
    int wake_fd; /* eventfd: settings changed */
    uint64_t seed;
    pthread_mutex_t lock; /* of settings */
    struct lh_link_settings settings;
    _Atomic uint32_t generation; /* raised with every change of settings */
    struct lh_link_counts counts;
};

/* The number of the queue `parts`. */
enum { LH_LINK_WHOLE, LH_LINK_PARTS };

/* Thread body; `arg` is the struct lh_link. Ends the process when a queue fails. */
void *lh_link_run(void *arg);

#endif
