/* What journal*.c share; nobody else includes this. */
#ifndef LH_IO_JOURNAL_IMPL_H
#define LH_IO_JOURNAL_IMPL_H

#include "io/disk/journal.h"

struct lh_journal {
    int dirfd;
    int fd;
    int index_fd; /* -1: nobody has asked for hashes yet */
    const struct lh_hidden *hidden;
    const char *shown;
    bool dead;
    uint64_t seed;
    struct lh_journal_state state;
};

/* Cut to `length` bytes, durably. Returns 0 or an errno. */
int lh_journal_cut(struct lh_journal *j, uint64_t length);
/* The index is stale: the next who asks for hashes makes it anew. */
void lh_journal_drop_index(struct lh_journal *j);

#endif
