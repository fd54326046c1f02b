/* The connection to a Redis against one that misbehaves: garbage, half replies, silence, refusals,
 * keys that have moved. */
#include "redis_peer.h"
#include "redis_rig.h"

#include "test/lib/tap.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define SHORT_MS 150
#define LONG_MS 60000 /* no time limit is met */

/* A client of a fake, not started; login: "USER:PASSWORD@" or "". */
static void begin(struct client *c, struct fake *f, const char *login, unsigned db)
{
    char url[200];

    client_init(c, "redis://127.0.0.1"); /* its loop is there now */
    fake_start(f, &c->loop);
    snprintf(url, sizeof(url), "redis://%s127.0.0.1:%u/%u", login, f->port, db);
    lh_redis_url_parse(&c->url, url, NULL);
}

static void end(struct client *c, struct fake *f)
{
    fake_close(f);
    client_close(c);
}

/* One bad answer to a command: everything in flight is lost, and the connection comes back. */
static void bad_answers(void)
{
    static const struct {
        const char *name;
        const char *text;
        int status;
        const char *words;
    } cases[] = {
        {"garbage", "HTTP/1.1 400 Bad Request\r\n\r\n", LH_E_PROTOCOL, "was lost: Protocol error"},
        {"a length that is none", "$x\r\n", LH_E_PROTOCOL, "was lost: "},
        {"a negative length", "$-5\r\n", LH_E_PROTOCOL, "was lost: "},
        {"a negative count", "*-5\r\n", LH_E_PROTOCOL, "was lost: "},
        {"a length beyond all", "$99999999999999999999\r\n", LH_E_PROTOCOL, "was lost: "},
        {"arrays too deep", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
         LH_E_PROTOCOL, "was lost: "},
        {"an array beyond all", "*2000000000\r\n", LH_E_PROTOCOL, "has too many elements"},
        {"a reply without an end", FLOOD "$500000000\r\n", LH_E_PROTOCOL, "larger than 64 MiB"},
        {"the end", END, LH_E_NETWORK, "it closed the connection"},
        {"half a reply, then the end", END "$5\r\nab", LH_E_NETWORK, "it closed the connection"},
        {"half a reply, then silence", "*2\r\n$1\r\na\r\n", LH_E_TIMEOUT, "no answer from Redis"},
        {"silence", "", LH_E_TIMEOUT, "no answer from Redis"},
        {"LOADING", "-LOADING Redis is loading\r\n", LH_E_NETWORK, "cannot serve now: LOADING"},
        {"READONLY", "-READONLY You can't write\r\n", LH_E_NETWORK, "cannot serve now: READONLY"},
        {"MASTERDOWN", "-MASTERDOWN Link is down\r\n", LH_E_NETWORK, "now: MASTERDOWN"},
        {"CLUSTERDOWN", "-CLUSTERDOWN Hash slot\r\n", LH_E_NETWORK, "now: CLUSTERDOWN"},
        {"TRYAGAIN", "-TRYAGAIN\r\n", LH_E_NETWORK, "cannot serve now: TRYAGAIN"},
        {"ASK", "-ASK 3999 127.0.0.1:1\r\n", LH_E_NETWORK, "cannot serve now: ASK"},
        {"READONLY inside a script",
         "-ERR Error running script (call to f_0123): @user_script:1: @user_script: 1: -READONLY "
         "You can't write against a read only replica.\r\n",
         LH_E_NETWORK, "cannot serve now: ERR Error running script"},
        {"NOAUTH", "-NOAUTH Authentication required.\r\n", LH_E_REFUSED, "wants a password now"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *name = cases[i].name;
        bool silent = cases[i].status == LH_E_TIMEOUT;
        struct asked a = {.text = ""};
        struct asked b = {.text = ""};
        struct client c;
        struct fake f;

        begin(&c, &f, "", 0);
        c.opts.command_ms = silent ? SHORT_MS : LONG_MS;
        client_start(&c);
        client_wait_up(&c, 1);
        f.command = (struct answer){cases[i].text, 2};
        client_ask(&c, &a, 0, "GET x");
        client_ask(&c, &b, 0, "GET y");
        client_wait_down(&c, 1);
        ok(a.n_called == 1 && a.null && b.n_called == 1 && b.null, "%s: all are lost, once", name);
        is_i64(c.status, cases[i].status, "%s: status", name);
        ok(strstr(c.why, cases[i].words) != NULL, "%s: says \"%s\": %s", name, cases[i].words,
           c.why);
        f.command.times = 0;
        client_back(&c, &a, "GET x");
        is_str(a.text, "OK", "%s: it came back", name);
        end(&c, &f);
    }
}

/* Errors that are the caller's. */
static void passed_on(void)
{
    static const char *const errors[] = {
        "OOM command not allowed when used memory > 'maxmemory'.",
        "NOPERM this user has no permissions",
        "MOVED",
        "MOVED 1 host",
        "MOVED 1 host:0",
        "MOVED 1 host:99999",
        "MOVED 1 ?:6379",
        "MOVED 1 ho$st:6379",
        "MOVED 1 1:2:6379",
        "MOVEDX 1 host:1",
        "MISCONF Redis is configured to save",
        "BUSY Redis is busy running a script",
        "NOSCRIPT No matching script.",
        "LOADINGX",
        "ERR Error running script (call to f_0): @user_script:1: here LOADING: is a word",
        "ERR READONLY",
        "",
    };
    struct client c;
    struct fake f;

    begin(&c, &f, "", 0);
    client_start(&c);
    client_wait_up(&c, 1);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        struct asked a = {.text = ""};
        char line[200];

        snprintf(line, sizeof(line), "-%s\r\n", errors[i]);
        f.command = (struct answer){line, 1};
        client_ask(&c, &a, 0, "GET x");
        client_answered(&a);
        ok(!a.null && a.type == REDIS_REPLY_ERROR, "'%s' is the caller's", errors[i]);
        is_str(a.text, errors[i], "as it came");
    }
    is_u64(c.n_down, 0, "it stayed up");
    end(&c, &f);
}

static bool is_error(const char *text, const char *code)
{
    struct redisReply reply = {.type = REDIS_REPLY_ERROR, .len = strlen(text)};
    char copy[200];

    snprintf(copy, sizeof(copy), "%s", text);
    reply.str = copy;
    return lh_redis_error_is(&reply, code);
}

static void codes(void)
{
    static const char before_7[] = "ERR Error running script (call to f_01): @user_script:9: "
                                   "@user_script: 9: -OOM command not allowed";
    struct redisReply status = {.type = REDIS_REPLY_STATUS, .str = (char[]){"OOM"}, .len = 3};

    ok(is_error("OOM command not allowed", "OOM"), "a code and words");
    ok(is_error("OOM", "OOM"), "a code alone");
    ok(!is_error("OOMX x", "OOM"), "a longer code is another");
    ok(!is_error("OO", "OOM"), "and so is a shorter one");
    ok(!is_error("ERR OOM x", "OOM"), "a word of the sentence is no code");
    ok(is_error(before_7, "OOM"), "a code that a script met");
    ok(!is_error(before_7, "ERR"), "which is what counts");
    ok(!is_error(before_7, "OO") && !is_error(before_7, "command"), "all of it, and nothing else");
    ok(!lh_redis_error_is(NULL, "OOM"), "no reply has no code");
    ok(!lh_redis_error_is(&status, "OOM"), "nor has one that is no error");
}

/* One bad answer while it logs in; then all is well. */
static void bad_logins(void)
{
    static const struct {
        const char *name;
        struct answer auth, select, ping;
        int status;
        const char *words;
    } cases[] = {
        {"AUTH repeated in words",
         .auth = {"-ERR unknown command `AUTH`, with args beginning with: `me`, `secret`, \r\n", 1},
         .status = LH_E_REFUSED, .words = "does not accept the user or password (ERR)"},
        {"full at the first word", .auth = {END "-ERR max number of clients reached\r\n", 1},
         .status = LH_E_NETWORK, .words = "takes no more clients"},
        {"protected mode",
         .auth = {END "-DENIED Redis is running in protected mode because\r\n", 1},
         .status = LH_E_REFUSED, .words = "protected mode"},
        {"no databases", .select = {"-ERR SELECT is not allowed in cluster mode\r\n", 1},
         .status = LH_E_REFUSED, .words = "refuses the database: ERR SELECT is not allowed"},
        {"LOADING", .ping = {"-LOADING Redis is loading the dataset in memory\r\n", 1},
         .status = LH_E_NETWORK, .words = "cannot serve now: LOADING"},
        {"any other error", .ping = {"-ERR so \x1b[2Jthere\r\n", 1}, .status = LH_E_REFUSED,
         .words = "refuses service: ERR so \\x1b[2Jthere"},
        {"an echo", .ping = {"*1\r\n$4\r\nPING\r\n", 1}, .status = LH_E_PROTOCOL,
         .words = "is not a Redis"},
        {"another protocol", .auth = {"SSH-2.0-OpenSSH_9.2\r\n", 1}, .status = LH_E_PROTOCOL,
         .words = "is not a Redis"},
        {"a reply too many", .ping = {"+PONG\r\n+PONG\r\n", 1}, .status = LH_E_PROTOCOL,
         .words = "answers what was not asked"},
        {"silence", .ping = {"", 1}, .status = LH_E_TIMEOUT, .words = "no answer from Redis"},
        {"the end", .auth = {END, 1}, .status = LH_E_NETWORK, .words = "it closed the connection"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *name = cases[i].name;
        struct client c;
        struct fake f;

        begin(&c, &f, "me:secret@", 5);
        f.auth = cases[i].auth;
        f.select = cases[i].select;
        f.ping = cases[i].ping;
        c.opts.connect_ms = cases[i].status == LH_E_TIMEOUT ? SHORT_MS : 0;
        client_start(&c);
        client_wait_down(&c, 1);
        is_i64(c.status, cases[i].status, "%s: status", name);
        ok(strstr(c.why, cases[i].words) != NULL, "%s: says \"%s\": %s", name, cases[i].words,
           c.why);
        client_wait_up(&c, c.n_up + 1);
        ok(strstr(c.log, "secret") == NULL && strstr(c.why, "secret") == NULL,
           "%s: up in the end, and the password stands nowhere", name);
        end(&c, &f);
    }
}

static void may_not_ping(void)
{
    struct client c;
    struct fake f;

    begin(&c, &f, "", 0);
    f.ping = (struct answer){"-NOPERM this user has no permissions to run 'ping'\r\n", 1};
    client_start(&c);
    client_wait_up(&c, 1);
    is_u64(c.n_down, 0, "a user that may not PING may do other things");
    end(&c, &f);
}

/* A Redis whose words say "up" but that serves nothing is not asked ever faster. */
static void repeated(void)
{
    enum { N = 4 };
    struct client c;
    struct fake f;
    uint64_t began_ms;

    begin(&c, &f, "", 0);
    client_start(&c);
    client_wait_up(&c, 1);
    began_ms = uv_now(&c.loop);
    f.command = (struct answer){"-READONLY x\r\n", N};
    for (unsigned i = 0; i < N; i++) {
        struct asked a = {.text = ""};

        client_ask(&c, &a, 0, "SET k v");
        client_answered(&a);
        client_wait_up(&c, i + 2);
    }
    ok(uv_now(&c.loop) - began_ms >= 50 + 100 + 200 + 400, "the pauses grow: %u ms for %d",
       (unsigned)(uv_now(&c.loop) - began_ms), N);
    end(&c, &f);
}

/* Told with a host, of either kind, and without one: then it is the same. */
static void moves(void)
{
    static const char *const hosts[] = {"127.0.0.1", "::ffff:127.0.0.1", ""};

    for (size_t i = 0; i < 3; i++) {
        struct asked a = {.text = ""};
        struct client c;
        struct fake f;
        struct fake other;
        char line[64];

        begin(&c, &f, "", 0);
        fake_start(&other, &c.loop);
        client_start(&c);
        client_wait_up(&c, 1);
        snprintf(line, sizeof(line), "-MOVED 3999 %s:%u\r\n", hosts[i], other.port);
        f.command = (struct answer){line, 1};
        client_ask(&c, &a, 0, "GET x");
        client_answered(&a);
        ok(a.null, "moved: lost like the others");
        client_wait_up(&c, 2);
        is_u64(other.n_conns, 1, "the other one was dialled");
        ok(strstr(c.why, "127.0.0.1 port ") != NULL, "said: %s", c.why);
        is_i64(c.status, 0, "as no failure");
        memset(&a, 0, sizeof(a));
        client_ask(&c, &a, 0, "GET x");
        client_answered(&a);
        is_str(a.text, "OK", "and answers");
        fake_cut(&other);
        client_wait_up(&c, 3);
        is_u64(f.n_conns, 2, "when it is lost the address that was given counts again");
        fake_close(&other);
        end(&c, &f);
    }
}

/* To where nobody is, and round in circles. */
static void moved_to_nowhere(void)
{
    enum { N = 8 };
    struct client c;
    struct fake f;
    struct fake gone;
    struct asked a = {.text = ""};
    char line[64];

    begin(&c, &f, "", 0);
    fake_start(&gone, &c.loop);
    fake_close(&gone);
    client_start(&c);
    client_wait_up(&c, 1);
    snprintf(line, sizeof(line), "-MOVED 1 127.0.0.1:%u\r\n", gone.port);
    f.command = (struct answer){line, 1};
    client_ask(&c, &a, 0, "GET x");
    client_wait_down(&c, 2);
    is_i64(c.status, LH_E_CONNECT, "moved to where nobody is");
    client_wait_up(&c, 2);
    snprintf(line, sizeof(line), "-MOVED 1 127.0.0.1:%u\r\n", f.port);
    f.command = (struct answer){line, N};
    for (unsigned i = 0; i <= N; i++) {
        memset(&a, 0, sizeof(a));
        client_ask(&c, &a, 0, "GET x");
        client_answered(&a);
        if (i < N)
            client_wait_up(&c, i + 3);
    }
    is_str(a.text, "OK", "round in circles, until it ends");
    end(&c, &f);
}

static void crumbs(void)
{
    struct asked a = {.text = ""};
    struct client c;
    struct fake f;

    begin(&c, &f, "", 0);
    f.crumbs = true;
    client_start(&c);
    client_wait_up(&c, 1);
    f.command = (struct answer){"*3\r\n$3\r\na\r\n\r\n:42\r\n$0\r\n\r\n", 1};
    client_ask(&c, &a, 0, "GET x");
    client_answered(&a);
    is_str(a.text, "a\r\n 42 ", "a reply byte by byte");
    end(&c, &f);
}

/* It takes nothing in: what waits to be sent is bounded, and goes out when it reads on. */
static void deaf(void)
{
    enum { MAX = 200 };
    static char big[1 << 20];
    static struct asked asked[MAX];
    struct lh_redis_arg argv[] = {{"SET", 3}, {"key", 3}, {big, sizeof(big)}};
    struct client c;
    struct fake f;
    unsigned n = 0;
    bool all = true;
    int r = 0;

    begin(&c, &f, "", 0);
    client_start(&c);
    client_wait_up(&c, 1);
    fake_deaf(&f, true);
    for (; n < MAX; n++) {
        asked[n].client = &c;
        r = lh_redis_command(c.redis, argv, 3, 0, client_called, &asked[n]);
        if (r != 0)
            break;
        if (n % 4 == 0)
            uv_run(&c.loop, UV_RUN_NOWAIT);
    }
    ok(r == -LH_E_LIMIT && n == 16, "after %u MiB nothing more is taken", n);
    fake_deaf(&f, false);
    for (unsigned i = 0; i < n; i++) {
        while (asked[i].n_called == 0)
            client_turn(&c);
        all = all && strcmp(asked[i].text, "OK") == 0;
    }
    for (unsigned i = 0; i < n; i++)
        all = all && asked[i].n_called == 1;
    ok(all && asked[n].n_called == 0, "what was taken is answered when it reads on");
    is_u64(c.n_down, 0, "it stayed up");
    end(&c, &f);
}

static void no_such_host(void)
{
    struct client c;
    char url[100] = "redis://";

    memset(url + strlen(url), 'a', 70); /* longer than a part of a name can be */
    client_init(&c, url);
    client_start(&c);
    client_wait_down(&c, 2);
    is_i64(c.status, LH_E_RESOLVE, "a name that nobody has: %s", c.why);
    client_close(&c);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    codes();
    bad_answers();
    passed_on();
    bad_logins();
    may_not_ping();
    repeated();
    moves();
    moved_to_nowhere();
    crumbs();
    deaf();
    no_such_host();
    return done_testing();
}
