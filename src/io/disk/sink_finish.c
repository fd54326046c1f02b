/* The end of a sink: what durable blocks are compared with, and the name.
 *
 * Thread: the I/O thread that is at it.
 *
 * Happy path: compared, perhaps with blocks taken back -> all is durable -> digest, mode and times,
 * synced -> journal: finish -> rename -> directory synced -> journal: done. Asked again, it answers
 * what it did. Failures: a rename that fails loses nothing and may be tried again; everything else
 * is the sink's failure (sink.c). */
#include "io/disk/sink_impl.h"

#include "util/mutant.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Mode, times, and both on the disk. */
static int dress(struct lh_sink *s, const struct lh_finish *f, struct lh_err *err)
{
    struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = (time_t)f->identity.mtime.sec, .tv_nsec = (long)f->identity.mtime.nsec}};
    int e;

    /* Set-id and sticky bits belong to an owner, and that is not kept. The file is ours, so EPERM
     * means a file system that has no modes. */
    if (fchmod(s->fd, f->mode & 0777) != 0 && errno != EPERM && errno != EOPNOTSUPP)
        return lh_sink_fail_sys(s, errno, "set its mode", err);
    if (futimens(s->fd, times) != 0)
        return lh_sink_fail_sys(s, errno, "set its times", err);
    e = lh_mutant("drop-data-sync") ? 0 : lh_disk_sync(s->fd);
    return e == 0 ? 0 : lh_sink_fail_sys(s, e, "sync it", err);
}

int lh_sink_check_target(const struct lh_sink *s, struct lh_err *err)
{
    struct lh_disk_stat st;
    int e = lh_disk_stat(s->dirfd, s->name, &st);

    if (e == ENOENT)
        return 0;
    if (e != 0)
        return lh_err_sys(err, lh_status_of_write_errno(e), e, "%s: cannot look at the destination",
                          s->shown);
    if (S_ISDIR(st.mode))
        return lh_err_set(err, LH_E_DEST_KIND, "%s: there is a directory of that name", s->shown);
    if (!S_ISREG(st.mode) && !S_ISLNK(st.mode))
        return lh_err_set(err, LH_E_DEST_KIND,
                          "%s: there is something of that name that is not a regular file",
                          s->shown);
    if (s->no_clobber)
        return lh_err_set(err, LH_E_EXISTS, "%s: it exists already", s->shown);
    return 0;
}

static int rename_it(struct lh_sink *s, struct lh_err *err)
{
    int e = 0;
    int r = lh_sink_check_target(s, err);

    if (r != 0)
        return r;
    if (s->no_clobber)
        e = lh_disk_rename_new(s->dirfd, s->hidden.part, s->name);
    else if (renameat(s->dirfd, s->hidden.part, s->dirfd, s->name) != 0)
        e = errno;
    if (e == EEXIST && s->no_clobber)
        return lh_err_set(err, LH_E_EXISTS, "%s: somebody else made it meanwhile", s->shown);
    if (e != 0) /* nothing is lost: the same again may work, here or after a restart */
        return lh_err_sys(err, lh_status_of_write_errno(e), e, "%s: cannot rename", s->shown);
    e = lh_disk_sync_dir(s->dirfd);
    return e == 0 ? 0 : lh_sink_fail_sys(s, e, "sync the directory", err);
}

static int check_whole(struct lh_sink *s, const struct lh_finish *f, struct lh_err *err)
{
    bool whole;
    int r;

    pthread_mutex_lock(&s->lock);
    r = lh_sink_failed_locked(s, err);
    whole = lh_ledger_complete(&s->ledger);
    pthread_mutex_unlock(&s->lock);
    if (r != 0)
        return r;
    if (!whole)
        return lh_err_set(err, LH_E_PROTOCOL, "%s: it is not whole yet", s->shown);
    if (!lh_identity_same_version(&f->identity, &s->source))
        return lh_err_set(err, LH_E_SOURCE_CHANGED,
                          "%s: the source is not the version that was received", s->shown);
    return 0;
}

int lh_sink_finish(struct lh_sink *s, const struct lh_finish *f, struct lh_hash *digest,
                   struct lh_err *err)
{
    struct lh_journal_finish record = {.mode = f->mode & 0777, .mtime = f->identity.mtime};
    struct lh_err why;
    int r = check_whole(s, f, err);

    if (r != 0)
        return r;
    if (s->done) {
        *digest = lh_journal_state(s->journal)->finish.digest;
        return 0;
    }
    if (lh_journal_digest(s->journal, &record.digest, &why) != 0)
        return lh_sink_fail(s, &why, err);
    r = dress(s, f, err);
    if (r != 0)
        return r;
    if (lh_journal_append_finish(s->journal, &record, &why) != 0)
        return lh_sink_fail(s, &why, err);
    r = rename_it(s, err);
    if (r != 0)
        return r;
    if (lh_journal_append_done(s->journal, &why) != 0)
        return lh_sink_fail(s, &why, err);
    s->done = true;
    *digest = record.digest;
    return 0;
}

void lh_sink_forget(struct lh_sink *s)
{
    struct stat st;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};

    if (!s->done || s->kept)
        return;
    /* The directory keeps its mtime: of a tree it may have been set already. Not synced: a done
     * record that a power cut brings back does no harm, and ages out. */
    if (fstat(s->dirfd, &st) == 0)
        times[1] = st.st_mtim;
    unlinkat(s->dirfd, s->hidden.journal, 0);
    futimens(s->dirfd, times);
}

/* ---- comparing ----------------------------------------------------------------------------- */

int lh_sink_compared(struct lh_sink *s, struct lh_err *err)
{
    struct lh_journal_epoch epoch = lh_journal_state(s->journal)->epoch;
    struct lh_err why;
    int r = lh_sink_failed(s, err);

    if (r != 0 || epoch.compared || s->done)
        return r;
    epoch.compared = 1;
    if (lh_journal_append_epoch(s->journal, &epoch, &why) != 0)
        return lh_sink_fail(s, &why, err);
    return 0;
}

/* 0, or -LH_E_PROTOCOL when not all of it is durable. */
static int check_durable(struct lh_sink *s, uint64_t first, uint64_t end, struct lh_err *err)
{
    bool covered;
    int r;

    pthread_mutex_lock(&s->lock);
    r = lh_sink_failed_locked(s, err);
    covered = first < end && lh_runs_covers(&s->ledger.durable, first, end);
    pthread_mutex_unlock(&s->lock);
    if (r == 0 && !covered)
        r = lh_err_set(err, LH_E_PROTOCOL, "%s: not all of these blocks are durable", s->shown);
    return r;
}

int lh_sink_hashes(struct lh_sink *s, uint64_t first, uint32_t n, struct lh_hash *out,
                   struct lh_err *err)
{
    int r = check_durable(s, first, first + n, err);

    return r != 0 ? r : lh_journal_hashes(s->journal, first, n, out, err);
}

int lh_sink_retract(struct lh_sink *s, uint64_t first, uint64_t end, struct lh_err *err)
{
    struct lh_err why;
    int r = check_durable(s, first, end, err);

    if (r == 0 && s->done)
        r = lh_err_set(err, LH_E_PROTOCOL, "%s: it is done", s->shown);
    if (r != 0)
        return r;
    if (lh_journal_append_drop(s->journal, first, end, &why) != 0)
        return lh_sink_fail(s, &why, err);
    pthread_mutex_lock(&s->lock);
    r = lh_ledger_retract(&s->ledger, first, end);
    s->retracted = true;
    pthread_mutex_unlock(&s->lock);
    if (r == 0)
        return 0;
    lh_err_set(&why, -r, "%s: too many holes, or out of memory", s->shown);
    return lh_sink_fail(s, &why, err);
}
