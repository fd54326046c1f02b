/* Put before user-mode-linux (LD_PRELOAD) where the CPU has more registers than Linux 6.1 knew of.
 *
 * UML keeps 2696 bytes of a process's extended registers, all up to AVX-512 and the protection
 * keys; where the CPU has AMX, the host's kernel refuses to set less than all of them, and no
 * guest's first program starts ("ptrace set fp regs failed, errno = 14"). Here what is missing is
 * filled in with what the process has already. Failures: those of ptrace(2), as they come. */
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { MOST_BYTES = 1 << 16 };

typedef long ptrace_call(int, pid_t, void *, void *);

long ptrace(enum __ptrace_request request, ...)
{
    static ptrace_call *next;
    if (!next)
        next = (ptrace_call *)dlsym(RTLD_NEXT, "ptrace");
    va_list args;
    va_start(args, request);
    pid_t pid = va_arg(args, pid_t);
    void *addr = va_arg(args, void *);
    void *data = va_arg(args, void *);
    va_end(args);
    if (request != PTRACE_SETREGSET || (size_t)addr != NT_X86_XSTATE)
        return next(request, pid, addr, data);
    static char all[MOST_BYTES];
    const struct iovec *given = data;
    struct iovec whole = {all, sizeof(all)};
    long rc = next(PTRACE_GETREGSET, pid, addr, &whole);
    if (rc)
        return rc;
    memcpy(all, given->iov_base, given->iov_len < whole.iov_len ? given->iov_len : whole.iov_len);
    return next(request, pid, addr, &whole);
}
