/* A WAN between two network namespaces: a veth pair, and this process, which the kernel asks
 * (NFQUEUE) when each packet may go on.
 *
 *   emulator --a NAMESPACE --b NAMESPACE --control PATH [--mtu N] [--seed N] [LINE...]
 *
 * test/wan/up starts it, with rules that put what arrives in either namespace into queue 0 there.
 * It prints its pid and goes to the background. Two threads carry the packets (link.c), this one
 * answers the control socket: a Unix stream socket that takes a line and answers it with one, "ok",
 * an "error: " or, for `stats`, JSON: counts of both directions, and cpu_ns, the CPU time of this
 * process (the kernel lets a packet on within a thread of it, so TCP's receiving half and its
 * acknowledgements are in there). `quit` ends it. All other lines change the WAN: test/wan/up
 * --help lists them. Each LINE is one to begin with.
 *
 * Segments of a super-packet that goes through whole are counted as long as the MTU allows, which
 * is wrong only for connections with a smaller MSS of their own.
 *
 * Failures: what cannot be set up is said and ends it with 1. While nobody answers, queued packets
 * wait: end it before the namespaces.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "link.h"
#include "nfq.h"

enum { MAX_WORDS = 8, ANSWER_BYTES = 2048 };

static struct lh_link links[2] = {
    {.lock = PTHREAD_MUTEX_INITIALIZER, .settings = {.buffer_bytes = 1e9}},
    {.lock = PTHREAD_MUTEX_INITIALIZER, .settings = {.buffer_bytes = 1e9}},
};

static _Noreturn void die(const char *what, const char *which)
{
    fprintf(stderr, "emulator: %s %s: %s\n", what, which, strerror(errno));
    exit(1);
}

struct unit {
    const char *name;
    double factor;
};
static const struct unit RATES[] = {{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}};
static const struct unit TIMES[] = {{"ms", 1e6}, {"us", 1e3}, {"ns", 1}, {"s", 1e9}};
static const struct unit SIZES[] = {{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}};
static const struct unit SHARES[] = {{"%", 0.01}};

/* "NUMBER UNIT" in the unit's base; a bare 0 needs no unit. */
static bool parse(const char *text, const struct unit *units, size_t n_units, double *value)
{
    char *end;
    double number = strtod(text, &end);
    if (end == text || !(number >= 0) || number > 1e15)
        return false;
    if (!*end && number == 0) {
        *value = 0;
        return true;
    }
    for (size_t i = 0; i < n_units; i++)
        if (!strcmp(end, units[i].name)) {
            *value = number * units[i].factor;
            return true;
        }
    return false;
}

#define PARSE(text, units, value) parse(text, units, sizeof(units) / sizeof(*(units)), value)

static bool parse_share(const char *text, double *value)
{
    double share;
    if (!PARSE(text, SHARES, &share) || share > 1)
        return false;
    *value = share;
    return true;
}

static bool set_burst(struct lh_link_settings *set, char **word)
{
    double loss, length = strtod(word[2], NULL);
    if (!parse_share(word[1], &loss) || length < 1 || loss >= 1)
        return false;
    set->bad_leave = 1 / length;
    set->bad_enter = set->bad_leave * loss / (1 - loss);
    set->bad_loss = 1;
    set->good_loss = 0;
    return set->bad_enter <= 1;
}

static bool set_gemodel(struct lh_link_settings *set, char **word, int n)
{
    set->bad_loss = 1;
    set->good_loss = 0;
    return parse_share(word[1], &set->bad_enter) && parse_share(word[2], &set->bad_leave) &&
           (n < 4 || parse_share(word[3], &set->bad_loss)) &&
           (n < 5 || parse_share(word[4], &set->good_loss));
}

static bool set_cut(struct lh_link_settings *set, const char *how)
{
    if (!strcmp(how, "off"))
        set->cut = LH_CUT_OFF;
    else if (!strcmp(how, "blackhole"))
        set->cut = LH_CUT_BLACKHOLE;
    else if (!strcmp(how, "reset"))
        set->cut = LH_CUT_RESET;
    else
        return false;
    return true;
}

/* One setting, in words; false when it is not understood. */
static bool apply(struct lh_link_settings *set, char **word, int n)
{
    const char *key = word[0];
    if (n == 2) {
        if (!strcmp(key, "rate"))
            return PARSE(word[1], RATES, &set->rate_bps);
        if (!strcmp(key, "delay"))
            return PARSE(word[1], TIMES, &set->delay_ns);
        if (!strcmp(key, "jitter"))
            return PARSE(word[1], TIMES, &set->jitter_ns);
        if (!strcmp(key, "loss"))
            return parse_share(word[1], &set->loss);
        if (!strcmp(key, "buffer"))
            return PARSE(word[1], SIZES, &set->buffer_bytes);
        if (!strcmp(key, "corrupt"))
            return parse_share(word[1], &set->corrupt_body);
        if (!strcmp(key, "cut"))
            return set_cut(set, word[1]);
    }
    if (n == 3) {
        if (!strcmp(key, "burst"))
            return set_burst(set, word);
        if (!strcmp(key, "reorder"))
            return parse_share(word[1], &set->reorder) && PARSE(word[2], TIMES, &set->hold_ns);
        if (!strcmp(key, "corrupt") && !strcmp(word[2], "header"))
            return parse_share(word[1], &set->corrupt_head);
    }
    if (n >= 3 && n <= 5 && !strcmp(key, "gemodel"))
        return set_gemodel(set, word, n);
    return false;
}

static int print_counts(char *out, size_t size, const char *name, struct lh_link *link)
{
    struct lh_link_counts *c = &link->counts;
    const struct {
        const char *key;
        _Atomic uint64_t *count;
    } all[] = {
        {"packets", &c->packets},
        {"segments", &c->arrived},
        {"wire_bytes", &c->wire_bytes},
        {"tail_dropped", &c->tail_dropped},
        {"lost", &c->lost},
        {"cut", &c->cut},
        {"corrupted", &c->corrupted},
        {"held", &c->held},
        {"resets", &c->resets},
        {"delivered", &c->delivered},
        {"delivered_wire_bytes", &c->delivered_wire_bytes},
        {"refused", &c->refused},
        {"queue_max_bytes", &c->queue_max_bytes},
        {"late_max_ns", &c->late_max_ns},
        {"late", &c->late},
    };
    int n = snprintf(out, size, "\"%s\":{", name);
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        n += snprintf(out + n, size - (size_t)n, "%s\"%s\":%" PRIu64, i ? "," : "", all[i].key,
                      atomic_load(all[i].count));
    return n + snprintf(out + n, size - (size_t)n, "}");
}

static uint64_t cpu_ns(void)
{
    struct timespec t = {0};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Takes one line, writes its answer (with a newline). False: quit. */
static bool obey(char *line, char answer[ANSWER_BYTES])
{
    char *word[MAX_WORDS], *rest = NULL;
    int n = 0;
    for (char *w = strtok_r(line, " \t\r", &rest); w && n < MAX_WORDS;
         w = strtok_r(NULL, " \t\r", &rest))
        word[n++] = w;
    snprintf(answer, ANSWER_BYTES, "ok\n");
    if (n == 1 && !strcmp(word[0], "quit"))
        return false;
    if (n == 1 && !strcmp(word[0], "stats")) {
        size_t at;
        at = (size_t)snprintf(answer, ANSWER_BYTES, "{\"cpu_ns\":%" PRIu64 ",", cpu_ns());
        at += (size_t)print_counts(answer + at, ANSWER_BYTES - at, "ab", &links[0]);
        answer[at++] = ',';
        at += (size_t)print_counts(answer + at, ANSWER_BYTES - at, "ba", &links[1]);
        snprintf(answer + at, ANSWER_BYTES - at, "}\n");
        return true;
    }
    int first = 0, last = 1, skip = 0;
    if (n && (!strcmp(word[0], "ab") || !strcmp(word[0], "ba"))) {
        first = last = word[0][0] == 'b';
        skip = 1;
    }
    for (int i = first; i <= last; i++) {
        struct lh_link_settings set = links[i].settings; /* only this thread writes them */
        if (n <= skip || !apply(&set, word + skip, n - skip)) {
            snprintf(answer, ANSWER_BYTES, "error: not understood: %s\n",
                     n ? word[skip < n ? skip : 0] : "");
            return true;
        }
        pthread_mutex_lock(&links[i].lock);
        links[i].settings = set;
        pthread_mutex_unlock(&links[i].lock);
        atomic_fetch_add(&links[i].generation, 1);
        if (eventfd_write(links[i].wake_fd, 1))
            die("cannot wake", "a link");
    }
    return true;
}

/* What `link` needs of the namespace of the host it ends at. Moves the calling thread there. */
static void link_open(struct lh_link *link, const char *namespace)
{
    char path[256];
    snprintf(path, sizeof(path), "/run/netns/%s", namespace);
    int ns = open(path, O_RDONLY | O_CLOEXEC);
    if (ns < 0 || setns(ns, CLONE_NEWNET))
        die("cannot enter namespace", namespace);
    close(ns);
    link->whole = lh_nfq_open(LH_LINK_WHOLE, LH_NFQ_HEADS, true);
    link->parts = lh_nfq_open(LH_LINK_PARTS, link->mtu, false);
    if (!link->whole || !link->parts)
        die("cannot have a packet queue in", namespace);
    link->reset_v4 = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    link->reset_v6 = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    if (link->reset_v4 < 0)
        die("cannot have a raw socket in", namespace);
}

static int control_open(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(addr.sun_path)) {
        errno = ENAMETOOLONG;
        die("control socket", path);
    }
    memcpy(addr.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 8))
        die("control socket", path);
    return fd;
}

/* One client at a time: its lines are answered until it hangs up. */
static bool serve_client(int fd)
{
    FILE *in = fdopen(fd, "r");
    if (!in)
        die("control", "client");
    char *line = NULL, answer[ANSWER_BYTES];
    size_t size = 0;
    bool go_on = true;
    for (ssize_t n; go_on && (n = getline(&line, &size, in)) > 0;) {
        line[strcspn(line, "\n")] = 0;
        go_on = obey(line, answer);
        if (send(fd, answer, strlen(answer), MSG_NOSIGNAL) < 0)
            break;
    }
    free(line);
    fclose(in);
    return go_on;
}

static void background(void)
{
    pid_t pid = fork();
    if (pid < 0)
        die("cannot", "fork");
    if (pid) {
        printf("%d\n", (int)pid);
        exit(0);
    }
    setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || chdir("/"))
        die("cannot", "detach");
}

struct options {
    const char *a, *b, *control;
    uint32_t mtu;
    uint64_t seed;
};

static bool options_read(struct options *opt, int argc, char **argv)
{
    static const struct option OPTIONS[] = {
        {"a", required_argument, NULL, 'a'},       {"b", required_argument, NULL, 'b'},
        {"control", required_argument, NULL, 'c'}, {"mtu", required_argument, NULL, 'm'},
        {"seed", required_argument, NULL, 's'},    {NULL, 0, NULL, 0},
    };
    *opt = (struct options){.mtu = 1500, .seed = 1};
    for (int c; (c = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        if (c == 'a')
            opt->a = optarg;
        if (c == 'b')
            opt->b = optarg;
        if (c == 'c')
            opt->control = optarg;
        if (c == 'm')
            opt->mtu = (uint32_t)atoi(optarg);
        if (c == 's')
            opt->seed = strtoull(optarg, NULL, 10);
        if (c == '?')
            return false;
    }
    if (!opt->a || !opt->b || !opt->control)
        fprintf(stderr, "usage: emulator --a NS --b NS --control PATH [--mtu N] [LINE...]\n");
    return opt->a && opt->b && opt->control;
}

/* False, and said, when a line is not understood. */
static bool begin_with(char *const *lines, int n)
{
    for (int i = 0; i < n; i++) {
        char answer[ANSWER_BYTES], *line = strdup(lines[i]);
        bool is_understood = line && obey(line, answer) && !strcmp(answer, "ok\n");
        free(line);
        if (!is_understood) {
            fprintf(stderr, "emulator: cannot begin with '%s'\n", lines[i]);
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options opt;
    if (!options_read(&opt, argc, argv))
        return 2;
    for (int i = 0; i < 2; i++) {
        links[i].seed = opt.seed * 2 + (unsigned)i;
        links[i].mtu = opt.mtu;
        links[i].wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (links[i].wake_fd < 0)
            die("cannot make", "an eventfd");
    }
    if (!begin_with(argv + optind, argc - optind))
        return 2;
    link_open(&links[0], opt.b);
    link_open(&links[1], opt.a);
    int listener = control_open(opt.control);
    background();
    /* A WAN that waits for its CPU is another WAN. */
    if (sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1}))
        setpriority(PRIO_PROCESS, 0, -20);
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        if ((errno = pthread_create(&thread, NULL, lh_link_run, &links[i])))
            die("cannot", "thread");
    }
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client >= 0 && !serve_client(client))
            break;
        if (client < 0 && errno != EINTR && errno != ECONNABORTED)
            die("cannot", "accept");
    }
    unlink(opt.control);
    return 0;
}
