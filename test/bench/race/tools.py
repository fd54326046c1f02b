"""The contestants: how each is started, and with which settings.

A setting is one way to run one tool. Where a tool has several that may be best, all are tried shortly
and the best one races (see measure.py). docs/benchmarks.md says what each was given, and why.
"""
import os
import shutil
import subprocess

NOBODY = "nobody"  # for servers that refuse to be root


class Job:
    """One transfer: source -> directory/f, from end a to end b, on ports from `port` on."""

    def __init__(self, args, line, source, directory, work, port=7400):
        self.args, self.line, self.source, self.directory = args, line, source, directory
        self.work, self.port = work, port
        self.target = os.path.join(directory, "f")

    def at(self, end, port=None):
        return f"{ADDRESS[end]}:{port or self.port}"

    def write(self, name, text):
        path = os.path.join(self.work, name)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        return path


ADDRESS = {"a": "198.18.0.1", "b": "198.18.0.2"}


class Plan:
    """What to start: servers first, each (words for Program, port to wait for), then the client. A server
    that `ends` is waited for, the others are stopped."""

    def __init__(self, client, servers=(), ends=False):
        self.client, self.servers, self.ends = client, list(servers), ends


class Setting:
    def __init__(self, tool, words, plan, contestant=None, has_file=True, streams=None):
        self.tool, self.words, self.plan = tool, words, plan
        self.contestant = contestant or tool
        self.has_file = has_file
        self.streams = streams

    def label(self):
        return self.contestant if self.words in self.contestant else f"{self.contestant} {self.words}"


def longhaul(options=""):
    def plan(job):
        program = os.path.join(job.args.build, "longhaul")
        root = job.directory
        return Plan(
            {"end": "a", "argv": [program, "send", "--insecure", "--json"] + options.split() +
             job.args.longhaul_options.split() + [job.source, f"lh://{job.at('b')}/f"]},
            [({"end": "b", "argv": [program, "serve", "--insecure", "--root", root, "--listen",
                                    job.at("b")] + job.args.serve_options.split()}, job.port)])
    return plan


def yardstick(how, streams):
    def plan(job):
        program = os.path.join(job.args.build, "test", "yardstick")
        common = ["--cc", "bbr" if job.line.permits_bbr() else "cubic"]
        return Plan(
            {"end": "a", "argv": [program, "--connect", job.at("b"), "--file", job.source,
                                  "--streams", str(streams)] + common +
             (["--fair"] if how == "fair" else [])},
            [({"end": "b", "argv": [program, "--listen", job.at("b"), "--file", job.target] + common},
              job.port)], ends=True)
    return plan


def iperf3(streams, congestion):
    """Memory to memory, until it is stopped: a ceiling."""
    def plan(job):
        port = str(job.port)
        return Plan(
            {"end": "a", "argv": ["iperf3", "-c", ADDRESS["b"], "-p", port, "-Z", "-t", "3600", "-P",
                                  str(streams), "-C", congestion]},
            [({"end": "b", "argv": ["iperf3", "-s", "-1", "-p", port]}, job.port)])
    return plan


def nginx(job, n_ports):
    """Servers of the source's directory: one program on several ports."""
    ports = range(job.port, job.port + n_ports)
    temporary = "".join(f" {kind}_temp_path {job.work};" for kind in
                        ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    conf = job.write("nginx.conf", f"""daemon off; user root; worker_processes {os.cpu_count()};
pid {job.work}/nginx.pid; error_log {job.work}/nginx.err;
events {{ worker_connections 1024; }}
http {{ access_log off; sendfile on; tcp_nopush on;{temporary}
server {{ {"".join(f"listen {port}; " for port in ports)} root {os.path.dirname(job.source)}; }} }}
""")
    return {"end": "a", "argv": ["nginx", "-e", f"{job.work}/nginx.err", "-c", conf]}, ports[-1]


def aria2(streams):
    """16 connections to a server are aria2's most: more need more servers, here more ports."""
    def plan(job):
        n_ports = -(-streams // 16)
        urls = [f"http://{job.at('a', job.port + n)}/f" for n in range(n_ports)]
        return Plan(
            {"end": "b", "argv": ["aria2c", "--no-conf", "-x16", f"-s{streams}", "-k1M",
                                  "--file-allocation=falloc", "--async-dns=false",
                                  "--disable-ipv6=true", "--allow-overwrite=true", "--quiet",
                                  "-d", job.directory, "-o", "f"] + urls}, [nginx(job, n_ports)])
    return plan


def rclone(streams, server):
    def plan(job):
        serve = nginx(job, 1)
        if server == "rclone":
            serve = {"end": "a", "argv": ["rclone", "--config", "/dev/null", "serve", "http",
                                          "--addr", job.at("a"), "--read-only",
                                          os.path.dirname(job.source)]}, job.port
        return Plan(
            {"end": "b", "argv": ["rclone", "--config", "/dev/null", "copyto", "--http-url",
                                  f"http://{job.at('a')}", ":http:f", job.target,
                                  "--multi-thread-streams", str(streams),
                                  "--multi-thread-cutoff", "1M"]}, [serve])
    return plan


def gridftp(streams, *more):
    def plan(job):
        def names(end):
            return {"GLOBUS_HOSTNAME": job.line.host_name(end),
                    "GLOBUS_TCP_PORT_RANGE": f"{job.port + 1},{job.port + 99}"}
        server = {"end": "b", "user": NOBODY, "environment": names("b"),
                  "argv": ["globus-gridftp-server", "-aa", "-p", str(job.port), "-c", "/dev/null",
                           "-home-dir", job.directory]}
        client = {"end": "a", "user": NOBODY, "environment": {"GLOBUS_HOSTNAME": names("a")["GLOBUS_HOSTNAME"]},
                  "argv": ["globus-url-copy", "-fast", "-p", str(streams)] + list(more) +
                  [f"file://{job.source}", f"ftp://{job.at('b')}{job.target}"]}
        return Plan(client, [(server, job.port)])
    return plan


def xrdcp(upload):
    def plan(job):
        end = "b" if upload else "a"
        exported = job.directory if upload else os.path.dirname(job.source)
        conf = job.write("xrootd.cf", f"""xrd.port {job.port}
all.export {exported}
all.adminpath {job.work}
all.pidpath {job.work}
""")
        remote = f"root://{job.at(end)}/{exported}/f"
        server = {"end": end, "user": NOBODY, "directory": job.work,
                  "argv": ["xrootd", "-c", conf, "-l", f"{job.work}/xrootd.log", "-n", "race"]}
        client = {"end": "a" if upload else "b",
                  "environment": {"XRD_CPPARALLELCHUNKS": "16", "XRD_CPCHUNKSIZE": str(8 << 20)},
                  "argv": ["xrdcp", "-f", "-N", "-S", "15"] +
                  ([job.source, remote] if upload else [remote, job.target])}
        return Plan(client, [(server, job.port)])
    return plan


def rsync(job):
    conf = job.write("rsyncd.conf", f"""use chroot = no
[in]
path = {job.directory}
read only = no
""")
    server = {"end": "b", "user": NOBODY,
              "argv": ["rsync", "--daemon", "--no-detach", f"--config={conf}", f"--port={job.port}",
                       f"--log-file={job.work}/rsyncd.log"]}
    client = {"end": "a", "argv": ["rsync", "--whole-file", "--inplace", job.source,
                                   f"rsync://{job.at('b')}/in/f"]}
    return Plan(client, [(server, job.port)])


def wdt(streams):
    """The receiver's address is its URL; a fixed id and ports make it known beforehand."""
    def plan(job):
        common = [job.args.wdt, "-ipv4", "-num_ports", str(streams)]
        url = f"wdt://{ADDRESS['b']}:{job.port}?id=race&num_ports={streams}&recpv=32"
        server = {"end": "b", "argv": common + [
            "-directory", job.directory, "-start_port", str(job.port), "-transfer_id", "race",
            "-hostname", ADDRESS["b"], "-encryption_type", "none", "-fsync=false", "-overwrite"]}
        client = {"end": "a", "argv": common + ["-directory", os.path.dirname(job.source),
                                                "-connection_url", url]}
        return Plan(client, [(server, job.port)], ends=True)
    return plan


def bbcp(streams):
    """Its commands for the two ends would be ssh: here what enters the two ends."""
    def plan(job):
        ends = {end: " ".join(job.line.argv(end, [job.args.bbcp])[0]) for end in "ab"}
        client = {"end": "a", "bare": True, "argv": [
            job.args.bbcp, "-4", "-f", "-n", "-s", str(streams), "-w", "8M", "-Z",
            f"{job.port}:{job.port + 99}", "-S", ends["a"], "-T", ends["b"],
            f"root@{ADDRESS['a']}:{job.source}", f"root@{ADDRESS['b']}:{job.target}"]}
        return Plan(client)
    return plan


def mscp(streams):
    """Over SFTP: an sshd of the race's own, which lets nobody in with a throw-away key, into SFTP alone.
    PAM, because without it an sshd that is not root takes every account that has no password for locked."""
    def plan(job):
        keys = {}
        for name in ("host", "user"):
            keys[name] = os.path.join(job.work, name + ".key")
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys[name]], check=True)
        shutil.chown(keys["host"], NOBODY)
        conf = job.write("sshd_config", f"""ListenAddress {job.at('b')}
HostKey {keys['host']}
AuthorizedKeysFile {keys['user']}.pub
PidFile none
UsePAM yes
StrictModes no
AllowUsers {NOBODY}
MaxStartups 1000
Subsystem sftp internal-sftp
ForceCommand internal-sftp
""")
        server = {"end": "b", "user": NOBODY, "argv": [shutil.which("sshd"), "-D", "-e", "-f", conf]}
        with open(keys["host"] + ".pub", encoding="ascii") as f:
            known = job.write("known_hosts", f"[{ADDRESS['b']}]:{job.port} {f.read()}")
        congestion = ["-g", "bbr"] if job.line.permits_bbr() else []
        client = {"end": "a", "environment": {"HOME": job.work}, "argv": [
            job.args.mscp, "-n", str(streams), "-P", str(job.port), "-i", keys["user"],
            "-c", "aes128-gcm@openssh.com", "-o", f"UserKnownHostsFile={known}"] + congestion +
            [job.source, f"{NOBODY}@{ADDRESS['b']}:{job.target}"]}
        return Plan(client, [(server, job.port)])
    return plan


# What each needs: programs on the path; for the rest a path must be given.
NEEDS = {"iperf3": ["iperf3"], "aria2": ["aria2c", "nginx"], "rclone": ["rclone", "nginx"],
         "gridftp": ["globus-url-copy", "globus-gridftp-server"], "xrdcp": ["xrdcp", "xrootd"],
         "rsync": ["rsync"], "mscp": ["sshd", "ssh-keygen"]}
TOOLS = ["longhaul", "fair", "bare", "iperf3", "aria2", "rclone", "gridftp", "xrdcp", "rsync", "wdt",
         "bbcp", "mscp"]


def missing(tool, args):
    """Why a tool cannot race; None when it can."""
    if tool in ("wdt", "bbcp", "mscp"):
        path = getattr(args, tool)
        if not path:
            return f"no path given (--{tool} PATH)"
        if not os.access(path, os.X_OK):
            return f"{path} cannot be run"
    for program in NEEDS.get(tool, []):
        if not shutil.which(program):
            return f"{program} is not installed"
    return None


def settings_of(tool, args, line):
    """What a tool is tried with; the first is taken where nothing is tried."""
    congestion = "bbr" if line.permits_bbr() else "cubic"
    if tool == "longhaul":
        return [Setting(tool, "", longhaul())] + [
            Setting(tool, words, longhaul(words), contestant=f"longhaul ({words})")
            for words in dict.fromkeys(args.longhaul_also)]
    if tool in ("fair", "bare"):
        return [with_streams(tool, n, line) for n in (8, 16)]
    if tool == "iperf3":
        counts = (8, 1, 16) if congestion == "bbr" else (16, 64)
        return [with_streams(tool, n, line) for n in counts]
    if tool == "rclone":
        return [with_streams(tool, n, line) for n in (16, 64)] + [
            Setting(tool, "16 streams, from rclone serve http", rclone(16, "rclone"))]
    if tool == "xrdcp":
        return [Setting(tool, "-S 15, download", xrdcp(False)),
                Setting(tool, "-S 15, upload", xrdcp(True))]
    if tool == "rsync":
        return [Setting(tool, "daemon, --whole-file --inplace", rsync)]
    found = [with_streams(tool, n, line) for n in (16, 64)]
    if tool == "gridftp":
        found.append(Setting(tool, "-p 16 -bs 4M", gridftp(16, "-bs", "4M")))
    return found


def with_streams(tool, n, line):
    """A tool with so many streams, None when it has no such setting."""
    congestion = "bbr" if line.permits_bbr() else "cubic"
    if tool == "longhaul":
        return Setting(tool, f"--streams {n}", longhaul(f"--streams {n}"), streams=n)
    if tool in ("fair", "bare"):
        return Setting(tool, f"{n} streams, {congestion}", yardstick(tool, n),
                       contestant=f"yardstick ({tool})", streams=n)
    if tool == "iperf3":
        return Setting(tool, f"-P {n} -C {congestion}", iperf3(n, congestion), has_file=False, streams=n)
    if tool == "aria2":
        return Setting(tool, f"{n} connections", aria2(n), streams=n)
    if tool == "rclone":
        return Setting(tool, f"{n} streams, from nginx", rclone(n, "nginx"), streams=n)
    if tool == "gridftp":
        return Setting(tool, f"-p {n}", gridftp(n), streams=n)
    if tool == "wdt":
        return Setting(tool, f"-num_ports {n}", wdt(n), streams=n)
    if tool == "bbcp":
        return Setting(tool, f"-s {n}", bbcp(n), streams=n)
    if tool == "mscp":
        return Setting(tool, f"-n {n}", mscp(n), streams=n)
    return None
