/* core/verdict: made-up transfers, from those that only one thing held up to mixed ones. */
#include "core/verdict.h"

#include "test/lib/tap.h"

#include <math.h>
#include <string.h>

/* 20 s at 100 MB/s over 100 ms, 4 streams, with nothing that stands out: the network. */
static struct lh_verdict_input plain(void)
{
    return (struct lh_verdict_input){.seconds = 20,
                                     .rate_Bps = 100e6,
                                     .rtt_s = 0.1,
                                     .streams = 4,
                                     .hash_busy = 0.9,
                                     .loop_busy = 0.3,
                                     .receiver_known = true,
                                     .receiver_loop_busy = 0.3};
}

static struct lh_verdict last;

static enum lh_limit judge(struct lh_verdict_input in)
{
    memset(&last, 0x55, sizeof(last));
    lh_verdict(&in, &last);
    if (strnlen(last.reason, sizeof(last.reason)) == sizeof(last.reason) || last.reason[0] == '\0')
        return LH_LIMIT_NONE;
    return last.limit;
}

static void is_limit(struct lh_verdict_input in, enum lh_limit want, const char *name)
{
    is_str(lh_limit_name(judge(in)), lh_limit_name(want), "%s", name);
}

static void says(const char *words)
{
    if (!ok(strstr(last.reason, words) != NULL, "… and says \"%s\"", words))
        diag("%s", last.reason);
}

static void test_one_thing(void)
{
    struct lh_verdict_input in = plain();

    is_limit(in, LH_LIMIT_NETWORK, "nothing but the socket");
    says("100 %");
    in.resent = 0.0124;
    is_limit(in, LH_LIMIT_NETWORK, "a line that loses");
    says("TCP sent 1.2 % of it again");
    in = plain();
    in.cut = 0.8;
    is_limit(in, LH_LIMIT_NETWORK, "no connection most of the time");
    says("no connection 80 %");
    in = plain();
    in.starved = 0.9;
    in.hash_busy = 0.1;
    is_limit(in, LH_LIMIT_SOURCE_DISK, "blocks that are not read");
    says("90 %");
    in.hash_busy = 0.95;
    is_limit(in, LH_LIMIT_SENDER_CPU, "blocks that are not hashed");
    in = plain();
    in.walk = 0.7;
    in.hash_busy = 0.2;
    is_limit(in, LH_LIMIT_SOURCE_DISK, "a tree whose directories are slow");
    says("nothing was found to send 70 %");
    in.starved = 0.9;
    in.walk = 0.3;
    is_limit(in, LH_LIMIT_SOURCE_DISK, "directories and contents");
    says("read and hashed 63 %");
    in = plain();
    in.loop_busy = 0.97;
    is_limit(in, LH_LIMIT_SENDER_CPU, "a sending loop without time");
    says("sender had or wanted a core 97 %");
    in.receiver_loop_busy = 0.99;
    is_limit(in, LH_LIMIT_RECEIVER_CPU, "both loops without time: the busier one");
    says("receiver had or wanted a core 99 %");
    in = plain();
    in.sndbuf = 0.9;
    is_limit(in, LH_LIMIT_SEND_BUFFER, "the send buffer");
    says("net.ipv4.tcp_wmem");
    says("2.3 MiB under way");
    says("to 9.5 MiB for twice the rate");
    in = plain();
    in.rwnd = 0.9;
    is_limit(in, LH_LIMIT_RECEIVER_WINDOW, "the window, for no other reason");
    says("net.ipv4.tcp_rmem");
    says("to 9.5 MiB for twice the rate");
    in.receiver_pool = 0.6;
    is_limit(in, LH_LIMIT_RECEIVER_WINDOW, "the window, for want of buffers");
    says("--pool");
    in.receiver_pool = 0;
    in.receiver_write = 0.8;
    is_limit(in, LH_LIMIT_RECEIVER_DISK, "the window, while writes sleep");
    in.receiver_write = 0.1;
    in.receiver_loop_busy = 0.95;
    is_limit(in, LH_LIMIT_RECEIVER_CPU, "the window, while its loop has no time");
    in.receiver_write = 0.4;
    in.receiver_loop_busy = 0.5;
    is_limit(in, LH_LIMIT_RECEIVER_CPU, "the window, while its loop works and writes by turns");
    in.receiver_write = 0.55;
    is_limit(in, LH_LIMIT_RECEIVER_DISK, "… and writes most of the time");
    in.receiver_write = 0.2;
    is_limit(in, LH_LIMIT_RECEIVER_WINDOW, "… and has time left");
}

static void test_commits(void)
{
    struct lh_verdict_input in = plain();

    in.window = 0.7;
    in.receiver_sync = 0.9;
    is_limit(in, LH_LIMIT_RECEIVER_DISK, "too much is not durable");
    says("commits took 90 %");
    in.receiver_known = false;
    in.receiver_sync = 0;
    is_limit(in, LH_LIMIT_RECEIVER_DISK, "the same, of a receiver that says nothing");
    in = plain();
    in.tail = 0.8;
    in.receiver_sync = 0.9;
    is_limit(in, LH_LIMIT_RECEIVER_DISK, "all is sent, a commit takes long");
    in.receiver_sync = 0;
    in.receiver_write = 0.9;
    is_limit(in, LH_LIMIT_RECEIVER_DISK, "all is sent, writes take long");
    in.receiver_write = 0.05;
    is_limit(in, LH_LIMIT_NETWORK, "all is sent, and it takes long to get there");
}

static void test_mixed(void)
{
    struct lh_verdict_input in = plain();

    in.starved = 0.4;
    in.hash_busy = 0;
    is_limit(in, LH_LIMIT_NETWORK, "the source 40 %, the network 60 %");
    in.starved = 0.6;
    is_limit(in, LH_LIMIT_SOURCE_DISK, "the source 60 %, the network 40 %");
    in.window = 0.5; /* of the other half the source has 60 % */
    is_limit(in, LH_LIMIT_RECEIVER_DISK, "the window 50 %, the source 30 %, the network 20 %");
    in = plain();
    in.starved = 0.9; /* what is left for TCP does not matter */
    in.hash_busy = 0;
    in.rwnd = 1;
    in.receiver_write = 1;
    in.loop_busy = 1;
    is_limit(in, LH_LIMIT_SOURCE_DISK, "the source, and a window that is shut in the rest");
    in = plain();
    in.rwnd = 0.45;
    in.sndbuf = 0.35;
    is_limit(in, LH_LIMIT_RECEIVER_WINDOW, "window 45 %, send buffer 35 %, network 20 %");
    in.rwnd = 0.2;
    is_limit(in, LH_LIMIT_SEND_BUFFER, "window 20 %, send buffer 35 %, pacing 45 %");
    says("35 %");
    in.rwnd = 0.3;
    in.sndbuf = 0;
    is_limit(in, LH_LIMIT_RECEIVER_WINDOW, "window 30 %, pacing 70 %");
    says("closed 30 %");
    in.rwnd = in.sndbuf = 0.2;
    is_limit(in, LH_LIMIT_NETWORK, "window 20 %, send buffer 20 %, network 60 %");
    in.cut = 0.6;
    in.rwnd = 0.5;
    is_limit(in, LH_LIMIT_NETWORK, "no connection 60 %, the window in what is left");
    in.cut = 0;
    in.rwnd = 0.5;
    in.sndbuf = 0.5;
    is_limit(in, LH_LIMIT_RECEIVER_WINDOW, "of equal ones the receiver");
    in = plain();
    in.starved = 0.5;
    in.hash_busy = 0;
    is_limit(in, LH_LIMIT_SOURCE_DISK, "of equal ones the source before the network");
    in.starved = 0.5;
    in.sndbuf = 1;
    is_limit(in, LH_LIMIT_SOURCE_DISK, "… and before the send buffer");
    in = plain();
    in.loop_busy = 1;
    in.sndbuf = 0.8;
    is_limit(in, LH_LIMIT_SEND_BUFFER, "a busy loop matters only where nothing else is waited for");
}

static void test_short_and_limited(void)
{
    struct lh_verdict_input in = plain();

    in.seconds = 0.9;
    is_limit(in, LH_LIMIT_TOO_SHORT, "less than a second");
    says("0.9 s");
    in.seconds = 2.9;
    in.rtt_s = 0.3;
    is_limit(in, LH_LIMIT_TOO_SHORT, "less than ten round trips");
    in.seconds = 3.1;
    is_limit(in, LH_LIMIT_NETWORK, "more than ten");
    in = plain();
    in.limit_Bps = 105e6;
    in.starved = 1;
    is_limit(in, LH_LIMIT_RATE, "at the limit that was asked for, whatever the shares");
    says("95 %");
    in.limit_Bps = 150e6;
    is_limit(in, LH_LIMIT_SENDER_CPU, "far below it");
}

/* Measured shares need not add up. */
static void test_nonsense(void)
{
    struct lh_verdict_input in = plain();

    in.window = in.walk = in.tail = in.cut = 7;
    ok(judge(in) == LH_LIMIT_NETWORK, "shares above 1");
    in = plain();
    in.rwnd = in.sndbuf = 1;
    ok(judge(in) == LH_LIMIT_RECEIVER_WINDOW, "shares that add up to more than 1");
    in = plain();
    in.window = in.tail = in.cut = in.starved = in.rwnd = in.sndbuf = NAN;
    ok(judge(in) == LH_LIMIT_NETWORK, "no numbers at all");
    in = plain();
    in.starved = in.rwnd = -1;
    ok(judge(in) == LH_LIMIT_NETWORK, "shares below 0");
    in = plain();
    in.rwnd = 1;
    in.streams = 1;
    in.receiver_known = false;
    in.rate_Bps = 1e18;
    in.rtt_s = 1;
    ok(judge(in) == LH_LIMIT_RECEIVER_WINDOW, "the longest sentence fits");
    says("does not say)");
}

static void test_nothing(void)
{
    struct lh_verdict_input in = plain();

    in.streams = 0;
    judge(in);
    ok(last.limit == LH_LIMIT_NONE && last.reason[0] == '\0', "nothing was sent: no verdict");
}

static void test_names(void)
{
    int named = 0;

    for (int a = LH_LIMIT_TOO_SHORT; a <= LH_LIMIT_RECEIVER_DISK; a++)
        for (int b = LH_LIMIT_NONE; b <= LH_LIMIT_RECEIVER_DISK; b++)
            named += a == b ||
                     strcmp(lh_limit_name((enum lh_limit)a), lh_limit_name((enum lh_limit)b)) != 0;
    is_i64(named, LH_LIMIT_RECEIVER_DISK * (LH_LIMIT_RECEIVER_DISK + 1),
           "each has a name of its own");
    is_str(lh_limit_name(LH_LIMIT_NONE), "", "none has none");
}

int main(void)
{
    test_one_thing();
    test_commits();
    test_mixed();
    test_short_and_limited();
    test_nonsense();
    test_nothing();
    test_names();
    return done_testing();
}
