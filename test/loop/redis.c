/* The connection to a Redis against a real redis-server: logging in, commands and scripts, going
 * away and coming back, closing. */
#include "redis_rig.h"

#include "probe_scripts.h"
#include "test/lib/redis_server.h"
#include "test/lib/tap.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct redis_server server;

static struct asked ask(struct client *c, const char *words)
{
    struct asked a = {.text = ""};

    is_i64(client_ask(c, &a, 0, words), 0, "sent: %s", words);
    client_answered(&a);
    return a;
}

static void commands(void)
{
    static const unsigned char bytes[] = {'a', 0, '\r', '\n', 0xff, '$'};
    struct lh_redis_arg set[] = {{"SET", 3}, {"bin", 3}, {bytes, sizeof(bytes)}};
    struct asked a = {.text = ""};
    struct client c;
    char url[120];

    snprintf(url, sizeof(url), "%s?db=3", server.url);
    client_init(&c, url);
    client_start(&c);
    ok(!lh_redis_up(c.redis), "not up at once");
    is_i64(client_ask(&c, &a, 0, "PING"), -LH_E_NETWORK, "nothing is sent before it is up");
    client_wait_up(&c, 1);
    ok(lh_redis_up(c.redis), "up");

    is_i64(lh_redis_command(c.redis, set, 3, 0, client_called, &a), 0, "any bytes are sent");
    a.client = &c;
    client_answered(&a);
    is_str(a.text, "OK", "and taken");
    a = ask(&c, "STRLEN bin");
    is_i64(a.integer, sizeof(bytes), "all of them");
    is_i64(redis_server_ask(&server, "EXISTS bin"), 0, "in database 3, not in 0");
    set[2] = (struct lh_redis_arg){NULL, 0};
    memset(&a, 0, sizeof(a));
    a.client = &c;
    lh_redis_command(c.redis, set, 3, 0, client_called, &a);
    client_answered(&a);
    a = ask(&c, "STRLEN bin");
    is_i64(a.integer, 0, "an empty argument as well");
    a = ask(&c, "HSET bin x y");
    ok(a.type == REDIS_REPLY_ERROR, "an error is the caller's");
    a = ask(&c, "GET bin");
    ok(a.type == REDIS_REPLY_STRING, "and the connection goes on");
    client_close(&c);
    is_u64(c.n_up, 1, "it was up once");
    is_u64(c.n_down, 0, "and never down");
}

/* A port of 127.0.0.1 that nobody is given but the server, which sets SO_REUSEADDR as well. */
static unsigned keep_port(int *keeper)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int on = 1;

    *keeper = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(*keeper, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(*keeper, (struct sockaddr *)&addr, len) != 0 ||
        getsockname(*keeper, (struct sockaddr *)&addr, &len) != 0)
        bail("no free port");
    return ntohs(addr.sin_port);
}

static void tcp(void)
{
    struct redis_server tcp_server;
    int keeper;
    char port[8];
    const char *options[] = {"--port", port, "--bind", "127.0.0.1", NULL};
    struct client c;
    struct asked a;
    char url[64];

    snprintf(port, sizeof(port), "%u", keep_port(&keeper));
    redis_server_start(&tcp_server, options);
    snprintf(url, sizeof(url), "redis://localhost:%s", port);
    client_init(&c, url);
    client_start(&c);
    client_wait_up(&c, 1);
    a = ask(&c, "ECHO hello");
    is_str(a.text, "hello", "by TCP, by a name");
    redis_server_kill(&tcp_server);
    client_wait_down(&c, 2);
    is_i64(c.status, LH_E_CONNECT, "nobody there");
    ok(strstr(c.why, "cannot connect to Redis at redis://localhost:") != NULL, "said: %s", c.why);
    redis_server_again(&tcp_server);
    client_wait_up(&c, 2);
    client_close(&c);
    redis_server_stop(&tcp_server);
    close(keeper);
}

/* Log in with a url's "USER:PASSWORD@", or fail to. */
static void login(const char *who, int status, const char *words)
{
    struct client c;
    char url[160];

    snprintf(url, sizeof(url), "unix://%s%s", who, server.path);
    client_init(&c, url);
    client_start(&c);
    while (c.n_up == 0 && c.n_down == 0)
        client_turn(&c);
    if (status == 0) {
        is_u64(c.n_up, 1, "'%s' is let in", who);
    } else {
        is_i64(c.status, status, "'%s' is not let in", who);
        ok(strstr(c.why, words) != NULL, "which says \"%s\": %s", words, c.why);
    }
    ok(strstr(c.log, "secret") == NULL && strstr(c.why, "secret") == NULL,
       "the password is not logged");
    client_close(&c);
}

static void logins(void)
{
    login("", 0, "");
    login("default:whatever-secret@", 0, ""); /* its user has no password: any will do */
    redis_server_ask(&server, "ACL SETUSER worker on >secret%%:@ ~* +@all");
    redis_server_ask(&server, "ACL SETUSER narrow on >secret ~* +get");
    redis_server_ask(&server, "ACL SETUSER easy on nopass ~* +@all");
    login("worker:secret%25%3a%40@", 0, "");
    login("narrow:secret@", 0, "");
    login("easy:@", 0, "");
    login("worker:wrong-secret@", LH_E_REFUSED, "does not accept the user or password (WRONGPASS)");
    login("nobody:secret@", LH_E_REFUSED, "does not accept the user or password");
    redis_server_ask(&server, "ACL SETUSER default resetpass >secret");
    login(":secret@", 0, "");
    login(":wrong-secret@", LH_E_REFUSED, "does not accept the user or password");
    login("", LH_E_REFUSED, "wants a password: redis://USER:PASSWORD@HOST");
}

static void no_such_database(void)
{
    struct client c;
    char url[120];

    snprintf(url, sizeof(url), "%s?db=99", server.url);
    client_init(&c, url);
    client_start(&c);
    client_wait_down(&c, 1);
    is_i64(c.status, LH_E_REFUSED, "a database that there is not");
    ok(strstr(c.why, "refuses the database: ERR DB index") != NULL, "said: %s", c.why);
    client_close(&c);
}

static void scripts(void)
{
    enum { N = 40 };
    static struct asked many[N];
    struct asked a = {.text = ""};
    struct client c;
    bool all = true;

    client_init(&c, server.url);
    client_start(&c);
    client_wait_up(&c, 1);
    redis_server_ask(&server, "SCRIPT FLUSH");
    redis_server_ask(&server, "CONFIG RESETSTAT");
    is_i64(client_script(&c, &a, &lh_script_plain, "{k}:meta", "arg 21"), 0, "a script is sent");
    client_answered(&a);
    is_str(a.text, "{k}:meta arg 42", "key, arguments, and what all scripts share");
    is_i64(redis_server_ask(&server, "SCRIPT EXISTS %s", lh_script_plain.sha1), 1,
           "its digest is the one that Redis makes");
    memset(&a, 0, sizeof(a));
    client_script(&c, &a, &lh_script_awkward, "k", "");
    client_answered(&a);
    is_str(a.text, ";\"\\n]] @dir@ ${dir}\n\xc3\xa9", "any characters arrive as they stand there");

    redis_server_ask(&server, "SCRIPT FLUSH");
    for (unsigned i = 0; i < N; i++)
        client_script(&c, &many[i], &lh_script_plain, "k", "x 1");
    for (unsigned i = 0; i < N; i++) {
        while (many[i].n_called == 0)
            client_turn(&c);
        all = all && strcmp(many[i].text, "k x 2") == 0;
    }
    for (unsigned i = 0; i < N; i++)
        all = all && many[i].n_called == 1 && (i == 0 || many[i].order > many[i - 1].order);
    ok(all, "a script that Redis forgot with %d under way: each answered once, in order", N);
    client_close(&c);
}

static void limits(void)
{
    struct asked a[4] = {{.text = ""}};
    struct client c;

    client_init(&c, server.url);
    c.opts.max_in_flight = 3;
    client_start(&c);
    client_wait_up(&c, 1);
    for (unsigned i = 0; i < 3; i++)
        is_i64(client_ask(&c, &a[i], 0, "PING"), 0, "command %u is taken", i);
    is_i64(client_ask(&c, &a[3], 0, "PING"), -LH_E_LIMIT, "one more is not");
    is_i64(client_script(&c, &a[3], &lh_script_plain, "k", "x 1"), -LH_E_LIMIT, "nor a script");
    client_answered(&a[2]);
    is_u64(a[0].n_called + a[1].n_called, 2, "those before it are answered");
    is_u64(a[3].n_called, 0, "what was not taken is never called");
    is_i64(client_ask(&c, &a[3], 0, "PING"), 0, "then there is room");
    client_answered(&a[3]);
    client_close(&c);
}

/* Blocks longer than a command may take; one behind it waits for it. */
static void blocking(void)
{
    struct asked a = {.text = ""};
    struct asked behind = {.text = ""};
    struct client c;

    client_init(&c, server.url);
    c.opts.command_ms = 1000;
    client_start(&c);
    client_wait_up(&c, 1);
    client_ask(&c, &a, 60000, "BLPOP nothing 1.5");
    client_ask(&c, &behind, 0, "PING");
    client_answered(&a);
    ok(!a.null && a.type == REDIS_REPLY_NIL, "a command that blocks has time to");
    client_answered(&behind);
    is_str(behind.text, "PONG", "and so has the one behind it");
    is_u64(c.n_down, 0, "it stayed up");
    client_close(&c);
}

static void killed(void)
{
    struct asked a = {.text = ""};
    struct asked b = {.text = ""};
    struct client c;

    client_init(&c, server.url);
    client_start(&c);
    client_wait_up(&c, 1);
    client_ask(&c, &a, 60000, "BLPOP nothing 50");
    client_ask(&c, &b, 0, "PING");
    uv_run(&c.loop, UV_RUN_NOWAIT); /* sent */
    redis_server_kill(&server);
    client_answered(&a);
    client_answered(&b);
    ok(a.null && b.null, "what was under way is lost");
    ok(a.order < b.order, "in order");
    client_wait_down(&c, 1);
    is_i64(c.status, LH_E_NETWORK, "the connection was lost");
    ok(strstr(c.why, "was lost") != NULL && strstr(c.why, server.path) != NULL, "said: %s", c.why);
    ok(!lh_redis_up(c.redis), "not up");
    memset(&a, 0, sizeof(a));
    is_i64(client_ask(&c, &a, 0, "PING"), -LH_E_NETWORK, "nothing is sent meanwhile");
    client_wait_down(&c, 3);
    is_i64(c.status, LH_E_CONNECT, "nobody there");
    redis_server_again(&server);
    client_wait_up(&c, 2);
    a = ask(&c, "PING");
    is_str(a.text, "PONG", "it is back");
    client_close(&c);
}

static void stopped(void)
{
    struct asked a = {.text = ""};
    struct client c;

    client_init(&c, server.url);
    c.opts.command_ms = c.opts.connect_ms = 200;
    client_start(&c);
    client_wait_up(&c, 1);
    kill(server.pid, SIGSTOP);
    client_ask(&c, &a, 0, "PING");
    client_answered(&a);
    ok(a.null, "no reply in time: lost");
    client_wait_down(&c, 2); /* the kernel connects, but nobody answers */
    is_i64(c.status, LH_E_TIMEOUT, "said so: %s", c.why);
    kill(server.pid, SIGCONT);
    client_back(&c, &a, "PING");
    is_str(a.text, "PONG", "it is back");
    client_close(&c);
}

/* Our own process slept: the reply is there, only nobody has looked. */
static void slept(void)
{
    struct asked a = {.text = ""};
    struct client c;

    client_init(&c, server.url);
    c.opts.command_ms = 100;
    client_start(&c);
    client_wait_up(&c, 1);
    client_ask(&c, &a, 0, "PING");
    uv_run(&c.loop, UV_RUN_NOWAIT);
    usleep(300000);
    for (unsigned i = 0; i < 2; i++)
        redis_server_ask(&server, "PING"); /* by now it has answered us as well */
    client_answered(&a);
    is_str(a.text, "PONG", "what lies in the socket is read before time counts");
    is_u64(c.n_down, 0, "it stayed up");
    client_close(&c);
}

static void full(void)
{
    struct asked a;
    struct client c;

    redis_server_ask(&server, "CONFIG SET maxmemory 1");
    client_init(&c, server.url);
    client_start(&c);
    client_wait_up(&c, 1);
    a = ask(&c, "SET k x");
    ok(a.type == REDIS_REPLY_ERROR && strncmp(a.text, "OOM ", 4) == 0, "a full Redis says so");
    a = ask(&c, "EVAL return(redis.call('SET',KEYS[1],'x')) 1 k");
    ok(a.type == REDIS_REPLY_ERROR && strstr(a.text, "OOM ") != NULL, "also to a script: %s",
       a.text);
    is_u64(c.n_down, 0, "and is not away for that");
    redis_server_ask(&server, "CONFIG SET maxmemory 0");
    client_close(&c);
}

static void closing(void)
{
    struct asked a = {.text = ""};
    struct asked b = {.text = ""};
    struct client c;

    client_init(&c, server.url);
    client_start(&c);
    client_close(&c); /* before anything was dialled */

    client_init(&c, "redis://localhost:1");
    client_start(&c);
    uv_run(&c.loop, UV_RUN_NOWAIT);
    client_close(&c); /* while the name is resolved */

    client_init(&c, server.url);
    client_start(&c);
    uv_run(&c.loop, UV_RUN_NOWAIT);
    client_close(&c); /* while it connects or logs in */

    client_init(&c, server.url);
    client_start(&c);
    client_wait_up(&c, 1);
    client_ask(&c, &a, 5000, "BLPOP nothing 5");
    client_ask(&c, &b, 0, "PING");
    client_close(&c);
    ok(a.n_called == 1 && a.null && !a.inside, "closed with a command that blocks: it is lost");
    ok(b.n_called == 1 && b.null && !b.inside, "and the one behind it");

    memset(&a, 0, sizeof(a));
    memset(&b, 0, sizeof(b));
    client_init(&c, server.url);
    client_start(&c);
    client_wait_up(&c, 1);
    a.close = true;
    client_ask(&c, &a, 0, "PING");
    client_ask(&c, &b, 0, "PING");
    client_finish(&c);
    ok(a.n_called == 1 && !a.null, "closed from inside a reply");
    ok(b.n_called == 1 && b.null, "the next one is lost, answered or not");

    client_init(&c, server.url);
    c.close_on_up = true;
    client_start(&c);
    client_finish(&c);
    is_u64(c.n_up, 1, "closed from inside up");

    client_init(&c, "unix:///nonexistent/redis.sock");
    c.close_on_down = true;
    client_start(&c);
    client_finish(&c);
    is_u64(c.n_down, 1, "closed from inside down");
    is_i64(c.status, LH_E_CONNECT, "of a socket that is not there: %s", c.why);
}

/* Closed from inside the first NULL of several. */
static void closed_when_lost(void)
{
    struct asked a = {.close = true};
    struct asked b = {.text = ""};
    struct client c;

    client_init(&c, server.url);
    client_start(&c);
    client_wait_up(&c, 1);
    client_ask(&c, &a, 60000, "BLPOP nothing 50");
    client_ask(&c, &b, 0, "PING");
    uv_run(&c.loop, UV_RUN_NOWAIT); /* sent */
    redis_server_kill(&server);
    client_finish(&c);
    ok(a.n_called == 1 && b.n_called == 1 && b.null, "both are lost, once");
    is_u64(c.n_down, 0, "closed is closed: no down");
    redis_server_again(&server);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    redis_server_start(&server, NULL);
    commands();
    scripts();
    limits();
    blocking();
    slept();
    full();
    stopped();
    killed();
    closing();
    closed_when_lost();
    tcp();
    no_such_database();
    logins(); /* the last one: it sets a password */
    redis_server_stop(&server);
    return done_testing();
}
