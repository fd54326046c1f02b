/* Signals that end the program, see stop.h.
 *
 * After the first signal the second one gets a plain handler rather than the loop's: it has to work
 * also when the loop is stuck. */
#include "cli/stop.h"

#include <longhaul/status.h>
#include <signal.h>
#include <unistd.h>

static const int watched[2] = {SIGINT, SIGTERM};

static void leave_now(int signum)
{
    _exit(LH_EXIT_INTERRUPTED);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct lh_stop *stop = handle->data;

    for (int i = 0; i < 2; i++) {
        struct sigaction action = {.sa_handler = leave_now};

        uv_signal_stop(&stop->signals[i]);
        sigaction(watched[i], &action, NULL);
    }
    stop->asked(stop->arg, signum);
}

int lh_stop_init(struct lh_stop *stop, uv_loop_t *loop, void (*asked)(void *arg, int signum),
                 void *arg)
{
    stop->asked = asked;
    stop->arg = arg;
    for (int i = 0; i < 2; i++) {
        if (uv_signal_init(loop, &stop->signals[i]) != 0) {
            if (i == 1)
                uv_close((uv_handle_t *)&stop->signals[0], NULL);
            return -LH_E_INTERNAL;
        }
        stop->signals[i].data = stop;
    }
    for (int i = 0; i < 2; i++) {
        if (uv_signal_start(&stop->signals[i], on_signal, watched[i]) != 0) {
            lh_stop_close(stop);
            return -LH_E_INTERNAL;
        }
    }
    return 0;
}

void lh_stop_close(struct lh_stop *stop)
{
    for (int i = 0; i < 2; i++)
        uv_close((uv_handle_t *)&stop->signals[i], NULL);
}
