#!/usr/bin/python3
"""Names: byte for byte, confined below the root."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import e2e
from e2e import BLOCK, REFUSED, Serve, done, fails, is_copy, make, ok, same, send

SIZE = BLOCK + 17


def start(*args):
    at = os.path.join(e2e.dir(), "root")
    os.mkdir(at)
    return Serve(at, *args), os.fsencode(at), make(os.path.join(e2e.dir(), "source"), SIZE)


def test_good_names():
    serve, at, src = start()
    names = [
        ("plain", b"plain"),
        ("a space and 'quotes\"", b"a space and 'quotes\""),
        ("UTF-8", "größe-文件-🙂".encode()),
        ("not UTF-8", b"\xff\xfe\x80latin-\xe9"),
        ("a newline", b"two\nlines"),
        ("every other control byte", bytes(range(1, 32))),
        ("a backslash", b"back\\slash"),
        ("%, ? and hash", b"100%?#"),
        ("255 bytes", b"n" * 255),
        ("255 bytes of UTF-8", "ü".encode() * 127 + b"x"),
        ("a leading dot", b".hidden"),
        ("a leading dash", b"-rf"),
        ("in new directories", b"one/two/three/four"),
        ("in directories with long names", b"/".join([b"d" * 255] * 4 + [b"e" * 255])),
    ]
    for what, name in names:
        done(send(src, serve.url(name)), "a name with %s" % what)
        is_copy(src, os.path.join(at, name), "%s: it is there, byte for byte" % what)
    done(send(src, serve.url(b"p/%2e%2f")), "percent signs in a path are kept")
    is_copy(src, os.path.join(at, b"p/%2e%2f"), "and mean themselves")


def test_percent():
    serve, at, src = start()
    base = b"lh://127.0.0.1:%d/" % serve.port
    done(send(src, base + b"%41%ff%0a"), "%XX names a byte")
    is_copy(src, os.path.join(at, b"A\xff\n"), "that very byte")


def test_slashes():
    serve, at, src = start()
    done(send(src, serve.url("keep/")), "a path that ends in a slash")
    is_copy(src, os.path.join(at, b"keep/source"), "keeps the source's name")
    done(send(src, serve.url("")), "the root itself")
    is_copy(src, os.path.join(at, b"source"), "keeps the source's name too")
    done(send(src, serve.url("a//b")), "a//b")
    is_copy(src, os.path.join(at, b"a/b"), "is a/b")
    done(send(src, serve.url("./c/./d")), "./c/./d")
    is_copy(src, os.path.join(at, b"c/d"), "is c/d")


def test_bad_names():
    serve, at, src = start()
    os.mkdir(os.path.join(at, b"sub"))
    outside = os.listdir(e2e.dir())
    for what, path, words in (
        ("..", "../escaped", r"\.\.|path|allowed"),
        ("a .. in the middle", "sub/../../escaped", r"\.\.|path|allowed"),
        ("a .. that stays inside", "sub/../inside", r"\.\.|path|allowed"),
        ("a .. at the end", "sub/..", r"\.\.|path|allowed"),
        ("an absolute path", "/etc/escaped", r"absolute|path|allowed"),
        ("a name of 256 bytes", "n" * 256, r"long|path|allowed"),
    ):
        fails(send(src, serve.url(path)), REFUSED, words, what)
    fails(send(src, serve.url("/".join(["d" * 200] * 21))), e2e.USAGE, r"longer than 4096 bytes",
          "a path of more than 4096 bytes")
    same(e2e.visible(at), [], "none of them left anything")
    ok(not os.path.exists("/etc/escaped"), "nothing outside the root")
    same(sorted(n for n in os.listdir(e2e.dir()) if not n.startswith(("out.", "err."))),
         sorted(n for n in outside if not n.startswith(("out.", "err."))), "nor beside it")


def test_links():
    serve, at, src = start()
    elsewhere = os.path.join(e2e.dir(), "elsewhere")
    os.mkdir(elsewhere)
    os.mkdir(os.path.join(at, b"real"))
    os.symlink("real", os.path.join(at, b"link"))
    os.symlink(elsewhere, os.path.join(at, b"out"))
    os.symlink("../elsewhere", os.path.join(at, b"up"))
    make(os.path.join(elsewhere, "victim"), 10)
    os.symlink(os.path.join(elsewhere, "victim"), os.path.join(at, b"victim"))
    done(send(src, serve.url("link/f")), "through a symbolic link within the root")
    is_copy(src, os.path.join(at, b"real/f"), "lands where it leads")
    for way in ("out/f", "up/f", "up/new/f"):
        fails(send(src, serve.url(way)), REFUSED, "path|allowed|root|leads", "a link that leads out (%s)" % way)
    same(sorted(os.listdir(elsewhere)), ["victim"], "nothing is written outside")
    replaced = send(src, serve.url("victim"))
    same(os.path.getsize(os.path.join(elsewhere, "victim")), 10,
         "a target that is a link to the outside is not written through")
    ok(replaced.rc != 0 or not os.path.islink(os.path.join(at, b"victim")),
       "the link is refused or replaced, never followed")


def test_kinds():
    serve, at, src = start()
    os.mkdir(os.path.join(at, b"dir"))
    make(os.path.join(at, b"file"), 10)
    fails(send(src, serve.url("dir")), e2e.DEST, "director|regular", "a directory of that name")
    ok(os.path.isdir(os.path.join(at, b"dir")), "it is still there")
    fails(send(src, serve.url("file/below")), e2e.DEST, "director", "a file where a directory should be")
    os.mkfifo(os.path.join(at, b"fifo"))
    fails(send(src, serve.url("fifo")), e2e.DEST, "regular", "a FIFO of that name")


e2e.main()
