/* The table of commands and options: the one place where their words stand.
 *
 * Rows are in the order in which --help shows them. A name that two commands keep in different
 * places has two rows. */
#include "cli/options.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (MIB * KIB)
#define SECOND UINT64_C(1000)
#define DAY (86400 * SECOND)

#define SEND (1u << LH_CMD_SEND)
#define SERVE (1u << LH_CMD_SERVE)
#define DIGEST (1u << LH_CMD_DIGEST)
#define PARTIALS (1u << LH_CMD_PARTIALS)
#define WORKER (1u << LH_CMD_WORKER)
#define SUBMIT (1u << LH_CMD_SUBMIT)
#define STATUS (1u << LH_CMD_STATUS)
#define QUEUE (1u << LH_CMD_QUEUE)
#define CONTROLS                                                                                   \
    (1u << LH_CMD_PAUSE | 1u << LH_CMD_RESUME | 1u << LH_CMD_CANCEL | 1u << LH_CMD_RETRY)
#define QUEUED (WORKER | SUBMIT | STATUS | CONTROLS | QUEUE)
#define HELP (1u << LH_CMD_HELP)
#define EVERY ((1u << LH_N_COMMANDS) - 1)

/* Headings in the help. */
#define WHAT "What is sent"
#define THERE "What becomes of the destination"
#define WAY "How it travels"
#define SHOWN "What is shown"

/* clang-format off */
#define AT(member)                                                                                 \
    .offset = offsetof(struct lh_args, member), .width = sizeof(((struct lh_args *)0)->member)

const struct lh_option lh_options[] = {
    /* ---- the queue ---- */
    {.name = "redis", .commands = QUEUED, .kind = LH_OPTION_TEXT, AT(redis), .arg = "URL",
     .help = "Where the queue is: redis://HOST[:PORT][/DB], or unix:///PATH/TO.SOCK[?db=DB]; "
             "needed. USER:PASSWORD@ or :PASSWORD@ goes before HOST; everybody on this host can "
             "read the command line, so a password is better given in LONGHAUL_REDIS."},
    {.name = "queue", .commands = QUEUED, .kind = LH_OPTION_TEXT, AT(queue), .arg = "NAME",
     .def = "default", .help = "Name of the queue: letters, digits, '.', '_' and '-'."},
    {.name = "priority", .commands = SUBMIT, .kind = LH_OPTION_CHOICE, AT(priority),
     .arg = "high|normal|low", .def = "normal",
     .help = "Tasks of a higher priority are taken first; what runs already is left alone."},
    {.name = "retries", .commands = SUBMIT, .kind = LH_OPTION_TEXT, AT(retries),
     .arg = "N|forever", .def = "10",
     .help = "How often an attempt that failed is repeated before the task becomes a dead letter. "
             "What trying again cannot mend, such as a source that is not there, is given up at "
             "once."},
    {.name = "wait", .commands = SUBMIT, .kind = LH_OPTION_FLAG, AT(wait), .argv_only = true,
     .help = "Show how it goes until every task has ended, and exit by the worst of them. Ctrl-C "
             "ends the waiting, not the tasks."},
    {.name = "watch", .commands = STATUS, .kind = LH_OPTION_FLAG, AT(watch), .argv_only = true,
     .help = "Look again each second: drawn over on a terminal, else a line for everything that "
             "has changed. Until Ctrl-C; with TASK until that has ended."},
    {.name = "requeue", .commands = QUEUE, .kind = LH_OPTION_TEXT, AT(requeue), .arg = "TASK|all",
     .argv_only = true,
     .help = "With dead: put this dead letter, or all of them, back on the queue."},
    {.name = "drop", .commands = QUEUE, .kind = LH_OPTION_TEXT, AT(drop), .arg = "TASK|all",
     .argv_only = true, .help = "With dead: forget this dead letter, or all of them."},
    /* ---- worker ---- */
    {.name = "jobs", .commands = WORKER, .kind = LH_OPTION_NUMBER, AT(jobs),
     .min = 1, .max = 64, .arg = "N", .def = "4",
     .help = "Tasks that are being sent at once. No more are taken than can be started."},
    {.name = "jobs-per-host", .commands = WORKER, .kind = LH_OPTION_NUMBER, AT(jobs_per_host),
     .min = 1, .max = 64, .arg = "N", .def = "as --jobs",
     .help = "Of them to one receiver. Further tasks to it wait here for a while, the oldest first, "
             "or go back on the queue, so that tasks to other receivers pass."},
    {.name = "name", .commands = WORKER, .kind = LH_OPTION_TEXT, AT(worker_name),
     .arg = "NAME", .def = "of the host, the process, and chance",
     .help = "Name of the worker, as the queue lists it: letters, digits, '.', '_' and '-'. No two "
             "workers may have the same."},
    {.name = "claim-time", .commands = WORKER, .kind = LH_OPTION_TIME, AT(claim_ms),
     .min = 2 * SECOND, .max = 3600 * SECOND, .arg = "TIME", .def = "15s",
     .help = "A worker that has been silent for so long loses its tasks to others. The same for all "
             "workers of a queue."},
    /* ---- send: which entries ---- */
    {.name = "include", .group = WHAT, .commands = SEND | SUBMIT, .kind = LH_OPTION_RULE,
     .min = LH_RULE_INCLUDE, .arg = "PATTERN", .argv_only = true,
     .help = "Send what matches, also where a later --exclude matches. Rules are tried in the order "
             "in which they are given, and the first that matches decides. Patterns are rsync's: "
             "*.o is a name anywhere, /a/b a path from the destination on, dir/ only a directory, "
             "** any number of directories."},
    {.name = "exclude", .group = WHAT, .commands = SEND | SUBMIT, .kind = LH_OPTION_RULE,
     .min = LH_RULE_EXCLUDE, .arg = "PATTERN", .argv_only = true,
     .help = "Leave out what matches; of a directory all that is in it. --delete leaves it alone."},
    {.name = "exclude-from", .group = WHAT, .commands = SEND | SUBMIT, .kind = LH_OPTION_RULE,
     .min = LH_RULE_EXCLUDE_FROM, .arg = "FILE|-", .argv_only = true,
     .help = "A file with a pattern to exclude in each line, or, behind \"+ \", one to include. "
             "Empty lines and those that begin with # or ; do not count. -: standard input."},
    {.name = "files-from", .group = WHAT, .commands = SEND, .kind = LH_OPTION_TEXT,
     AT(tree.files_from), .arg = "FILE|-", .argv_only = true,
     .help = "Send what is listed there, a name each line or with a NUL behind each, relative to "
             "the one SRC, which is a directory. Of a directory in the list what is in it is not "
             "sent unless it is listed as well."},
    {.name = "links", .group = WHAT, .commands = SEND | SUBMIT, .kind = LH_OPTION_CHOICE, AT(tree.links),
     .arg = "keep|follow|skip", .def = "keep",
     .help = "Symbolic links in a tree: made anew as such, sent as what they lead to, or left "
             "out."},
    {.name = "one-file-system", .letter = 'x', .group = WHAT, .commands = SEND | SUBMIT,
     .kind = LH_OPTION_FLAG, AT(tree.one_file_system),
     .help = "Do not go into directories where another file system is mounted."},
    {.name = "devices", .group = WHAT, .commands = SEND | SUBMIT, .kind = LH_OPTION_FLAG, AT(devices),
     .help = "Make FIFOs, sockets and device files anew too. Otherwise they are left out and "
             "counted."},
    {.name = "stop-on-error", .group = WHAT, .commands = SEND | SUBMIT, .kind = LH_OPTION_FLAG,
     AT(tree.stop_on_error),
     .help = "Stop at the first entry that cannot be moved. Otherwise the others go on, and the "
             "exit status is 8."},
    /* ---- send: what is there ---- */
    {.name = "existing", .group = THERE, .commands = SEND | SUBMIT, .kind = LH_OPTION_CHOICE,
     AT(send.existing), .arg = "different|skip|replace|newer", .def = "different",
     .help = "What becomes of a file that is at the destination. different: it stays when size and "
             "time of change are those of the source. skip: it stays, whatever it is. replace: it "
             "is replaced, always. newer: it stays unless the source was changed later. It is "
             "replaced in one step, when the new file is whole; what stays is a success."},
    {.name = "no-clobber", .group = THERE, .commands = SEND | SUBMIT, .kind = LH_OPTION_FLAG, AT(send.no_clobber),
     .help = "Refuse when the destination exists, whatever --existing says. For a single file."},
    {.name = "checksum", .group = THERE, .commands = SEND | SUBMIT, .kind = LH_OPTION_FLAG, AT(tree.checksum),
     .help = "With --existing different: compare contents instead of size and time. Both sides read "
             "all of it."},
    {.name = "preserve", .group = THERE, .commands = SEND | SUBMIT, .kind = LH_OPTION_SET, AT(tree.preserve),
     .arg = "mode,times,owner,xattrs,acl,hardlinks", .def = "mode,times,owner",
     .help = "What is kept of the entries of a tree besides contents: any of these with commas "
             "between, or none. owner: where the receiver may, which is as root."},
    {.name = "numeric-ids", .group = THERE, .commands = SEND | SUBMIT, .kind = LH_OPTION_FLAG, AT(tree.numeric_ids),
     .help = "Owners keep their numbers. Otherwise a user or group that the receiver knows by name "
             "gets the receiver's number of it."},
    {.name = "delete", .group = THERE, .commands = SEND | SUBMIT, .kind = LH_OPTION_FLAG, AT(tree.remove),
     .argv_only = true,
     .help = "At the end remove from the directories that were sent what the source does not have. "
             "Not when anything of the source could not be read or a source is empty, and never what "
             "is excluded."},
    {.name = "max-delete", .group = THERE, .commands = SEND | SUBMIT, .kind = LH_OPTION_NUMBER,
     AT(tree.max_removed), .max = UINT64_MAX - 1, .arg = "N", .def = "no limit",
     .help = "With --delete: when more than N entries would be removed, none is."},
    {.name = "dry-run", .letter = 'n', .group = THERE, .commands = SEND, .kind = LH_OPTION_FLAG,
     AT(tree.dry_run), .argv_only = true,
     .help = "Change nothing; print what would be done, a line for each entry. With --verbose also "
             "those that would stay."},
    /* ---- send: how ---- */
    {.name = "streams", .group = WAY, .commands = SEND | SUBMIT, .kind = LH_OPTION_NUMBER, AT(send.streams),
     .min = 1, .max = LH_MAX_STREAMS, .arg = "N", .def = "as many as help",
     .help = "TCP connections that carry data: just so many, instead of finding out how many gain "
             "something. Never more than --max-streams, if that is given. --verbose shows what was "
             "tried and why."},
    {.name = "max-streams", .group = WAY, .commands = SEND | SUBMIT, .kind = LH_OPTION_NUMBER, AT(send.max_streams),
     .min = 1, .max = LH_MAX_STREAMS, .arg = "N", .def = "16; on long paths up to 32; without BBR 128",
     .help = "Never use more streams than this, of a tree in all: then big files go one by one, and share "
             "them with the small ones. (1: they take turns, on two connections of which one sends.) "
             "More carry more on paths that are long and lose packets; neighbours will notice."},
    {.name = "limit-rate", .group = WAY, .commands = SEND | SUBMIT, .kind = LH_OPTION_RATE, AT(send.limit_bps),
     .min = 64000, .max = UINT64_C(100000000000000), .or_zero = true, .arg = "RATE", .def = "none",
     .help = "Send no faster than this, all streams together, in bits per second: 500M, 1.5G; 0 is "
             "no limit, whatever the environment says. Counted "
             "are contents and their framing, not TCP's and IP's headers."},
    {.name = "share", .group = WAY, .commands = SEND | SUBMIT, .kind = LH_OPTION_CHOICE, AT(send.share),
     .arg = "full|background", .def = "full",
     .help = "full: as fast as the path carries. background: what others leave; slower while round "
             "trips grow or more is lost than usual, faster again when the path is free."},
    {.name = "loops", .group = WAY, .commands = SEND | WORKER, .kind = LH_OPTION_NUMBER, AT(send.loops),
     .min = 1, .max = LH_MAX_LOOPS, .arg = "N", .def = "one a core, at most 4",
     .help = "Threads that the streams are spread over."},
    {.name = "zero-copy", .group = WAY, .commands = SEND | WORKER, .kind = LH_OPTION_CHOICE, AT(send.zero_copy),
     .arg = "auto|on|off", .def = "auto",
     .help = "Send with sendfile(2): where the file system can (auto), always or fail (on), or "
             "never, with read(2) and send(2) instead (off)."},
    {.name = "zero-copy-min", .group = WAY, .commands = SEND | WORKER, .kind = LH_OPTION_SIZE, AT(send.zero_copy_min),
     .max = UINT64_MAX - 1, .arg = "SIZE", .def = "256K",
     .help = "With --zero-copy auto: files smaller than this go by read(2) and send(2)."},
    {.name = "sparse", .group = WAY, .commands = SEND | SUBMIT, .kind = LH_OPTION_FLAG, AT(send.sparse),
     .help = "Blocks that are nothing but zeros do not travel, and become holes at the destination; of "
             "small files in a tree pages. Space is taken for data alone, so it is not known "
             "before whether all fits. Holes of the source never travel."},
    {.name = "block-size", .group = WAY, .commands = SEND | SUBMIT, .kind = LH_OPTION_POWER, AT(send.block_bytes),
     .min = 64 * KIB, .max = MIB, .arg = "SIZE", .def = "256K",
     .help = "Size of the blocks that are hashed and verified one by one. It is part of the "
             "digest's name, and a transfer resumes only with the block size it began with."},
    {.name = "insecure", .group = WAY, .commands = SEND | WORKER | SUBMIT, .kind = LH_OPTION_FLAG, AT(send.insecure),
     .help = "Allow a receiver that is not on this host, with no key and no encryption: whoever "
             "can reach the network between can read and change the contents. The receiver needs "
             "--insecure as well."},
    {.name = "congestion", .group = WAY, .commands = SEND | WORKER, .kind = LH_OPTION_TEXT, AT(send.congestion),
     .arg = "NAME", .def = "bbr",
     .help = "TCP congestion control of the streams; the kernel's own default is taken, with a "
             "warning, where this one is not to be had."},
    {.name = "sndbuf", .group = WAY, .commands = SEND | WORKER, .kind = LH_OPTION_SIZE, AT(send.sndbuf_bytes),
     .max = 2 * GIB - 1, .arg = "SIZE", .def = "left to the kernel unless it is too small",
     .help = "Socket send buffer (SO_SNDBUF) of each stream; 0 is the default. What the kernel "
             "really gives is shown with --verbose."},
    {.name = "stagger", .group = WAY, .commands = SEND | WORKER, .kind = LH_OPTION_TIME, AT(send.stagger_ms),
     .max = 600 * SECOND, .arg = "TIME", .def = "50ms",
     .help = "Streams start at random moments within this time."},
    {.name = "give-up-after", .group = WAY, .commands = SEND, .kind = LH_OPTION_TIME, AT(send.give_up_ms),
     .max = 3650 * DAY, .arg = "TIME", .def = "never",
     .help = "Give up when the receiver has not been heard of for so long, or has been busy for so "
             "long when it was dialled again. 0 is never: it goes on when the network comes back. A "
             "receiver that never answered at all is always given up at once."},
    /* ---- serve ---- */
    {.name = "root", .commands = SERVE, .kind = LH_OPTION_TEXT, AT(serve.root), .arg = "DIR",
     .help = "Directory below which everything is written; needed. No path leads out of it."},
    {.name = "listen", .commands = SERVE, .kind = LH_OPTION_TEXT, AT(serve.listen),
     .arg = "HOST:PORT", .def = "port 7410 of this host alone, IPv4 and IPv6",
     .help = "Address to listen on: HOST:PORT, [::1]:PORT, or :PORT for every address that is "
             "allowed. Port 0 takes any free one. Without --insecure only addresses that this host "
             "alone can reach are."},
    {.name = "insecure", .commands = SERVE, .kind = LH_OPTION_FLAG, AT(serve.insecure),
     .help = "Allow an address that other hosts can reach, with no key and no encryption: whoever "
             "can reach it can write below the root."},
    {.name = "allow", .commands = SERVE, .kind = LH_OPTION_SET, AT(serve.allow),
     .arg = "owner,set-id,devices,security", .def = "owner",
     .help = "What senders of trees may ask of a receiver that is root: any of these with commas "
             "between, or none. owner: users and groups other than its own. set-id: with owner, the "
             "set-user-id and set-group-id bits of files. devices: device files. security: extended "
             "attributes security.* and trusted.*, capabilities among them. With each of the last "
             "three a sender can make itself root where the root directory is in use."},
    {.name = "loops", .commands = SERVE, .kind = LH_OPTION_NUMBER, AT(serve.loops),
     .min = 1, .max = LH_MAX_LOOPS, .arg = "N", .def = "one a core, at most 4",
     .help = "Threads that the streams are spread over."},
    {.name = "commit-interval", .commands = SERVE, .kind = LH_OPTION_TIME, AT(serve.commit_ms),
     .min = 1, .max = 3600 * SECOND, .arg = "TIME", .def = "1s",
     .help = "Make what has arrived durable at least so often. A crash loses at most what came in "
             "since the last two commits, and that is sent again."},
    {.name = "commit-bytes", .commands = SERVE, .kind = LH_OPTION_SIZE, AT(serve.commit_bytes),
     .min = MIB, .max = 1024 * GIB, .arg = "SIZE", .def = "256M",
     .help = "Make what has arrived durable when it is so much, if that comes first."},
    {.name = "partial-ttl", .commands = SERVE, .kind = LH_OPTION_TIME, AT(serve.partial_ttl_ms),
     .max = 36500 * DAY, .arg = "TIME", .def = "never",
     .help = "Remove half-done transfers that nobody has touched for so long; 0 is never. One that "
             "is being received is left alone."},
    {.name = "holder-timeout", .commands = SERVE, .kind = LH_OPTION_TIME,
     AT(serve.holder_timeout_ms), .min = 1 * SECOND, .max = DAY, .arg = "TIME", .def = "15s",
     .help = "A sender that has been silent for so long loses its transfer to another one that "
             "asks for it; before that the other one hears \"busy\"."},
    {.name = "pool", .commands = SERVE, .kind = LH_OPTION_SIZE, AT(serve.pool_bytes),
     .min = 4 * MIB, .max = 64 * GIB, .arg = "SIZE", .def = "32M",
     .help = "Receive buffers of all streams together."},
    {.name = "tree-memory", .commands = SERVE, .kind = LH_OPTION_SIZE, AT(serve.tree_memory_bytes),
     .min = 4 * MIB, .max = 1024 * GIB, .arg = "SIZE", .def = "512M",
     .help = "Memory for what is known of the trees that are being received, all together. A tree "
             "takes 4 MiB at least: when they are not there its sender is told to come again. Less "
             "than they would like makes trees slower."},
    /* ---- digest ---- */
    {.name = "block-size", .commands = DIGEST, .kind = LH_OPTION_POWER, AT(digest_block_bytes),
     .min = 64 * KIB, .max = MIB, .arg = "SIZE", .def = "256K",
     .help = "Size of the blocks: the digest compares only with one of the same block size."},
    /* ---- partials ---- */
    {.name = "root", .commands = PARTIALS, .kind = LH_OPTION_TEXT, AT(partials_root), .arg = "DIR",
     .def = ".", .help = "The receiver's root directory."},
    {.name = "older-than", .commands = PARTIALS, .kind = LH_OPTION_TIME, AT(older_than_ms),
     .max = 36500 * DAY, .arg = "TIME", .def = "0", .argv_only = true,
     .help = "Only those that nobody has touched for so long."},
    {.name = "remove", .commands = PARTIALS, .kind = LH_OPTION_LIST, .arg = "PATH",
     .argv_only = true,
     .help = "Remove what is left of the transfer to PATH (relative to the root, byte for byte as "
             "it was sent). May be given several times."},
    {.name = "remove-all", .commands = PARTIALS, .kind = LH_OPTION_FLAG, AT(remove_all),
     .argv_only = true,
     .help = "Remove every half-done or damaged one. Records of finished transfers stay; they go "
             "by themselves. What a receiver holds is never removed."},
    /* ---- shared ---- */
    {.name = "json", .group = SHOWN, .commands = SEND | PARTIALS | QUEUED, .kind = LH_OPTION_FLAG, AT(json),
     .help = "One JSON object a line on standard output."},
    {.name = "quiet", .group = SHOWN, .letter = 'q', .commands = SEND | SERVE | WORKER, .kind = LH_OPTION_FLAG, AT(quiet),
     .help = "Say nothing but errors."},
    {.name = "verbose", .group = SHOWN, .letter = 'v', .commands = SEND | SERVE | WORKER, .kind = LH_OPTION_TALLY,
     AT(verbosity), .max = 2,
     .help = "Say more: what each stream really got from the kernel, who comes and goes. Twice: "
             "for debugging."},
    {.name = "man", .commands = HELP, .kind = LH_OPTION_FLAG, AT(man), .argv_only = true,
     .help = "Print the manual page, in roff."},
    {.name = "help", .group = SHOWN, .letter = 'h', .commands = EVERY, .kind = LH_OPTION_FLAG, AT(help),
     .argv_only = true, .help = "Print this help."},
};
const size_t lh_n_options = sizeof(lh_options) / sizeof(lh_options[0]);

const struct lh_command_text lh_commands[LH_N_COMMANDS] = {
    [LH_CMD_SEND] = {
        .name = "send", .operands = "SRC... lh://HOST[:PORT]/PATH", .min_operands = 2,
        .max_operands = UINT32_MAX,
        .summary = "Send files and directories, or go on with what was interrupted.",
        .details =
            "Sends each SRC to the receiver on HOST (a name, an IPv4 address or an IPv6 address in "
            "brackets; port 7410 unless told otherwise), to PATH below its root. Missing directories "
            "are made. %XX in PATH stands for the byte XX; %, ? and # themselves are written %25, "
            "%3F and %23.\n\n"
            "One file becomes PATH, or keeps its name when PATH ends in /. With a directory or "
            "several SRC, PATH is the directory that they go to: SRC keeps its name in it, and of "
            "\"SRC/\", with a slash behind, what is in it goes right into PATH. What is there "
            "already with the same size and time is not sent again.\n\n"
            "The same command again goes on where the last one stopped, however that ended.",
        .example = "longhaul send --insecure disk.img lh://backup.example.org/images/"},
    [LH_CMD_SERVE] = {
        .name = "serve", .operands = "--root DIR",
        .summary = "Receive files below a directory.",
        .details =
            "Receives until it is interrupted. A file appears under its name only when it is whole, "
            "verified and safely on the disk. What is durable survives any kill or power cut, and "
            "is not sent again.",
        .example = "longhaul serve --root /srv/incoming"},
    [LH_CMD_DIGEST] = {
        .name = "digest", .operands = "FILE", .min_operands = 1, .max_operands = 1,
        .summary = "Print the digest of a file, as a finished transfer prints it.",
        .details =
            "XXH3-128 over the list of the XXH3-128 hashes of the file's blocks, with hash and "
            "block size in its name. It finds damage; it is no protection against forgery.",
        .example = "longhaul digest disk.img"},
    [LH_CMD_PARTIALS] = {
        .name = "partials", .operands = "",
        .summary = "List or remove transfers that were left half done.",
        .details =
            "Run it on the receiver's host. Without --remove or --remove-all it only lists: state, "
            "what is durable, the size, how long ago it was touched, and the path. The states are "
            "partial (it can be resumed), held (it is being received now), done (whole; only "
            "the record of it is left) and damaged.",
        .example = "longhaul partials --root /srv/incoming --older-than 7d --remove-all"},
    [LH_CMD_WORKER] = {
        .name = "worker", .operands = "--redis URL",
        .summary = "Take tasks from a queue and do them.",
        .details =
            "Takes tasks that `longhaul submit` or any other producer has put on the queue, sends "
            "their files, and tells the queue what became of them. Any number of workers, on any "
            "hosts that have the files, share a queue; what one leaves half done another goes on "
            "with. A file is acknowledged when it is whole at the receiver, under its name.\n\n"
            "What may mend itself is tried again, later and later; what cannot goes to the dead "
            "letters. While Redis is away what is being sent goes on. A signal puts the tasks back "
            "on the queue.",
        .example = "longhaul worker --redis redis://queue.example.org --jobs 8 --insecure"},
    [LH_CMD_SUBMIT] = {
        .name = "submit", .operands = "SRC lh://HOST[:PORT]/PATH...", .min_operands = 2,
        .max_operands = UINT32_MAX,
        .summary = "Put tasks on a queue, for any worker to do.",
        .details =
            "Makes one task for each destination and prints its id. SRC, a file or a directory, is "
            "opened by the worker that takes the task: it need not be on this host, but has to be "
            "under this name at the workers. A relative name is completed with the present "
            "directory.\n\n"
            "A worker that fails or dies leaves what it has sent to the next one. The destination "
            "is as for send.",
        .example = "longhaul submit --redis redis://queue disk.img lh://backup/images/"},
    [LH_CMD_STATUS] = {
        .name = "status", .operands = "[TASK]", .max_operands = 1,
        .summary = "Show the tasks of a queue, or one in detail.",
        .details =
            "Tasks that are active first, then those that are delayed (to be tried again), paused, "
            "queued, done lately, and dead. One task in detail has a map of the file: # is safe at "
            "the receiver, + partly, > in flight, and . is missing.",
        .example = "longhaul status --redis redis://queue.example.org --watch"},
    [LH_CMD_PAUSE] = {
        .name = "pause", .operands = "TASK...", .min_operands = 1, .max_operands = UINT32_MAX,
        .summary = "Stop tasks until they are resumed.",
        .details =
            "A worker that has the task stops within seconds. What is safe at the receiver stays "
            "there.",
        .example = "longhaul pause --redis redis://queue.example.org n1763735000000-0"},
    [LH_CMD_RESUME] = {
        .name = "resume", .operands = "TASK...", .min_operands = 1, .max_operands = UINT32_MAX,
        .summary = "Put paused tasks back on the queue.",
        .details = "They go on where they stopped, at any worker.",
        .example = "longhaul resume --redis redis://queue.example.org n1763735000000-0"},
    [LH_CMD_CANCEL] = {
        .name = "cancel", .operands = "TASK...", .min_operands = 1, .max_operands = UINT32_MAX,
        .summary = "Give tasks up.",
        .details =
            "A worker that has the task stops within seconds. What is half done stays at the "
            "receiver, where `longhaul partials` removes it. `longhaul retry` brings the task "
            "back.",
        .example = "longhaul cancel --redis redis://queue.example.org n1763735000000-0"},
    [LH_CMD_RETRY] = {
        .name = "retry", .operands = "TASK...", .min_operands = 1, .max_operands = UINT32_MAX,
        .summary = "Try tasks again that failed or were cancelled.",
        .details =
            "Dead and cancelled ones go back on the queue, and their failures are forgotten. One "
            "that waits to be tried again is due at once.",
        .example = "longhaul retry --redis redis://queue.example.org n1763735000000-0"},
    [LH_CMD_QUEUE] = {
        .name = "queue", .operands = "[dead]", .max_operands = 1,
        .summary = "Show a queue: how much waits, its workers, its dead letters.",
        .details =
            "How many tasks wait in each priority and for how long, how many are active, delayed, "
            "paused and dead, what was done within the last minute, and the workers: a silent one "
            "has not been heard of for more than its claim time, and others take its tasks.\n\n"
            "With dead it lists the dead letters, each with the reason.",
        .example = "longhaul queue dead --redis redis://queue.example.org --requeue all"},
    [LH_CMD_HELP] = {
        .name = "help", .operands = "[COMMAND]", .max_operands = 1,
        .summary = "Explain a command.",
        .details = "Explains COMMAND, or lists the commands.",
        .example = "longhaul help send"},
};
/* clang-format on */
