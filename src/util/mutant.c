#include "util/mutant.h"

#include <stdlib.h>
#include <string.h>

bool lh_mutant(const char *name)
{
    const char *on = getenv("LH_MUTANT");

    return on != NULL && strcmp(on, name) == 0;
}
