/* One direction of the WAN emulator.
 *
 * Each link runs on its own thread. Happy path: the kernel puts a packet that arrives at the host
 * into a queue and shows us its headers; every segment of it passes the bottleneck (a clock of when
 * the line is free again: what would wait longer than the buffer is deep is dropped), the line's
 * losses, and its delay; when it is due, the kernel is told to let it go on. Contents stay where
 * they are. A super-packet of which a segment is lost, damaged or much later than the first is
 * moved to a second queue, on whose way the kernel parts it: the dice are thrown back and thrown
 * again for the parts.
 *
 * The bottleneck comes before the losses: a lost segment has used the line, as on a real one.
 * Failures: a queue that fails ends the process; a verdict that the kernel does not take is counted
 * as refused. */
#include "link.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "nfq.h"
#include "packet.h"

static const double NS_PER_S = 1e9;
static const double RUN_MAX_NS = 600e3; /* wire time of what is delivered as one packet */
/* Between two looks, when there is work: as long as a super-packet takes on the wire, within these
 * bounds and a share of the delay. Wake-ups are what a slow line costs most. */
static const double REST_MIN_NS = 200e3, REST_MAX_NS = 500e3, REST_OF_DELAY = 1.0 / 100;
enum { SUPER_BYTES = 65536 };

struct entry {
    double due_ns;
    struct lh_nfq *queue;
    enum lh_nfq_verdict verdict;
    uint8_t *contents; /* allocated, when they were changed */
    uint32_t id, n_bytes, n_segments, wire_bytes;
};

/* Entries in the order they are due: a ring that grows. */
struct queue {
    struct entry *entries;
    uint32_t n, first, capacity; /* capacity is a power of two */
};

/* What a throw changes. */
struct dice {
    uint64_t random;
    bool is_bad;    /* the Gilbert-Elliott model's state */
    double free_ns; /* when the bottleneck is */
};

/* What all segments of a packet have in common. */
struct trip {
    double now, delay_ns;
    bool held;
};

struct state {
    struct lh_link *link;
    struct lh_link_settings set;
    uint32_t generation;
    struct dice dice;
    double last_due_ns;
    struct queue line, held;
};

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * NS_PER_S + (double)now.tv_nsec;
}

static void add(_Atomic uint64_t *count, uint64_t n)
{
    atomic_fetch_add_explicit(count, n, memory_order_relaxed);
}

static void at_least(_Atomic uint64_t *count, double value)
{
    uint64_t n = value > 0 ? (uint64_t)value : 0;
    if (n > atomic_load_explicit(count, memory_order_relaxed))
        atomic_store_explicit(count, n, memory_order_relaxed);
}

static _Noreturn void fatal(const char *what)
{
    fprintf(stderr, "wan: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* splitmix64 */
static uint64_t random_next(struct state *s)
{
    uint64_t z = s->dice.random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static double random_unit(struct state *s)
{
    return (double)(random_next(s) >> 11) * 0x1p-53;
}

static bool chance(struct state *s, double p)
{
    return p > 0 && random_unit(s) < p;
}

static struct entry *queue_at(struct queue *q, uint32_t i)
{
    return &q->entries[(q->first + i) & (q->capacity - 1)];
}

static void queue_grow(struct queue *q)
{
    uint32_t capacity = q->capacity ? 2 * q->capacity : 64;
    struct entry *entries = malloc(capacity * sizeof(*entries));
    if (!entries)
        fatal("memory");
    for (uint32_t i = 0; i < q->n; i++)
        entries[i] = *queue_at(q, i);
    free(q->entries);
    *q = (struct queue){.entries = entries, .n = q->n, .capacity = capacity};
}

/* An entry at its place by due_ns: the end, but for what is held back. */
static struct entry *queue_insert(struct queue *q, double due_ns)
{
    if (q->n == q->capacity)
        queue_grow(q);
    uint32_t i = q->n++;
    for (; i && queue_at(q, i - 1)->due_ns > due_ns; i--)
        *queue_at(q, i) = *queue_at(q, i - 1);
    struct entry *entry = queue_at(q, i);
    entry->due_ns = due_ns;
    return entry;
}

static bool is_lost(struct state *s)
{
    const struct lh_link_settings *set = &s->set;
    if (set->bad_enter > 0 && chance(s, s->dice.is_bad ? set->bad_leave : set->bad_enter))
        s->dice.is_bad = !s->dice.is_bad;
    if (set->bad_enter <= 0)
        s->dice.is_bad = false;
    bool by_state = chance(s, s->dice.is_bad ? set->bad_loss : set->good_loss);
    return chance(s, set->loss) || by_state;
}

/* Hands a packet to the line; *entry is complete but for its due_ns, which is `left_ns` and more.
 */
static void emit(struct state *s, const struct trip *trip, double left_ns, struct entry entry)
{
    double due_ns = left_ns + trip->delay_ns;
    if (trip->held) {
        due_ns += s->set.hold_ns;
        add(&s->link->counts.held, entry.n_segments);
    } else if (due_ns < s->last_due_ns) {
        due_ns = s->last_due_ns;
    } else {
        s->last_due_ns = due_ns;
    }
    entry.due_ns = due_ns;
    *queue_insert(trip->held ? &s->held : &s->line, due_ns) = entry;
}

/* When a segment that came at `now` has left the bottleneck; negative: the buffer was full. */
static double pass_bottleneck(struct state *s, double now, uint32_t wire_bytes)
{
    if (s->set.rate_bps <= 0)
        return now;
    double start = s->dice.free_ns > now ? s->dice.free_ns : now;
    double queued = (start - now) * s->set.rate_bps / 8 / NS_PER_S;
    if (queued + wire_bytes > s->set.buffer_bytes)
        return -1;
    at_least(&s->link->counts.queue_max_bytes, queued + wire_bytes);
    s->dice.free_ns = start + wire_bytes * 8.0 * NS_PER_S / s->set.rate_bps;
    return s->dice.free_ns;
}

static void refuse_unless(struct state *s, bool taken)
{
    if (!taken)
        add(&s->link->counts.refused, 1);
}

/* A packet that is lost. It waits for its turn like the others: the kernel looks for it from the
 * first that waits. */
static void lose(struct state *s, struct lh_nfq *queue, uint32_t id)
{
    *queue_insert(&s->line, s->last_due_ns) =
        (struct entry){.due_ns = s->last_due_ns, .queue = queue, .id = id, .verdict = LH_NFQ_DROP};
}

static void answer_reset(struct state *s, const struct lh_packet *packet)
{
    uint8_t reset[LH_RESET_LEN];
    uint32_t n = lh_packet_reset(packet, reset);
    struct sockaddr_in to4 = {.sin_family = AF_INET};
    struct sockaddr_in6 to6 = {.sin6_family = AF_INET6};
    if (!n)
        return;
    bool is_v4 = packet->ip_version == 4;
    memcpy(&to4.sin_addr, reset + 16, 4);
    memcpy(&to6.sin6_addr, reset + 24, 16);
    int sock = is_v4 ? s->link->reset_v4 : s->link->reset_v6;
    const void *to = is_v4 ? (void *)&to4 : (void *)&to6;
    if (sendto(sock, reset, n, 0, to, is_v4 ? sizeof(to4) : sizeof(to6)) == (ssize_t)n)
        add(&s->link->counts.resets, 1);
}

/* Carries or loses a packet as it is. False, with nothing done: its segments fare differently. */
static bool carry_whole(struct state *s, const struct lh_nfq_packet *raw,
                        const struct lh_packet *packet, const struct trip *trip)
{
    struct lh_link_counts *counts = &s->link->counts;
    struct dice before = s->dice;
    double first_ns = 0, left_ns = 0;
    bool is_gone = false;
    uint32_t wire_bytes = 0, n_full = 0;
    for (uint32_t i = 0; i < packet->n_segments; i++) {
        uint32_t n = lh_packet_wire_bytes(packet, i);
        left_ns = pass_bottleneck(s, trip->now, n);
        bool full = left_ns < 0, gone = full || is_lost(s);
        if (!i) {
            first_ns = left_ns;
            is_gone = gone;
        }
        bool other = gone != is_gone ||
                     (!gone && (left_ns - first_ns > RUN_MAX_NS || chance(s, s->set.corrupt_body) ||
                                (packet->proto == IPPROTO_TCP && chance(s, s->set.corrupt_head))));
        if (other) {
            s->dice = before;
            return false;
        }
        wire_bytes += n;
        n_full += full;
    }
    add(&counts->arrived, packet->n_segments);
    add(&counts->wire_bytes, wire_bytes);
    if (is_gone) {
        add(&counts->tail_dropped, n_full);
        add(&counts->lost, packet->n_segments - n_full);
        lose(s, s->link->whole, raw->id);
        return true;
    }
    emit(s, trip, left_ns,
         (struct entry){.queue = s->link->whole,
                        .verdict = LH_NFQ_ACCEPT,
                        .id = raw->id,
                        .n_segments = packet->n_segments,
                        .wire_bytes = wire_bytes});
    return true;
}

/* One segment, which is there whole. */
static void carry_part(struct state *s, const struct lh_nfq_packet *raw, const struct trip *trip)
{
    struct lh_link_counts *counts = &s->link->counts;
    struct lh_packet packet;
    lh_packet_parse(&packet, raw->bytes, raw->n_bytes, raw->len, false, s->link->mtu);
    uint32_t wire_bytes = lh_packet_wire_bytes(&packet, 0);
    add(&counts->arrived, 1);
    add(&counts->wire_bytes, wire_bytes);
    double left_ns = pass_bottleneck(s, trip->now, wire_bytes);
    bool full = left_ns < 0;
    if (full || is_lost(s)) {
        add(full ? &counts->tail_dropped : &counts->lost, 1);
        lose(s, s->link->parts, raw->id);
        return;
    }
    struct entry entry = {.queue = s->link->parts,
                          .verdict = LH_NFQ_ACCEPT,
                          .id = raw->id,
                          .n_segments = 1,
                          .wire_bytes = wire_bytes};
    uint32_t n_flips = 0;
    if (chance(s, s->set.corrupt_body) && lh_packet_corrupt_payload(&packet, random_next(s)))
        n_flips++;
    if (packet.proto == IPPROTO_TCP && chance(s, s->set.corrupt_head)) {
        lh_packet_corrupt_header(&packet, random_next(s));
        n_flips++;
    }
    if (n_flips) {
        add(&counts->corrupted, n_flips);
        entry.n_bytes = raw->n_bytes;
        entry.contents = malloc(raw->n_bytes);
        if (!entry.contents)
            fatal("memory");
        memcpy(entry.contents, raw->bytes, raw->n_bytes);
    }
    emit(s, trip, left_ns, entry);
}

static int read_queue(struct state *s, struct lh_nfq *queue, struct lh_nfq_packet *packets)
{
    uint64_t n_errors = 0;
    int n = lh_nfq_read(queue, packets, &n_errors);
    if (n < 0)
        fatal("a queue");
    if (n_errors)
        add(&s->link->counts.refused, n_errors);
    return n;
}

/* The parts are there when lh_nfq_move returns, and nothing else is. */
static void carry_parts(struct state *s, const struct lh_nfq_packet *raw, const struct trip *trip)
{
    static _Thread_local struct lh_nfq_packet parts[LH_NFQ_BATCH];
    refuse_unless(s, lh_nfq_move(s->link->whole, raw->id, LH_LINK_PARTS));
    for (int n; (n = read_queue(s, s->link->parts, parts));)
        for (int i = 0; i < n; i++)
            carry_part(s, &parts[i], trip);
}

static void arrive(struct state *s, const struct lh_nfq_packet *raw, double now)
{
    struct lh_link_counts *counts = &s->link->counts;
    struct lh_packet packet;
    lh_packet_parse(&packet, raw->bytes, raw->n_bytes, raw->len, raw->is_super, s->link->mtu);
    if (lh_packet_is_our_reset(&packet)) {
        refuse_unless(s, lh_nfq_verdict(s->link->whole, raw->id, LH_NFQ_ACCEPT, NULL, 0));
        return;
    }
    add(&counts->packets, 1);
    if (s->set.cut != LH_CUT_OFF) {
        add(&counts->arrived, packet.n_segments);
        add(&counts->cut, packet.n_segments);
        if (s->set.cut == LH_CUT_RESET)
            answer_reset(s, &packet);
        lose(s, s->link->whole, raw->id);
        return;
    }
    struct trip trip = {.now = now, .held = chance(s, s->set.reorder)};
    trip.delay_ns = s->set.delay_ns + random_unit(s) * s->set.jitter_ns;
    bool is_countable = !raw->is_super || packet.proto == IPPROTO_TCP;
    if (!is_countable || !carry_whole(s, raw, &packet, &trip))
        carry_parts(s, raw, &trip);
}

static struct entry *earliest(struct state *s, struct queue **from)
{
    struct entry *line = s->line.n ? queue_at(&s->line, 0) : NULL;
    struct entry *held = s->held.n ? queue_at(&s->held, 0) : NULL;
    bool take_held = held && (!line || held->due_ns < line->due_ns);
    *from = take_held ? &s->held : &s->line;
    return take_held ? held : line;
}

/* Packets that fare alike with one message: those of one queue, up to `last`. */
struct batch {
    struct lh_nfq *queue;
    enum lh_nfq_verdict verdict;
    uint32_t last;
};

static void flush(struct state *s, struct batch *batch)
{
    if (batch->queue)
        refuse_unless(s, lh_nfq_verdict_up_to(batch->queue, batch->last, batch->verdict));
    batch->queue = NULL;
}

static void deliver_entry(struct state *s, struct entry *entry, struct batch *batch)
{
    /* What is held back must not go along with what came after it. */
    bool alone = entry->contents || s->held.n;
    if (alone || batch->queue != entry->queue || batch->verdict != entry->verdict)
        flush(s, batch);
    if (alone)
        refuse_unless(s, lh_nfq_verdict(entry->queue, entry->id, entry->verdict, entry->contents,
                                        entry->n_bytes));
    else
        *batch = (struct batch){entry->queue, entry->verdict, entry->id};
    free(entry->contents);
    add(&s->link->counts.delivered, entry->n_segments);
    add(&s->link->counts.delivered_wire_bytes, entry->wire_bytes);
}

/* Delivers what is due. When the next one is, or a negative number. */
static double deliver(struct state *s, double now, bool *did)
{
    struct queue *q;
    struct entry *entry;
    struct batch batch = {.queue = NULL};
    double next_ns = -1;
    while ((entry = earliest(s, &q))) {
        if (entry->due_ns > now) {
            next_ns = entry->due_ns;
            break;
        }
        if (entry->verdict == LH_NFQ_ACCEPT)
            at_least(&s->link->counts.late_max_ns, now - entry->due_ns);
        if (now - entry->due_ns > LH_LATE_NS)
            add(&s->link->counts.late, entry->n_segments);
        deliver_entry(s, entry, &batch);
        q->first = (q->first + 1) & (q->capacity - 1);
        q->n--;
        *did = true;
    }
    flush(s, &batch);
    return next_ns;
}

static void take_settings(struct state *s)
{
    uint32_t generation = atomic_load(&s->link->generation);
    if (generation == s->generation)
        return;
    pthread_mutex_lock(&s->link->lock);
    s->set = s->link->settings;
    pthread_mutex_unlock(&s->link->lock);
    s->generation = generation;
}

static struct timespec span(double ns)
{
    time_t s = (time_t)(ns / NS_PER_S);
    return (struct timespec){.tv_sec = s, .tv_nsec = (long)(ns - (double)s * NS_PER_S)};
}

static double least(double a, double b)
{
    return a < b ? a : b;
}

static void rest(const struct state *s)
{
    double most = s->set.delay_ns * REST_OF_DELAY, ns = REST_MIN_NS;
    if (s->set.rate_bps > 0)
        ns = SUPER_BYTES * 8.0 * NS_PER_S / s->set.rate_bps;
    ns = least(most, least(REST_MAX_NS, ns > REST_MIN_NS ? ns : REST_MIN_NS));
    struct timespec pause = span(ns);
    if (most > 0)
        nanosleep(&pause, NULL);
}

static void wait_for_work(struct state *s, double next_ns)
{
    struct pollfd fds[2] = {{.fd = lh_nfq_fd(s->link->whole), .events = POLLIN},
                            {.fd = s->link->wake_fd, .events = POLLIN}};
    struct timespec limit, *timeout = NULL;
    if (next_ns >= 0) {
        double left = next_ns - now_ns();
        if (left <= 0)
            return;
        limit = span(left);
        timeout = &limit;
    }
    if (ppoll(fds, 2, timeout, NULL) < 0 && errno != EINTR)
        fatal("ppoll");
    uint64_t n;
    if (fds[1].revents && read(s->link->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
        fatal("eventfd");
}

void *lh_link_run(void *arg)
{
    static _Thread_local struct lh_nfq_packet packets[LH_NFQ_BATCH];
    struct state *s = calloc(1, sizeof(*s));
    if (!s)
        fatal("memory");
    s->link = arg;
    s->dice.random = s->link->seed;
    s->generation = atomic_load(&s->link->generation) - 1;
    prctl(PR_SET_TIMERSLACK, 1UL);
    for (;;) {
        take_settings(s);
        int n = read_queue(s, s->link->whole, packets);
        double now = now_ns();
        for (int i = 0; i < n; i++)
            arrive(s, &packets[i], now);
        bool did = n > 0;
        double next_ns = deliver(s, now_ns(), &did);
        if (n == LH_NFQ_BATCH)
            continue;
        if (did)
            rest(s);
        else
            wait_for_work(s, next_ns);
    }
    return NULL;
}
