#include "util/err.h"

#include "test/lib/tap.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

struct outer {
    int before;
    int member;
};

int main(void)
{
    struct outer outer;
    struct lh_err err;
    char longest[2048];

    is_i64(lh_err_set(&err, LH_E_BUSY, "%s is %d", "it", 5), -LH_E_BUSY, "the status comes back");
    ok(err.status == LH_E_BUSY && err.sys_errno == 0, "and is kept");
    is_str(err.text, "it is 5", "with the sentence");
    is_i64(lh_err_sys(&err, LH_E_DEST, ENOSPC, "cannot write %s", "x"), -LH_E_DEST, "the same");
    ok(err.status == LH_E_DEST && err.sys_errno == ENOSPC, "with the errno");
    is_str(err.text, "cannot write x: No space left on device", "in words");
    is_i64(lh_err_set(NULL, LH_E_BUSY, "x"), -LH_E_BUSY, "nobody wants to know");
    is_i64(lh_err_sys(NULL, LH_E_BUSY, EIO, "x"), -LH_E_BUSY, "nor here");
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    lh_err_sys(&err, LH_E_DEST, EIO, "%s", longest);
    is_u64(strlen(err.text), sizeof(err.text) - 1, "cut to its room");

    is_i64(lh_status_of_write_errno(ENOSPC), LH_E_DEST_SPACE, "ENOSPC");
    is_i64(lh_status_of_write_errno(EDQUOT), LH_E_DEST_SPACE, "EDQUOT");
    is_i64(lh_status_of_write_errno(EROFS), LH_E_DEST_READONLY, "EROFS");
    is_i64(lh_status_of_write_errno(EISDIR), LH_E_DEST_KIND, "EISDIR");
    is_i64(lh_status_of_write_errno(ENOMEM), LH_E_NOMEM, "ENOMEM");
    is_i64(lh_status_of_write_errno(EIO), LH_E_DEST, "EIO");

    is_str(lh_status_name(-LH_E_BUSY), "BUSY", "a name, of either sign");
    is_str(lh_status_name(LH_E_BUSY), "BUSY", "a name");
    is_str(lh_status_text(0), "done", "words for none");
    is_i64(lh_status_exit(0), LH_EXIT_OK, "exit code for none");
    is_i64(lh_status_exit(-LH_E_SOURCE_CHANGED), LH_EXIT_SOURCE, "exit code");
    is_str(lh_status_name(12345), "INTERNAL", "an unknown one is a bug");
    for (int s = 1; s < LH_E_MAX; s++)
        ok(lh_status_text(s)[0] != '\0' && lh_status_exit(s) != LH_EXIT_OK, "%s has words",
           lh_status_name(s));
    ok(LH_CONTAINER_OF(&outer.member, struct outer, member) == &outer, "the container of a member");
    LH_REQUIRE(outer.member == outer.member);
    return done_testing();
}
