/* Taking lh:// addresses apart: scheme, host, port, path, in this order; the first thing that is
 * wrong is reported with the part it is in, and for the path with its place. */
#include "util/url.h"

#include "util/text.h"

#include <longhaul/longhaul.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char scheme[] = "lh://";

struct parser {
    const char *text; /* the whole address */
    struct lh_err *err;
};

/* "SENTENCE, in 'ADDRESS'" */
static int refuse(const struct parser *p, const char *sentence)
{
    char shown[256];

    lh_text_escape(shown, sizeof(shown), p->text, strlen(p->text));
    return lh_err_set(p->err, LH_E_INVAL, "%s, in '%s'", sentence, shown);
}

/* Decode %XX into `out`, which has room for as many bytes as `text` has. */
static int decode(const struct parser *p, const char *text, char *out, size_t *out_len)
{
    const char *extra = strpbrk(text, "?#");
    const char *wrong;

    if (extra != NULL && *extra == '?')
        return refuse(p, "there are no '?' queries; a '?' in a name is written %3F");
    if (extra != NULL)
        return refuse(p, "there are no '#' fragments; a '#' in a name is written %23");
    wrong = lh_address_decode(text, strlen(text), out, out_len);
    return wrong == NULL ? 0 : refuse(p, wrong);
}

int lh_url_parse(struct lh_url *url, const char *text, struct lh_err *err)
{
    struct parser p = {text, err};
    struct lh_url parsed = {.port = LH_DEFAULT_PORT};
    const char *authority = text + sizeof(scheme) - 1;
    const char *wrong;
    size_t len;
    int ret;

    if (strncasecmp(text, scheme, sizeof(scheme) - 1) != 0)
        return refuse(&p, "the destination must be lh://HOST[:PORT]/PATH");
    len = strcspn(authority, "/?#");
    if (memchr(authority, '@', len) != NULL)
        return refuse(&p, "there are no users: leave out what stands before '@'");
    wrong = lh_address_parse(authority, len, parsed.host, &parsed.port);
    if (wrong != NULL)
        return refuse(&p, wrong);
    if (authority[len] != '/')
        return refuse(&p, "the path is missing: lh://HOST/ keeps the file's name");

    parsed.path = malloc(strlen(authority + len) + sizeof("./"));
    if (parsed.path == NULL)
        return lh_err_set(err, LH_E_NOMEM, "out of memory");
    ret = decode(&p, authority + len + 1, parsed.path, &parsed.path_len);
    if (ret != 0) {
        free(parsed.path);
        return ret;
    }
    if (parsed.path_len > LH_URL_PATH_MAX) {
        free(parsed.path);
        return refuse(&p, "the path is longer than 4096 bytes");
    }
    if (parsed.path_len == 0) {
        memcpy(parsed.path, "./", 2);
        parsed.path_len = 2;
    }
    *url = parsed;
    return 0;
}

void lh_url_free(struct lh_url *url)
{
    free(url->path);
    url->path = NULL;
}
