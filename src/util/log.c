#include "util/log.h"

#include <stdarg.h>
#include <stdio.h>

void lh_log(const struct lh_log *log, enum lh_log_level level, const char *fmt, ...)
{
    char line[1024];
    va_list ap;

    if (log->fn == NULL || level > log->level)
        return;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    log->fn(log->arg, level, line);
}
