#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""CPU seconds that psutil takes for one pass over all processes, reading what bench_procfs reads:
psutil_pass.py PASSES. Prints the median pass and the processes of the last one."""
import resource
import statistics
import sys

import psutil


def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def one_pass():
    count = 0
    for process in psutil.process_iter():  # keeps its Process objects from pass to pass
        try:
            with process.oneshot():
                process.cpu_times()
                process.memory_info()
                process.num_threads()
                process.ppid()
                process.io_counters()
                process.num_fds()
            count += 1
        except psutil.Error:
            pass
    return count


def main():
    one_pass()
    passes = []
    for _ in range(int(sys.argv[1])):
        before = used()
        count = one_pass()
        passes.append(used() - before)
    print(statistics.median(passes), count, psutil.__version__)


main()
