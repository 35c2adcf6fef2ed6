# SPDX-License-Identifier: Apache-2.0
"""The peers of bench/history/run: each takes a Feed in the best form for it and is asked the same
questions. They come from Debian's packages, unpacked by tools/fetch-deb, and listen on loopback
only. CPU time is that of the peer's processes, merging included."""
import itertools
import json
import os
import resource
import socket
import subprocess
import time
import urllib.parse
import urllib.request

from figures import unpacked

START = 1_700_000_000
TICK = os.sysconf("SC_CLK_TCK")
WARM, COLD = 20, 5


class Feed:
    """The numbers that load.c feeds to its agents, at the same times."""

    def __init__(self, path, names, agents, ticks, first=0):
        self.names, self.agents, self.first = names, agents, first
        self.end = START + ticks
        self.start = START + first
        self.ticks = ticks - first
        trees = {}
        with open(path) as f:
            next(f)
            for text in f:
                fields = text.rstrip().split(",")
                trees.setdefault(int(fields[1]), []).append(tuple(fields[2:2 + len(names)]))
        self.trees = len(trees)
        self.starts, self.ring = [], []
        for number in sorted(trees):
            self.starts.append(len(self.ring))
            self.ring += trees[number]

    @property
    def samples(self):
        return self.agents * self.ticks * len(self.names)

    def rows(self, agent):
        """A tuple of texts per tick."""
        at = self.starts[agent % self.trees] + agent // self.trees * 11 + self.first
        at %= len(self.ring)
        return itertools.islice(itertools.cycle(self.ring), at, at + self.ticks)


class Progress:
    def __init__(self, what, total):
        self.what, self.total, self.next = what, total, time.monotonic() + 10

    def __call__(self, at):
        if time.monotonic() > self.next:
            self.next = time.monotonic() + 10
            print(f"  ... {self.what}: {at} of {self.total}", flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url, data=None):
    with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=600) as r:
        return r.read()


def files_of(path, skip=()):
    for folder, folders, files in os.walk(path):
        folders[:] = [f for f in folders if f not in skip]
        yield from (os.path.join(folder, f) for f in files)


def du(path, skip=()):
    return sum(os.lstat(f).st_size for f in files_of(path, skip))


def go_cold(path):
    for name in files_of(path):
        fd = os.open(name, os.O_RDONLY)
        os.fdatasync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def median(values):
    return sorted(values)[len(values) // 2]


def timed(ask, *arguments):
    start = time.monotonic()
    ask(*arguments)
    return (time.monotonic() - start) * 1000


def find(package, name):
    for path in files_of(unpacked(package) or "/nonexistent"):
        if os.path.basename(path) == name and os.path.dirname(path).endswith("/bin"):
            return path
    raise OSError(f"no {name} in the package {package}")


class Server:
    """A process that answers HTTP."""

    def __init__(self, command, port, health):
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                get(self.url + health)
                return
            except OSError:
                time.sleep(0.1)
        self.stop()
        raise OSError(f"{command[0]} does not answer")

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            return sum(map(int, f.read().rpartition(")")[2].split()[11:13])) / TICK

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Peer:
    """Questions by name: functions of an agent's number."""

    def __init__(self, feed, scratch):
        self.feed = feed
        self.data = os.path.join(scratch, type(self).__name__)
        self.server = None

    def run(self):
        """Bytes, CPU seconds, and ms of each question, warm and cold."""
        result = {}
        try:
            result["cpu_s"] = self.fill()
            if not self.server:
                self.start()
            for name in ("hour", "p95", "top"):
                ask = getattr(self, name)
                ask(0)
                result[name + "_warm_ms"] = median(
                    [timed(ask, i * 977 % self.feed.agents) for i in range(WARM)])
            for name in ("hour", "p95", "top"):
                result[name + "_cold_ms"] = median(
                    [self.cold(getattr(self, name), (i * 977 + 13) % self.feed.agents)
                     for i in range(COLD)])
        finally:
            self.stop()
        result["bytes"] = self.size()
        return result

    def cold(self, ask, agent):
        """Files out of the cache, and a process that has not read them."""
        self.stop()
        go_cold(self.data)
        self.start()
        go_cold(self.data)
        return timed(ask, agent)

    def stop(self):
        if self.server:
            self.server.stop()
        self.server = None

    def query(self, text):
        asked = urllib.parse.urlencode({"query": text, "time": self.feed.end - 1})
        answer = json.loads(get(f"{self.server.url}/api/v1/query?{asked}"))
        if not answer["data"]["result"]:
            raise OSError(f"no answer to {text}")

    def p95(self, agent):
        self.query(f'quantile_over_time(0.95, cpu{{agent="agent-{agent}"}}[7d])')

    def top(self, _):
        self.query("topk(10, avg_over_time(cpu[1h]))")


class VictoriaMetrics(Peer):
    LINE = 20000  # values per imported line

    def start(self):
        port = free_port()
        self.server = Server(
            [find("victoria-metrics", "victoria-metrics"), "-storageDataPath", self.data,
             "-httpListenAddr", f"127.0.0.1:{port}", "-retentionPeriod=100y",
             "-search.disableCache", "-loggerLevel=ERROR"], port, "/health")

    def fill(self):
        progress = Progress("VictoriaMetrics imports agents", self.feed.agents)
        self.start()
        for agent in range(self.feed.agents):
            columns = list(zip(*self.feed.rows(agent)))
            for at in range(0, self.feed.ticks, self.LINE):
                stamps = ",".join(str((self.feed.start + at + t) * 1000)
                                  for t in range(min(self.LINE, self.feed.ticks - at)))
                body = "\n".join(
                    f'{{"metric":{{"__name__":"{name}","agent":"agent-{agent}"}},'
                    f'"values":[{",".join(column[at:at + self.LINE])}],"timestamps":[{stamps}]}}'
                    for name, column in zip(self.feed.names, columns))
                get(self.server.url + "/api/v1/import", body.encode())
            progress(agent)
        get(self.server.url + "/internal/force_flush")
        get(self.server.url + "/internal/force_merge")
        self.wait_for_merge()
        return self.server.cpu_seconds()

    def wait_for_merge(self):
        quiet = 0
        for _ in range(1200):
            time.sleep(0.5)
            metrics = get(self.server.url + "/metrics").decode().splitlines()
            active = sum(float(m.rpartition(" ")[2]) for m in metrics
                         if m.startswith(("vm_active_merges", "vm_pending_rows")))
            quiet = quiet + 1 if active == 0 else 0
            if quiet == 6:
                return
        raise OSError("VictoriaMetrics still merges")

    def hour(self, agent):
        asked = urllib.parse.urlencode({"match[]": f'{{agent="agent-{agent}"}}',
                                        "start": self.feed.end - 3600, "end": self.feed.end})
        if len(get(f"{self.server.url}/api/v1/export?{asked}")) < 1000:
            raise OSError("an hour without samples")

    def size(self):
        return du(self.data, skip=("cache", "tmp"))


class Prometheus(Peer):
    """Its blocks made by promtool, as large as its compaction makes them within a month."""

    def start(self):
        port = free_port()
        config = self.data + ".yml"
        with open(config, "w") as f:
            f.write("global: {}\n")
        self.server = Server(
            [find("prometheus", "prometheus"), "--config.file", config, "--storage.tsdb.path",
             self.data, "--storage.tsdb.retention.time=100y", "--log.level=error",
             f"--web.listen-address=127.0.0.1:{port}"], port, "/-/ready")

    def fill(self):
        text = self.data + ".metrics"
        progress = Progress("writing OpenMetrics for Prometheus", len(self.feed.names))
        with open(text, "w") as f:
            for m, name in enumerate(self.feed.names):
                f.write(f"# TYPE {name} gauge\n")
                for agent in range(self.feed.agents):
                    label = f'{name}{{agent="agent-{agent}"}} '
                    f.writelines(f"{label}{row[m]} {t}\n" for t, row in
                                 enumerate(self.feed.rows(agent), self.feed.start))
                progress(m)
            f.write("# EOF\n")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([find("prometheus", "promtool"), "tsdb", "create-blocks-from",
                        "--max-block-duration=744h", "openmetrics", text, self.data], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        os.remove(text)
        self.blocks = du(self.data)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def hour(self, agent):
        self.query(f'{{agent="agent-{agent}"}}[1h]')

    def size(self):
        return self.blocks  # without what its server writes when it starts


RRD_LIBRARIES = (
    "librrd8", "libdbi1", "libcairo2", "libpango-1.0-0", "libpangocairo-1.0-0",
    "libpangoft2-1.0-0", "libpng16-16", "libxml2", "libfontconfig1", "libfreetype6",
    "libpixman-1-0", "libx11-6", "libxcb-render0", "libxcb-shm0", "libxcb1", "libxext6",
    "libxrender1", "libfribidi0", "libharfbuzz0b", "libthai0", "libdatrie1", "libgraphite2-3",
    "libicu72", "libexpat1", "libbrotli1", "libxau6", "libxdmcp6", "libbsd0", "libmd0",
    "libglib2.0-0")


class RRDtool(Peer):
    """A file per agent with a value a second, through one `rrdtool -`."""
    UPDATES = 500  # per command

    def environment(self, packages):
        folders = [f"{unpacked(name)}/usr/lib/x86_64-linux-gnu" for name in packages]
        return dict(os.environ, LD_LIBRARY_PATH=":".join(folders), TZ="UTC")

    def start(self):
        binary = find("rrdtool", "rrdtool")
        environment = self.environment(RRD_LIBRARIES[:2])
        needed = subprocess.run(["ldd", binary], env=environment, capture_output=True, text=True)
        if "not found" in needed.stdout:
            environment = self.environment(RRD_LIBRARIES)
        os.makedirs(self.data, exist_ok=True)
        self.server = subprocess.Popen([binary, "-", self.data], env=environment, text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def stop(self):
        if self.server:
            self.server.stdin.close()
            self.server.wait()
            self.server.stdout.close()
        self.server = None

    def tell(self, command):
        self.server.stdin.write(command + "\n")
        self.server.stdin.flush()
        answer = []
        for text in self.server.stdout:
            if text.startswith("OK "):
                return answer
            if text.startswith("ERROR"):
                raise OSError(text.strip())
            answer.append(text)
        raise OSError("rrdtool ended")

    def fill(self):
        progress = Progress("RRDtool updates agents", self.feed.agents)
        sources = " ".join(f"DS:{name}:GAUGE:5:U:U" for name in self.feed.names)
        self.start()
        for agent in range(self.feed.agents):
            self.tell(f"create agent-{agent}.rrd --start {self.feed.start - 1} --step 1 {sources} "
                      f"RRA:AVERAGE:0.5:1:{self.feed.ticks}")
            values = [f"{t}:{':'.join(row)}"
                      for t, row in enumerate(self.feed.rows(agent), self.feed.start)]
            for at in range(0, len(values), self.UPDATES):
                self.tell(f"update agent-{agent}.rrd " + " ".join(values[at:at + self.UPDATES]))
            progress(agent)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.stop()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def hour(self, agent):
        end = self.feed.end - 1
        if len(self.tell(f"fetch agent-{agent}.rrd AVERAGE -r 1 -s {end - 3600} -e {end}")) < 3600:
            raise OSError("an hour without samples")

    def printed(self, seconds, agents, reduce):
        """graph that draws nothing: it reduces, at a second a pixel, and prints."""
        end = self.feed.end - 1
        what = " ".join(f"DEF:x{a}=agent-{a}.rrd:cpu:AVERAGE VDEF:v{a}=x{a},{reduce} "
                        f"PRINT:v{a}:%lf" for a in agents)
        answer = self.tell(f"graph /dev/null -s {end - seconds} -e {end} -w {seconds} {what}")
        if len(answer) < len(agents):
            raise OSError("graph printed nothing")

    def p95(self, agent):
        self.printed(min(7 * 86400, self.feed.ticks), [agent], "95,PERCENT")

    def top(self, _):
        for at in range(0, self.feed.agents, 50):
            self.printed(3600, range(at, min(at + 50, self.feed.agents)), "AVERAGE")

    def size(self):
        return du(self.data)


ALL = (VictoriaMetrics, Prometheus, RRDtool)
