/* Fuzz target: patterns and paths of a tree.
 *
 * The input is a byte (odd: a directory), a pattern, a byte 0 and a path. Promises: a pattern that
 * is taken answers, in time by pattern times path; what is excluded is so as a part of its path
 * too; a rule before it that includes everything excludes nothing. */
#include "core/filter.h"
#include "target.h"
#include "util/err.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lh_filter f;
    struct lh_err err;
    const char *path;
    char *copy;
    size_t len;

    if (size == 0)
        return 0;
    copy = calloc(1, size + 1);
    LH_REQUIRE(copy != NULL);
    memcpy(copy, data, size);
    len = strlen(copy + 1);
    path = 1 + len < size ? copy + 1 + len + 1 : "";
    lh_filter_init(&f);
    if (strlen(path) <= LH_FILTER_PATH_MAX && path[0] != '\0' &&
        lh_filter_add(&f, false, copy + 1, &err) == 0) {
        bool is_dir = (copy[0] & 1) != 0;
        bool out = lh_filter_excludes(&f, path, strlen(path), is_dir);

        LH_REQUIRE(!out || lh_filter_excludes_deep(&f, path, strlen(path), is_dir));
        lh_filter_free(&f);
        LH_REQUIRE(lh_filter_add(&f, true, "**", &err) == 0);
        LH_REQUIRE(lh_filter_add(&f, false, copy + 1, &err) == 0);
        LH_REQUIRE(!lh_filter_excludes_deep(&f, path, strlen(path), is_dir));
    }
    lh_filter_free(&f);
    free(copy);
    return 0;
}
