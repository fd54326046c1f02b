/* Fuzz target: what anybody may put on a queue.
 *
 * The input is taken as a map, and as the fields of an entry: names and values that end with a byte
 * 0. Promises: a map that is accepted is written again as the same text; a task that is accepted is
 * within its bounds. */
#include "queue/task.h"
#include "queue/map.h"
#include "target.h"
#include "util/err.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FIELDS 64

static void map(const char *data, size_t size)
{
    static struct lh_range ranges[LH_MAP_RANGES_MAX];
    static char text[LH_MAP_TEXT_MAX + 1];
    int n = lh_map_read(data, size, ranges, LH_MAP_RANGES_MAX);

    LH_REQUIRE(n >= 0 || n == -LH_E_INVAL || n == -LH_E_LIMIT);
    if (n < 0)
        return;
    for (int i = 1; i < n; i++)
        LH_REQUIRE(ranges[i].offset > ranges[i - 1].offset + ranges[i - 1].length);
    if (size <= LH_MAP_TEXT_MAX) {
        LH_REQUIRE(lh_map_write(text, sizeof(text), ranges, (size_t)n, NULL) == size);
        LH_REQUIRE(memcmp(text, data, size) == 0);
    }
    LH_REQUIRE(lh_map_write(text, 100, ranges, (size_t)n, NULL) < 100);
    LH_REQUIRE(lh_map_read(text, strlen(text), ranges, LH_MAP_RANGES_MAX) >= 0);
}

static void task(const char *data, size_t size)
{
    struct lh_field fields[MAX_FIELDS];
    struct lh_task t;
    struct lh_err err;
    size_t n = 0;
    int ret;

    for (size_t at = 0; n < MAX_FIELDS && at < size; n++) {
        fields[n].name = data + at;
        fields[n].name_len = strnlen(data + at, size - at);
        at += fields[n].name_len + 1;
        if (at > size)
            at = size;
        fields[n].value = data + at;
        fields[n].value_len = strnlen(data + at, size - at);
        at += fields[n].value_len + 1;
    }
    ret = lh_task_parse(&t, fields, n, &err);
    LH_REQUIRE(ret == 0 || ret == -LH_E_INVAL);
    if (ret != 0) {
        LH_REQUIRE(err.status == LH_E_INVAL && err.text[0] != '\0');
        return;
    }
    LH_REQUIRE(strlen(t.source) > 0 && strlen(t.source) <= LH_TASK_SOURCE_MAX);
    LH_REQUIRE(t.url.path_len > 0 && t.url.path_len <= LH_URL_PATH_MAX && t.url.host[0] != '\0');
    LH_REQUIRE(t.streams <= LH_MAX_STREAMS && t.max_streams <= LH_MAX_STREAMS);
    LH_REQUIRE(t.preserve < LH_PRESERVE_DEVICES && t.links <= LH_LINKS_SKIP);
    LH_REQUIRE(!(t.tree && t.no_clobber));
    for (size_t i = 0; i < t.n_rules; i++)
        LH_REQUIRE(t.rules[i].pattern[0] != '\0' && strchr(t.rules[i].pattern, '\n') == NULL);
    LH_REQUIRE(t.retries == LH_TASK_FOREVER || t.retries <= LH_TASK_RETRIES_MAX);
    lh_task_free(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy;

    if (size == 0)
        return 0;
    copy = malloc(size); /* exactly: a sanitizer sees any read behind it */
    if (copy == NULL)
        return 0;
    memcpy(copy, data, size);
    map(copy, size);
    task(copy, size);
    free(copy);
    return 0;
}
