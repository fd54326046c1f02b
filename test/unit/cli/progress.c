#include "cli/progress.h"

#include "test/lib/tap.h"

#include <string.h>

#define GIB (UINT64_C(1) << 30)

static const struct lh_send_stats half = {.bytes_total = 4 * GIB,
                                          .bytes_durable = 2 * GIB,
                                          .bytes_sent = GIB,
                                          .bytes_skipped = GIB,
                                          .streams = 8,
                                          .rate_bps = 903000000,
                                          .duration_s = 10};
static char line[LH_PROGRESS_TEXT_SIZE];

static void test_eta(void)
{
    struct lh_send_stats s = half;

    is_u64(lh_progress_eta_s(&s), 20, "ETA: 2 GiB at 903 Mbit/s, rounded up");
    s.rate_bps = 0;
    is_u64(lh_progress_eta_s(&s), UINT64_MAX, "ETA: nothing moves");
    s.rate_bps = 1;
    is_u64(lh_progress_eta_s(&s), UINT64_MAX, "ETA: beyond a year is unknown");
    s.rate_bps = UINT64_MAX;
    is_u64(lh_progress_eta_s(&s), 0, "ETA: any rate");
    s.bytes_total = UINT64_MAX;
    s.rate_bps = 800ull * 1000 * 1000 * 1000 * 1000;
    is_u64(lh_progress_eta_s(&s), 184468, "ETA: any size");
    s.bytes_durable = s.bytes_total;
    s.rate_bps = 0;
    is_u64(lh_progress_eta_s(&s), 0, "ETA: done");
}

static void test_percent(void)
{
    struct lh_send_stats s = {.bytes_total = 0};

    is_u64(lh_progress_percent(&s), 100, "an empty file is whole");
    s.bytes_total = 1;
    is_u64(lh_progress_percent(&s), 0, "nothing of one byte");
    s.bytes_total = UINT64_MAX;
    s.bytes_durable = UINT64_MAX - 1;
    is_u64(lh_progress_percent(&s), 99, "never 100 before it is whole");
    s.bytes_durable = UINT64_MAX;
    is_u64(lh_progress_percent(&s), 100, "whole");
    s.bytes_total = 200;
    s.bytes_durable = 1;
    is_u64(lh_progress_percent(&s), 0, "rounded down");
}

static void test_bar(void)
{
    struct lh_send_stats s = half;

    is_str(lh_progress_bar(line, &s, 120),
           "[===================>                  ]   50%  2.0 GiB of 4.0 GiB  107.6 MiB/s  "
           "ETA 0:20  8 streams  resumed 1.0 GiB",
           "wide enough for everything");
    is_str(lh_progress_bar(line, &s, 79),
           "[========>        ]   50%  2.0 GiB of 4.0 GiB  107.6 MiB/s  ETA 0:20  8 streams",
           "79 columns");
    is_str(lh_progress_bar(line, &s, 60),
           "[====>    ]   50%  2.0 GiB of 4.0 GiB  107.6 MiB/s  ETA 0:20", "60 columns");
    is_str(lh_progress_bar(line, &s, 30), " 50%  107.6 MiB/s", "30 columns");
    is_str(lh_progress_bar(line, &s, 4), " 50%", "4 columns");
    is_str(lh_progress_bar(line, &s, 0), "", "none");
    for (unsigned width = 0; width <= 400; width++) {
        lh_progress_bar(line, &s, width);
        if (strlen(line) > width)
            ok(false, "width %u: a line of %zu columns", width, strlen(line));
    }
    s.streams = 0;
    lh_progress_bar(line, &s, 120);
    ok(strstr(line, "no connection") != NULL, "a network that is away is shown");
    s.bytes_durable = s.bytes_total;
    lh_progress_bar(line, &s, 120);
    ok(strstr(line, "no connection") == NULL, "but not when nothing is left to send");
    ok(strstr(line, "=]") != NULL && strstr(line, "100%") != NULL, "a full bar");
    s.bytes_skipped = 0;
    s.streams = 1;
    lh_progress_bar(line, &s, 120);
    ok(strstr(line, "resumed") == NULL && strstr(line, "1 stream") != NULL &&
           strstr(line, "1 streams") == NULL,
       "one stream, nothing resumed");
    s.bytes_total = s.bytes_durable = UINT64_MAX;
    s.rate_bps = s.bytes_skipped = UINT64_MAX;
    s.streams = UINT32_MAX;
    lh_progress_bar(line, &s, 250);
    ok(strlen(line) <= 250 && strstr(line, "15.9 EiB of 15.9 EiB") != NULL, "the largest numbers");
}

static void test_words(void)
{
    struct lh_send_stats s = half;

    is_str(lh_progress_report(line, &s),
           "50%, 2.0 GiB of 4.0 GiB, 107.6 MiB/s, ETA 0:20, 8 streams, resumed 1.0 GiB",
           "a report");
    s.bytes_durable = s.bytes_total;
    s.duration_s = 38.4;
    is_str(lh_progress_summary(line, &s), "4.0 GiB in 38.4 s, 107.6 MiB/s (903 Mbit/s)",
           "the summary");
    s.duration_s = 3723;
    is_str(lh_progress_summary(line, &s), "4.0 GiB in 1:02:03, 107.6 MiB/s (903 Mbit/s)",
           "the summary of a long one");
    s.duration_s = 0.0362;
    is_str(lh_progress_summary(line, &s), "4.0 GiB in 0.036 s, 107.6 MiB/s (903 Mbit/s)",
           "the summary of a short one");
    s.bytes_sent = 3 * GIB;
    is_str(lh_progress_remarks(line, &s), "1.0 GiB were there already", "remarks: resumed");
    s.bytes_sent += 1024;
    s.retransmits = 1;
    s.reconnects = 2;
    s.verification_failures = 1;
    s.restarted = true;
    is_str(lh_progress_remarks(line, &s),
           "1.0 GiB were there already, 1.0 KiB sent again, 1 TCP retransmit, 2 reconnects, "
           "1 block arrived damaged and was sent again, the source changed on the way: sent from "
           "the beginning, once",
           "remarks: everything");
    s = (struct lh_send_stats){.bytes_total = 5, .bytes_durable = 5, .bytes_sent = 5};
    is_str(lh_progress_remarks(line, &s), "", "remarks: none");
    is_str(lh_progress_rate(line, sizeof(line), 0), "0 bit/s", "rate: 0");
    is_str(lh_progress_rate(line, sizeof(line), 999), "999 bit/s", "rate: 999");
    is_str(lh_progress_rate(line, sizeof(line), 1000), "1.0 kbit/s", "rate: 1000");
    is_str(lh_progress_rate(line, sizeof(line), 999960000), "1.0 Gbit/s", "rate: rounds up a unit");
    is_str(lh_progress_rate(line, sizeof(line), 9876543210), "9.9 Gbit/s", "rate: 9.9 G");
}

static void test_tree(void)
{
    struct lh_tree_stats t = {.send = half,
                              .walking = true,
                              .files_total = 5000,
                              .files_sent = 1000,
                              .files_kept = 234,
                              .dirs = 1,
                              .links = 2,
                              .others = 1,
                              .skipped_special = 3,
                              .removed = 4};

    is_str(lh_progress_tree_bar(line, &t, 120),
           "1234 of 5000+ files, 2 links  2.0 GiB of 4.0 GiB+  107.6 MiB/s  ETA 0:20+  8 streams  "
           "resumed 1.0 GiB",
           "a tree that is walked: no bar, no percentage");
    is_str(lh_progress_tree_bar(line, &t, 50), "1234 of 5000+ files, 2 links  107.6 MiB/s",
           "narrow");
    is_str(lh_progress_tree_report(line, &t),
           "1234 of 5000+ files, 2 links, 2.0 GiB of 4.0 GiB+, 107.6 MiB/s, ETA 0:20+, 8 streams, "
           "resumed 1.0 GiB",
           "the same for a log");
    t.walking = false;
    is_str(lh_progress_tree_bar(line, &t, 70),
           " 50%  1234 of 5000 files, 2 links  2.0 GiB of 4.0 GiB  107.6 MiB/s",
           "afterwards there is a percentage");
    ok(strncmp(lh_progress_tree_bar(line, &t, 120), "[====", 5) == 0, "and where it fits a bar");
    t.links = 0;
    is_str(lh_progress_tree_bar(line, &t, 70),
           " 50%  1234 of 5000 files  2.0 GiB of 4.0 GiB  107.6 MiB/s  ETA 0:20",
           "no links: no word of them");
    t.links = 2;
    t.send.bytes_durable = t.send.bytes_total;
    is_str(lh_progress_tree_summary(line, &t),
           "1000 files, 3.0 GiB in 10.0 s, 107.6 MiB/s (903 Mbit/s), 100 files/s",
           "the summary counts what was sent");
    is_str(lh_progress_tree_remarks(line, &t),
           "234 files were there already, 1 directory, 2 links, 1 FIFO, socket or device, "
           "3 FIFOs, sockets and devices left out (--devices), 4 removed",
           "and the remarks all the rest");
    t = (struct lh_tree_stats){.send = {.reconnects = 1}};
    is_str(lh_progress_tree_remarks(line, &t), "1 reconnect", "and how the way was");
}

int main(void)
{
    test_eta();
    test_percent();
    test_bar();
    test_words();
    test_tree();
    return done_testing();
}
