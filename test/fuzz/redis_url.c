/* Fuzz target: the address of a Redis.
 *
 * The input is the text. Promises: what is refused is refused in words, and nothing is written;
 * what is taken is whole, is shown in one line of printable characters and, by TCP, as an address
 * that means the same place. */
#include "queue/redis_url.h"
#include "target.h"

#include <stdlib.h>
#include <string.h>

static void taken(const struct lh_redis_url *url)
{
    char shown[LH_REDIS_URL_TEXT];
    struct lh_redis_url again;

    LH_REQUIRE((url->host[0] == '\0') == (url->path[0] != '\0'));
    LH_REQUIRE(memchr(url->path, '\0', sizeof(url->path)) != NULL);
    LH_REQUIRE(memchr(url->host, '\0', sizeof(url->host)) != NULL);
    LH_REQUIRE(memchr(url->user, '\0', sizeof(url->user)) != NULL);
    LH_REQUIRE(memchr(url->password, '\0', sizeof(url->password)) != NULL);
    LH_REQUIRE(lh_redis_url_text(url, shown) == shown);
    LH_REQUIRE(memchr(shown, '\0', sizeof(shown)) != NULL);
    for (const char *at = shown; *at != '\0'; at++)
        LH_REQUIRE((unsigned char)*at >= ' ' && *at != 0x7f);
    if (url->path[0] != '\0' || strstr(url->host, "%25") != NULL)
        return; /* a zone that begins with "25" is not worth more */
    LH_REQUIRE(lh_redis_url_parse(&again, shown, NULL) == 0);
    LH_REQUIRE(again.user[0] == '\0' && again.password[0] == '\0');
    LH_REQUIRE(strcmp(again.host, url->host) == 0 && again.port == url->port &&
               again.db == url->db);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lh_redis_url url = {.db = 77};
    struct lh_err err = {.text = ""};
    char *text;

    if (size > 4096)
        return 0;
    text = malloc(size + 1); /* exactly: a sanitizer sees any read behind it */
    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    if (lh_redis_url_parse(&url, text, &err) == 0)
        taken(&url);
    else
        LH_REQUIRE(err.status == LH_E_INVAL && err.text[0] != '\0' && url.db == 77);
    free(text);
    return 0;
}
