#!/usr/bin/python3
"""What the program says: events, exit codes, help, warnings."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import json
import signal
import socket

import e2e
from e2e import (BLOCK, INTERRUPTED, MIB, NETWORK, OK, USAGE, Proxy, Send, Serve, done, fails, make,
                 ok, run, same, send)

KEYS = set(
    "event transfer bytes_total bytes_durable bytes_sent bytes_skipped streams rate_bps duration_s "
    "retransmits zero_copy_bytes fallback_bytes zero_copy_count fallback_count "
    "verification_failures restarted kept limit limit_reason digest".split()
)


def start(size=4 * BLOCK):
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    return Serve(at), at, make(os.path.join(e2e.dir(), "source"), size)


def test_events():
    serve, _, src = start(24 * MIB)
    proxy = Proxy(serve.port, rate=12 * MIB)
    sent = send(src, serve.url("e", proxy.port))
    done(sent, "sent")
    events = sent.events()
    same(events[0]["event"], "start", "the first event is start")
    same(events[-1]["event"], "done", "the last event is done")
    same(len(sent.events("done")), 1, "there is one done")
    ok(sent.events("progress"), "there is progress between")
    ok(all(KEYS <= set(e) for e in events), "every event has every key")
    same(len({e["transfer"] for e in events}), 1, "all name the same transfer")
    durable = [e["bytes_durable"] for e in events]
    same(durable, sorted(durable), "what is durable only grows")
    ok(all(e["bytes_durable"] <= e["bytes_total"] for e in events), "and never exceeds the whole")
    ok(any(1 < e["streams"] <= 16 for e in events), "several streams, at most sixteen, by default")
    ok(all(e["digest"] == "" for e in events[:-1]), "the digest comes with done")
    again = send(src, serve.url("e"))
    same(again.last().get("transfer"), events[0]["transfer"],
         "the same command has the same transfer")


def test_outputs():
    serve, _, src = start()
    plain = run("send", src, serve.url("a"))
    same((plain.rc, plain.out()), (OK, ""), "without --json standard output stays empty")
    quiet = run("send", "--quiet", src, serve.url("b"))
    same((quiet.rc, quiet.out(), quiet.err()), (OK, "", ""), "--quiet says nothing")
    sent = send(src, serve.url("c"))
    ok(all(json.loads(line) for line in sent.out().splitlines()), "--json: each line is JSON")
    bad = send(os.path.join(e2e.dir(), "missing"), serve.url("d"))
    same(bad.rc, e2e.SOURCE, "a missing source")
    same(bad.last().get("event"), "error", "--json: the last event is an error")
    ok("missing" in bad.err(), "and a line on standard error names the file")
    quiet = run("send", "--quiet", os.path.join(e2e.dir(), "missing"), serve.url("d"))
    same(len(quiet.err().splitlines()), 1, "--quiet still says why it failed, in one line")


def test_usage():
    serve, at, src = start()
    for what, args in (
        ("no command", []),
        ("an unknown command", ["fly"]),
        ("an unknown option", ["send", "--warp", src, serve.url("x")]),
        ("no destination", ["send", src]),
        ("too many operands", ["digest", src, src]),
        ("several sources, and no destination", ["send", src, src]),
        ("another scheme", ["send", src, "http://127.0.0.1/x"]),
        ("no host", ["send", src, "lh:///x"]),
        ("a port that is none", ["send", src, "lh://127.0.0.1:99999/x"]),
        ("no streams", ["send", "--streams", "0", src, serve.url("x")]),
        ("too many streams", ["send", "--streams", "129", src, serve.url("x")]),
        ("a word for a number", ["send", "--streams", "many", src, serve.url("x")]),
        ("a block size that is no power of two", ["send", "--block-size", "100K", src, serve.url("x")]),
        ("a choice that is none", ["send", "--zero-copy", "perhaps", src, serve.url("x")]),
        ("serve without a root", ["serve"]),
        ("digest of nothing", ["digest"]),
    ):
        got = run(*args)
        same((got.rc, got.out()), (USAGE, ""), what)
        ok(got.err().strip() != "", what + ": it says why")
    same(e2e.visible(at), [], "none of them sent anything")


def test_help():
    ok(run("--help").rc == OK and "send" in run("--help").out(), "--help")
    for command in ("send", "serve", "digest", "partials"):
        got = run(command, "--help")
        ok(got.rc == OK and "--" in got.out() or command == "digest", command + " --help")
    ok(run("--version").out().strip() != "", "--version")


def test_loopback_only():
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    src = make(os.path.join(e2e.dir(), "source"), 10)
    refused = run("serve", "--root", at, "--listen", "0.0.0.0:0")
    fails(refused, USAGE, "--insecure", "serve beyond loopback without --insecure")
    serve = Serve(at, "--insecure", listen="0.0.0.0:0")
    same(len([l for l in serve.err().splitlines() if "encrypt" in l]), 1,
         "with --insecure it starts and warns in one line")
    serve.stop()
    refused = send(src, "lh://192.0.2.1:7410/x")
    ok(refused.rc in (USAGE, e2e.REFUSED) and "--insecure" in refused.err(),
       "send beyond loopback without --insecure is refused before anything is dialled")
    serve = Serve(at)
    same([l for l in serve.err().splitlines() if "warn" in l.lower()], [],
         "on loopback there is no warning")


def test_port_busy():
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        got = run("serve", "--root", at, "--listen", "127.0.0.1:%d" % taken.getsockname()[1])
        ok(got.rc != 0, "a port that is taken: serve ends")
        fails(got, USAGE, "in use|listen", "a port that is taken")


def test_interrupt():
    for sig, name in ((signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")):
        sub = os.path.join(e2e.dir(), name)
        os.mkdir(sub)
        serve = Serve(sub)
        src = make(os.path.join(e2e.dir(), "source"), 40 * MIB)
        proxy = Proxy(serve.port, rate=8 * MIB)
        sent = Send(src, serve.url("i", proxy.port))
        e2e.need(sent.until_durable(), name + ": it is under way")
        sent.signal(sig)
        sent.wait()
        fails(sent, INTERRUPTED, "resume|again|same command", name)
        ok(sent.last().get("event") == "error", name + ": the last event is an error")
        resumed = send(src, serve.url("i"))
        done(resumed, name + ": the same command goes on")
        ok(resumed.last().get("bytes_skipped", 0) >= sent.last().get("bytes_durable", 1) > 0,
           name + ": from where it was")
        e2e.is_copy(src, os.path.join(sub, "i"), name + ": the same contents at the end")


def test_no_receiver():
    src = make(os.path.join(e2e.dir(), "source"), 10)
    fails(send(src, "lh://127.0.0.1:%d/x" % e2e.keep_port()), NETWORK, "refused|connect", "nobody listens")
    fails(send(src, "lh://no-such-host.invalid/x", "--insecure"), NETWORK, "resolve|name",
          "a name that does not resolve")


e2e.main()
