# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# TAP for test scripts: source this, call tap_check and friends, end with tap_done.
#
#     . "$SOURCE_ROOT/tests/tap.sh"
#     tap_check "adds up" "$([ $((1 + 1)) = 2 ] || echo "1 + 1 is not 2")"
#     tap_skip "as another user" "needs root"
#     tap_done
tap_count=0
tap_failed=0

tap_ok() {
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1"
}

# tap_fail NAME COMPLAINT...
tap_fail() {
    tap_count=$((tap_count + 1))
    tap_failed=$((tap_failed + 1))
    echo "not ok $tap_count - $1"
    shift
    printf '%s\n' "$@" | sed 's/^/# /'
}

# tap_check NAME COMPLAINT: fails where there is a complaint.
tap_check() {
    if [ -z "$2" ]; then tap_ok "$1"; else tap_fail "$1" "$2"; fi
}

# tap_skip NAME REASON
tap_skip() {
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
}

tap_done() {
    echo "1..$tap_count"
    exit $((tap_failed > 0))
}
