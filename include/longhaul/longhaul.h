/* longhaul: move big files over long, fat, lossy networks.
 *
 * The engine as a library, on the caller's uv_loop_t. Version 0.x: this interface may still change
 * until directory trees and encryption are in.
 *
 * Threads: every function here is called on the thread that runs the loop it was given, and every
 * callback fires on it. The engine runs threads of its own besides; it blocks all signals in them,
 * changes no signal's disposition, does not touch libuv's thread pool size, the environment, the
 * working directory, the umask, or standard streams.
 *
 * Contract of every asynchronous call: a nonzero return means that no callback will ever fire; zero
 * means that the completion callback fires exactly once, later, never from inside the call. */
#ifndef LONGHAUL_LONGHAUL_H
#define LONGHAUL_LONGHAUL_H

#include <longhaul/log.h>
#include <longhaul/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LH_DEFAULT_PORT 7410
#define LH_DEFAULT_MAX_STREAMS 16
/* Of one file where 16 sockets of this host do not hold twice what 1 Gbit/s has under way. */
#define LH_DEFAULT_MAX_STREAMS_FAR 32
/* Without BBR a stream carries so little where packets are lost that only many of them help. */
#define LH_DEFAULT_MAX_STREAMS_NO_BBR 128
#define LH_MAX_STREAMS 128
#define LH_MAX_LOOPS 16

/* Version of the library, such as "0.1.0"; static. */
const char *lh_version(void);

enum lh_zero_copy {
    LH_ZERO_COPY_AUTO, /* sendfile(2) where the file system can and the file is large enough */
    LH_ZERO_COPY_ON,   /* sendfile(2); an error where the file system cannot */
    LH_ZERO_COPY_OFF   /* read(2) and send(2) */
};

enum lh_send_share {
    LH_SHARE_FULL,      /* as fast as the path carries */
    LH_SHARE_BACKGROUND /* what others leave */
};

/* What becomes of a file that is at the destination already. */
enum lh_existing {
    LH_EXISTING_DIFFERENT, /* replaced unless size and mtime (or, with checksum, contents) agree */
    LH_EXISTING_SKIP,      /* kept, whatever it is */
    LH_EXISTING_REPLACE,   /* replaced, always */
    LH_EXISTING_NEWER      /* replaced when the source's mtime is later */
};

/* ---- engine ------------------------------------------------------------------------------- */

/* What many sends share: threads that read, hash and send, and sessions that one has done with and
 * the next to the same receiver takes up, so that small files do not pay handshakes. A send without
 * one starts threads of its own and ends them. */
struct lh_engine;

struct lh_engine_options {
    uint32_t loops;    /* stream loops (threads); 0: one a core, at most 4; at most LH_MAX_LOOPS */
    uint64_t keep_ms;  /* an idle session is kept so long; 0: 30000 */
    unsigned max_idle; /* idle sessions kept, to all receivers together; 0: 64 */
    lh_log_fn log;     /* may be NULL */
    void *log_arg;
    enum lh_log_level log_level;
};

/* Options with every default filled in. */
void lh_engine_options_init(struct lh_engine_options *opts);

/* Start threads for sends on `loop`, which it keeps alive until it is closed.
 * Returns 0 or -LH_E_INVAL, -LH_E_NOMEM. */
int lh_engine_start(uv_loop_t *loop, const struct lh_engine_options *opts,
                    struct lh_engine **engine);

/* Close idle sessions and stop the threads; closed (may be NULL) fires, once, later, when all of it
 * is freed. Sends that it still has go on to their own end, and it waits for them; new ones are
 * refused from here on. Not twice. */
void lh_engine_close(struct lh_engine *engine, void (*closed)(void *arg), void *arg);

/* ---- sending ------------------------------------------------------------------------------ */

struct lh_send;

/* Where a transfer stands. All counters are of this run, except bytes_total, bytes_durable (what
 * the receiver has made durable of this file, in this run or before) and bytes_skipped. */
struct lh_send_stats {
    char transfer[33];      /* id of the transfer, hexadecimal; the same for the same command */
    uint64_t bytes_total;   /* size of the file */
    uint64_t bytes_durable; /* verified, written and synced at the receiver */
    uint64_t bytes_sent;    /* contents handed to sockets, repeats included */
    uint64_t bytes_skipped; /* were durable at the start: not sent again */
    uint64_t bytes_holes;   /* of a sparse source, and with `sparse` blocks of zeros: not sent, a
                               hole at the receiver */
    uint32_t
        streams; /* data connections that are live now; in the last callbacks: were, at the end */
    uint64_t rate_bps;              /* bits per second made durable, over the last seconds;
                                       in the final callback: over the run */
    double duration_s;              /* since lh_send_start */
    uint64_t retransmits;           /* TCP segments sent again, all streams, TCP_INFO */
    uint64_t zero_copy_bytes;       /* contents sent by sendfile(2) */
    uint64_t fallback_bytes;        /* contents sent by read(2) and send(2) */
    uint64_t zero_copy_count;       /* blocks sent by sendfile(2) */
    uint64_t fallback_count;        /* blocks sent by read(2) and send(2) */
    uint64_t verification_failures; /* blocks that arrived damaged and were asked for again */
    uint64_t bytes_repeated;        /* of slow streams' last blocks, given to others to send too */
    uint32_t reconnects;            /* sessions that were lost and taken up again */
    bool restarted;                 /* the source changed: sent from the beginning, once */
    bool kept;                      /* what was at the destination stays, as `existing` has it: it
                                       counts as skipped, and there is no digest */
    char limit[24];                 /* what held it up: "network", "source disk"…, see
                                       docs/tuning.md; empty while nothing was sent */
    char limit_reason[320];         /* a sentence with the numbers; may be empty */
    char digest[64];                /* "xxh3-128/256k:…", empty until it is done */
};

#define LH_DESTINATION_MAX 20480 /* bytes of a path below the receiver's root */

struct lh_send_options {
    struct lh_engine *engine; /* whose threads and sessions it uses, on the same loop; NULL: threads
                                 of its own */
    const char *source;       /* path of the file to send */
    const char *host;         /* name, IPv4 or IPv6 address of the receiver, without brackets */
    uint16_t port;            /* 0: LH_DEFAULT_PORT */
    const void *path;         /* destination below the receiver's root; bytes, no NUL needed */
    size_t path_len;          /* at most LH_DESTINATION_MAX; with '/' at its end the source's name
                                 is kept */
    uint32_t streams;     /* data connections; 0: as many as help. Never more than max_streams, if
                             that is not 0; at most LH_MAX_STREAMS */
    uint32_t max_streams; /* 0: LH_DEFAULT_MAX_STREAMS; of one file over a very long path,
                             or a tree over a long one,
                             LH_DEFAULT_MAX_STREAMS_FAR, of a file where BBR is not permitted
                             LH_DEFAULT_MAX_STREAMS_NO_BBR; at most LH_MAX_STREAMS.
                             Of a tree this, and streams, bound the sum; where that is 1 there
                             are two, of which one sends */
    uint64_t limit_bps;   /* bits per second, contents and framing, all streams; 0: no limit */
    enum lh_send_share share;
    uint32_t loops; /* stream loops (threads); 0: one a core, at most 4; at most LH_MAX_LOOPS. With
                       an engine: that one's, and this is not looked at */
    uint32_t block_bytes; /* grid: a power of two, 64 KiB to 1 MiB; 0: 256 KiB */
    enum lh_zero_copy zero_copy;
    bool sparse; /* blocks that are nothing but zeros do not travel, and become holes; the
                    receiver takes space for data alone. Holes never travel */
    uint64_t zero_copy_min; /* bytes; files below it go by read and send; UINT64_MAX: the default */
    bool no_clobber;        /* refuse when the destination exists, whatever `existing` says */
    enum lh_existing existing; /* LH_EXISTING_DIFFERENT is the default */
    bool insecure;             /* allow an address that is not loopback: no key, no encryption */
    const char *congestion;    /* TCP congestion control; NULL: "bbr" */
    uint64_t sndbuf_bytes;     /* SO_SNDBUF of each stream before jitter; 0: by the design's rule */
    uint64_t give_up_ms;  /* without any contact for so long, or after a lost session only told that
                             the receiver is busy: give up; 0: never, once it said hello */
    uint64_t stagger_ms;  /* streams start at random within so long; UINT64_MAX: the default, 50 */
    uint64_t progress_ms; /* between two progress callbacks; 0: 500 */
    uint8_t incarnation[16]; /* of the queue that gave out the work; zero without one */
    uint64_t claim;    /* the queue's counter of claims; 0 without one. Of two holders of the same
                          incarnation the receiver fences the lower: it ends with -LH_E_FENCED */
    bool hold_confirm; /* after `delivered` wait for lh_send_confirm */
    lh_log_fn log;     /* may be NULL */
    void *log_arg;
    enum lh_log_level log_level;
};

/* Options with every default filled in. */
void lh_send_options_init(struct lh_send_options *opts);

struct lh_send_callbacks {
    /* The receiver has taken the offer: what is skipped is known. May be NULL. Once for each
     * session that is taken up. */
    void (*start)(void *arg, const struct lh_send_stats *stats);
    /* Every progress_ms while it runs. May be NULL. */
    void (*progress)(void *arg, const struct lh_send_stats *stats);
    /* The file is whole at the receiver, synced and under its name. When this returns the receiver
     * is told that it may forget the transfer: record it before; with hold_confirm, when
     * lh_send_confirm says so. May be NULL. Only before a done with status 0. */
    void (*delivered)(void *arg, const struct lh_send_stats *stats);
    /* It ended. status: 0 or -LH_E_*; text: a sentence for people, "" when status is 0. The send is
     * freed when this returns. */
    void (*done)(void *arg, int status, const char *text, const struct lh_send_stats *stats);
    void *arg;
};

/* Start sending one file on `loop`. Strings are copied.
 * Returns 0 (done fires once, later) or -LH_E_INVAL, -LH_E_NOMEM (no callback fires). */
int lh_send_start(uv_loop_t *loop, const struct lh_send_options *opts,
                  const struct lh_send_callbacks *cbs, struct lh_send **send);

/* Stop it and leave what is durable for the next run; done fires with -LH_E_CANCELLED. Once
 * `delivered` has fired it is too late: then done fires with 0, and what waits for lh_send_confirm
 * waits no longer: the receiver keeps its record. Calling it twice does no harm. Not after done. */
void lh_send_cancel(struct lh_send *send);

/* With hold_confirm, from inside `delivered` or later: what the receiver is to do with its record
 * that the file is done, by which it answers the same offer again without anything being sent.
 * forget: it may go, because the caller has recorded it; else it is kept. done fires afterwards,
 * with 0. Whether the receiver heard of it is not waited for: a record that stays does no harm.
 * Before `delivered`, or a second time, it does nothing. */
void lh_send_confirm(struct lh_send *send, bool forget);

/* Bytes [offset, offset + length) of the file; never empty. */
struct lh_range {
    uint64_t offset;
    uint64_t length;
};

enum lh_ranges {
    LH_RANGES_DURABLE, /* verified, written and synced at the receiver, as far as it has said. While
                          the connection is lost: what it had said before */
    LH_RANGES_IN_FLIGHT /* given to a stream to send, and not known to be durable */
};

/* Where in the file a transfer stands now, as ranges in rising order that do not touch. Fills at
 * most `max` of `out` (may be NULL when max is 0), the lowest ones, and returns how many there are.
 * From lh_send_start until done returns, from inside any callback too. */
size_t lh_send_ranges(const struct lh_send *send, enum lh_ranges which, struct lh_range *out,
                      size_t max);

/* ---- receiving ---------------------------------------------------------------------------- */

struct lh_serve;

/* What a sender of a tree may ask of a receiver that is root, a bit each. What is not permitted is
 * left out, and the sender is told; a device fails. */
enum lh_allow {
    LH_ALLOW_OWNER = 1,   /* users and groups other than the receiver's own */
    LH_ALLOW_SET_ID = 2,  /* set-user-id and set-group-id bits of files; with owners only */
    LH_ALLOW_DEVICES = 4, /* character and block devices */
    LH_ALLOW_SECURITY = 8 /* extended attributes security.* (capabilities) and trusted.* */
};

struct lh_serve_options {
    const char *root;   /* directory that everything is written below */
    const char *listen; /* "HOST:PORT", "[::1]:7410", ":7410"; NULL: loopback, v4 and v6, on
                           LH_DEFAULT_PORT. Port 0: any free one, see lh_serve_port */
    bool insecure;      /* allow an address that is not loopback */
    unsigned allow;     /* enum lh_allow; LH_ALLOW_OWNER is the default, 0 nothing of it */
    uint32_t loops;     /* stream loops (threads); 0: one a core, at most 4; at most LH_MAX_LOOPS */
    uint64_t commit_ms; /* at most so long between commits; 0: 1000 */
    uint64_t commit_bytes;      /* at most so much between commits; 0: 256 MiB */
    uint64_t partial_ttl_ms;    /* remove what nobody has touched for so long; 0: never */
    uint64_t holder_timeout_ms; /* a holder silent for so long is taken over; 0: 15000 */
    uint64_t pool_bytes;        /* receive buffers, all streams together; 0: 32 MiB */
    uint64_t tree_memory_bytes; /* what trees that are being received are remembered by, all
                                   together; 0: 512 MiB */
    lh_log_fn log;              /* may be NULL */
    void *log_arg;
    enum lh_log_level log_level;
};

void lh_serve_options_init(struct lh_serve_options *opts);

struct lh_serve_callbacks {
    /* A transfer is whole and under its name; of a tree `digest` says how many files came. Any
     * pointer dies when the call returns. May be NULL. */
    void (*received)(void *arg, const char *path, uint64_t bytes, const char *digest);
    /* The receiver has stopped; everything of it is freed when this returns. */
    void (*closed)(void *arg);
    void *arg;
};

/* Listen and receive until lh_serve_close. Binding happens here; `text` (may be NULL) of
 * `text_size` bytes gets a sentence when it fails.
 * Returns 0, or -LH_E_INVAL, -LH_E_NOMEM, -LH_E_ADDRESS, -LH_E_LISTEN, -LH_E_DEST (no callback). */
int lh_serve_start(uv_loop_t *loop, const struct lh_serve_options *opts,
                   const struct lh_serve_callbacks *cbs, struct lh_serve **serve, char *text,
                   size_t text_size);

/* Port that it listens on, host byte order. */
uint16_t lh_serve_port(const struct lh_serve *serve);

/* Commit what is in flight, close every session, stop; closed fires. Calling it twice does no harm.
 */
void lh_serve_close(struct lh_serve *serve);

/* ---- digests ------------------------------------------------------------------------------ */

/* Digest of a file as `done` prints it: XXH3-128 over the list of the XXH3-128 of its blocks.
 * Blocking. block_bytes: 0 for the default grid. out: at least 64 bytes.
 * Returns 0, -LH_E_SOURCE, -LH_E_SOURCE_KIND, -LH_E_SOURCE_DIR or -LH_E_NOMEM, with a sentence in
 * `text`. */
int lh_digest_file(const char *path, uint32_t block_bytes, char out[64], char *text,
                   size_t text_size);

/* ---- what was left half done --------------------------------------------------------------- */

struct lh_partial {
    const char *path;     /* target, relative to the root; at most LH_DESTINATION_MAX bytes, which
                             may be anything but NUL */
    uint64_t bytes_total; /* size of the source */
    uint64_t bytes_durable;
    int64_t touched_s; /* seconds since 1970: last change of the journal */
    bool held;         /* a receiver has it open now */
    bool done;         /* whole and under its name; only the record of it is left */
    bool damaged;      /* the journal cannot be read, or a staging file has none */
};

/* List what is half done below `root`, in no order. Blocking. each: called for every one; a nonzero
 * return removes it (never one that is held). Returns 0 or -LH_E_DEST with a sentence in `text`;
 * n_removed (may be NULL) counts what was removed. */
int lh_partials_each(const char *root, int (*each)(void *arg, const struct lh_partial *partial),
                     void *arg, uint64_t *n_removed, char *text, size_t text_size);

#ifdef __cplusplus
}
#endif
#endif
