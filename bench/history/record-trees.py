#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records data B of bench/history/run: N real process trees at 1 Hz while they do mixed work.

    record-trees.py [--trees 100] [--seconds 1200] [--agentcore PROGRAM] --out FILE.rec

Each tree waits like an agent waits for its model, then works: compiles, hashes, greps, builds
objects in memory, writes and syncs files, fetches over loopback HTTP, forks short children. A
third of the trees only wait. All of it runs at nice 19 and is recorded by `agentcore record`.
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=1200)
    parser.add_argument("--agentcore", default=os.environ.get("AGENTCORE", "agentcore"))
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
    attach = [option for i, worker in enumerate(workers)
              for option in ("--attach", f"tree-{i}={worker.pid}")]
    recorder = subprocess.Popen([args.agentcore, "record", "--no-daemon", "--force", "--for",
                                 f"{args.seconds}s", *attach, args.out + ".part"])
    status = 1
    try:
        status = recorder.wait()
        if status == 0:
            os.rename(args.out + ".part", args.out)
    finally:
        recorder.terminate()
        recorder.wait()
        for worker in workers:
            try:
                os.killpg(worker.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            worker.wait()
        scratch.cleanup()
    return status


if __name__ == "__main__":
    sys.exit(main())
