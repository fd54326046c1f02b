/* Names of the users and groups that a tree's entries belong to, for the receiver's OWNERS.
 *
 * Thread: note on a prep thread, by the one job that walks or that gathers ATTRS; the rest on the
 * main loop, when no such job is under way.
 *
 * Happy path: a number is seen for the first time -> its name is looked up -> into the frame at
 * hand -> when the job has ended, the frames that it filled are the main loop's -> told before the
 * entries that the job found, and in a new session again. Failures: a number without a name, or one
 * that cannot be asked for, travels as a number. */
#include "io/disk/users.h"
#include "io/tree/tree_impl.h"
#include "util/mutant.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void lh_tree_owners_init(struct lh_tree_owners *o, bool on)
{
    memset(o, 0, sizeof(*o));
    o->on = on;
    o->noted_end = &o->noted;
    o->frames_end = &o->frames;
    lh_idmap_init(&o->seen);
}

static void free_frames(struct lh_tree_owners_frame *f)
{
    while (f != NULL) {
        struct lh_tree_owners_frame *next = f->next;

        free(f);
        f = next;
    }
}

void lh_tree_owners_free(struct lh_tree_owners *o)
{
    lh_idmap_free(&o->seen);
    free_frames(o->noted);
    free_frames(o->frames);
    free(o->scratch);
}

/* ---- on a prep thread ---- */

/* What is gathered becomes a frame. Returns 0 or -LH_E_NOMEM. */
static int flush(struct lh_tree_owners *o)
{
    struct lh_tree_owners_frame *f;
    size_t len;

    if (o->writer.n == 0)
        return 0;
    len = lh_owners_end(&o->writer);
    f = malloc(sizeof(*f) + len);
    if (f == NULL)
        return -LH_E_NOMEM;
    f->next = NULL;
    f->len = len;
    memcpy(f->payload, o->scratch, len);
    *o->noted_end = f;
    o->noted_end = &f->next;
    lh_owners_begin(&o->writer, o->scratch);
    return 0;
}

static int add(struct lh_tree_owners *o, uint8_t kind, uint32_t id, const char *name)
{
    struct lh_owner owner = {
        .kind = kind, .id = id, .name = (const uint8_t *)name, .name_len = strlen(name)};

    if (!lh_owner_name_allowed(owner.name, owner.name_len))
        return 0;
    if (o->scratch == NULL) {
        o->scratch = malloc(LH_CONTROL_MAX);
        if (o->scratch == NULL)
            return -LH_E_NOMEM;
        lh_owners_begin(&o->writer, o->scratch);
    }
    if (lh_owners_add(&o->writer, &owner))
        return 0;
    if (flush(o) != 0)
        return -LH_E_NOMEM;
    LH_INVARIANT(lh_owners_add(&o->writer, &owner));
    return 0;
}

static int look_up(struct lh_tree_owners *o, uint8_t kind, uint32_t id)
{
    char name[LH_OWNER_NAME_MAX + 1];
    bool found = false;

    if (lh_users_name_of(kind, id, &found, name) == ENOMEM)
        return -LH_E_NOMEM;
    return found ? add(o, kind, id, name) : 0;
}

static int note(struct lh_tree_owners *o, uint8_t kind, uint32_t id)
{
    if (id == 0 || lh_idmap_get(&o->seen, kind, id) != NULL)
        return 0;
    if (o->seen.n == LH_OWNERS_MAX) {
        o->too_many = true;
        return 0;
    }
    if (lh_idmap_put(&o->seen, kind, id, id) != 0)
        return -LH_E_NOMEM;
    return look_up(o, kind, id);
}

int lh_tree_owners_note(struct lh_tree_owners *o, uint32_t uid, uint32_t gid)
{
    int r;

    if (!o->on || (uid == o->last_uid && gid == o->last_gid))
        return 0;
    r = note(o, LH_OWNER_USER, uid);
    if (r == 0)
        r = note(o, LH_OWNER_GROUP, gid);
    o->last_uid = uid;
    o->last_gid = gid;
    return r;
}

/* ---- main loop ---- */

int lh_tree_owners_take(struct lh_tree *t)
{
    struct lh_tree_owners *o = &t->owners;

    if (flush(o) != 0)
        return -LH_E_NOMEM;
    if (o->too_many && !o->said)
        lh_log(&t->log, LH_LOG_WARN,
               "more than %u users and groups: the rest keep their numbers, without names",
               LH_OWNERS_MAX);
    o->said = o->too_many;
    if (o->noted == NULL)
        return 0;
    *o->frames_end = o->noted;
    o->frames_end = o->noted_end;
    if (o->due == NULL)
        o->due = o->noted;
    o->noted = NULL;
    o->noted_end = &o->noted;
    return 0;
}

bool lh_tree_owners_tell(struct lh_tree *t)
{
    struct lh_tree_owners_frame *f = t->owners.due;

    if (f == NULL)
        return false;
    lh_lane_tell(t->send, LH_FRAME_OWNERS, 0, f->payload, f->len);
    t->owners.due = f->next;
    return true;
}

void lh_tree_owners_anew(struct lh_tree *t)
{
    if (!lh_mutant("owners-once"))
        t->owners.due = t->owners.frames;
}
