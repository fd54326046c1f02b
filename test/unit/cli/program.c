/* The whole command line as a program, with an engine that moves nothing: what is written where,
 * exit codes, signals, a reader that goes away, a terminal. */
#include "fake_engine.h"
#include "run.h"
#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_start(void)
{
    is_i64(run(""), 2, "no command");
    says(got.err, "Usage:", "no command");
    is_str(got.out, "", "nothing on standard output");
    is_i64(run("frobnicate"), 2, "no such command");
    says(got.err, "there is no command 'frobnicate'", "no such command");
    is_i64(run("--version"), 0, "--version");
    is_str(got.out, "longhaul 9.9.9-fake\n", "--version");
    is_i64(run("--help"), 0, "--help");
    says(got.out, "longhaul send SRC...", "--help");
    is_i64(run("help serve"), 0, "help serve");
    says(got.out, "Usage: longhaul serve", "help serve");
    is_i64(run("serve --help"), 0, "serve --help");
    says(got.out, "Usage: longhaul serve", "serve --help");
    is_i64(run("help nothing"), 2, "help of no command");
    is_i64(run("help --man"), 0, "help --man");
    says(got.out, ".TH LONGHAUL 1", "help --man");
    is_i64(run("send --nope a lh://b/"), 2, "unknown option");
    says(got.err, "error: unknown option --nope\n", "unknown option");
    says(got.err, "hint: see `longhaul send --help`\n", "unknown option");
    is_i64(run("send a b"), 2, "no address");
    says(got.err, "must be lh://", "no address");
}

static void test_send(void)
{
    is_i64(run("send a lh://host:99/b"), 0, "send");
    is_str(got.out, "", "send writes nothing to standard output");
    says(got.err, "longhaul: sending a (4.0 GiB) to lh://host:99/b\n", "send");
    says(got.err, "longhaul: sent a: 4.0 GiB in ", "send");
    says(got.err, "longhaul: digest " FAKE_DIGEST "\n", "send");
    says(got.err, "longhaul: warning: a warning?[31m of the engine\n", "control characters");
    says(got.err, "longhaul: a: 50%, 2.0 GiB of 4.0 GiB", "a line every 30 seconds");
    ok(strchr(got.err, '\r') == NULL, "no bar where there is no terminal");

    is_i64(run("FAKE_SKIP=1048576 FAKE_SESSIONS=2 send a lh://host/b"), 0, "send, resumed");
    says(got.err, "resumed: 1.0 MiB are there already", "resumed");
    says(got.err, "connected again:", "the second session");
    says(got.err, "1.0 MiB were there already", "the remarks at the end");

    is_i64(run("send -vv --zero-copy off --streams 3 --block-size 64K --insecure --give-up-after "
               "1m a lh://[::1]:99/b%20c"),
           0, "send with options");
    says(got.err,
         "source=a host=::1 port=99 path=b c streams=3 loops=0 block=65536 zero_copy=2 "
         "no_clobber=0 insecure=1 give_up=60000 progress=500",
         "what reaches the engine");

    is_i64(run("send --quiet a lh://host/b"), 0, "send --quiet");
    is_str(got.err, "", "--quiet says nothing");
    is_i64(run("FAKE_STATUS=CONNECT send --quiet a lh://host/b"), 5, "send --quiet that fails");
    is_str(got.err, "longhaul: error: the fake engine was told to fail\n", "--quiet says why");
}

static void test_send_errors(void)
{
    static const struct {
        const char *name;
        int code;
    } rows[] = {{"NOMEM", 1}, {"SOURCE", 3},  {"DEST_SPACE", 4}, {"CONNECT", 5},
                {"BUSY", 6},  {"FENCED", 6},  {"EXISTS", 6},     {"VERIFY", 7},
                {"INVAL", 2}, {"TIMEOUT", 5}, {"CANCELLED", 130}};
    char line[128];
    char status[64];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(line, sizeof(line), "FAKE_STATUS=%s send --json a lh://h/b", rows[i].name);
        is_i64(run(line), rows[i].code, "%s: exit code", rows[i].name);
        snprintf(status, sizeof(status), "\"status\":\"%s\",\"exit_code\":%d,\"message\":\"",
                 rows[i].name, rows[i].code);
        says(got.out, status, "error event");
        ok(got.err[0] != '\0', "%s: words for people as well", rows[i].name);
    }
    run("FAKE_STATUS=CONNECT send a lh://h/b");
    says(got.err, "hint: is `longhaul serve` running there", "a hint");
}

static void test_json(void)
{
    is_i64(run("send --json a\"\xff lh://h/b"), 0, "send --json");
    is_u64(count(got.out, "{\"event\":\"start\""), 1, "one start");
    is_u64(count(got.out, "{\"event\":\"progress\""), 3, "each progress");
    is_u64(count(got.out, "{\"event\":\"done\""), 1, "one done");
    is_u64(count(got.out, "}\n"), 5, "one object a line");
    says(got.out, "\"source\":\"a\\\"\\ufffd\",\"source_hex\":\"6122ff\"", "names");
    says(got.out, "\"digest\":\"" FAKE_DIGEST "\"}\n", "done");
    ok(strstr(got.err, "sent a") == NULL, "no summary beside it");
}

static void test_signals(void)
{
    begin("FAKE_TICKS=100000 FAKE_SKIP=1048576 send --json a lh://h/b");
    ok(read_until(got.out, "\"progress\""), "a send is under way");
    kill(child, SIGINT);
    is_i64(finish(), 130, "Ctrl-C");
    says(got.err, "stopping", "Ctrl-C");
    says(got.err, "safe at the receiver; run the same command to go on", "Ctrl-C");
    says(got.out, "\"status\":\"CANCELLED\",\"exit_code\":130", "Ctrl-C");

    begin("FAKE_TICKS=100000 FAKE_SESSIONS=0 send a lh://h/b");
    ok(read_until(got.err, "warning"), "a send that has not begun");
    kill(child, SIGTERM);
    is_i64(finish(), 130, "SIGTERM");
    says(got.err, "interrupted before anything was sent", "SIGTERM");

    begin("FAKE_TICKS=100000 FAKE_STUCK=1 send a lh://h/b");
    ok(read_until(got.err, "sending"), "a send that will not stop");
    kill(child, SIGTERM);
    ok(read_until(got.err, "stopping"), "is asked to");
    kill(child, SIGINT);
    is_i64(finish(), 130, "the second signal ends it at once");
    ok(strstr(got.err, "interrupted") == NULL, "without waiting for the engine");
}

static void test_lost_reader(void)
{
    begin("FAKE_TICKS=100000 send --json a lh://h/b");
    ok(read_until(got.out, "\"progress\""), "a reader");
    close(out_fd);
    out_fd = -1;
    is_i64(finish(), 130, "goes away: interrupted");
    ok(strstr(got.err, "error") == NULL, "in silence");

    begin("FAKE_TICKS=3 send --json a lh://h/b");
    close(out_fd);
    out_fd = -1;
    is_i64(finish(), 130, "no reader at all");
}

/* A reader that has stopped reading misses progress and holds up nothing. */
static void test_slow_reader(void)
{
    pipe_bytes = 4096;
    begin("FAKE_TICKS=50 send --json a lh://h/b");
    pipe_bytes = 0;
    usleep(1500 * 1000);
    is_i64(finish(), 0, "a reader that stopped for a while");
    ok(count(got.out, "{\"event\":\"progress\"") < 40, "missed some progress");
    is_u64(count(got.out, "{\"event\":\"done\""), 1, "but not the end");
}

static void test_full(void)
{
    char line[64];
    int status;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        int full = open("/dev/full", O_WRONLY);
        int null = open("/dev/null", O_WRONLY);

        dup2(full, 1);
        dup2(null, 2);
        snprintf(line, sizeof(line), "digest x");
        exec_line(line);
    }
    waitpid(child, &status, 0);
    ok(WIFEXITED(status) && WEXITSTATUS(status) == 1, "a digest that cannot be written");
}

static void test_serve(void)
{
    begin("serve --root /some/where --listen 127.0.0.1:0");
    ok(read_until(got.err, "received"), "a receiver");
    kill(child, SIGTERM);
    is_i64(finish(), 0, "SIGTERM is how it ends");
    says(got.err, "longhaul: receiving into /some/where on 127.0.0.1:45678\n", "ready");
    says(got.err, "longhaul: received dir/na\\x0ame, 1.5 KiB, " FAKE_DIGEST "\n", "a file");

    begin("serve --root / --listen [::1]:0");
    ok(read_until(got.err, "on [::1]:45678\n"), "IPv6");
    kill(child, SIGINT);
    is_i64(finish(), 0, "Ctrl-C as well");
    begin("serve --root / --listen :0 --insecure");
    ok(read_until(got.err, "on *:45678\n"), "every address");
    kill(child, SIGINT);
    finish();
    begin("serve --root / --listen :0");
    ok(read_until(got.err, "on localhost:45678\n"), "every address that is allowed");
    kill(child, SIGINT);
    finish();
    begin("serve --root /");
    ok(read_until(got.err, "on localhost:45678\n"), "by default");
    kill(child, SIGINT);
    finish();
    begin("FAKE_STUCK=1 serve --root /");
    read_until(got.err, "receiving");
    kill(child, SIGTERM);
    read_until(got.err, "stopping");
    kill(child, SIGTERM);
    is_i64(finish(), 130, "the second signal ends it at once");

    is_i64(run("FAKE_STATUS=LISTEN serve --root /"), 2, "cannot listen");
    says(got.err, "error: the fake engine cannot listen\n", "cannot listen");
    says(got.err, "hint: --listen takes another address", "cannot listen");
}

static void test_digest(void)
{
    is_i64(run("digest x"), 0, "digest");
    is_str(got.out, FAKE_DIGEST "\n", "nothing but the digest");
    is_i64(run("digest missing"), 3, "digest of nothing");
    says(got.err, "error: cannot open missing\n", "digest of nothing");
}

static void test_partials(void)
{
    is_i64(run("partials"), 0, "partials");
    is_u64(count(got.out, "\n"), 5, "all of them");
    says(got.out, "partial      1.0 KiB of     4.0 KiB      1:00 ago  young\n", "a row");
    says(got.out, "10d ago  old\\xff\n", "a name that is not UTF-8");
    ok(strstr(got.out, "broken") < strstr(got.out, "done") &&
           strstr(got.out, "  held") < strstr(got.out, "  old"),
       "in the order of their names");
    ok(strstr(got.out, "removed") == NULL, "none is removed unasked");
    is_i64(run("partials --older-than 1d"), 0, "partials --older-than");
    ok(strstr(got.out, "young") == NULL && count(got.out, "\n") == 4, "only the old ones");
    ok(strstr(got.out, "removed") == NULL, "only listed");

    is_i64(run("partials --remove young --remove broken"), 0, "partials --remove");
    is_u64(count(got.out, "(removed)\n"), 2, "both");
    is_u64(count(got.out, "\n"), 2, "and nothing else");
    is_i64(run("partials --remove youn"), 4, "partials --remove of what is not there");
    says(got.err, "nothing is left half done of 'youn'", "not there");
    is_i64(run("partials --remove held"), 6, "partials --remove of what is held");
    says(got.err, "'held' is being received now", "held");
    is_i64(run("partials --remove-all --older-than 1d"), 6, "partials --remove-all");
    is_u64(count(got.out, "(removed)\n"), 2, "the old and the broken one");
    ok(strstr(got.out, "young") == NULL, "the young one is left alone");
    says(got.out, "ago  done\n", "the record of a finished one stays");

    is_i64(run("partials --json"), 0, "partials --json");
    says(got.out, "{\"path\":\"old\\ufffd\",\"path_hex\":\"6f6c64ff\",\"state\":\"partial\"", "");
    is_u64(count(got.out, "\"removed\":false}\n"), 5, "one object each");
    is_i64(run("partials --root missing"), 4, "no such root");
    says(got.err, "cannot open missing", "no such root");
}

static void test_terminal(void)
{
    struct winsize size = {.ws_row = 24, .ws_col = 60};
    char text[65536];
    size_t len = 0;
    int master;
    int status;

    fflush(stdout);
    child = forkpty(&master, NULL, NULL, &size);
    if (child == 0)
        exec_line("TERM=xterm send a lh://h/b");
    if (child < 0) {
        skip("no pseudo-terminal here");
        return;
    }
    for (;;) {
        ssize_t n = read(master, text + len, sizeof(text) - 1 - len);

        if (n <= 0)
            break;
        len += (size_t)n;
    }
    text[len] = '\0';
    close(master);
    waitpid(child, &status, 0);
    ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "on a terminal");
    says(text, "\r[", "a bar is drawn");
    says(text, "]   50%  2.0 GiB of 4.0 GiB", "with its numbers");
    says(text, "\r\033[Klonghaul: sent a", "and makes room for the summary");
    for (char *at = text; (at = strstr(at, "\r[")) != NULL; at++) {
        if (strcspn(at + 1, "\033") > 59)
            ok(false, "the bar fits 60 columns");
    }
}

/* With the standard streams closed, nothing that is opened later becomes one of them. */
static void test_closed_streams(void)
{
    int status;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        close(0);
        close(1);
        close(2);
        exec_line("send a lh://h/b");
    }
    waitpid(child, &status, 0);
    ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "closed standard streams");
}

int main(void)
{
    unsetenv("LONGHAUL_ROOT");
    test_start();
    test_send();
    test_send_errors();
    test_json();
    test_signals();
    test_lost_reader();
    test_slow_reader();
    test_full();
    test_serve();
    test_digest();
    test_partials();
    test_terminal();
    test_closed_streams();
    return done_testing();
}
