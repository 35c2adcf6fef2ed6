#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An agent that fetches: reads URLs again and again. fetch.py URL..."""

import sys
import time
import urllib.request

while True:
    for url in sys.argv[1:]:
        with urllib.request.urlopen(url, timeout=5) as answer:
            answer.read()
        time.sleep(0.02)
