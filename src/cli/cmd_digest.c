/* longhaul digest: the digest of a file, on standard output. */
#include "cli/cmd.h"

int lh_cmd_digest(const struct lh_args *args, struct lh_term *term)
{
    char digest[64];
    char text[512] = "";
    int ret =
        lh_digest_file(args->operands[0], args->digest_block_bytes, digest, text, sizeof(text));

    if (ret != 0)
        return lh_cmd_fail(term, ret, text);
    printf("%s\n", digest);
    return lh_cmd_flush(term);
}
