#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The demonstration from start to end, and interrupted: it shows what it promises and leaves no
# process behind. Arguments: agentcored, agentcore. Prints TAP.
set -u
AGENTCORED=$(realpath "$1") AGENTCORE=$(realpath "$2")
export AGENTCORED AGENTCORE DEMO_SECONDS=2
cd "${SOURCE_ROOT:?}" || exit 1
# shellcheck source=tests/tap.sh
. tests/tap.sh
DEMO_DIR=$(realpath --relative-to=. "$(mktemp -d -p "${BUILD_ROOT:?}" demo.XXXXXX)")
export DEMO_DIR
log=$DEMO_DIR.log
trap 'rm -rf "$DEMO_DIR" "$log"' EXIT

# Processes with our DEMO_DIR in their environment, but for this test's own.
left_behind() {
    local environ pid
    exec 2>/dev/null # processes come and go while this looks
    for environ in /proc/[0-9]*/environ; do
        pid=${environ//[!0-9]/}
        [ "$pid" = $$ ] && continue
        if tr '\0' '\n' <"$environ" | grep -qxF "DEMO_DIR=$DEMO_DIR"; then
            [ "$(awk '$1 == "PPid:" { print $2 }' "/proc/$pid/status")" = $$ ] && continue
            tr '\0' ' ' <"/proc/$pid/cmdline" && echo
        fi
    done
}

says() {
    grep -qE -- "$1" "$log" || { echo "no /$1/ in:"; cat "$log"; }
}

(setsid sleep 60 & echo $! >"$log")
tap_check "a process that is left behind would be found" "$(left_behind | grep -q sleep || echo "it was not")"
kill "$(cat "$log")"

tools/demo </dev/null >"$log" 2>&1
status=$?
tap_check "the demonstration runs through" "$([ $status = 0 ] || { echo "exit status $status"; cat "$log"; })"
tap_check "it shows three agents" "$(says '^compiler +react'; says '^indexer +cot'; says '^fetcher +autonomous')"
tap_check "it shows a real alert" "$(says 'indexer: CPU at .* cores')"
tap_check "it allocates for a fourth agent and says why" "$(says '^Agent +reviewer'; says '^Why .*predicted')"
tap_check "it says how many agents of each kind there should be" "$(says '^cot .*(hold|up|down)')"
tap_check "it shows history" "$(says '^CPU%')"
tap_check "it says where the history lies" "$(says 'history is in '"$DEMO_DIR"'/state'; ls "$DEMO_DIR"/state/* 2>&1 >/dev/null)"
tap_check "nothing of it runs on" "$(left_behind)"

for signal in INT TERM; do
    : >"$log"
    # A job in the background starts with SIGINT ignored; a terminal's does not.
    DEMO_SECONDS=60 env --default-signal=INT setsid tools/demo </dev/null >"$log" 2>&1 &
    demo=$!
    for ((tries = 0; tries < 300; tries++)); do
        grep -q '^indexer' "$log" && break
        sleep 0.1
    done
    kill -$signal "$demo"
    for ((tries = 0; tries < 300; tries++)); do
        kill -0 "$demo" 2>/dev/null || break
        sleep 0.1
    done
    wait "$demo" 2>/dev/null
    tap_check "interrupted by $signal it leaves nothing behind" "$(left_behind)"
done
tap_done
