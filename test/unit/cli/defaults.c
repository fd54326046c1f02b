/* The defaults that --help promises are those of the real engine. */
#include "cli/options.h"
#include "test/lib/tap.h"
#include "util/text.h"

#include <inttypes.h>
#include <string.h>

/* What the engine's option structs hold before any option is given. */
static uint64_t held(const struct lh_args *args, const struct lh_option *option)
{
    const void *at = (const char *)args + option->offset;
    uint32_t narrow;
    uint64_t wide;

    if (option->width == sizeof(narrow)) {
        memcpy(&narrow, at, sizeof(narrow));
        return narrow;
    }
    memcpy(&wide, at, sizeof(wide));
    return wide;
}

/* The number that the help's words stand for; false when they are only words. */
static bool promised(const struct lh_option *option, uint64_t *value)
{
    if (option->def == NULL)
        return false;
    if (strcmp(option->def, "never") == 0) {
        *value = 0;
        return true;
    }
    if (option->kind == LH_OPTION_TIME)
        return lh_text_parse_duration(option->def, value) == 0;
    return lh_text_parse_size(option->def, value) == 0;
}

int main(void)
{
    struct lh_args args = {.command = LH_CMD_SEND};
    unsigned n_compared = 0;

    lh_send_options_init(&args.send);
    lh_serve_options_init(&args.serve);
    for (size_t i = 0; i < lh_n_options; i++) {
        const struct lh_option *option = &lh_options[i];
        uint64_t want;
        uint64_t have;

        if (option->kind < LH_OPTION_NUMBER || option->kind > LH_OPTION_RATE ||
            !promised(option, &want))
            continue;
        have = held(&args, option);
        /* These two stand for "your default", which is then a promise of longhaul.h. */
        if (want != 0 && (have == 0 || have == UINT64_MAX))
            continue;
        is_u64(have, want, "--%s: %s", option->name, option->def);
        n_compared++;
    }
    ok(n_compared >= 6, "%u defaults compared", n_compared);
    is_u64(args.send.zero_copy, LH_ZERO_COPY_AUTO, "--zero-copy: auto");
    is_u64(args.send.existing, LH_EXISTING_DIFFERENT, "--existing: different");
    ok(args.send.congestion == NULL || strcmp(args.send.congestion, "bbr") == 0,
       "--congestion: bbr");
    ok(!args.send.insecure && !args.serve.insecure && !args.send.no_clobber, "flags are off");
    return done_testing();
}
