/* Runs of the command line with the fake engine; see run.h. */
#include "run.h"

#include "test/lib/tap.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_WORDS 24
#define LIMIT_MS 20000

struct cli_run got;

pid_t child;
int pipe_bytes;
int out_fd;
int err_fd;

/* "A=1 B=2 command line": words with '=' before the command go to the environment. */
void exec_line(const char *line)
{
    char copy[1024];
    char *words[MAX_WORDS + 1] = {(char *)(uintptr_t) "longhaul"};
    int n = 1;
    bool environment = true;

    snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok(copy, " "); word != NULL && n < MAX_WORDS; word = strtok(NULL, " ")) {
        char *equals = strchr(word, '=');

        if (environment && equals != NULL) {
            *equals = '\0';
            setenv(word, equals + 1, 1);
            continue;
        }
        environment = false;
        words[n++] = word;
    }
    words[n] = NULL;
    execv(LH_FAKE_PROGRAM, words);
    _exit(99);
}

void begin(const char *line)
{
    int out[2];
    int err[2];

    if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0)
        bail("no pipe");
    if (pipe_bytes != 0)
        fcntl(out[1], F_SETPIPE_SZ, pipe_bytes);
    memset(&got, 0, sizeof(got));
    fflush(stdout);
    child = fork();
    if (child == 0) {
        dup2(out[1], 1);
        dup2(err[1], 2);
        exec_line(line);
    }
    close(out[1]);
    close(err[1]);
    out_fd = out[0];
    err_fd = err[0];
}

/* One read of what is there; closes and sets *fd to -1 at the end. */
static void drain(int *fd, char *to, size_t *len, size_t room)
{
    ssize_t n = read(*fd, to + *len, room - 1 - *len);

    if (n > 0) {
        *len += (size_t)n;
        to[*len] = '\0';
    } else {
        close(*fd);
        *fd = -1;
    }
}

/* Read both until `words` stands in `text` (NULL: until the end). */
bool read_until(const char *text, const char *words)
{
    while (out_fd >= 0 || err_fd >= 0) {
        struct pollfd fds[2] = {{.fd = out_fd, .events = POLLIN}, {.fd = err_fd, .events = POLLIN}};

        if (words != NULL && strstr(text, words) != NULL)
            return true;
        if (poll(fds, 2, LIMIT_MS) <= 0) {
            kill(child, SIGKILL);
            return false;
        }
        if (fds[0].revents != 0)
            drain(&out_fd, got.out, &got.out_len, sizeof(got.out));
        if (fds[1].revents != 0)
            drain(&err_fd, got.err, &got.err_len, sizeof(got.err));
    }
    return words == NULL || strstr(text, words) != NULL;
}

int finish(void)
{
    int status;

    read_until(NULL, NULL);
    if (waitpid(child, &status, 0) != child)
        bail("lost the child");
    got.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return got.code;
}

int run(const char *line)
{
    begin(line);
    return finish();
}

void says(const char *text, const char *words, const char *what)
{
    if (!ok(strstr(text, words) != NULL, "%s: \"%s\"", what, words))
        diag("%s", text);
}

unsigned count(const char *text, const char *words)
{
    unsigned n = 0;

    for (; (text = strstr(text, words)) != NULL; text++)
        n++;
    return n;
}
