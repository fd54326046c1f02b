/* The public interface: what does not start, and what ends before it has; each by its status and a
 * sentence, and nothing is left behind. */
#include "test/lib/tap.h"
#include "test/loop/rig.h"

#include <stdio.h>
#include <string.h>

static void refuse_send(struct rig *rig, const struct lh_send_options *opts, const char *what)
{
    struct sending s = {0};

    is_i64(rig_send_with(rig, &s, opts), -LH_E_INVAL, "send: %s is refused", what);
    rig_drain(rig);
    is_u64(s.n_done, 0, "send: %s: no callback", what);
}

static void end_send(struct rig *rig, const struct lh_send_options *opts, int status,
                     const char *what)
{
    struct sending s = {0};

    is_i64(rig_send_with(rig, &s, opts), 0, "send: %s: starts", what);
    rig_until(rig, &s.n_done, 1);
    is_i64(s.status, -status, "send: %s: %s", what, s.text);
    is_u64(s.n_start, 0, "send: %s: no start", what);
}

static void test_send_errors(void)
{
    static char long_path[70000], long_host[400];
    struct lh_send_options good, bad;
    struct lh_send_callbacks none = {0};
    struct lh_send *never = NULL;
    struct receiving r;
    struct rig rig;

    rig_open(&rig);
    rig_make(&rig, "f", 100000, 1);
    rig_serve(&rig, &r, 0);
    rig_serve_stop(&r); /* nobody listens on that port now */
    rig_send_options(&good, rig_source(&rig, "f"), r.port, "f");
#define BAD(what, member, value)                                                                   \
    do {                                                                                           \
        bad = good;                                                                                \
        bad.member = value;                                                                        \
        refuse_send(&rig, &bad, what);                                                             \
    } while (0)
    memset(long_path, 'x', sizeof(long_path));
    memset(long_host, 'h', sizeof(long_host) - 1);
    BAD("no source", source, NULL);
    BAD("no host", host, NULL);
    BAD("an over-long host", host, long_host);
    BAD("a block of 3 bytes", block_bytes, 3);
    BAD("a block of 65537 bytes", block_bytes, BLOCK + 1);
    BAD("a block of 2 MiB", block_bytes, 2 * 1024 * 1024);
    BAD("65 streams", streams, LH_MAX_STREAMS + 1);
    BAD("a zero-copy mode that is none", zero_copy, (enum lh_zero_copy)9);
    BAD("a policy that is none", existing, (enum lh_existing)(LH_EXISTING_NEWER + 1));
    bad = good;
    bad.path = long_path;
    bad.path_len = sizeof(long_path);
    refuse_send(&rig, &bad, "an over-long path");
    is_i64(lh_send_start(&rig.loop, &good, &none, &never), -LH_E_INVAL, "send: done is needed");
    ok(never == NULL, "send: no handle comes of an error");

    end_send(&rig, &good, LH_E_CONNECT, "nobody listens");
    bad = good;
    bad.source = rig_source(&rig, "missing");
    end_send(&rig, &bad, LH_E_SOURCE, "no such source");
    bad.source = rig.dir;
    end_send(&rig, &bad, LH_E_SOURCE_DIR, "a directory");
    bad = good;
    bad.host = "192.0.2.1";
    end_send(&rig, &bad, LH_E_REFUSED, "another host without insecure");
    rig_close(&rig, "send errors");
}

static void refuse_serve(struct rig *rig, const struct lh_serve_options *opts, int status,
                         const char *what)
{
    struct lh_serve_callbacks none = {0};
    struct lh_serve *never = NULL;
    char text[512] = "";

    is_i64(lh_serve_start(&rig->loop, opts, &none, &never, text, sizeof(text)), -status,
           "serve: %s: %s", what, text);
    ok(never == NULL, "serve: %s: no handle", what);
    ok(text[0] != '\0', "serve: %s: there is a sentence", what);
    rig_drain(rig);
    /* At once, so that a program that tries again and again does not fill up. */
    is_u64(rig_fds(), rig->fds, "serve: %s: no descriptor is left", what);
}

static void test_serve_errors(void)
{
    struct lh_serve_options good, bad;
    struct rig rig;
    struct receiving r;
    char listen[32];

    rig_open(&rig);
    uv_run(&rig.loop, UV_RUN_DEFAULT);
    rig.fds = rig_fds(); /* with the loop's own */
    rig_serve_options(&rig, &good);
    bad = good;
    bad.root = NULL;
    refuse_serve(&rig, &bad, LH_E_INVAL, "no root");
    bad.root = rig_source(&rig, "missing");
    refuse_serve(&rig, &bad, LH_E_DEST, "no such root");
    rig_make(&rig, "file", 1, 1);
    bad.root = rig_source(&rig, "file");
    refuse_serve(&rig, &bad, LH_E_DEST, "a file as root");
    bad = good;
    bad.listen = "0.0.0.0:0";
    refuse_serve(&rig, &bad, LH_E_LISTEN, "not loopback without insecure");
    bad.listen = "192.0.2.7:0";
    bad.insecure = true;
    refuse_serve(&rig, &bad, LH_E_LISTEN, "an address of another host");
    bad = good;
    bad.listen = "127.0.0.1:x";
    refuse_serve(&rig, &bad, LH_E_ADDRESS, "a port that is none");

    rig_serve(&rig, &r, 0);
    snprintf(listen, sizeof(listen), "127.0.0.1:%u", r.port);
    bad = good;
    bad.listen = listen;
    {
        struct lh_serve_callbacks none = {0};
        struct lh_serve *never = NULL;
        char text[512] = "";

        is_i64(lh_serve_start(&rig.loop, &bad, &none, &never, text, sizeof(text)), -LH_E_LISTEN,
               "serve: the port is in use: %s", text);
    }
    rig_serve_stop(&r);
    rig_drain(&rig);
    is_u64(rig_fds(), rig.fds, "serve: the port is in use: no descriptor is left");
    rig.fds = rig_fds();
    is_i64(uv_loop_close(&rig.loop), 0, "serve errors: every handle is closed");
    rig.fds = rig_fds();
    uv_loop_init(&rig.loop);
    rig_close(&rig, "serve errors");
}

int main(void)
{
    test_send_errors();
    test_serve_errors();
    return done_testing();
}
