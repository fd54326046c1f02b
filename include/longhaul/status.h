/* What an operation ended with: the codes, their words, and the exit code of the command line.
 *
 * One table gives all three, so that they cannot drift apart. Functions return 0 or -LH_E_*. */
#ifndef LONGHAUL_STATUS_H
#define LONGHAUL_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

/* Exit codes of the command line; documented in docs/errors.md. */
enum lh_exit {
    LH_EXIT_OK = 0,
    LH_EXIT_INTERNAL = 1,     /* out of memory, or a bug */
    LH_EXIT_USAGE = 2,        /* the command line is wrong */
    LH_EXIT_SOURCE = 3,       /* the file to send: missing, unreadable, changed twice */
    LH_EXIT_DEST = 4,         /* the place to write: missing, read-only, full, failing */
    LH_EXIT_NETWORK = 5,      /* no receiver there, or given up on the network */
    LH_EXIT_REFUSED = 6,      /* the receiver said no: busy, fenced, not allowed, exists */
    LH_EXIT_VERIFY = 7,       /* contents could not be verified */
    LH_EXIT_PARTIAL = 8,      /* a tree: some entries were not moved, the others were */
    LH_EXIT_INTERRUPTED = 130 /* Ctrl-C or SIGTERM; the same command resumes */
};

/* X(name, exit class, words) */
#define LH_STATUS_MAP(X)                                                                           \
    X(NOMEM, INTERNAL, "out of memory")                                                            \
    X(INTERNAL, INTERNAL, "internal error")                                                        \
    X(INVAL, USAGE, "invalid argument")                                                            \
    X(ADDRESS, USAGE, "not a valid address")                                                       \
    X(LISTEN, USAGE, "cannot listen there")                                                        \
    X(SOURCE, SOURCE, "cannot read the source")                                                    \
    X(SOURCE_KIND, SOURCE, "the source is not a regular file")                                     \
    X(SOURCE_DIR, SOURCE, "the source is a directory")                                             \
    X(SOURCE_CHANGED, SOURCE, "the source changed while it was being sent")                        \
    X(DEST, DEST, "the destination failed")                                                        \
    X(DEST_SPACE, DEST, "no space at the destination")                                             \
    X(DEST_READONLY, DEST, "the destination cannot be written")                                    \
    X(DEST_KIND, DEST, "the destination is not a regular file")                                    \
    X(PATH, REFUSED, "the destination path is not allowed")                                        \
    X(EXISTS, REFUSED, "the destination exists")                                                   \
    X(BUSY, REFUSED, "another sender holds this destination")                                      \
    X(FENCED, REFUSED, "another sender has taken this transfer over")                              \
    X(REFUSED, REFUSED, "the receiver refused")                                                    \
    X(VERSION, REFUSED, "the two sides speak different protocol versions")                         \
    X(RESOLVE, NETWORK, "cannot resolve the host name")                                            \
    X(CONNECT, NETWORK, "cannot connect")                                                          \
    X(NETWORK, NETWORK, "the connection was lost")                                                 \
    X(TIMEOUT, NETWORK, "no answer in time")                                                       \
    X(PROTOCOL, NETWORK, "the other side broke the protocol")                                      \
    X(VERIFY, VERIFY, "contents could not be verified")                                            \
    X(PARTIAL, PARTIAL, "some were not moved")                                                     \
    X(CORRUPT, DEST, "the journal is damaged")                                                     \
    X(CANCELLED, INTERRUPTED, "interrupted")                                                       \
    X(INCOMPLETE, INTERNAL, "more bytes are needed")                                               \
    X(LIMIT, INTERNAL, "a limit was exceeded")

enum lh_status {
    LH_OK = 0,
#define LH_STATUS_ENUM(name, exit_class, words) LH_E_##name,
    LH_STATUS_MAP(LH_STATUS_ENUM)
#undef LH_STATUS_ENUM
        LH_E_MAX
};

/* Words for a status (either sign); static. */
const char *lh_status_text(int status);

/* Name of a status, such as "BUSY"; static. */
const char *lh_status_name(int status);

/* Exit code that goes with a status (either sign). */
enum lh_exit lh_status_exit(int status);

#ifdef __cplusplus
}
#endif
#endif
