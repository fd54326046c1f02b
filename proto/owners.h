/* OWNERS: names of the users and groups whose numbers a tree's entries carry.
 *
 * A number means nothing on another host, a name may: the receiver takes its own number of that
 * name, and keeps the one that it was told where it does not know the name.
 *
 * Conventions of encoders and decoders: proto/session.h. */
#ifndef LH_PROTO_OWNERS_H
#define LH_PROTO_OWNERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LH_OWNERS_MAX 65536u /* names that a sender tells of one tree in one session */
#define LH_OWNER_NAME_MAX 255

enum lh_owner_kind { LH_OWNER_USER = 1, LH_OWNER_GROUP = 2 };

struct lh_owner {
    uint8_t kind; /* enum lh_owner_kind */
    uint32_t id;  /* at the sender */
    const uint8_t *name;
    size_t name_len; /* 1 to LH_OWNER_NAME_MAX */
};

/* Whether it is a name that may be told: bytes other than NUL, ':' and newline, which no data base
 * of users can hold. */
bool lh_owner_name_allowed(const uint8_t *name, size_t len);

/* A frame is built by begin, add until it is full, end. `out` has LH_CONTROL_MAX bytes. */
struct lh_owners_writer {
    uint8_t *out;
    size_t used;
    uint32_t n;
};

void lh_owners_begin(struct lh_owners_writer *w, uint8_t *out);
bool lh_owners_add(struct lh_owners_writer *w, const struct lh_owner *owner); /* false: no room */
size_t lh_owners_end(struct lh_owners_writer *w);                             /* bytes */

struct lh_owners_reader {
    uint32_t n;
    /* the rest is the reader's own */
    uint32_t at;
    const uint8_t *next;
    const uint8_t *end;
};

/* Checks the whole payload: kinds that are known, names that are allowed. */
int lh_owners_decode(const uint8_t *in, size_t len, struct lh_owners_reader *r, const char **why);
/* The next one; false at the end. Views are into `in`. */
bool lh_owners_next(struct lh_owners_reader *r, struct lh_owner *owner);

#endif
