#include "util/text.h"

#include "test/lib/tap.h"
#include "util/err.h"

#include <string.h>

static void bytes(uint64_t n, const char *want)
{
    char out[32];

    is_str(lh_text_bytes(out, sizeof(out), n), want, "%llu bytes", (unsigned long long)n);
}

static void duration(uint64_t s, const char *want)
{
    char out[32];

    is_str(lh_text_duration(out, sizeof(out), s), want, "%llu s", (unsigned long long)s);
}

static void size(const char *text, uint64_t want)
{
    uint64_t v = 7;

    is_i64(lh_text_parse_size(text, &v), 0, "\"%s\" is a size", text);
    is_u64(v, want, "  of so much");
}

static void no_size(const char *text)
{
    uint64_t v = 7;

    ok(lh_text_parse_size(text, &v) == -LH_E_INVAL && v == 7, "\"%s\" is no size", text);
}

static void time_of(const char *text, uint64_t want)
{
    uint64_t v = 7;

    is_i64(lh_text_parse_duration(text, &v), 0, "\"%s\" is a time", text);
    is_u64(v, want, "  of so much");
}

static void no_time(const char *text)
{
    uint64_t v = 7;

    ok(lh_text_parse_duration(text, &v) == -LH_E_INVAL && v == 7, "\"%s\" is no time", text);
}

static void rate(const char *text, uint64_t want)
{
    uint64_t v = 7;

    is_i64(lh_text_parse_rate(text, &v), 0, "\"%s\" is a rate", text);
    is_u64(v, want, "  of so much");
}

static void no_rate(const char *text)
{
    uint64_t v = 7;

    ok(lh_text_parse_rate(text, &v) == -LH_E_INVAL && v == 7, "\"%s\" is no rate", text);
}

static void escapes(const char *in, size_t len, size_t room, const char *want)
{
    char out[64];

    memset(out, '#', sizeof(out));
    is_str(lh_text_escape(out, room, in, len), want, "shown as %s", want);
    ok(out[room] == '#', "  within its room");
}

static void test_rules(void)
{
    bool include = true;

    is_str(lh_text_rule("*.o", &include), "*.o", "a pattern");
    ok(!include, "excludes");
    is_str(lh_text_rule("+ *.c", &include), "*.c", "one behind a plus");
    ok(include, "includes");
    is_str(lh_text_rule("- - x", &include), "- x", "one behind a minus");
    ok(!include, "excludes");
    is_str(lh_text_rule("+x", &include), "+x", "a plus that belongs to it");
    ok(!include, "excludes");
    ok(lh_text_rule("", &include) == NULL && lh_text_rule("# x", &include) == NULL &&
           lh_text_rule(";", &include) == NULL && lh_text_rule("+ ", &include) == NULL,
       "what is no rule");
}

static void test_hex(void)
{
    char out[16] = "xxxxxxxxxxxxxx";

    lh_text_hex(out, "\x00\x9f\xab\xff", 4);
    is_str(out, "009fabff", "bytes as digits");
    lh_text_hex(out, "", 0);
    is_str(out, "", "no bytes");
}

static void test_shown(void)
{
    bytes(0, "0 B");
    bytes(1023, "1023 B");
    bytes(1024, "1.0 KiB");
    bytes(1536, "1.5 KiB");
    bytes(1048575, "1023.9 KiB");
    bytes(1ull << 20, "1.0 MiB");
    bytes(5ull << 30, "5.0 GiB");
    bytes(UINT64_MAX, "15.9 EiB");
    duration(0, "0:00");
    duration(123, "2:03");
    duration(3599, "59:59");
    duration(3723, "1:02:03");
    duration(360000, "100:00:00");
    duration(UINT64_MAX, "--:--");
}

static void test_sizes(void)
{
    size("0", 0);
    size("12", 12);
    size("12b", 12);
    size("4k", 4096);
    size("4K", 4096);
    size("4KiB", 4096);
    size("256m", 256ull << 20);
    size("3G", 3ull << 30);
    size("2TiB", 2ull << 40);
    size("18446744073709551615", UINT64_MAX);
    no_size("");
    no_size("k");
    no_size("-1");
    no_size("+1");
    no_size(" 1");
    no_size("1 k");
    no_size("1.5");
    no_size("1.5B");
    no_size(".5k");
    no_size("1.k");
    no_size("1.2.3k");
    no_size("1.0000001k");
    no_size("1KB");
    no_size("1kk");
    no_size("18446744073709551616");
    no_size("99999999999999999999999");
    no_size("16777216T");
    no_size("16777215.999999T1");
    size("16777215.5T", UINT64_MAX - (1ull << 39) + 1);
    size("1.5G", 1610612736);
    size("0.25MiB", 262144);
    size("1.000001K", 1024); /* what is less than a byte is dropped */
}

static void test_rates(void)
{
    rate("0", 0);
    rate("8000", 8000);
    rate("500k", 500000);
    rate("500M", 500000000);
    rate("2G", 2000000000);
    rate("1T", 1000000000000);
    rate("100Mbit", 100000000);
    rate("100mbit/s", 100000000);
    rate("100Mbps", 100000000);
    rate("64bit", 64);
    no_rate("");
    no_rate("M");
    no_rate("bit");
    rate("1.5G", 1500000000);
    rate("0.25Mbit/s", 250000);
    no_rate("1,5G");
    no_rate("0.5bit");
    no_rate("1 G");
    no_rate("-1");
    no_rate("1MB");
    no_rate("1MBps");
    no_rate("1Kibit");
    no_rate("99999999999999T");
    no_rate("000000000000000000000000000000001M");
}

static void test_times(void)
{
    time_of("0", 0);
    time_of("5", 5000);
    time_of("250ms", 250);
    time_of("5s", 5000);
    time_of("2m", 120000);
    time_of("3h", 3 * 3600000ull);
    time_of("7d", 7 * 86400000ull);
    no_time("");
    no_time("1w");
    no_time("1.5ms");
    no_time("1M");
    no_time("1 s");
    no_time("-1s");
    no_time("18446744073709551615d");
    time_of("1.5", 1500);
    time_of("0.5h", 1800000);
    time_of("0.05s", 50);
}

static void test_escapes(void)
{
    char none[1] = {'#'};

    escapes("plain", 5, 32, "plain");
    escapes("", 0, 32, "");
    escapes("a\nb", 3, 32, "a\\x0ab");
    escapes("a\\b", 3, 32, "a\\\\b");
    escapes("\x1b[31m", 5, 32, "\\x1b[31m");
    escapes("\x7f\x00z", 3, 32, "\\x7f\\x00z");
    escapes("gr\xc3\xbc\xc3\x9f", 6, 32, "gr\xc3\xbc\xc3\x9f");
    escapes("\xe2\x82\xac\xf0\x9f\x98\x80", 7, 32, "\xe2\x82\xac\xf0\x9f\x98\x80");
    escapes("\xff\xc3", 2, 32, "\\xff\\xc3");
    escapes("\xc0\xaf", 2, 32, "\\xc0\\xaf");          /* overlong */
    escapes("\xe0\x80\xaf", 3, 32, "\\xe0\\x80\\xaf"); /* overlong */
    escapes("\xed\xa0\x80", 3, 32, "\\xed\\xa0\\x80"); /* surrogate */
    escapes("\xf4\x90\x80\x80", 4, 32, "\\xf4\\x90\\x80\\x80");
    escapes("\xc2\x9b", 2, 32, "\\xc2\\x9b"); /* a control that terminals obey */
    escapes("abcdefgh", 8, 9, "abcdefgh");
    escapes("abcdefgh", 8, 8, "abcd...");
    escapes("abcd\n", 5, 8, "abcd...");
    escapes("\xe2\x82\xac\xe2\x82\xac", 6, 6, "...");
    escapes("abc", 3, 3, "");
    lh_text_escape(none, 0, "abc", 3);
    ok(none[0] == '#', "no room, nothing written");
}

int main(void)
{
    test_shown();
    test_sizes();
    test_rates();
    test_times();
    test_escapes();
    test_rules();
    test_hex();
    return done_testing();
}
