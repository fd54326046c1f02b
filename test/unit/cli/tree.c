/* longhaul send of trees, with an engine that moves nothing: when it is a tree, what the engine is
 * asked for, what is written where, exit codes. */
#include "run.h"
#include "test/lib/tap.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/lh-cli-tree-XXXXXX";

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(name, "w");

    if (f == NULL || fputs(text, f) < 0 || fclose(f) != 0)
        bail("cannot write %s", name);
}

static void make_files(void)
{
    if (mkdtemp(dir) == NULL || chdir(dir) != 0 || mkdir("d", 0755) != 0)
        bail("cannot make a directory");
    write_file("f", "contents");
    write_file("patterns", "# remark\n\n;another\n*.o\n+ keep\n- not\n/a b/");
    if (symlink("d", "to-d") != 0)
        bail("cannot make a link");
}

static void clean(void)
{
    (void)!unlink("f");
    (void)!unlink("patterns");
    (void)!unlink("to-d");
    (void)!rmdir("d");
    (void)!rmdir(dir);
}

/* What the engine was asked for. */
static void asks(const char *line, const char *words)
{
    char full[512];

    snprintf(full, sizeof(full), "FAKE_TICKS=1 %s", line);
    is_i64(run(full), 0, "%s", line);
    says(got.err, words, line);
}

static void test_which(void)
{
    asks("send -vv f lh://h/x", "source=f ");
    asks("send -vv d lh://h/x", "tree host=h port=7410 path=x ");
    asks("send -vv d/ lh://h:99/x/y/", "port=99 path=x/y/ ");
    asks("send -vv to-d lh://h/x", "sources=to-d, ");
    asks("send -vv f d lh://h/x", "sources=f,d, ");
    asks("send -vv --links skip f lh://h/x/f", "path=x/ ");
    asks("send -vv -n f lh://h/f", "path= ");
    asks("LONGHAUL_PRESERVE=none LONGHAUL_CHECKSUM=yes LONGHAUL_DEVICES=yes send -vv f lh://h/x",
         "source=f ");
    asks("LONGHAUL_PRESERVE=none send -vv --checksum f lh://h/f", "preserve=0 checksum=1 ");
    asks("LONGHAUL_PRESERVE=none send -vv --preserve mode f lh://h/f", "preserve=1 checksum=0 ");
    asks("send -vv -n f lh://h/", "path=./ ");
    is_i64(run("send -n f lh://h/g"), 2, "a tree gives no names");
    says(got.err, "keeps its name", "in words");
    is_i64(run("send d lh://h/x --no-clobber"), 2, "--no-clobber and a tree");
    says(got.err, "--existing skip", "says what to use");
    is_i64(run("send d x"), 2, "no address");
    is_i64(run("send a b c"), 2, "no address, of three");
}

static void test_options(void)
{
    asks("send -vv d lh://h/x", "existing=0 links=0 preserve=7 checksum=0 one=0 dry=0 stop=0 "
                                "remove=0 max=18446744073709551615 ");
    asks("send -vv d lh://h/x --links follow --preserve xattrs,acl,hardlinks --checksum -x "
         "--stop-on-error --delete --max-delete 7",
         "links=1 preserve=56 checksum=1 one=1 dry=0 stop=1 remove=1 max=7 ");
    asks("send -vv d lh://h/x --preserve none --devices -n", "preserve=64 checksum=0 one=0 dry=1");
    asks("send -vv d lh://h/x --numeric-ids", "preserve=7 numeric checksum=0 ");
    asks("send -vv d lh://h/x --files-from -", "from=- ");
    asks("send -vv f lh://h/x --files-from -", "path=x from=- ");
    asks("send -vv d lh://h/x --exclude a --include=b --exclude-from patterns --exclude c",
         "rules=-a,+b,-*.o,+keep,-not,-/a b/,-c,");
    is_i64(run("send d lh://h/x --exclude-from nowhere"), 2, "a file that is not there");
    says(got.err, "cannot open nowhere: No such file", "in words");
    is_i64(run("send d lh://h/x --exclude-from d"), 2, "a file that cannot be read");
    says(got.err, "cannot read d", "in words");
    is_i64(run("send d lh://h/x --exclude-from /dev/zero"), 2, "a file that is no text");
    says(got.err, "NUL byte", "in words");
    is_i64(run("send d lh://h/x --delete --files-from f"), 2, "--delete and --files-from");
    is_i64(run("send d lh://h/x --files-from - --exclude-from -"), 2, "standard input, twice");
    says(got.err, "only once", "in words");
    is_i64(run("send d lh://h/x --preserve mode,colour"), 2, "a word that is none");
    says(got.err, "'colour' is not one of mode,times,", "in words");
}

static void test_words(void)
{
    is_i64(run("send d lh://h/x"), 0, "send");
    is_str(got.out, "", "nothing on standard output");
    says(got.err, "longhaul: sending d to lh://h/x\n", "the start");
    says(got.err, "longhaul: d: 0 of 2+ files, 0 B of 4.0 KiB+, 1.0 KiB/s, ETA 0:04+, 8 streams\n",
         "a line every 30 seconds, while it is walked");
    says(got.err, "longhaul: d: 0%, 0 of 3 files, 0 B of 9.5 KiB, ", "and afterwards");
    says(got.err, "longhaul: sent d: 1 file, 1.5 KiB in ", "the end");
    says(got.err, "longhaul: 2 files were there already, 1 directory, 1 removed\n", "the rest");
    ok(strstr(got.err, "d/new") == NULL, "entries are not listed");
    is_i64(run("send f d d/ lh://h/x"), 0, "send three");
    says(got.err, "longhaul: sending f and 2 more to lh://h/x\n", "the start");
    says(got.err, "longhaul: sent f and 2 more: 1 file, ", "the end");
    is_i64(run("send -v d lh://h/x"), 0, "send -v");
    says(got.err, "longhaul: sent d/new\n", "-v lists entries");
    says(got.err, "longhaul: made d\n", "-v lists entries");
    says(got.err, "longhaul: kept d/same\\x0a\\xff\n", "-v lists entries, escaped");
    says(got.err, "longhaul: removed old\n", "-v lists entries");
    is_i64(run("send -q d lh://h/x"), 0, "send -q");
    is_str(got.err, "", "-q says nothing");
}

/* "Already" is said only of what was there, all of it. */
static void test_no_file_sent(void)
{
    is_i64(run("FAKE_ENTRIES=kept send d lh://h/x"), 0, "all is there");
    says(got.err, "longhaul: d is at lh://h/x already; no file was sent\n", "says so");
    is_i64(run("FAKE_ENTRIES=made send d lh://h/x"), 0, "directories and links are made");
    says(got.err, "longhaul: d: no file was sent\n", "they were not there already");
    is_i64(run("FAKE_ENTRIES=removed send d lh://h/x"), 0, "something is removed");
    says(got.err, "longhaul: d: no file was sent\n", "it was not the same already");
    is_i64(run("FAKE_ENTRIES=none send d lh://h/x"), 0,
           "nothing is found, as when all is excluded");
    says(got.err, "longhaul: d: no file was sent\n", "nothing is there already");
}

static void test_failures(void)
{
    is_i64(run("FAKE_STATUS=PARTIAL send d lh://h/x"), 8, "some were not moved");
    says(got.err, "longhaul: failed: d/gone: it is not there\n", "by name");
    says(got.err, "longhaul: failed: d/odd\\x0a: the destination is not a regular file\n",
         "also where there are no words");
    says(got.err, "longhaul: sent d: 1 file, ", "what was sent");
    says(got.err, "longhaul: error: the fake engine was told to fail\n", "and that it failed");
    says(got.err, "hint: the same command tries those again", "and what to do");
    is_i64(run("FAKE_STATUS=PARTIAL send -q d lh://h/x"), 8, "some were not moved, -q");
    is_u64(count(got.err, "failed:"), 2, "failures are told");
    is_i64(run("FAKE_STATUS=DEST_SPACE send d lh://h/x"), 4, "no space");
    is_i64(run("FAKE_STATUS=INVAL send --json d lh://h/x"), 2, "it does not start");
    says(got.out, "\"event\":\"error\"", "an event says so");
}

static void test_dry_run(void)
{
    is_i64(run("send -n d lh://h/x"), 0, "--dry-run");
    is_str(got.out, "send   d/new (1.5 KiB)\nmake   d\nremove old\n", "what would be done");
    says(got.err,
         "longhaul: dry run: 1 file (1.5 KiB) would be sent and 1 removed; 2 of the files are "
         "there already; nothing was changed\n",
         "and a summary");
    is_i64(run("send -nv d lh://h/x"), 0, "--dry-run -v");
    says(got.out, "keep   d/same\\x0a\\xff\n", "also what would stay");
    is_i64(run("send -n --json d lh://h/x"), 0, "--dry-run --json");
    is_u64(count(got.out, "\"event\":\"entry\""), 4, "an event for each entry");
    says(got.out, "{\"event\":\"entry\",\"what\":\"send\",\"path\":\"d/new\",\"bytes\":1536}\n",
         "");
    says(got.out, "\"path\":\"d/same\\u000a\\ufffd\",\"path_hex\":\"642f73616d650aff\"", "bytes");
}

static void test_json(void)
{
    is_i64(run("FAKE_STATUS=PARTIAL send --json d lh://h/x"), 8, "--json");
    is_u64(count(got.out, "\"event\":\"entry\""), 2, "an event for each failure");
    says(got.out,
         "{\"event\":\"entry\",\"what\":\"failed\",\"path\":\"d/gone\",\"bytes\":0,\"status\":"
         "\"SOURCE\",\"message\":\"d/gone: it is not there\"}\n",
         "a failure");
    is_i64(run("FAKE_ENTRIES=unnamed send --json d lh://h/x"), 0, "a failure that only words name");
    says(got.out,
         "{\"event\":\"entry\",\"what\":\"failed\",\"bytes\":0,\"status\":\"DEST\","
         "\"message\":\"d: cannot set its attributes\"}\n",
         "has no path, not an empty one");
    is_i64(run("FAKE_STATUS=PARTIAL send --json d lh://h/x"), 8, "--json");
    says(got.out, "\"walking\":true,\"files_total\":2,", "progress");
    is_u64(count(got.err, "longhaul: failed:"), 2, "and a line for people");
    says(got.out, "\"sources\":1,\"destination\":\"lh://h/x\"", "the start");
    says(got.out,
         "\"walking\":false,\"files_total\":5,\"files_sent\":1,\"files_kept\":2,\"dirs\":1,"
         "\"links\":0,\"others\":0,\"failed\":2,\"skipped_special\":0,\"removed\":1,\"status\":"
         "\"PARTIAL\",\"exit_code\":8,",
         "the end");
}

static void test_json_entries(void)
{
    is_i64(run("send --json -v d lh://h/x"), 0, "--json -v");
    is_u64(count(got.out, "\"event\":\"entry\""), 4, "an event for each entry");
    ok(strstr(got.err, "sent d/new") == NULL, "and no lines for people");
}

static void test_ends(void)
{
    begin("FAKE_TICKS=1000000 send d lh://h/x");
    read_until(got.err, "sending");
    kill(child, SIGTERM);
    is_i64(finish(), 130, "a signal");
    says(got.err, "interrupted: 0 of ", "interrupted");
    begin("FAKE_TICKS=1000000 send --json d lh://h/x");
    read_until(got.out, "progress");
    close(out_fd);
    out_fd = -1;
    is_i64(finish(), 130, "a reader that goes away");
}

int main(void)
{
    make_files();
    test_which();
    test_options();
    test_words();
    test_no_file_sent();
    test_failures();
    test_dry_run();
    test_json();
    test_json_entries();
    test_ends();
    clean();
    return done_testing();
}
