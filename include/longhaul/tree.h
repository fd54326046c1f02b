/* longhaul: move directory trees.
 *
 * Threads and the contract of asynchronous calls: longhaul.h. */
#ifndef LONGHAUL_TREE_H
#define LONGHAUL_TREE_H

#include <longhaul/longhaul.h>

#ifdef __cplusplus
extern "C" {
#endif

enum lh_links {
    LH_LINKS_KEEP,   /* symbolic links are made anew as such */
    LH_LINKS_FOLLOW, /* what they lead to is sent in their place */
    LH_LINKS_SKIP    /* left out */
};

/* Of entries, besides names and contents; a bit each. */
enum lh_preserve {
    LH_PRESERVE_MODE = 1,
    LH_PRESERVE_TIMES = 2,
    LH_PRESERVE_OWNER = 4, /* uid, gid, set-id bits: where the receiver may */
    LH_PRESERVE_XATTRS = 8,
    LH_PRESERVE_ACL = 16,
    LH_PRESERVE_HARDLINKS = 32,
    LH_PRESERVE_DEVICES = 64 /* FIFOs, sockets, devices: else left out, counted */
};

/* Filters, tried in order, the first that matches decides; what none matches is included.
 * Patterns: core/filter.h, docs/trees.md. */
struct lh_tree_rule {
    bool include;
    const char *pattern;
};

struct lh_tree_options {
    struct lh_send_options send; /* host, port, path (the destination directory), engine, streams,
                                    limits, queue's claim… Of it source, small-file and holder
                                    fields are not looked at */
    const char *const *sources;  /* directories or files. "a/": what is in a; "a": a itself */
    size_t n_sources;
    const char *files_from; /* file with a path a line (or NUL-terminated), relative to the one
                               source, that are sent in place of all of it; "-": standard input;
                               NULL: all */
    const struct lh_tree_rule *rules;
    size_t n_rules;
    enum lh_existing existing;
    enum lh_links links;
    unsigned preserve; /* enum lh_preserve */
    bool checksum;     /* compare contents in place of size and mtime */
    bool numeric_ids;  /* owners keep their numbers: the receiver is told no names */
    bool one_file_system;
    bool dry_run;
    bool stop_on_error;
    bool remove;          /* --delete: what the source has not goes, at the end */
    uint64_t max_removed; /* more than that: nothing is removed; UINT64_MAX: no bound */
};

void lh_tree_options_init(struct lh_tree_options *opts);

struct lh_tree_stats {
    struct lh_send_stats send; /* of contents in packs and big files together: bytes_total (found
                                  so far), bytes_durable, bytes_sent, rate, streams, limit… */
    bool walking;              /* totals still grow */
    uint64_t files_total;      /* regular files found so far */
    uint64_t files_sent;       /* whole at the destination now, by this run */
    uint64_t files_kept;       /* were there */
    uint64_t dirs;             /* made or there */
    uint64_t links;            /* symbolic and hard */
    uint64_t others;           /* FIFOs, devices, sockets: made */
    uint64_t failed;           /* entries that could not be moved */
    uint64_t skipped_special;  /* FIFOs, devices, sockets: left out */
    uint64_t removed;          /* by --delete */
};

enum lh_tree_what {
    LH_TREE_SENT,    /* a file; was not there, or was replaced */
    LH_TREE_MADE,    /* a directory, link, … */
    LH_TREE_KEPT,    /* was there */
    LH_TREE_REMOVED, /* by --delete */
    LH_TREE_FAILED   /* status and text say why */
};

#define LH_ENTRY_PATH_MAX 16383 /* bytes; an entry with a longer path fails */

struct lh_tree_callbacks {
    void (*start)(void *arg, const struct lh_tree_stats *stats);    /* may be NULL */
    void (*progress)(void *arg, const struct lh_tree_stats *stats); /* may be NULL */
    /* Something became of one entry. path: relative to the destination, at most LH_ENTRY_PATH_MAX
     * bytes, which may be anything but NUL. In a dry run: what would. May be NULL. */
    void (*entry)(void *arg, enum lh_tree_what what, const char *path, uint64_t bytes, int status,
                  const char *text);
    /* It ended. status 0: all of it is there. -LH_E_PARTIAL: some were not moved, `entry` named
     * each. */
    void (*done)(void *arg, int status, const char *text, const struct lh_tree_stats *stats);
    void *arg;
};

struct lh_tree;

/* Start sending a tree on `loop`. Strings are copied.
 * Returns 0 (done fires once, later) or -LH_E_INVAL, -LH_E_NOMEM (no callback fires). */
int lh_tree_start(uv_loop_t *loop, const struct lh_tree_options *opts,
                  const struct lh_tree_callbacks *cbs, struct lh_tree **tree);

/* Stop; what is settled stays. done fires with -LH_E_CANCELLED. Twice does no harm. Not after done.
 */
void lh_tree_cancel(struct lh_tree *tree);

#ifdef __cplusplus
}
#endif
#endif
