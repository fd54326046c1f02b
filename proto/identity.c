/* Which version of which file.
 *
 * Thread: any. Happy path and failures: as cursor.h says; times and sizes that no Linux file can
 * have fail the reader, so that what comes behind may put them into off_t and struct timespec. */
#include "proto/identity.h"

bool lh_time_same(const struct lh_time *a, const struct lh_time *b)
{
    return a->sec == b->sec && a->nsec == b->nsec;
}

bool lh_identity_same_version(const struct lh_identity *a, const struct lh_identity *b)
{
    return a->size == b->size && lh_time_same(&a->mtime, &b->mtime);
}

bool lh_identity_same(const struct lh_identity *a, const struct lh_identity *b)
{
    return lh_identity_same_version(a, b) && a->dev == b->dev && a->ino == b->ino &&
           lh_time_same(&a->ctime, &b->ctime);
}

void lh_put_time(struct lh_writer *w, const struct lh_time *t)
{
    lh_put_u64(w, (uint64_t)t->sec);
    lh_put_u32(w, t->nsec);
}

void lh_get_time(struct lh_reader *r, struct lh_time *t)
{
    t->sec = (int64_t)lh_get_u64(r);
    t->nsec = lh_get_u32(r);
    if (t->nsec > 999999999)
        r->failed = true;
}

void lh_put_identity(struct lh_writer *w, const struct lh_identity *id)
{
    lh_put_u64(w, id->dev);
    lh_put_u64(w, id->ino);
    lh_put_u64(w, id->size);
    lh_put_time(w, &id->mtime);
    lh_put_time(w, &id->ctime);
}

void lh_get_identity(struct lh_reader *r, struct lh_identity *id)
{
    id->dev = lh_get_u64(r);
    id->ino = lh_get_u64(r);
    id->size = lh_get_u64(r);
    if (id->size > INT64_MAX)
        r->failed = true;
    lh_get_time(r, &id->mtime);
    lh_get_time(r, &id->ctime);
}
