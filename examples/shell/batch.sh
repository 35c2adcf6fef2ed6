#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs commands as agents, each only where there is room for it: batch.sh FILE, one command per
# line of FILE. Needs a running agentcored.
set -eu
[ $# = 1 ] || { echo "usage: batch.sh FILE" >&2; exit 2; }

number=0
while IFS= read -r command; do
    number=$((number + 1))
    id="batch-$$-$number"
    # Exit status 5: what the command will probably need does not fit now.
    until agentcore allocate --id "$id" --template batch --policy strict >/dev/null; do
        [ $? = 5 ] || exit 1
        sleep 5
    done
    agentcore run --id "$id" --template batch --label batch=$$ -- sh -c "$command" </dev/null &
done <"$1"
wait

agentcore ps --label batch=$$
