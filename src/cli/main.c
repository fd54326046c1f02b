/* longhaul, the program. What belongs to a process rather than to the engine is set up here. */
#include "cli/cmd.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

/* A file that is opened later must never become standard output or error by taking a free number:
 * the words meant for people would be written into it. */
static int fill_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const lh_command_fn commands[LH_N_COMMANDS] = {
        [LH_CMD_SEND] = lh_cmd_send,     [LH_CMD_SERVE] = lh_cmd_serve,
        [LH_CMD_DIGEST] = lh_cmd_digest, [LH_CMD_PARTIALS] = lh_cmd_partials,
        [LH_CMD_WORKER] = lh_cmd_worker, [LH_CMD_SUBMIT] = lh_cmd_submit,
        [LH_CMD_STATUS] = lh_cmd_status, [LH_CMD_PAUSE] = lh_cmd_pause,
        [LH_CMD_RESUME] = lh_cmd_resume, [LH_CMD_CANCEL] = lh_cmd_cancel,
        [LH_CMD_RETRY] = lh_cmd_retry,   [LH_CMD_QUEUE] = lh_cmd_queue,
        [LH_CMD_HELP] = lh_cmd_help,
    };

    if (fill_standard_streams() != 0)
        return LH_EXIT_INTERNAL;
    /* sendfile(2) has no MSG_NOSIGNAL, and a reader of standard output may go away. */
    signal(SIGPIPE, SIG_IGN);
    return lh_cli_run(argc, argv, commands);
}
