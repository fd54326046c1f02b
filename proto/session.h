/* Frames that open, keep and end a session: HELLO WELCOME JOIN HEARTBEAT ERROR BYE STATS.
 *
 * Every encoder writes one payload into `out` (at least LH_CONTROL_MAX bytes unless said otherwise)
 * and returns its length in bytes. Every decoder returns 0 or -LH_E_PROTOCOL with *why set, writes
 * the struct only on success, and ignores bytes behind the fields it knows (that is how payloads
 * grow). Text and paths decoded are views into `in`. */
#ifndef LH_PROTO_SESSION_H
#define LH_PROTO_SESSION_H

#include <stddef.h>
#include <stdint.h>

#define LH_PROTOCOL_VERSION 1 /* the code that refuses another is LH_WIRE_BAD_VERSION */
#define LH_TOKEN_SIZE 16
#define LH_AGENT_MAX 64
#define LH_ERROR_TEXT_MAX 480
#define LH_HEARTBEAT_MAX_MS 60000

enum lh_role { LH_ROLE_SEND = 1, LH_ROLE_RECEIVE = 2 }; /* what the dialler wants to do */

/* Features: a bit each. Offered in HELLO, the common ones answered in WELCOME. */
#define LH_FEATURE_INSECURE (1ull << 0)    /* no key, no encryption; today always set */
#define LH_FEATURE_TREES (1ull << 1)       /* many files a transfer: FILES */
#define LH_FEATURE_EXTENTS (1ull << 2)     /* holes are not sent: EXTENTS */
#define LH_FEATURE_COMPRESSION (1ull << 3) /* BLOCK payloads may be compressed */
#define LH_FEATURE_AUTH (1ull << 4)        /* the dialler has proved who it is (by TLS) */
#define LH_FEATURE_TLS (1ull << 5)         /* the session is inside TLS, from its first byte */
#define LH_FEATURE_MULTI (1ull << 6)       /* several senders in one transfer */
#define LH_FEATURE_STATS (1ull << 7)       /* the receiver says what its time goes into: STATS */

struct lh_hello {
    uint16_t version_min;
    uint16_t version_max;
    uint8_t role;          /* enum lh_role */
    uint64_t features;     /* that the dialler can do */
    uint64_t required;     /* of those, that it will not do without */
    uint32_t heartbeat_ms; /* a frame at least so often */
    uint16_t streams;      /* that it means to open */
    const char *agent;     /* program and version, for logs */
    size_t agent_len;
};

struct lh_welcome {
    uint16_t version;
    uint64_t features;
    uint8_t token[LH_TOKEN_SIZE]; /* by which streams join */
    uint32_t heartbeat_ms;
    uint16_t max_streams;
    uint32_t max_block;   /* bytes */
    uint64_t window;      /* bytes a transfer may have sent and not yet acknowledged */
    uint8_t receiver[16]; /* random, new at each start of the receiver */
    const char *agent;
    size_t agent_len;
};

struct lh_join {
    uint8_t token[LH_TOKEN_SIZE];
    uint16_t stream;     /* number within the session, 0-based */
    uint32_t generation; /* counts redials of that stream */
};

/* What a side is waiting for. */
struct lh_heartbeat {
    uint64_t count;
    uint32_t disk_wait_ms; /* how long the sync or write under way now has lasted; 0: none */
    uint32_t commit_ms;    /* how long the last commit took */
    uint64_t undurable;    /* bytes verified and not yet durable */
};

#define LH_PERMILLE 1000

/* What the receiver's time went into since the last one, in thousandths; of the stream loop that
 * has most of it. A "stream loop" is a thread. */
struct lh_stats {
    uint32_t span_ms; /* not 0 */
    uint16_t busy;    /* ran or waited for a core */
    uint16_t write;   /* slept in writes to disk */
    uint16_t pool;    /* had streams that waited for a buffer */
    uint16_t sync;    /* a commit was under way */
};

/* Codes of ERROR and of ACCEPT's status; numbers are for good. */
enum lh_wire_code {
    LH_WIRE_OK = 0,
    LH_WIRE_PROTOCOL = 1,
    LH_WIRE_BAD_VERSION = 2,
    LH_WIRE_REFUSED = 3,
    LH_WIRE_PATH = 4,
    LH_WIRE_EXISTS = 5,
    LH_WIRE_BUSY = 6,
    LH_WIRE_FENCED = 7,
    LH_WIRE_DEST = 8,
    LH_WIRE_DEST_SPACE = 9,
    LH_WIRE_DEST_READONLY = 10,
    LH_WIRE_DEST_KIND = 11,
    LH_WIRE_VERIFY = 12,
    LH_WIRE_INTERNAL = 13,
    LH_WIRE_STOPPING = 14, /* the receiver is shutting down: dial again later */
    LH_WIRE_SOURCE_CHANGED = 15,
    LH_WIRE_CODE_MAX
};

/* text: for people; UTF-8, no newline. The encoder cuts it to LH_ERROR_TEXT_MAX; what was decoded
 * may be any bytes, so escape it before showing it. */
struct lh_error_frame {
    uint16_t code;      /* enum lh_wire_code */
    uint32_t silent_ms; /* BUSY: how long the holder has been silent */
    const char *text;
    size_t text_len;
};

size_t lh_hello_encode(const struct lh_hello *m, uint8_t *out);
int lh_hello_decode(const uint8_t *in, size_t len, struct lh_hello *m, const char **why);
size_t lh_welcome_encode(const struct lh_welcome *m, uint8_t *out);
int lh_welcome_decode(const uint8_t *in, size_t len, struct lh_welcome *m, const char **why);
size_t lh_join_encode(const struct lh_join *m, uint8_t *out);
int lh_join_decode(const uint8_t *in, size_t len, struct lh_join *m, const char **why);
size_t lh_heartbeat_encode(const struct lh_heartbeat *m, uint8_t *out);
int lh_heartbeat_decode(const uint8_t *in, size_t len, struct lh_heartbeat *m, const char **why);
size_t lh_stats_encode(const struct lh_stats *m, uint8_t *out);
int lh_stats_decode(const uint8_t *in, size_t len, struct lh_stats *m, const char **why);
size_t lh_error_encode(const struct lh_error_frame *m, uint8_t *out);
int lh_error_decode(const uint8_t *in, size_t len, struct lh_error_frame *m, const char **why);

/* LH_E_* (positive) for a wire code, and back (status: either sign). Unknown ones become INTERNAL;
 * STOPPING is LH_E_NETWORK: dial again. */
int lh_status_of_wire(uint16_t code);
uint16_t lh_wire_of_status(int status);

#endif
