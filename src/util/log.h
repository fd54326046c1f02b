/* Log lines: one line each, key=value, handed to whoever owns the engine.
 *
 * The engine never writes to a file descriptor by itself: the program gives a sink. The sink may be
 * called from any of the engine's threads. proto and core do not log. */
#ifndef LH_UTIL_LOG_H
#define LH_UTIL_LOG_H

#include <longhaul/log.h>

struct lh_log {
    lh_log_fn fn; /* NULL: silent */
    void *arg;
    enum lh_log_level level; /* lines above it are dropped before they are formatted */
};

void lh_log(const struct lh_log *log, enum lh_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
