#include "test/lib/redis_server.h"

#include "test/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_OPTIONS 32
#define START_LIMIT_S 60 /* ends what hangs */

static _Noreturn void run(const struct redis_server *s, pid_t parent)
{
    const char *argv[16 + MAX_OPTIONS] = {
        "redis-server", "--port", "0",         "--unixsocket", s->path,       "--save", "",
        "--dir",        s->dir,   "--logfile", "log",          "--databases", "8"};
    size_t n = 13;
    int null = open("/dev/null", O_RDWR);

    for (size_t i = 0; s->options != NULL && s->options[i] != NULL; i++)
        argv[n++] = s->options[i];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || null < 0)
        _exit(127);
    dup2(null, 0);
    dup2(null, 1);
    execvp(argv[0], (char *const *)argv);
    fprintf(stderr, "redis-server: %s\n", strerror(errno));
    _exit(127);
}

void redis_server_again(struct redis_server *s)
{
    pid_t parent = getpid();

    unlink(s->path);
    s->pid = fork();
    if (s->pid == 0)
        run(s, parent);
    for (unsigned i = 0; i < START_LIMIT_S * 100; i++) {
        redisContext *c = redisConnectUnix(s->path);
        bool up = c != NULL && c->err == 0;
        int status;

        if (c != NULL)
            redisFree(c);
        if (up)
            return;
        if (waitpid(s->pid, &status, WNOHANG) == s->pid)
            bail("redis-server ended at once: see %s/log", s->dir);
        usleep(10000);
    }
    bail("redis-server does not come up");
}

void redis_server_start(struct redis_server *s, const char *const *options)
{
    const char *tmp = getenv("TMPDIR");

    memset(s, 0, sizeof(*s));
    snprintf(s->dir, sizeof(s->dir), "%.40s/lh-redis-XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(s->dir) == NULL)
        bail("cannot make %s: %s", s->dir, strerror(errno));
    snprintf(s->path, sizeof(s->path), "%s/sock", s->dir);
    snprintf(s->url, sizeof(s->url), "unix://%s", s->path);
    s->options = options;
    redis_server_again(s);
}

void redis_server_kill(struct redis_server *s)
{
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

long long redis_server_ask(const struct redis_server *s, const char *format, ...)
{
    redisContext *c = redisConnectUnix(s->path);
    redisReply *reply;
    long long value = -1;
    va_list ap;

    va_start(ap, format);
    reply = c != NULL && c->err == 0 ? redisvCommand(c, format, ap) : NULL;
    va_end(ap);
    if (reply == NULL)
        bail("redis-server does not answer %s", format);
    if (reply->type == REDIS_REPLY_INTEGER)
        value = reply->integer;
    else if (reply->type == REDIS_REPLY_STATUS)
        value = 1;
    else if (reply->type == REDIS_REPLY_STRING)
        value = atoll(reply->str);
    else if (reply->type == REDIS_REPLY_ARRAY)
        value = reply->elements == 0 ? -1 : reply->element[0]->integer;
    else if (reply->type == REDIS_REPLY_ERROR)
        diag("%s: %s", format, reply->str);
    freeReplyObject(reply);
    redisFree(c);
    return value;
}

void redis_server_stop(struct redis_server *s)
{
    pid_t pid;

    if (s->pid != 0)
        redis_server_kill(s);
    pid = fork();
    if (pid == 0) {
        execlp("rm", "rm", "-rf", s->dir, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
}
