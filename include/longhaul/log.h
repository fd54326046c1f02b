/* How the engine talks to the program's log. */
#ifndef LONGHAUL_LOG_H
#define LONGHAUL_LOG_H

enum lh_log_level { LH_LOG_ERROR, LH_LOG_WARN, LH_LOG_INFO, LH_LOG_DEBUG };

/* A log line without its newline. Called from any of the engine's threads, also at once from
 * several: the program serialises. `line` dies when the call returns. */
typedef void (*lh_log_fn)(void *arg, enum lh_log_level level, const char *line);

#endif
