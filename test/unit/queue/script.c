/* Scripts as they are built in: byte for byte what stands in the files. That the digest is the one
 * Redis makes of them, a Redis says: test/loop/redis.c. */
#include "queue/script.h"

#include "probe_scripts.h"
#include "test/lib/tap.h"

#include <stdio.h>
#include <string.h>

static size_t read_file(const char *path, char *out, size_t size)
{
    FILE *file = fopen(path, "rb");
    size_t len;

    if (file == NULL)
        bail("cannot read %s", path);
    len = fread(out, 1, size, file);
    fclose(file);
    return len;
}

static void same(const struct lh_script *script, const char *name, const char *path)
{
    char want[4096];
    size_t len = read_file(LH_LUA "/common.lua", want, sizeof(want));

    len += read_file(path, want + len, sizeof(want) - len);
    is_str(script->name, name, "%s: name", name);
    if (is_u64(script->len, len, "%s: length", name))
        is_mem(script->text, want, len, "%s: text", name);
    ok(script->text[script->len] == '\0', "%s: a string as well", name);
    is_u64(strspn(script->sha1, "0123456789abcdef"), 40, "%s: digits of the digest", name);
    is_u64(strlen(script->sha1), 40, "%s: length of the digest", name);
}

int main(void)
{
    same(&lh_script_plain, "plain", LH_LUA "/plain.lua");
    same(&lh_script_awkward, "awkward", LH_LUA "/awkward.lua");
    return done_testing();
}
