#include "cli/json.h"

#include "test/lib/tap.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *text;
static size_t text_size;

static struct lh_json begin(void)
{
    struct lh_json json;

    free(text);
    text = NULL;
    lh_json_begin(&json, open_memstream(&text, &text_size));
    return json;
}

static const char *end(struct lh_json *json)
{
    if (lh_json_end(json) != 0)
        bail("a stream in memory failed");
    fclose(json->out);
    return text;
}

static void string(const char *in, size_t len, const char *want, const char *what)
{
    struct lh_json json = begin();

    lh_json_name(&json, "k", in, len);
    is_str(end(&json), want, "%s", what);
}

static void test_strings(void)
{
    string("plain", 5, "{\"k\":\"plain\"}\n", "plain text");
    string("", 0, "{\"k\":\"\"}\n", "no text");
    string("a\"b\\c/", 6, "{\"k\":\"a\\\"b\\\\c/\"}\n", "quote and backslash");
    string("\n\t\x01\x7f", 4, "{\"k\":\"\\u000a\\u0009\\u0001\\u007f\"}\n", "control characters");
    string("a\0b", 3, "{\"k\":\"a\\u0000b\"}\n", "NUL");
    string("\xc3\xa9\xe2\x82\xac\xf0\x9f\x9a\x9a", 9,
           "{\"k\":\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x9a\x9a\"}\n", "UTF-8 of 2, 3 and 4 bytes");
    string("a\xffz", 3, "{\"k\":\"a\\ufffdz\",\"k_hex\":\"61ff7a\"}\n", "not UTF-8");
    string("\xc0\xaf", 2, "{\"k\":\"\\ufffd\\ufffd\",\"k_hex\":\"c0af\"}\n", "overlong, 2 bytes");
    string("\xe0\x80\xaf", 3, "{\"k\":\"\\ufffd\\ufffd\\ufffd\",\"k_hex\":\"e080af\"}\n",
           "overlong, 3 bytes");
    string("\xf0\x80\x80\xaf", 4,
           "{\"k\":\"\\ufffd\\ufffd\\ufffd\\ufffd\",\"k_hex\":\"f08080af\"}\n",
           "overlong, 4 bytes");
    string("\xed\xa0\x80", 3, "{\"k\":\"\\ufffd\\ufffd\\ufffd\",\"k_hex\":\"eda080\"}\n",
           "a surrogate");
    string("\xf4\x90\x80\x80", 4,
           "{\"k\":\"\\ufffd\\ufffd\\ufffd\\ufffd\",\"k_hex\":\"f4908080\"}\n", "beyond U+10FFFF");
    string("\xf5\x80", 2, "{\"k\":\"\\ufffd\\ufffd\",\"k_hex\":\"f580\"}\n", "no lead byte");
    string("\xe2\x82", 2, "{\"k\":\"\\ufffd\\ufffd\",\"k_hex\":\"e282\"}\n", "cut off");
    string("\xe2\x82\"", 3, "{\"k\":\"\\ufffd\\ufffd\\\"\",\"k_hex\":\"e28222\"}\n",
           "a quote where a continuation should be");
}

static void test_values(void)
{
    struct lh_json json = begin();

    lh_json_u64(&json, "a", UINT64_MAX);
    lh_json_i64(&json, "b", -5);
    lh_json_bool(&json, "c", true);
    lh_json_bool(&json, "d", false);
    lh_json_seconds(&json, "e", 1.5);
    lh_json_seconds(&json, "f", NAN);
    lh_json_text(&json, "g", "x");
    is_str(end(&json),
           "{\"a\":18446744073709551615,\"b\":-5,\"c\":true,\"d\":false,\"e\":1.500,\"f\":0.000,"
           "\"g\":\"x\"}\n",
           "every kind of value");
    json = begin();
    is_str(end(&json), "{}\n", "no members");
}

static void test_stats(void)
{
    static const char *const keys[] = {
        "event",           "transfer",        "bytes_total",
        "bytes_durable",   "bytes_sent",      "bytes_skipped",
        "streams",         "rate_bps",        "duration_s",
        "retransmits",     "zero_copy_bytes", "fallback_bytes",
        "zero_copy_count", "fallback_count",  "verification_failures",
        "limit",           "limit_reason",    "digest"};
    struct lh_send_stats stats = {.transfer = "id",
                                  .bytes_total = 1,
                                  .bytes_durable = 2,
                                  .bytes_sent = 3,
                                  .bytes_skipped = 4,
                                  .bytes_holes = 15,
                                  .streams = 5,
                                  .rate_bps = 6,
                                  .duration_s = 7,
                                  .retransmits = 8,
                                  .zero_copy_bytes = 9,
                                  .fallback_bytes = 10,
                                  .zero_copy_count = 11,
                                  .fallback_count = 12,
                                  .verification_failures = 13,
                                  .bytes_repeated = 16,
                                  .reconnects = 14,
                                  .restarted = true,
                                  .kept = true,
                                  .limit = "network",
                                  .limit_reason = "so",
                                  .digest = "d"};
    struct lh_json json = begin();

    lh_json_stats(&json, "progress", &stats);
    is_str(end(&json),
           "{\"event\":\"progress\",\"transfer\":\"id\",\"bytes_total\":1,\"bytes_durable\":2,"
           "\"bytes_sent\":3,\"bytes_skipped\":4,\"bytes_holes\":15,\"streams\":5,\"rate_bps\":6,"
           "\"duration_s\":7.000,\"retransmits\":8,\"zero_copy_bytes\":9,\"fallback_bytes\":10,"
           "\"zero_copy_count\":11,\"fallback_count\":12,\"verification_failures\":13,"
           "\"bytes_repeated\":16,\"reconnects\":14,\"restarted\":true,\"kept\":true,\"limit\":"
           "\"network\","
           "\"limit_reason\":\"so\","
           "\"digest\":\"d\"}\n",
           "every counter under its name");
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        char member[64];

        snprintf(member, sizeof(member), "\"%s\":", keys[i]);
        ok(strstr(text, member) != NULL, "%s is promised", keys[i]);
    }
}

static void test_tree(void)
{
    struct lh_tree_stats stats = {.send = {.transfer = "id"},
                                  .walking = true,
                                  .files_total = 1,
                                  .files_sent = 2,
                                  .files_kept = 3,
                                  .dirs = 4,
                                  .links = 5,
                                  .others = 6,
                                  .failed = 7,
                                  .skipped_special = 8,
                                  .removed = 9};
    struct lh_json json = begin();

    lh_json_tree(&json, "done", &stats);
    ok(strstr(end(&json), "\"digest\":\"\",\"walking\":true,\"files_total\":1,\"files_sent\":2,"
                          "\"files_kept\":3,\"dirs\":4,\"links\":5,\"others\":6,\"failed\":7,"
                          "\"skipped_special\":8,\"removed\":9}\n") != NULL,
       "every counter of a tree under its name: %s", text);
}

static void test_failures(void)
{
    struct lh_json json;
    FILE *full = fopen("/dev/full", "w");
    int ends[2];

    if (full == NULL || pipe(ends) != 0)
        bail("cannot open /dev/full or a pipe");
    lh_json_begin(&json, full);
    lh_json_u64(&json, "a", 1);
    is_i64(lh_json_end(&json), -LH_E_INTERNAL, "a full disk");
    is_i64(errno, ENOSPC, "with errno");
    fclose(full);

    signal(SIGPIPE, SIG_IGN);
    close(ends[0]);
    lh_json_begin(&json, fdopen(ends[1], "w"));
    lh_json_u64(&json, "a", 1);
    is_i64(lh_json_end(&json), -LH_E_CANCELLED, "the reader has gone");
    fclose(json.out);
}

int main(void)
{
    test_strings();
    test_values();
    test_stats();
    test_tree();
    test_failures();
    free(text);
    return done_testing();
}
