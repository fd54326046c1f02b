/* Run a fuzz target over the files of its corpus, one check a file: in every build, with any
 * compiler. Usage: NAME.t [DIRECTORY]. */
#include "target.h"
#include "test/lib/tap.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_SIZE (1024 * 1024)

static void replay(const char *dir, const char *name)
{
    char path[4096];
    uint8_t *data = malloc(MAX_SIZE);
    size_t size;
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "rb");
    if (f == NULL || data == NULL)
        bail("cannot read %s", path);
    size = fread(data, 1, MAX_SIZE, f);
    fclose(f);
    ok(size > 0 && LLVMFuzzerTestOneInput(data, size) == 0, "%s, %zu bytes", name, size);
    free(data);
}

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : LH_CORPUS;
    struct dirent **list;
    int n = scandir(dir, &list, NULL, alphasort);

    if (n < 0)
        bail("cannot read %s", dir);
    for (int i = 0; i < n; i++) {
        if (list[i]->d_name[0] != '.')
            replay(dir, list[i]->d_name);
        free(list[i]);
    }
    free(list);
    return done_testing();
}
