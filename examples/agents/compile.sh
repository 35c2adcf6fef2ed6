#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# An agent that builds: compiles C sources again and again. compile.sh ROOT FOLDER...; headers are
# found from ROOT/src and ROOT/include.
cd "$1" || exit 1
shift
while :; do
    find "$@" -name '*.c' | while read -r file; do
        "${CC:-cc}" -std=gnu17 -D_GNU_SOURCE -O2 -Isrc -Iinclude -o /dev/null -c "$file" || exit 1
        sleep 0.2
    done || exit 1
done
