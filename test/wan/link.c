/* One direction of the WAN emulator.
 *
 * Each link runs on its own thread, and owns all memory behind its packets. Happy path: a packet is
 * read from the device straight into a chunk; every segment of it passes the bottleneck (a clock of
 * when the line is free again: what would wait longer than the buffer is deep is dropped), the
 * line's losses, and its delay; runs of segments that stay together are queued as entries that
 * point into the chunk, and written to the other device when they are due. Contents are not copied.
 *
 * The bottleneck comes before the losses: a lost segment has used the line, as on a real one.
 * Failures: a device that is gone ends the process (the namespace was taken away); a packet that
 * the kernel does not take is counted as refused. */
#include "link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "packet.h"

enum {
    CHUNK_BYTES = 1 << 20,
    READ_MAX = LH_VNET_LEN + 65536,
    READ_BATCH = 32, /* between two looks at what is due */
};
static const double NS_PER_S = 1e9;
static const double RUN_MAX_NS = 600e3; /* wire time of what is delivered as one packet */
static const uint64_t MEMORY_MAX_BYTES = UINT64_C(4) << 30;

/* Where packets lie. Chunks are used again last-in first-out, so that the cache stays warm. */
struct chunk {
    struct chunk *next;
    uint32_t n_refs, n_used;
    uint8_t bytes[];
};

struct entry {
    double due_ns;
    struct chunk *chunk;
    const uint8_t *body;
    uint32_t n_body, n_head, n_segments, wire_bytes;
    uint8_t head[LH_HEAD_MAX];
};

/* Entries in the order they are due: a ring that grows. */
struct queue {
    struct entry *entries;
    uint32_t n, first, capacity; /* capacity is a power of two */
};

/* Segments of one packet that have gone the same way so far. */
struct run {
    uint32_t first, n;
    double begin_ns, due_ns;
};

struct state {
    struct lh_link *link;
    struct lh_link_settings set;
    uint32_t generation;
    uint64_t random;
    bool is_bad; /* the Gilbert-Elliott model's state */
    double free_ns, last_due_ns;
    struct chunk *chunk, *spare;
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
    uint64_t z = s->random += UINT64_C(0x9e3779b97f4a7c15);
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

static void chunk_unref(struct state *s, struct chunk *chunk)
{
    if (--chunk->n_refs)
        return;
    chunk->next = s->spare;
    s->spare = chunk;
}

/* Room for one more read, in the current chunk. False when memory is used up. */
static bool chunk_ready(struct state *s)
{
    if (s->chunk && s->chunk->n_used + READ_MAX <= CHUNK_BYTES - sizeof(struct chunk))
        return true;
    if (s->chunk)
        chunk_unref(s, s->chunk);
    s->chunk = s->spare;
    if (s->chunk) {
        s->spare = s->chunk->next;
    } else {
        _Atomic uint64_t *memory = &s->link->counts.memory_bytes;
        if (atomic_load_explicit(memory, memory_order_relaxed) >= MEMORY_MAX_BYTES)
            return false;
        s->chunk = malloc(CHUNK_BYTES);
        if (!s->chunk)
            fatal("memory");
        add(memory, CHUNK_BYTES);
    }
    s->chunk->n_refs = 1;
    s->chunk->n_used = 0;
    return true;
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
    if (set->bad_enter > 0 && chance(s, s->is_bad ? set->bad_leave : set->bad_enter))
        s->is_bad = !s->is_bad;
    if (set->bad_enter <= 0)
        s->is_bad = false;
    bool by_state = chance(s, s->is_bad ? set->bad_loss : set->good_loss);
    return chance(s, set->loss) || by_state;
}

/* Queues a run of segments. `flip_head`: a bit of the first one's header is to be flipped. */
static void emit(struct state *s, const struct lh_packet *packet, const struct run *run, bool held,
                 bool flip_head)
{
    if (!run->n)
        return;
    struct lh_link_counts *counts = &s->link->counts;
    double due_ns = run->due_ns;
    if (held) {
        due_ns += s->set.hold_ns;
        add(&counts->held, run->n);
    } else if (due_ns < s->last_due_ns) {
        due_ns = s->last_due_ns;
    } else {
        s->last_due_ns = due_ns;
    }
    struct entry *entry = queue_insert(held ? &s->held : &s->line, due_ns);
    entry->chunk = s->chunk;
    s->chunk->n_refs++;
    entry->n_segments = run->n;
    entry->wire_bytes = 0;
    for (uint32_t i = 0; i < run->n; i++)
        entry->wire_bytes += lh_packet_wire_bytes(packet, run->first + i);
    if (run->n == packet->n_segments) {
        entry->n_head = 0;
        entry->body = packet->bytes;
        entry->n_body = packet->n_bytes;
        if (flip_head)
            lh_packet_corrupt_header(packet->bytes, packet->l4_at, random_next(s));
        return;
    }
    uint32_t body_at, n_body;
    entry->n_head = lh_packet_piece(packet, run->first, run->n, entry->head, &body_at, &n_body);
    entry->body = packet->bytes + body_at;
    entry->n_body = n_body;
    if (flip_head)
        lh_packet_corrupt_header(entry->head, packet->l4_at, random_next(s));
}

/* When a segment that came at `now` has left the bottleneck; negative: the buffer was full. */
static double pass_bottleneck(struct state *s, double now, uint32_t wire_bytes)
{
    if (s->set.rate_bps <= 0)
        return now;
    double start = s->free_ns > now ? s->free_ns : now;
    double queued = (start - now) * s->set.rate_bps / 8 / NS_PER_S;
    if (queued + wire_bytes > s->set.buffer_bytes)
        return -1;
    at_least(&s->link->counts.queue_max_bytes, queued + wire_bytes);
    s->free_ns = start + wire_bytes * 8.0 * NS_PER_S / s->set.rate_bps;
    return s->free_ns;
}

static void answer_reset(struct state *s, const struct lh_packet *packet)
{
    uint8_t reset[LH_RESET_LEN];
    uint32_t n = lh_packet_reset(packet, reset);
    if (n && write(s->link->from_fd, reset, n) == (ssize_t)n)
        add(&s->link->counts.resets, 1);
}

static void arrive(struct state *s, uint8_t *bytes, size_t n_bytes, double now)
{
    struct lh_link_counts *counts = &s->link->counts;
    struct lh_packet packet;
    lh_packet_parse(&packet, bytes, n_bytes);
    add(&counts->packets, 1);
    add(&counts->arrived, packet.n_segments);
    if (s->set.cut != LH_CUT_OFF) {
        add(&counts->cut, packet.n_segments);
        if (s->set.cut == LH_CUT_RESET)
            answer_reset(s, &packet);
        return;
    }
    bool held = chance(s, s->set.reorder);
    double delay_ns = s->set.delay_ns + random_unit(s) * s->set.jitter_ns;
    struct run run = {.n = 0};
    for (uint32_t i = 0; i < packet.n_segments; i++) {
        uint32_t wire_bytes = lh_packet_wire_bytes(&packet, i);
        add(&counts->wire_bytes, wire_bytes);
        double left_ns = pass_bottleneck(s, now, wire_bytes);
        bool full = left_ns < 0;
        if (full || is_lost(s)) {
            add(full ? &counts->tail_dropped : &counts->lost, 1);
            emit(s, &packet, &run, held, false);
            run.n = 0;
            continue;
        }
        if (chance(s, s->set.corrupt_body) && lh_packet_corrupt_payload(&packet, i, random_next(s)))
            add(&counts->corrupted, 1);
        bool flip_head = packet.proto == 6 && chance(s, s->set.corrupt_head);
        if (run.n && (flip_head || left_ns - run.begin_ns > RUN_MAX_NS)) {
            emit(s, &packet, &run, held, false);
            run.n = 0;
        }
        if (!run.n)
            run = (struct run){.first = i, .begin_ns = left_ns};
        run.n++;
        run.due_ns = left_ns + delay_ns;
        if (flip_head) {
            add(&counts->corrupted, 1);
            emit(s, &packet, &run, held, true);
            run.n = 0;
        }
    }
    emit(s, &packet, &run, held, false);
}

static void deliver_entry(struct state *s, struct entry *entry, double now)
{
    struct lh_link_counts *counts = &s->link->counts;
    struct iovec parts[2] = {{entry->head, entry->n_head},
                             {(void *)(uintptr_t)entry->body, entry->n_body}};
    bool whole = entry->n_head == 0;
    ssize_t n = writev(s->link->to_fd, parts + whole, 2 - whole);
    if (n < 0 && errno == EBADFD)
        fatal("the device is gone");
    if (n < 0) {
        add(&counts->refused, entry->n_segments);
    } else {
        add(&counts->delivered, entry->n_segments);
        add(&counts->delivered_wire_bytes, entry->wire_bytes);
    }
    at_least(&counts->late_max_ns, now - entry->due_ns);
    chunk_unref(s, entry->chunk);
}

static struct entry *earliest(struct state *s, struct queue **from)
{
    struct entry *line = s->line.n ? queue_at(&s->line, 0) : NULL;
    struct entry *held = s->held.n ? queue_at(&s->held, 0) : NULL;
    bool take_held = held && (!line || held->due_ns < line->due_ns);
    *from = take_held ? &s->held : &s->line;
    return take_held ? held : line;
}

/* Delivers what is due. When the next one is, or a negative number. */
static double deliver(struct state *s, double now)
{
    struct queue *q;
    struct entry *entry;
    while ((entry = earliest(s, &q))) {
        if (entry->due_ns > now)
            return entry->due_ns;
        deliver_entry(s, entry, now);
        q->first = (q->first + 1) & (q->capacity - 1);
        q->n--;
    }
    return -1;
}

/* Reads what has come, up to a batch. False when there was nothing more. */
static bool take(struct state *s)
{
    for (int i = 0; i < READ_BATCH; i++) {
        static _Thread_local uint8_t nowhere[READ_MAX];
        bool room = chunk_ready(s);
        uint8_t *at = room ? s->chunk->bytes + s->chunk->n_used : nowhere;
        ssize_t n = read(s->link->from_fd, at, READ_MAX);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return false;
        if (n < LH_VNET_LEN)
            fatal("the device is gone");
        if (!room) {
            add(&s->link->counts.refused, 1);
            continue;
        }
        s->chunk->n_used += (uint32_t)(n + 7) & ~7U;
        arrive(s, at, (size_t)n, now_ns());
    }
    return true;
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

static void wait_for_work(struct state *s, double next_ns)
{
    struct pollfd fds[2] = {{.fd = s->link->from_fd, .events = POLLIN},
                            {.fd = s->link->wake_fd, .events = POLLIN}};
    struct timespec limit, *timeout = NULL;
    if (next_ns >= 0) {
        double left = next_ns - now_ns();
        if (left <= 0)
            return;
        limit.tv_sec = (time_t)(left / NS_PER_S);
        limit.tv_nsec = (long)(left - (double)limit.tv_sec * NS_PER_S);
        timeout = &limit;
    }
    if (ppoll(fds, 2, timeout, NULL) < 0 && errno != EINTR)
        fatal("ppoll");
    uint64_t n;
    if (fds[1].revents && read(s->link->wake_fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
        fatal("eventfd");
    if (fds[0].revents & (POLLERR | POLLNVAL))
        fatal("the device is gone");
}

void *lh_link_run(void *arg)
{
    struct state *s = calloc(1, sizeof(*s));
    if (!s)
        fatal("memory");
    s->link = arg;
    s->random = s->link->seed;
    s->generation = atomic_load(&s->link->generation) - 1;
    prctl(PR_SET_TIMERSLACK, 1UL);
    for (;;) {
        take_settings(s);
        bool more = take(s);
        double next_ns = deliver(s, now_ns());
        if (!more)
            wait_for_work(s, next_ns);
    }
    return NULL;
}
