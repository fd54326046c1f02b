/* The connection to a Redis while memory is out: each allocation of its own fails in turn, once. It
 * may say so or come back later, but nobody is left waiting and nothing is left behind. Those
 * inside libuv and hiredis are not reached from here. */
#include "redis_rig.h"

#include "probe_scripts.h"
#include "test/lib/fault.h"
#include "test/lib/redis_server.h"
#include "test/lib/tap.h"

#include <signal.h>
#include <string.h>

static struct redis_server server;
static char big[3 << 20]; /* does not fit into a socket at once */

struct told {
    unsigned n_commands; /* that were taken */
    unsigned n_refused;  /* -LH_E_NOMEM */
    unsigned n_lost;
};

static void count(struct told *told, struct asked *a, int ret)
{
    if (ret != 0) {
        ok(ret == -LH_E_NOMEM && a->n_called == 0, "refused for want of memory, never called");
        told->n_refused++;
        return;
    }
    told->n_commands++;
    client_answered(a);
    if (a->null)
        told->n_lost++;
}

static void be_up(struct client *c)
{
    while (!lh_redis_up(c->redis))
        client_turn(c);
}

/* Up, a command, a large one, a script that Redis does not know, the end. */
static void session(struct client *c, struct told *told)
{
    struct lh_redis_arg argv[] = {{"SET", 3}, {"key", 3}, {big, sizeof(big)}};
    struct asked small = {.client = c};
    struct asked large = {.client = c};
    struct asked script = {.client = c};

    be_up(c);
    count(told, &small, client_ask(c, &small, 0, "SET a b"));
    be_up(c);
    count(told, &large, lh_redis_command(c->redis, argv, 3, 0, client_called, &large));
    be_up(c);
    count(told, &script, client_script(c, &script, &lh_script_awkward, "key", ""));
}

int main(void)
{
    unsigned n = 0;
    bool met = true;

    signal(SIGPIPE, SIG_IGN);
    redis_server_start(&server, NULL);
    for (; met && n < 200; n++) {
        struct told told = {0};
        struct client c;
        int ret;

        redis_server_ask(&server, "SCRIPT FLUSH");
        client_init(&c, server.url);
        lh_fault_arm(n);
        ret = lh_redis_start(&c.loop, &c.opts, &c.redis);
        if (ret == 0)
            session(&c, &told);
        met = lh_fault_disarm();
        if (ret != 0) {
            is_i64(ret, -LH_E_NOMEM, "allocation %u: it does not start", n);
            c.closed = true;
            client_finish(&c);
            continue;
        }
        ok(!met || c.n_down + told.n_refused > 0, "allocation %u: told", n);
        ok(c.n_down == 0 || c.status == LH_E_NOMEM, "allocation %u: as what it is: %s", n, c.why);
        ok(told.n_refused + told.n_lost <= 1, "allocation %u: no more than one command less", n);
        client_close(&c);
    }
    ok(!met && n > 5, "each of %u allocations failed once", n - 1);
    redis_server_stop(&server);
    return done_testing();
}
