/* The payload of OWNERS.
 *
 * Thread: any. Happy path: names are gathered into a frame until it is full, and read one after
 * another from a payload that was checked as a whole. Failures: the decoder refuses what is cut
 * short, of unknown kind, or has what is no name, before anything of it is handed out. */
#include "proto/owners.h"

#include "proto/cursor.h"
#include "proto/fields.h"
#include "proto/frame.h"
#include "util/err.h"

#include <string.h>

#define HEAD 4 /* number of names */

bool lh_owner_name_allowed(const uint8_t *name, size_t len)
{
    return len >= 1 && lh_path_allowed(name, len, LH_OWNER_NAME_MAX) &&
           memchr(name, ':', len) == NULL && memchr(name, '\n', len) == NULL;
}

void lh_owners_begin(struct lh_owners_writer *w, uint8_t *out)
{
    *w = (struct lh_owners_writer){.out = out, .used = HEAD};
}

bool lh_owners_add(struct lh_owners_writer *w, const struct lh_owner *owner)
{
    struct lh_writer to;

    LH_REQUIRE(lh_owner_name_allowed(owner->name, owner->name_len));
    lh_writer_init(&to, w->out + w->used, LH_CONTROL_MAX - w->used);
    lh_put_u8(&to, owner->kind);
    lh_put_u32(&to, owner->id);
    lh_put_path(&to, owner->name, owner->name_len);
    if (to.failed)
        return false;
    w->used = (size_t)(to.at - w->out);
    w->n++;
    return true;
}

size_t lh_owners_end(struct lh_owners_writer *w)
{
    struct lh_writer head;

    lh_writer_init(&head, w->out, HEAD);
    lh_put_u32(&head, w->n);
    LH_INVARIANT(!head.failed);
    return w->used;
}

/* What is wrong, or NULL. */
static const char *get_owner(struct lh_reader *r, struct lh_owner *owner)
{
    owner->kind = lh_get_u8(r);
    owner->id = lh_get_u32(r);
    lh_get_path(r, &owner->name, &owner->name_len);
    if (r->failed)
        return "OWNERS is cut short";
    if (owner->kind != LH_OWNER_USER && owner->kind != LH_OWNER_GROUP)
        return "OWNERS has one of unknown kind";
    if (!lh_owner_name_allowed(owner->name, owner->name_len))
        return "OWNERS has what is no name";
    return NULL;
}

int lh_owners_decode(const uint8_t *in, size_t len, struct lh_owners_reader *r, const char **why)
{
    struct lh_owners_reader got = {0};
    struct lh_owner owner;
    struct lh_reader from;

    lh_reader_init(&from, in, len);
    got.n = lh_get_u32(&from);
    if (from.failed)
        return lh_wire_refuse(why, "OWNERS is cut short");
    if (got.n > LH_OWNERS_MAX)
        return lh_wire_refuse(why, "OWNERS has too many names");
    got.next = from.at;
    for (uint32_t i = 0; i < got.n; i++) {
        const char *bad = get_owner(&from, &owner);

        if (bad != NULL)
            return lh_wire_refuse(why, bad);
    }
    got.end = from.at;
    *r = got;
    return 0;
}

bool lh_owners_next(struct lh_owners_reader *r, struct lh_owner *owner)
{
    struct lh_reader from;

    if (r->at >= r->n)
        return false;
    lh_reader_init(&from, r->next, (size_t)(r->end - r->next));
    LH_INVARIANT(get_owner(&from, owner) == NULL);
    r->next = from.at;
    r->at++;
    return true;
}
