/* Names of a tree that differ in case alone, where the destination takes them for one.
 *
 * The second of two must not silently replace the first. Where nothing was there before, nothing is
 * replaced at all: these calls tell. What is asked here is of something that was there, and is to
 * be replaced: has this transfer put it there, under the other name?
 *
 * Thread: openers, committers.
 *
 * Happy path: it is older than this transfer -> replaced, nothing is asked. Younger: with its case
 * turned round the name leads to the very same -> this directory folds case -> refused. Failures:
 * what cannot be told is taken for a directory that tells names apart. A list for --delete asks the
 * names that are there, as what is removed for another name is lost: there any doubt counts. */
#include "io/rtree/rtree_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { FOLDS_UNKNOWN, FOLDS_NOT, FOLDS };

void lh_rtree_note_time(struct lh_rtree *t)
{
    struct timespec now;

    /* The clock that the kernel takes times of files from: never ahead of them. */
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    t->opened = (struct lh_time){.sec = now.tv_sec, .nsec = (uint32_t)now.tv_nsec};
}

/* With the case of all its letters turned round; only of ASCII, which is one way everywhere. False:
 * there are none. */
static bool turn(const char *name, char *out, size_t size)
{
    bool any = false;
    size_t len = strlen(name);

    if (len >= size)
        return false;
    for (size_t i = 0; i <= len; i++) {
        unsigned char c = (unsigned char)name[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

        out[i] = (char)(letter ? c ^ 0x20 : c);
        any = any || letter;
    }
    return any;
}

static bool folds(struct lh_tree_dir *dir, const char *name, const struct lh_disk_stat *st)
{
    unsigned known = atomic_load_explicit(&dir->folds, memory_order_relaxed);
    struct lh_disk_stat other;
    char turned[256];

    /* A file of several names may have the other one, too. */
    if (known == FOLDS_UNKNOWN && st->n_links < 2 && turn(name, turned, sizeof(turned))) {
        known = lh_disk_stat(dir->fd, turned, &other) == 0 && other.dev == st->dev &&
                        other.ino == st->ino
                    ? FOLDS
                    : FOLDS_NOT;
        atomic_store_explicit(&dir->folds, known, memory_order_relaxed);
    }
    return known == FOLDS;
}

/* The same of what UTF-8 takes two bytes for, as far as one bit makes the difference there: most of
 * Latin, the first half of the Greek and of the Cyrillic alphabet. */
static bool turn_two(const char *name, char *out, size_t size)
{
    bool any = false;
    size_t len = strlen(name);

    if (len >= size)
        return false;
    memcpy(out, name, len + 1);
    for (size_t i = 0; i + 1 < len; i++) {
        unsigned char lead = (unsigned char)name[i];
        unsigned char next = (unsigned char)name[i + 1];
        unsigned char low = (unsigned char)(next & 0x1f);

        if ((next & 0xc0) != 0x80)
            continue;
        if ((lead == 0xc3 && low < 0x1f && low != 0x17) || (lead == 0xce && low > 0x10) ||
            (lead == 0xd0 && low >= 0x10)) {
            out[i + 1] = (char)(next ^ 0x20);
            any = true;
        }
    }
    return any;
}

enum { SAYS_NOTHING, SAYS_NO, SAYS_MAYBE, SAYS_YES };

static bool is_ascii(const char *name)
{
    for (; *name != '\0'; name++) {
        if ((unsigned char)*name >= 0x80)
            return false;
    }
    return true;
}

/* What one name tells of its directory. That it tells case apart only ASCII tells: of other letters
 * not every file system knows the case, and what is no UTF-8 some compare byte by byte. */
static int says(int dirfd, const char *name)
{
    struct lh_disk_stat st;
    struct lh_disk_stat other;
    struct lh_disk_stat again;
    char turned[256];
    bool plain = turn(name, turned, sizeof(turned));
    int e;

    if (!plain && !turn_two(name, turned, sizeof(turned)))
        return SAYS_NOTHING;
    if (lh_disk_stat(dirfd, name, &st) != 0)
        return SAYS_NOTHING;
    e = lh_disk_stat(dirfd, turned, &other);
    if (e != 0 && e != ENOENT)
        return SAYS_NOTHING;
    if (e == 0 && other.dev == st.dev && other.ino == st.ino)
        return S_ISDIR(st.mode) || st.n_links < 2 ? SAYS_YES : SAYS_MAYBE;
    if (!plain || !is_ascii(name))
        return SAYS_NOTHING;
    /* Gone or renamed in between, its other name tells nothing. */
    if (lh_disk_stat(dirfd, name, &again) != 0 || again.dev != st.dev || again.ino != st.ino)
        return SAYS_NOTHING;
    return SAYS_NO;
}

bool lh_rtree_folds(DIR *dir)
{
    const struct dirent *d;
    bool folds = false;
    int said = SAYS_NOTHING;

    while (said != SAYS_NO && said != SAYS_YES && (d = readdir(dir)) != NULL) {
        said = says(dirfd(dir), d->d_name);
        folds = said != SAYS_NO && (folds || said != SAYS_NOTHING);
    }
    rewinddir(dir);
    return folds;
}

bool lh_rtree_made_meanwhile(const struct lh_rtree *t, struct lh_tree_dir *dir, const char *name,
                             const struct lh_disk_stat *st)
{
    const struct lh_time *now = &st->ctime;
    bool older = now->sec != t->opened.sec ? now->sec < t->opened.sec : now->nsec < t->opened.nsec;

    return !older && folds(dir, name, st);
}
