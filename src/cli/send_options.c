/* What a send, of a file or of a tree, takes from the command line. */
#include "cli/cmd.h"

#define BAR_MS 250
#define JSON_MS 500

struct lh_send_options lh_cmd_send_options(const struct lh_args *args, const struct lh_url *url,
                                           bool bar, struct lh_term *term)
{
    struct lh_send_options opts = args->send;

    opts.host = url->host;
    opts.port = url->port;
    opts.path = url->path;
    opts.path_len = url->path_len;
    opts.progress_ms = bar ? BAR_MS : JSON_MS;
    opts.log = lh_term_log;
    opts.log_arg = term;
    opts.log_level = lh_cmd_log_level(args);
    return opts;
}
