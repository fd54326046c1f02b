#include "util/url.h"

#include "test/lib/tap.h"

#include <longhaul/longhaul.h>
#include <stdlib.h>
#include <string.h>

static void good(const char *text, const char *host, unsigned port, const char *path)
{
    struct lh_url url;
    struct lh_err err = {.text = ""};

    if (!is_i64(lh_url_parse(&url, text, &err), 0, "%s is taken", text)) {
        diag("%s", err.text);
        return;
    }
    is_str(url.host, host, "%s: host", text);
    is_u64(url.port, port, "%s: port", text);
    is_u64(url.path_len, strlen(path), "%s: length of the path", text);
    if (url.path_len == strlen(path))
        is_mem(url.path, path, url.path_len, "%s: path", text);
    lh_url_free(&url);
}

static void bad(const char *text, const char *words)
{
    struct lh_url url = {.port = 1};
    struct lh_err err = {.text = ""};

    is_i64(lh_url_parse(&url, text, &err), -LH_E_INVAL, "%.80s is refused", text);
    ok(strstr(err.text, words) != NULL, "%.80s: says \"%s\"", text, words);
    ok(url.port == 1 && url.path == NULL, "%.80s: nothing is written", text);
    if (strstr(err.text, words) == NULL)
        diag("%s", err.text);
}

static void test_taken(void)
{
    good("lh://host/file", "host", LH_DEFAULT_PORT, "file");
    good("LH://Host.example.org:1/a/b", "Host.example.org", 1, "a/b");
    good("lh://10.0.0.1:65535/dir/", "10.0.0.1", 65535, "dir/");
    good("lh://[::1]:7411/x", "::1", 7411, "x");
    good("lh://[2001:db8::1]/x", "2001:db8::1", LH_DEFAULT_PORT, "x");
    good("lh://[fe80::1%25eth0]:9/x", "fe80::1%eth0", 9, "x");
    good("lh://[fe80::1%eth0]/x", "fe80::1%eth0", LH_DEFAULT_PORT, "x");
    good("lh://host/", "host", LH_DEFAULT_PORT, "./");
    good("lh://host//abs", "host", LH_DEFAULT_PORT, "/abs");
    good("lh://host/a//b/../c", "host", LH_DEFAULT_PORT, "a//b/../c");
    good("lh://host/a%20b%2fc%FF%0a", "host", LH_DEFAULT_PORT, "a b/c\xff\n");
    good("lh://host/\xff\xfe", "host", LH_DEFAULT_PORT, "\xff\xfe");
    good("lh://host/user@x:1", "host", LH_DEFAULT_PORT, "user@x:1");
    good("lh://host/100%25", "host", LH_DEFAULT_PORT, "100%");
}

static void test_refused(void)
{
    bad("", "must be lh://");
    bad("host:file", "must be lh://");
    bad("http://host/file", "must be lh://");
    bad("lh:/host/file", "must be lh://");
    bad("lh://", "host is missing");
    bad("lh:///file", "host is missing");
    bad("lh://:7410/file", "host is missing");
    bad("lh://host", "path is missing");
    bad("lh://host:1", "path is missing");
    bad("lh://host?x", "path is missing");
    bad("lh://me@host/file", "no users");
    bad("lh://me:pw@host/file", "no users");
    bad("lh://host/file?x=1", "written %3F");
    bad("lh://host/file#x", "written %23");
    bad("lh://host:/file", "port after ':' is missing");
    bad("lh://host:0/file", "between 1 and 65535");
    bad("lh://host:65536/file", "between 1 and 65535");
    bad("lh://host:18446744073709559026/file", "between 1 and 65535");
    bad("lh://host:-1/file", "not a number");
    bad("lh://host:7410x/file", "not a number");
    bad("lh://::1/file", "in brackets");
    bad("lh://[::1/file", "']'");
    bad("lh://[host]/file", "not an IPv6 address");
    bad("lh://[]/file", "not an IPv6 address");
    bad("lh://[1.2.3.4]/file", "not an IPv6 address");
    bad("lh://[fe80::1%]/file", "zone");
    bad("lh://[::1]x/file", "only a port");
    bad("lh://[::1]:/file", "port after ':' is missing");
    bad("lh://ho st/file", "no host name has");
    bad("lh://h\xc3\xb6st/file", "no host name has");
    bad("lh://host/100%", "two hexadecimal digits");
    bad("lh://host/100%2", "two hexadecimal digits");
    bad("lh://host/100%zz", "two hexadecimal digits");
    bad("lh://host/a%00b", "byte 0");
}

static void test_long(void)
{
    char long_host[400];

    strcpy(long_host, "lh://");
    memset(long_host + 5, 'a', 300);
    strcpy(long_host + 305, "/x");
    bad(long_host, "too long");
    memset(long_host + 5, 'a', 255);
    strcpy(long_host + 260, "/x");
    {
        struct lh_url url;

        is_i64(lh_url_parse(&url, long_host, NULL), 0, "a host name of 255 bytes is taken");
        lh_url_free(&url);
    }
    {
        char long_path[sizeof("lh://h/") + LH_URL_PATH_MAX + 1] = "lh://h/";
        struct lh_url url;

        memset(long_path + 7, 'a', LH_URL_PATH_MAX);
        is_i64(lh_url_parse(&url, long_path, NULL), 0, "a path of 4096 bytes is taken");
        lh_url_free(&url);
        long_path[7 + LH_URL_PATH_MAX] = 'a';
        bad(long_path, "longer than 4096 bytes");
    }
}

int main(void)
{
    test_taken();
    test_refused();
    test_long();
    return done_testing();
}
