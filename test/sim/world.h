/* The simulator: one receiver, two places to send from, and what lies between them.
 *
 * One target, one source of at most 60 blocks of 16 bytes each, so that a set of blocks is a word.
 * The decisions are the program's own (core/ledger, core/sched, core/hold, core/pace, the journal's
 * codec); the order of the steps around them is written down here once more, next to a network, a
 * disk and a clock that are made up. Everything follows from one seed.
 *
 * What must hold is checked after every step (check.c). */
#ifndef LH_SIM_WORLD_H
#define LH_SIM_WORLD_H

#include "core/hold.h"
#include "core/ledger.h"
#include "core/sched.h"
#include "core/tail.h"
#include "longhaul/status.h"
#include "proto/journal.h"
#include "test/lib/rng.h"
#include "test/sim/disk.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_BLOCKS 60
#define SIM_STREAMS 6
#define SIM_SENDERS 2
#define SIM_SECTORS 4 /* of a block; 4 bytes each */
#define SIM_SESSIONS 1024
#define SIM_EVENTS 4096
#define SIM_HOLDER_TIMEOUT_MS 15000

/* Contents of a block: each sector says which version of what it is. */
struct sim_block {
    uint32_t sector[SIM_SECTORS];
};

#define SIM_BLOCK_BYTES sizeof(struct sim_block)

enum sim_what {
    SIM_NOTHING,
    /* frames */
    SIM_OFFER,
    SIM_ACCEPT,
    SIM_BLOCK,
    SIM_ACK,
    SIM_AGAIN,
    SIM_HASHES_WANTED,
    SIM_HASHES,
    SIM_RETRACT,
    SIM_RETRACTED,
    SIM_FINISH,
    SIM_DONE,
    SIM_CONFIRM,
    SIM_REFUSED, /* ERROR, with `status` */
    /* what else happens */
    SIM_EOF_AT_RECEIVER,
    SIM_EOF_AT_SENDER,
    SIM_RUN, /* somebody types the command */
    SIM_DIAL,
    SIM_STREAM_UP,
    SIM_STREAM_SEND,
    SIM_WRITE_STEP,
    SIM_COMMIT_TICK,
    SIM_DATA_SYNCED,
    SIM_JOURNAL_SYNCED,
    SIM_RECEIVER_START,
    SIM_CLOSE_POLL, /* is the sink quiet yet? */
    SIM_FAULT,
    SIM_WHATS
};

struct sim_msg {
    enum sim_what what;
    int session; /* frames, EOFs */
    int sender;  /* RUN, DIAL, STREAM_* */
    uint32_t
        run; /* of the sender, or life of the receiver, or number of the sink: stale if other */
    unsigned stream;
    unsigned stream_gen;
    uint64_t epoch;
    uint64_t block;
    struct sim_block contents;
    struct lh_hash hash;
    uint64_t mask; /* a set of blocks */
    bool last;     /* RETRACT, RETRACTED */
    bool restart;  /* OFFER */
    bool compare;  /* ACCEPT */
    bool done;     /* ACCEPT */
    int status;
    struct lh_identity identity;
    struct lh_holder asker;
    unsigned step;
};

struct sim_event {
    uint64_t at; /* microseconds */
    uint64_t order;
    struct sim_msg msg;
};

/* A control connection, and what of it the two ends know. */
struct sim_session {
    int sender;
    uint32_t run;
    uint32_t life;      /* of the receiver */
    bool open_s;        /* the sender holds it open */
    bool open_r;        /* the receiver does */
    bool cut;           /* nothing passes any more, though an end may not know */
    uint64_t silent_at; /* since when the receiver hears nothing */
    uint64_t ctl_at[2]; /* control frames keep their order: time of the last, each way */
    struct lh_hash hashes[SIM_BLOCKS];     /* payload of the HASHES under way */
    struct sim_block promised[SIM_BLOCKS]; /* the source, when it was checked before FINISH */
};

/* What a journal says: filled from its bytes by the real codec. */
struct sim_journal {
    bool valid;
    struct lh_journal_head head;
    struct lh_journal_epoch epoch;
    uint64_t durable;
    struct lh_hash hash[SIM_BLOCKS];
    bool finished;
    bool done;
    struct lh_journal_finish finish;
    size_t end;
    uint64_t next_seq;
    bool torn;
};

enum sim_commit { SIM_IDLE, SIM_SYNCING_DATA, SIM_SYNCING_JOURNAL };

struct sim_sink {
    bool open;
    uint32_t number; /* each open gets another */
    struct lh_ledger ledger;
    bool have_ledger;
    struct sim_file *data;
    struct sim_file *log;
    struct sim_journal journal;
    struct lh_identity source;
    struct lh_holder holder;
    int session;
    enum sim_commit commit;
    struct lh_batch batch;
    size_t log_end; /* behind the records of the commit under way */
    uint64_t log_seq;
    bool failed;
    bool closing;
    bool done;
    struct sim_msg next; /* who takes over when it is closed; what == SIM_OFFER if somebody does */
    struct sim_msg retract; /* waits for the commit under way; what == SIM_RETRACT if any does */
    uint64_t writing;       /* set of blocks */
};

struct sim_stream {
    bool up;
    unsigned gen;
    uint64_t at; /* next block of the range */
    uint64_t end;
    uint64_t send_us;  /* a block */
    uint64_t hangs_at; /* so many blocks get through */
    bool swallows;     /* when it hangs TCP goes on acknowledging; else its window closes */
    uint64_t n_sent;
    uint64_t sent_at;
};

enum sim_run_state { SIM_AWAY, SIM_DIALLING, SIM_OFFERED, SIM_MOVING };

struct sim_sender {
    enum sim_run_state state; /* AWAY: no such process */
    uint32_t run;
    struct lh_holder me;
    struct lh_identity identity; /* of the source, when the run began or started over */
    bool restart;                /* the next offer starts over */
    bool restarted;              /* it did so once */
    int session;                 /* -1: none */
    unsigned attempt;
    struct lh_sched sched;
    bool have_sched;
    struct sim_stream streams[SIM_STREAMS];
    struct lh_tail_far far; /* the last HEARTBEAT */
    uint64_t to_compare;
    bool comparing;
    bool finish_sent;
};

struct sim_source {
    uint32_t gen;     /* mtime */
    uint32_t changes; /* ctime */
    bool finishing;   /* a FINISH was sent for this mtime: it is not put back any more */
    uint32_t sub[SIM_BLOCKS];
};

struct sim_stats {
    uint64_t n_events;
    uint64_t n_power_cuts;
    uint64_t n_receiver_kills;
    uint64_t n_sender_kills;
    uint64_t n_stopped; /* kills between two operations of the disk */
    uint64_t n_takeovers;
    uint64_t n_busy;
    uint64_t n_fenced_runs;
    uint64_t n_fenced_blocks;
    uint64_t n_again;
    uint64_t n_duplicates;
    uint64_t n_hopeless;                    /* streams that hung and were dialled again */
    uint64_t n_repeated[LH_TAIL_HANGS + 1]; /* takeovers, by why */
    uint64_t n_full;
    uint64_t n_retracted;
    uint64_t n_restarts;
    uint64_t n_resumed;
    uint64_t n_failed_syncs;
    uint64_t n_streams_lost;
    uint64_t n_sessions_lost;
    uint64_t n_finished;
    uint64_t n_done_again; /* answered "done" from the record */
    uint64_t n_torn;
};

struct sim_world {
    struct lh_rng rng;
    uint64_t now; /* microseconds */
    uint64_t order;
    unsigned n_events;
    struct sim_disk disk;
    int n_sessions;
    struct sim_sender senders[SIM_SENDERS];
    uint32_t n_runs;
    uint64_t n_claims; /* of the queue */
    struct sim_sink sink;
    uint32_t life; /* of the receiver; odd: it runs */
    struct sim_source source;

    /* What the seed has drawn. */
    unsigned n_blocks;
    uint32_t grid;
    unsigned n_streams;
    uint64_t window;
    size_t max_pending;
    unsigned n_writers;
    uint64_t net_us;
    uint64_t send_us; /* of one block on one stream */
    uint64_t disk_us;
    uint64_t commit_us;
    unsigned corrupt; /* one block in so many; 0: none */
    bool queue;       /* senders have claims of a queue */
    bool changes_while_sending;
    uint64_t faults_end;
    bool calm; /* faults have stopped */

    /* What the checks remember. */
    uint64_t acked;             /* blocks acknowledged and not given up for a good reason */
    struct sim_file *done_file; /* under its name for good, once DONE was said */
    bool done_said;
    struct sim_block promised[SIM_BLOCKS]; /* contents that it must have */
    struct lh_identity bound;              /* version that `acked` is of */
    bool check_due;
    uint64_t checked_changes;
    bool success; /* a run has ended well after the faults did */

    bool failed;
    char why[256];
    jmp_buf stop;
    bool trace;
    struct sim_stats *stats;

    /* Not cleared between seeds. */
    struct sim_event heap[SIM_EVENTS];
    struct sim_session sessions[SIM_SESSIONS];
};

/* world.c */
void sim_after(struct sim_world *w, uint64_t delay_us, const struct sim_msg *msg);
uint64_t sim_about(struct sim_world *w, uint64_t us); /* random, half to one and a half of it */
void sim_to_receiver(struct sim_world *w, const struct sim_msg *msg);
void sim_to_sender(struct sim_world *w, const struct sim_msg *msg);
void sim_cut_session(struct sim_world *w, int session, bool noticed);
struct sim_block sim_contents(const struct sim_world *w, uint64_t block);
struct lh_hash sim_hash(const struct sim_block *b);
struct lh_identity sim_identity(const struct sim_world *w, int sender);
void sim_trace(struct sim_world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *sim_what_name(enum sim_what what);

/* Something that must hold does not: the seed has failed. Does not return. */
_Noreturn void sim_broken(struct sim_world *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Runs one seed. Returns whether all held; else `why` is filled. */
bool sim_run(struct sim_world *w, uint64_t seed);

static inline uint64_t sim_bit(uint64_t block)
{
    return (uint64_t)1 << block;
}

static inline uint64_t sim_all(const struct sim_world *w)
{
    return sim_bit(w->n_blocks) - 1;
}

/* The run of blocks in `mask` that begins at or behind *at; false when there is none. */
bool sim_next_run(uint64_t mask, uint64_t *at, uint64_t *first, uint64_t *end);
uint64_t sim_mask_of(const struct lh_runs *r);

/* journal.c */
void sim_journal_scan(const struct sim_world *w, const uint8_t *base, size_t len,
                      struct sim_journal *j);
int sim_journal_begin(struct sim_world *w, const struct lh_journal_epoch *epoch);
int sim_journal_epoch(struct sim_world *w, const struct lh_journal_epoch *epoch);
int sim_journal_drop(struct sim_world *w, uint64_t first, uint64_t end);
int sim_journal_finish(struct sim_world *w, const struct lh_journal_finish *finish);
int sim_journal_done(struct sim_world *w);
int sim_journal_blocks_write(struct sim_world *w); /* the sink's batch; not synced */
int sim_journal_reset(struct sim_world *w);
void sim_journal_cut_back(struct sim_world *w); /* after a failure: as well as it can be done */

/* receiver.c, open.c */
void sim_receiver_gets(struct sim_world *w, struct sim_msg *msg);
void sim_receiver_start(struct sim_world *w);
void sim_receiver_dies(struct sim_world *w);
void sim_receiver_step(struct sim_world *w, struct sim_msg *msg);
void sim_sink_fail(struct sim_world *w, const char *why);
void sim_sink_release(struct sim_world *w);
int sim_sink_open(struct sim_world *w, const struct sim_msg *offer);
void sim_finish(struct sim_world *w, const struct sim_msg *msg);
void sim_refuse(struct sim_world *w, int session, int status);

/* sender.c */
void sim_sender_gets(struct sim_world *w, struct sim_msg *msg);
void sim_sender_step(struct sim_world *w, struct sim_msg *msg);
void sim_sender_dies(struct sim_world *w, int sender);
bool sim_sender_active(const struct sim_world *w);
void sim_stream_lost(struct sim_world *w, int sender, unsigned stream);

/* check.c */
void sim_check(struct sim_world *w);
void sim_check_claim(struct sim_world *w, const struct sim_msg *msg);
void sim_check_opened(struct sim_world *w, const struct sim_journal *found, bool same_version);
void sim_check_done(struct sim_world *w, const struct sim_sender *s);

#endif
