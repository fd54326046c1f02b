/* Records in an unlinked file; contract in spill.h.
 *
 * A record is its bytes between its length twice, so that it can be read from either end. The last
 * bytes are in `tail`, whatever they are: a record may begin in the file and end in memory. When
 * the tail is full its older half is written; when it is popped empty as much is read back. So a
 * stack that goes up and down at the border does not write each time.
 *
 * Failures: $TMPDIR is full or cannot be written to, which ends the walk. */
#include "io/disk/spill.h"

#include "io/disk/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEN_SIZE sizeof(uint32_t)
#define FRAME_MAX (LH_SPILL_RECORD_MAX + 2 * LEN_SIZE)
#define TAIL_SIZE (256u * 1024)
#define HALF (TAIL_SIZE / 2)

_Static_assert(FRAME_MAX <= HALF, "half a tail has room for any record");

static const char *temp_dir(void)
{
    const char *dir = getenv("TMPDIR");

    return dir != NULL && dir[0] != '\0' ? dir : "/tmp";
}

static int fail(int sys_errno, const char *what, struct lh_err *err)
{
    return lh_err_sys(err, LH_E_INTERNAL, sys_errno, "cannot %s a temporary file in %s ($TMPDIR)",
                      what, temp_dir());
}

void lh_spill_init(struct lh_spill *s)
{
    *s = (struct lh_spill){.fd = -1};
}

void lh_spill_free(struct lh_spill *s)
{
    if (s->fd >= 0)
        close(s->fd);
    free(s->tail);
    lh_spill_init(s);
}

int lh_spill_file(int *fd, struct lh_err *err)
{
    char path[4096];
    int file = open(temp_dir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    /* Not every file system can make one without a name. */
    if (file < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        if (snprintf(path, sizeof(path), "%s/longhaul-XXXXXX", temp_dir()) >= (int)sizeof(path))
            return fail(ENAMETOOLONG, "make", err);
        file = mkostemp(path, O_CLOEXEC);
        if (file >= 0)
            (void)unlink(path);
    }
    if (file < 0)
        return fail(errno, "make", err);
    *fd = file;
    return 0;
}

bool lh_spill_empty(const struct lh_spill *s)
{
    return s->start + s->used == 0;
}

/* Make room in the tail by writing its older half. */
static int write_half(struct lh_spill *s, struct lh_err *err)
{
    int r = s->fd < 0 ? lh_spill_file(&s->fd, err) : 0;
    int e;

    if (r != 0)
        return r;
    e = lh_disk_write(s->fd, s->tail, HALF, s->start);
    if (e != 0)
        return fail(e, "write to", err);
    s->start += HALF;
    s->used -= HALF;
    memmove(s->tail, s->tail + HALF, s->used);
    return 0;
}

int lh_spill_append(struct lh_spill *s, const void *record, size_t len, uint64_t *at,
                    struct lh_err *err)
{
    uint32_t n = (uint32_t)len;
    uint8_t *to;
    int r;

    LH_REQUIRE(len <= LH_SPILL_RECORD_MAX);
    if (s->tail == NULL && (s->tail = malloc(TAIL_SIZE)) == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    if (s->used + len + 2 * LEN_SIZE > TAIL_SIZE) {
        r = write_half(s, err);
        if (r != 0)
            return r;
    }
    if (at != NULL)
        *at = s->start + s->used;
    to = s->tail + s->used;
    memcpy(to, &n, LEN_SIZE);
    memcpy(to + LEN_SIZE, record, len);
    memcpy(to + LEN_SIZE + len, &n, LEN_SIZE);
    s->used += len + 2 * LEN_SIZE;
    return 0;
}

/* Bytes [at, at + len) of the spill, which are there. */
static int copy_out(const struct lh_spill *s, uint64_t at, void *out, size_t len,
                    struct lh_err *err)
{
    uint8_t *to = out;
    size_t got = 0;
    int e;

    LH_REQUIRE(at + len <= s->start + s->used);
    if (at < s->start) {
        size_t part = s->start - at < len ? (size_t)(s->start - at) : len;

        e = lh_disk_read(s->fd, to, part, at, &got);
        if (e != 0 || got < part)
            return fail(e != 0 ? e : EIO, "read", err);
        at += part;
        to += part;
        len -= part;
    }
    if (len > 0)
        memcpy(to, s->tail + (at - s->start), len);
    return 0;
}

/* The record whose frame ends at `end`; false when not all of it is among the bytes before it. */
static bool frame_before(const uint8_t *end, size_t n_before, const void **record, size_t *len)
{
    uint32_t n;

    if (n_before < LEN_SIZE)
        return false;
    memcpy(&n, end - LEN_SIZE, LEN_SIZE);
    if (n_before < n + 2 * LEN_SIZE)
        return false;
    *record = end - LEN_SIZE - n;
    *len = n;
    return true;
}

int lh_spill_pop(struct lh_spill *s, const void **record, size_t *len, struct lh_err *err)
{
    LH_REQUIRE(!lh_spill_empty(s));
    if (!frame_before(s->tail + s->used, s->used, record, len)) {
        /* Less than a frame is in memory, so there is room for half a tail before it. */
        size_t n = s->start < HALF ? (size_t)s->start : HALF;
        size_t got;
        int e;

        memmove(s->tail + n, s->tail, s->used);
        e = lh_disk_read(s->fd, s->tail, n, s->start - n, &got);
        if (e != 0 || got < n)
            return fail(e != 0 ? e : EIO, "read", err);
        s->start -= n;
        s->used += n;
        LH_INVARIANT(frame_before(s->tail + s->used, s->used, record, len));
    }
    s->used -= *len + 2 * LEN_SIZE;
    return 0;
}

int lh_spill_get(const struct lh_spill *s, uint64_t at, void *out, size_t *len, struct lh_err *err)
{
    uint32_t n;
    int r = copy_out(s, at, &n, LEN_SIZE, err);

    if (r == 0) {
        LH_INVARIANT(n <= LH_SPILL_RECORD_MAX);
        r = copy_out(s, at + LEN_SIZE, out, n, err);
    }
    if (r == 0)
        *len = n;
    return r;
}

void lh_spill_reader_init(struct lh_spill_reader *r, const struct lh_spill *s)
{
    *r = (struct lh_spill_reader){.spill = s, .at = s->start + s->used};
    r->start = r->at;
}

void lh_spill_reader_free(struct lh_spill_reader *r)
{
    free(r->bytes);
    *r = (struct lh_spill_reader){0};
}

int lh_spill_read(struct lh_spill_reader *r, const void **record, size_t *len, struct lh_err *err)
{
    size_t have;

    if (r->at == 0)
        return 0;
    if (r->bytes == NULL && (r->bytes = malloc(HALF)) == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    have = (size_t)(r->at - r->start);
    if (!frame_before(r->bytes + have, have, record, len)) {
        size_t n = r->at < HALF ? (size_t)r->at : HALF;
        int ret = copy_out(r->spill, r->at - n, r->bytes, n, err);

        if (ret != 0)
            return ret;
        r->start = r->at - n;
        LH_INVARIANT(frame_before(r->bytes + n, n, record, len));
    }
    r->at -= *len + 2 * LEN_SIZE;
    return 1;
}
