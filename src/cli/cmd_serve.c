/* longhaul serve: receive until a signal.
 *
 * Happy path: start, say where it listens, a line for each file, signal, close, exit 0: stopping is
 * how a receiver ends. Failures: it cannot start: a sentence and the exit code of its status. */
#include "cli/cmd.h"
#include "cli/stop.h"
#include "util/text.h"

#include <inttypes.h>
#include <string.h>

struct receiver {
    const struct lh_args *args;
    struct lh_term *term;
    struct lh_serve *serve; /* NULL when closed */
    struct lh_stop stop;
};

static void on_received(void *arg, const char *path, uint64_t bytes, const char *digest)
{
    struct receiver *r = arg;
    char size[24];

    if (!r->args->quiet)
        lh_term_line(r->term, "received %s, %s, %s", path, lh_text_bytes(size, sizeof(size), bytes),
                     digest);
}

static void on_closed(void *arg)
{
    struct receiver *r = arg;

    r->serve = NULL;
    lh_stop_close(&r->stop);
}

static void on_stop(void *arg, int signum)
{
    struct receiver *r = arg;

    if (!r->args->quiet)
        lh_term_line(r->term, "stopping: what has arrived is made durable; "
                              "a second signal stops at once");
    if (r->serve != NULL)
        lh_serve_close(r->serve);
}

/* "HOST:PORT" of where it listens, with the port that it really is. */
static void address_text(char *out, size_t size, const struct lh_serve_options *opts, uint16_t port)
{
    const char *host = opts->listen != NULL ? opts->listen : "";
    const char *colon = strrchr(host, ':');
    const char *bracket = strrchr(host, ']');
    size_t len = strlen(host);

    if (colon != NULL && (bracket == NULL || bracket < colon))
        len = (size_t)(colon - host);
    if (len == 0)
        snprintf(out, size, "%s:%u", opts->listen != NULL && opts->insecure ? "*" : "localhost",
                 (unsigned)port);
    else
        snprintf(out, size, "%.*s:%u", (int)len, host, (unsigned)port);
}

static int start(struct receiver *r, uv_loop_t *loop)
{
    struct lh_serve_options opts = r->args->serve;
    struct lh_serve_callbacks cbs = {.received = on_received, .closed = on_closed, .arg = r};
    char text[512] = "";
    char address[300];
    char root[1024];
    int ret;

    opts.log = lh_term_log;
    opts.log_arg = r->term;
    opts.log_level = lh_cmd_log_level(r->args);
    if (lh_stop_init(&r->stop, loop, on_stop, r) != 0)
        return lh_cmd_fail(r->term, -LH_E_INTERNAL, "cannot watch for signals");
    ret = lh_serve_start(loop, &opts, &cbs, &r->serve, text, sizeof(text));
    if (ret != 0) {
        lh_stop_close(&r->stop);
        return lh_cmd_fail(r->term, ret, text);
    }
    address_text(address, sizeof(address), &opts, lh_serve_port(r->serve));
    if (!r->args->quiet)
        lh_term_line(r->term, "receiving into %s on %s",
                     lh_text_escape(root, sizeof(root), opts.root, strlen(opts.root)), address);
    return 0;
}

int lh_cmd_serve(const struct lh_args *args, struct lh_term *term)
{
    struct receiver r = {.args = args, .term = term};
    uv_loop_t loop;
    int code;

    if (uv_loop_init(&loop) != 0)
        return lh_cmd_fail(term, -LH_E_INTERNAL, "cannot set up an event loop");
    code = start(&r, &loop);
    uv_run(&loop, UV_RUN_DEFAULT);
    LH_INVARIANT(uv_loop_close(&loop) == 0);
    return code;
}
