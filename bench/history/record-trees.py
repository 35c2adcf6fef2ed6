#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records data B of bench/history/run: N real process trees at 1 Hz while they do mixed work.

    record-trees.py [--trees 100] [--seconds 1200] --out FILE.csv

Each tree waits like an agent waits for its model, then works: compiles, hashes, greps, builds
objects in memory, writes and syncs files, fetches over loopback HTTP, forks short children. A
third of the trees only wait. All of it runs at nice 19. Columns: t_ms, tree, cpu (0.01 % of a
core), memory (4 KiB pages), read and written (bytes/s of storage), fds, threads.
"""
import argparse
import http.server
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

PYTHON_WORK = r"""
import json, random, sys, time
random.seed(int(sys.argv[1])); keep = []
while True:
    time.sleep(random.expovariate(1 / 12) + 1)
    end = time.process_time() + random.choice((0.02, 0.1, 0.3))
    while time.process_time() < end:
        keep.append(json.loads(json.dumps([{"k": i, "v": str(i) * 4} for i in range(300)])))
    del keep[: max(0, len(keep) - random.randrange(1, 200))]
"""
PYTHON_FETCH = r"""
import random, sys, time, urllib.request
random.seed(int(sys.argv[1])); url = sys.argv[2]
while True:
    time.sleep(random.expovariate(1 / 6) + 1)
    urllib.request.urlopen(url).read()
"""
PYTHON_IDLE = "import sys, time\nwhile True: time.sleep(float(sys.argv[1]))"


def shell_loop(seed, body):
    return ["bash", "-c", f"RANDOM={seed}; while :; do sleep $((RANDOM % 24 + 1)); {body}; done"]


def commands(index, scratch, url):
    sources = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    one = f"{scratch}/{index}"
    kinds = [
        shell_loop(index, f"for f in {sources}/src/base/*.c; do gcc -O1 -I{sources}/src"
                          f" -I{sources}/include -D_GNU_SOURCE -c $f -o {one}.o; sleep 0.3; done"),
        shell_loop(index, f"find {sources} -type f -name '*.[ch]' -exec sha256sum {{}} + >{one}.s"),
        shell_loop(index, f"grep -rn struct {sources}/src >{one}.g; sort {one}.g | uniq -c >{one}.u"),
        shell_loop(index, f"dd if=/dev/urandom of={one}.d bs=64k count=$((RANDOM % 40 + 1)) "
                          f"conv=fsync status=none; gzip -c {one}.d >{one}.z; rm -f {one}.d"),
        shell_loop(index, "for i in 1 2 3 4 5 6 7 8; do true | cat; done; ls -R /usr/include >/dev/null"),
        ["python3", "-c", PYTHON_WORK, str(index)],
        ["python3", "-c", PYTHON_FETCH, str(index), url],
        ["python3", "-c", PYTHON_IDLE, "3600"],
        ["python3", "-c", PYTHON_IDLE, "1"],
        ["sleep", "100000"],
    ]
    return kinds[index % len(kinds)]


def read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:
        return b""


def scan():
    """pid -> (ppid, cpu ticks with reaped children, threads)"""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = read(f"/proc/{name}/stat").rpartition(b")")[2].split()
            if len(fields) > 20:
                found[int(name)] = (int(fields[1]), sum(map(int, fields[11:15])), int(fields[17]))
    return found


def measure(root, procs, children):
    cpu = memory = reads = writes = fds = threads = 0
    todo = [root]
    while todo:
        pid = todo.pop()
        if pid not in procs:
            continue
        todo.extend(children.get(pid, ()))
        cpu += procs[pid][1]
        threads += procs[pid][2]
        statm = read(f"/proc/{pid}/statm").split()
        memory += int(statm[1]) if len(statm) > 1 else 0
        for line in read(f"/proc/{pid}/io").splitlines():
            if line.startswith(b"read_bytes:"):
                reads += int(line[11:])
            elif line.startswith(b"write_bytes:"):
                writes += int(line[12:])
        try:
            fds += len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            pass
    return cpu, memory, reads, writes, fds, threads


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=1200)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    os.nice(19)
    signal.signal(signal.SIGTERM, lambda *a: sys.exit(1))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    server.RequestHandlerClass.log_message = lambda *a: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    scratch = tempfile.TemporaryDirectory(prefix="record-trees-")
    random.seed(1)
    workers = [subprocess.Popen(commands(i, scratch.name, url), start_new_session=True,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
               for i in range(args.trees)]
    hertz = os.sysconf("SC_CLK_TCK")
    last = {}
    next_at = time.monotonic()
    try:
        with open(args.out + ".part", "w") as out:
            out.write("t_ms,tree,cpu,memory,read,written,fds,threads\n")
            for _ in range(args.seconds + 1):
                procs = scan()
                children = {}
                for pid, (ppid, _, _) in procs.items():
                    children.setdefault(ppid, []).append(pid)
                for i, worker in enumerate(workers):
                    now = time.monotonic()
                    got = measure(worker.pid, procs, children)
                    if i in last:
                        dt = now - last[i][0]
                        rate = [max(0, round((a - b) / dt)) for a, b in zip(got[2:4], last[i][1][2:4])]
                        cpu = max(0, round((got[0] - last[i][1][0]) / hertz / dt * 10000))
                        out.write(f"{int(now * 1000)},{i},{cpu},{got[1]},{rate[0]},{rate[1]},"
                                  f"{got[4]},{got[5]}\n")
                    last[i] = (now, got)
                next_at += 1
                time.sleep(max(0, next_at - time.monotonic()))
        os.rename(args.out + ".part", args.out)
    finally:
        for worker in workers:
            try:
                os.killpg(worker.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            worker.wait()
        scratch.cleanup()


if __name__ == "__main__":
    sys.exit(main())
