/* Entries that need no contents: directories, symbolic and hard links, FIFOs, sockets, devices.
 *
 * Thread: an opener, from lh_rtree_ask.
 *
 * Happy path: nothing is there -> made under its name at once; each of these calls makes all or
 * nothing and replaces nothing. Something is there -> it is the same: kept; else made under a
 * hidden name and renamed over it. Directories are made writable for their owner, and so are those
 * that are there when something is put into them (rtree_opened.c); ATTRS gives them their modes
 * when all is in them. Failures: of the entry, told; of the disk, the tree's. */
#include "io/rtree/rtree_impl.h"

#include "core/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_OTHER "what it is another name of could not be sent"

struct make {
    struct lh_rtree *t;
    const struct lh_tree_entry *e;
    const struct lh_rspot *at;
    const char *text;          /* e->link with a NUL */
    struct lh_tree_dir *other; /* of a hard link: the directory of the name that is there */
    const char *other_name;
    uint32_t index;
    struct lh_rtree_trouble **troubles;
    struct lh_err *err;
};

static int failed(struct make *m, int status, const char *words)
{
    if (lh_rtree_trouble(m->troubles, m->index, status, (const char *)m->e->path, m->e->path_len,
                         "%s", words) != 0)
        return lh_rtree_fail_sys(m->t, ENOMEM, "answer", m->err);
    return LH_WANTED_FAILED;
}

static int failed_sys(struct make *m, int e)
{
    char words[160];

    if (lh_rtree_fatal(e))
        return lh_rtree_fail_at(m->t, e, "make it", (const char *)m->e->path, m->e->path_len,
                                m->err);
    if (e == EEXIST)
        return failed(m, LH_E_EXISTS, LH_RTREE_TWICE);
    if (m->e->kind == LH_KIND_HARDLINK && (e == ENOENT || e == ENOTDIR))
        return failed(m, LH_E_SOURCE_CHANGED, NO_OTHER);
    snprintf(words, sizeof(words), "cannot make it: %s", strerror(e));
    return failed(m, lh_status_of_write_errno(e), words);
}

/* ---- directories ---- */

static int make_dir(struct make *m)
{
    const struct lh_rspot *at = m->at;
    mode_t mode = m->t->keep & LH_KEEP_MODE ? (m->e->mode & 0777) | 0700 : 0777;
    int e = 0;

    if (at->there && S_ISDIR(at->st.mode))
        return LH_WANTED_KEPT;
    if (at->there && (m->t->flags & LH_OFFER_KEEP_ANY))
        return failed(m, LH_E_DEST_KIND, "there is something of that name that is no directory");
    if (at->there && lh_rtree_made_meanwhile(m->t, at->dir, at->name, &at->st))
        return failed(m, LH_E_EXISTS, LH_RTREE_TWICE);
    if (lh_rtree_dry(m->t))
        return LH_WANTED_MADE;
    if (at->there && unlinkat(at->dir->fd, at->name, 0) != 0)
        e = errno;
    if (e == 0 && mkdirat(at->dir->fd, at->name, mode) != 0)
        e = errno;
    if (lh_tree_dir_again(&m->t->dirs, at->dir, e))
        e = mkdirat(at->dir->fd, at->name, mode) == 0 ? 0 : errno;
    if (e == 0)
        e = lh_tree_dir_touch(&m->t->dirs, at->dir);
    if (e != 0)
        return failed_sys(m, e);
    lh_tree_dir_made(&m->t->dirs, at->dir, (const char *)m->e->path, m->e->path_len);
    return LH_WANTED_MADE;
}

/* ---- the rest ---- */

static mode_t format_of(uint8_t kind)
{
    switch (kind) {
    case LH_KIND_SYMLINK:
        return S_IFLNK;
    case LH_KIND_FIFO:
        return S_IFIFO;
    case LH_KIND_CHAR:
        return S_IFCHR;
    case LH_KIND_BLOCK:
        return S_IFBLK;
    default:
        return S_IFSOCK;
    }
}

static bool is_device(uint8_t kind)
{
    return kind == LH_KIND_CHAR || kind == LH_KIND_BLOCK;
}

/* Whether what is there is what is wanted. */
static bool same(const struct make *m)
{
    const struct lh_disk_stat *st = &m->at->st;
    struct lh_disk_stat other;
    char text[LH_PATH_MAX];
    ssize_t n;

    if (m->e->kind == LH_KIND_HARDLINK)
        return m->other != NULL && lh_disk_stat(m->other->fd, m->other_name, &other) == 0 &&
               other.dev == st->dev && other.ino == st->ino;
    if ((st->mode & S_IFMT) != format_of(m->e->kind))
        return false;
    if (m->e->kind != LH_KIND_SYMLINK)
        return !is_device(m->e->kind) || st->rdev == m->e->size;
    n = readlinkat(m->at->dir->fd, m->at->name, text, sizeof(text));
    return n >= 0 && (size_t)n == m->e->link_len && memcmp(text, m->text, (size_t)n) == 0;
}

/* Whether the policy leaves what is there, though it is another. */
static bool stays(const struct make *m)
{
    struct lh_keep_file there = {.size = UINT64_MAX, .mtime = m->at->st.mtime};
    struct lh_keep_file offered = {.mtime = m->e->mtime};

    return lh_keep_decide(m->t->flags, &there, &offered) == LH_KEEP_IT;
}

/* 0 or an errno. */
static int make_once(const struct make *m, const char *name)
{
    int fd = m->at->dir->fd;
    int r;

    if (m->e->kind == LH_KIND_HARDLINK)
        r = linkat(m->other->fd, m->other_name, fd, name, 0);
    else if (m->e->kind == LH_KIND_SYMLINK)
        r = symlinkat(m->text, fd, name);
    else
        r = mknodat(fd, name, format_of(m->e->kind) | (m->e->mode & 0777),
                    is_device(m->e->kind) ? (dev_t)m->e->size : 0);
    return r == 0 ? 0 : errno;
}

static int make_as(const struct make *m, const char *name)
{
    int e = make_once(m, name);

    return lh_tree_dir_again(&m->t->dirs, m->at->dir, e) ? make_once(m, name) : e;
}

static int dress(const struct make *m, const char *name)
{
    struct lh_rdress d = {
        .mode = m->e->mode, .uid = m->e->uid, .gid = m->e->gid, .mtime = m->e->mtime};
    uint64_t not_kept = 0;
    int e;

    if (m->e->kind == LH_KIND_HARDLINK) /* it has the other's */
        return 0;
    e = lh_rtree_dress_at(m->t, m->at->dir->fd, name, m->e->kind == LH_KIND_SYMLINK, &d, &not_kept);
    lh_rtree_count_not_kept(m->t, not_kept);
    return e;
}

/* Over what is there. 0 or an errno. */
static int make_over(const struct make *m)
{
    char part[LH_HIDDEN_SIZE];
    int fd = m->at->dir->fd;
    int e;

    lh_rtree_part_of(m->t, m->at->name, part);
    e = make_as(m, part);
    if (e == EEXIST && unlinkat(fd, part, 0) == 0)
        e = make_as(m, part);
    if (e == 0)
        e = dress(m, part);
    if (e == 0 && renameat(fd, part, fd, m->at->name) != 0)
        e = errno;
    if (e != 0 || m->e->kind == LH_KIND_HARDLINK) /* of one file rename(2) leaves both names */
        unlinkat(fd, part, 0);
    return e;
}

/* What is there is what is wanted: its attributes may be others. */
static int refresh(struct make *m)
{
    const struct lh_rtree *t = m->t;
    const struct lh_disk_stat *st = &m->at->st;
    bool owner = lh_rtree_owner_kept(t);
    bool mode = (t->keep & LH_KEEP_MODE) && m->e->kind != LH_KIND_SYMLINK;
    bool differs =
        (owner && (st->uid != m->e->uid || st->gid != m->e->gid)) ||
        (mode && ((st->mode ^ m->e->mode) & lh_rtree_mode_mask(t)) != 0) ||
        ((t->keep & LH_KEEP_TIMES) && !lh_keep_same_time(&st->mtime, &m->e->mtime)) ||
        (m->e->kind != LH_KIND_SYMLINK && lh_rtree_acl_too_many(t, m->at->dir->fd, m->at->name));
    int e;

    if (!differs || m->e->kind == LH_KIND_HARDLINK || (t->flags & LH_OFFER_KEEP_ANY) ||
        lh_rtree_dry(t))
        return LH_WANTED_KEPT;
    e = dress(m, m->at->name);
    if (e == 0)
        e = lh_tree_dir_changed(&m->t->dirs, m->at->dir);
    return e == 0 ? LH_WANTED_MADE : failed_sys(m, e);
}

static bool may_make(const struct make *m)
{
    return !is_device(m->e->kind) || lh_rtree_device_permitted(m->t);
}

static int make_other(struct make *m)
{
    const struct lh_rspot *at = m->at;
    int e;

    /* A device is not given away either where none is made. */
    if (at->there && same(m))
        return may_make(m) ? refresh(m) : LH_WANTED_KEPT;
    if (at->there && S_ISDIR(at->st.mode))
        return failed(m, LH_E_DEST_KIND, LH_RTREE_IN_THE_WAY);
    if (at->there && stays(m))
        return LH_WANTED_KEPT;
    if (at->there && lh_rtree_made_meanwhile(m->t, at->dir, at->name, &at->st))
        return failed(m, LH_E_EXISTS, LH_RTREE_TWICE);
    if (!may_make(m))
        return failed(m, LH_E_REFUSED,
                      "this receiver makes no devices for a sender (--allow devices)");
    if (lh_rtree_dry(m->t))
        return LH_WANTED_MADE;
    if (at->there) {
        e = make_over(m);
    } else {
        e = make_as(m, at->name);
        if (e == 0)
            e = dress(m, at->name);
    }
    if (e == 0)
        e = lh_tree_dir_touch(&m->t->dirs, at->dir);
    return e == 0 ? LH_WANTED_MADE : failed_sys(m, e);
}

/* Whether the name that is there is of the very file: it may be an older one, when contents could
 * not be sent. Not to be told where times are not kept, or what is there stays whatever it is. */
static bool is_older(const struct make *m)
{
    struct lh_disk_stat st;

    return (m->t->keep & LH_KEEP_TIMES) &&
           !(m->t->flags & (LH_OFFER_KEEP_ANY | LH_OFFER_KEEP_NEWER | LH_OFFER_DRY_RUN)) &&
           lh_disk_stat(m->other->fd, m->other_name, &st) == 0 &&
           !lh_keep_same_time(&st.mtime, &m->e->mtime);
}

/* Finds the name that is there already. In a dry run it may be missing. */
static int make_hard_link(struct make *m)
{
    const char *why = lh_tree_path_wrong(m->e->link, m->e->link_len);
    size_t dir_len = lh_tree_dir_len(m->text, m->e->link_len);
    int e = ENOENT;
    int answer;

    if (why != NULL)
        return failed(m, LH_E_PATH, why);
    if (m->t->root_fd >= 0)
        e = lh_tree_dir_get(&m->t->dirs, m->text, dir_len, false, &m->other);
    if (e != 0) {
        m->other = NULL;
        return lh_rtree_dry(m->t) ? LH_WANTED_MADE : failed_sys(m, e);
    }
    m->other_name = m->text + dir_len + (dir_len > 0);
    answer = is_older(m) ? failed(m, LH_E_SOURCE_CHANGED, NO_OTHER) : make_other(m);
    lh_tree_dir_put(&m->t->dirs, m->other);
    return answer;
}

int lh_rtree_make(struct lh_rtree *t, const struct lh_tree_entry *e, uint32_t index,
                  const struct lh_rspot *at, struct lh_rtree_trouble **troubles, struct lh_err *err)
{
    struct make m = {.t = t, .e = e, .at = at, .index = index, .troubles = troubles, .err = err};
    char text[LH_TREE_PATH_MAX];

    if (e->kind == LH_KIND_DIR)
        return make_dir(&m);
    if (e->kind != LH_KIND_SYMLINK && e->kind != LH_KIND_HARDLINK)
        return make_other(&m);
    if (e->link_len >= sizeof(text))
        return failed(&m, LH_E_PATH, "what the link says is too long");
    memcpy(text, e->link, e->link_len);
    text[e->link_len] = '\0';
    m.text = text;
    return e->kind == LH_KIND_SYMLINK ? make_other(&m) : make_hard_link(&m);
}
