#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Serves a folder over HTTP on a free port of the loopback, which it writes to a file.
serve.py FOLDER PORT_FILE"""

import functools
import http.server
import os
import sys


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


folder, port_file = sys.argv[1:]
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
with open(port_file + ".new", "w", encoding="utf-8") as out:
    out.write(str(server.server_port))
os.rename(port_file + ".new", port_file)
server.serve_forever()
