/* malloc, calloc and realloc behind the linker's --wrap; what for is told in fault.h. */
#include "test/lib/fault.h"

#include <errno.h>
#include <stddef.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

static _Thread_local bool armed;
static _Thread_local bool met;
static _Thread_local unsigned left;

void lh_fault_arm(unsigned n)
{
    armed = true;
    met = false;
    left = n;
}

bool lh_fault_disarm(void)
{
    armed = false;
    return met;
}

static bool fails(void)
{
    if (!armed || left-- > 0)
        return false;
    armed = false;
    met = true;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}
