/* SIGINT and SIGTERM: the first one asks to stop, the second one ends the program at once. */
#ifndef LH_CLI_STOP_H
#define LH_CLI_STOP_H

#include <stdbool.h>
#include <uv.h>

struct lh_stop {
    uv_signal_t signals[2];
    void (*asked)(void *arg, int signum);
    void *arg;
};

/* Watch; `asked` is called once at most, on the loop. Returns 0 or -LH_E_INTERNAL. */
int lh_stop_init(struct lh_stop *stop, uv_loop_t *loop, void (*asked)(void *arg, int signum),
                 void *arg);

/* Stop watching; the handles close as the loop runs on. */
void lh_stop_close(struct lh_stop *stop);

#endif
