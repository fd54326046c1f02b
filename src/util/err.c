#include "util/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    const char *words;
    enum lh_exit exit_class;
} table[LH_E_MAX] = {[LH_OK] = {"OK", "done", LH_EXIT_OK},
#define LH_STATUS_ROW(name, exit_class, words) [LH_E_##name] = {#name, words, LH_EXIT_##exit_class},
                     LH_STATUS_MAP(LH_STATUS_ROW)
#undef LH_STATUS_ROW
};

static int row_of(int status)
{
    int row = status < 0 ? -status : status;

    return row < LH_E_MAX ? row : LH_E_INTERNAL;
}

const char *lh_status_text(int status)
{
    return table[row_of(status)].words;
}

const char *lh_status_name(int status)
{
    return table[row_of(status)].name;
}

enum lh_exit lh_status_exit(int status)
{
    return table[row_of(status)].exit_class;
}

int lh_status_of_write_errno(int sys_errno)
{
    switch (sys_errno) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return LH_E_DEST_SPACE;
    case EROFS:
    case EACCES:
    case EPERM:
        return LH_E_DEST_READONLY;
    case EISDIR:
    case ENOTDIR:
        return LH_E_DEST_KIND;
    case ENOMEM:
        return LH_E_NOMEM;
    default:
        return LH_E_DEST;
    }
}

int lh_err_set(struct lh_err *err, int status, const char *fmt, ...)
{
    if (err != NULL) {
        va_list ap;

        err->status = status;
        err->sys_errno = 0;
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
    }
    return -status;
}

int lh_err_sys(struct lh_err *err, int status, int sys_errno, const char *fmt, ...)
{
    if (err != NULL) {
        va_list ap;
        size_t used;

        err->status = status;
        err->sys_errno = sys_errno;
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
        used = strlen(err->text);
        snprintf(err->text + used, sizeof(err->text) - used, ": %s", strerror(sys_errno));
    }
    return -status;
}

_Noreturn void lh_require_failed(const char *cond, const char *file, int line)
{
    fprintf(stderr, "longhaul: %s:%d: this must hold but does not: %s\n", file, line, cond);
    abort();
}
