#include "io/disk/users.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_UP_FIRST 4096u
#define LOOK_UP_MAX (1024u * 1024) /* bytes: of a group with very many members */

/* What is asked for, and what is found. */
struct ask {
    uint8_t kind;
    const char *by_name; /* NULL: by id */
    uint32_t id;
    bool found;
    const char *name; /* in buf */
    char *buf;
};

/* One try. 0 or an errno. */
static int try_once(struct ask *a, size_t size)
{
    struct passwd user, *of_user = NULL;
    struct group group, *of_group = NULL;
    int e;

    if (a->kind == LH_OWNER_USER)
        e = a->by_name != NULL ? getpwnam_r(a->by_name, &user, a->buf, size, &of_user)
                               : getpwuid_r(a->id, &user, a->buf, size, &of_user);
    else
        e = a->by_name != NULL ? getgrnam_r(a->by_name, &group, a->buf, size, &of_group)
                               : getgrgid_r(a->id, &group, a->buf, size, &of_group);
    a->found = e == 0 && (of_user != NULL || of_group != NULL);
    if (e == 0 && of_user != NULL) {
        a->id = user.pw_uid;
        a->name = user.pw_name;
    } else if (e == 0 && of_group != NULL) {
        a->id = group.gr_gid;
        a->name = group.gr_name;
    }
    return e;
}

/* What getpwnam(3) may say of one that there is not. */
static bool means_unknown(int e)
{
    return e == ENOENT || e == ESRCH || e == EBADF || e == EPERM;
}

/* 0 or an errno; a->buf is to be freed. */
static int look_up(struct ask *a)
{
    int e = ERANGE;

    for (size_t size = LOOK_UP_FIRST; e == ERANGE && size <= LOOK_UP_MAX; size *= 4) {
        free(a->buf);
        a->buf = malloc(size);
        e = a->buf != NULL ? try_once(a, size) : ENOMEM;
    }
    return means_unknown(e) ? 0 : e;
}

int lh_users_id_of(uint8_t kind, const char *name, bool *found, uint32_t *id)
{
    struct ask a = {.kind = kind, .by_name = name};
    int e = look_up(&a);

    if (e == 0) {
        *found = a.found;
        if (*found)
            *id = a.id;
    }
    free(a.buf);
    return e;
}

int lh_users_name_of(uint8_t kind, uint32_t id, bool *found, char name[LH_OWNER_NAME_MAX + 1])
{
    struct ask a = {.kind = kind, .id = id};
    int e = look_up(&a);

    if (e == 0) {
        *found = a.found && strlen(a.name) <= LH_OWNER_NAME_MAX;
        if (*found)
            memcpy(name, a.name, strlen(a.name) + 1);
    }
    free(a.buf);
    return e;
}
