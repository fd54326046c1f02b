"""Contestants for whole trees: how each is started to copy the directory `source` into `target`."""
import os
import sys

from .tools import ADDRESS, NOBODY, Plan, missing, nginx

# One socket, with a congestion control of its own where it is given: connect to, or accept from, ARGV[1],
# then become the program behind it with the socket as its standard output, or input.
ONE_SOCKET = r"""
import os, socket, sys
how, host, port, congestion, *argv = sys.argv[1:]
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if congestion:
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
if how == "to":
    s.connect((host, int(port)))
    os.dup2(s.fileno(), 1)
else:
    s.bind((host, int(port)))
    s.listen(1)
    s, _ = s.accept()
    os.dup2(s.fileno(), 0)
os.execvp(argv[0], argv)
"""


class TreeJob:
    """One copy: what is in `source` comes into `target`, from end a to end b."""

    def __init__(self, args, line, source, target, work, port=7400):
        self.args, self.line, self.source, self.target = args, line, source, target
        self.work, self.port = work, port

    def at(self, end, port=None):
        return f"{ADDRESS[end]}:{port or self.port}"

    def write(self, name, text):
        path = os.path.join(self.work, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        return path


class TreeSetting:
    def __init__(self, tool, words, plan):
        self.tool, self.words, self.plan = tool, words, plan

    def label(self):
        return f"{self.tool} {self.words}".strip()


def longhaul(options=""):
    def plan(job):
        program = os.path.join(job.args.build, "longhaul")
        return Plan(
            {"end": "a", "argv": [program, "send", "--insecure", "--json"] + options.split() +
             job.args.longhaul_options.split() + [job.source + "/", f"lh://{job.at('b')}/"],
             "environment": {"TMPDIR": job.work}},
            [({"end": "b", "argv": [program, "serve", "--insecure", "--root", job.target, "--listen",
                                    job.at("b")] + job.args.serve_options.split()}, job.port)])
    return plan


def rsync(job):
    conf = job.write("rsyncd.conf", f"""use chroot = no
[in]
path = {job.target}
read only = no
""")
    server = {"end": "b", "user": NOBODY,
              "argv": ["rsync", "--daemon", "--no-detach", f"--config={conf}", f"--port={job.port}",
                       f"--log-file={job.work}/rsyncd.log"]}
    client = {"end": "a", "argv": ["rsync", "-rlpt", "--omit-dir-times", "--whole-file", "--sparse",
                                   job.source + "/", f"rsync://{job.at('b')}/in/"]}
    return Plan(client, [(server, job.port)])


def rclone(job):
    """Downloads from nginx, which lists directories."""
    server, port = nginx(job, 1)
    path = server["argv"][-1]
    with open(path, encoding="ascii") as f:
        text = f.read()
    # The tree itself is what is served, and it says what is in it.
    text = text.replace(f"root {os.path.dirname(job.source)};", f"root {job.source}; autoindex on;")
    job.write("nginx.conf", text)
    client = {"end": "b", "argv": ["rclone", "--config", "/dev/null", "copy", "--http-url",
                                   f"http://{job.at('a')}", ":http:", job.target, "--transfers", "64",
                                   "--checkers", "64"]}
    return Plan(client, [(server, port)])


def tar(congestion):
    def plan(job):
        port, words = str(job.port), [sys.executable, "-c", ONE_SOCKET]
        server = {"end": "b", "argv": words + ["from", ADDRESS["b"], port, congestion, "tar", "-xf", "-",
                                               "--no-same-owner", "-C", job.target]}
        client = {"end": "a", "argv": words + ["to", ADDRESS["b"], port, congestion, "tar", "-cf", "-",
                                               "--sparse", "-C", job.source, "."]}
        return Plan(client, [(server, job.port)], ends=True)
    return plan


def wdt(streams):
    def plan(job):
        common = [job.args.wdt, "-ipv4", "-num_ports", str(streams)]
        url = f"wdt://{ADDRESS['b']}:{job.port}?id=race&num_ports={streams}&recpv=32"
        server = {"end": "b", "argv": common + [
            "-directory", job.target, "-start_port", str(job.port), "-transfer_id", "race",
            "-hostname", ADDRESS["b"], "-encryption_type", "none", "-fsync=false", "-overwrite"]}
        client = {"end": "a", "argv": common + ["-directory", job.source, "-connection_url", url]}
        return Plan(client, [(server, job.port)], ends=True)
    return plan


TOOLS = ["longhaul", "wdt", "tar", "rsync", "rclone"]


def absent(tool, args):
    """Why it cannot race; None when it can."""
    return None if tool == "tar" else missing(tool, args)


def settings_of(tool, args, line):
    if tool == "longhaul":
        return [TreeSetting(tool, words, longhaul(words)) for words in [""] + args.longhaul_also]
    if tool == "tar":
        ways = ["", "bbr"] if line.permits_bbr() else [""]
        return [TreeSetting(tool, f"one socket{', ' * bool(way)}{way}", tar(way)) for way in ways]
    if tool == "rsync":
        return [TreeSetting(tool, "daemon, -rlpt --omit-dir-times --whole-file", rsync)]
    if tool == "rclone":
        return [TreeSetting(tool, "--transfers 64, from nginx", rclone)]
    return [TreeSetting(tool, f"-num_ports {n}", wdt(n)) for n in (8, 16)]
