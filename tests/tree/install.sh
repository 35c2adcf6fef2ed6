#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs into an empty directory and uses the library from there as a stranger would: pkg-config,
# the examples in C, shared and static, exported names. Arguments: the compiler flags that the
# build's sanitizers need. Prints TAP.
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/../tap.sh"
build=${BUILD_ROOT:?} source=${SOURCE_ROOT:?}
flags=("$@")
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
dest=$scratch/root

if ! meson install -C "$build" --quiet --destdir "$dest" >"$scratch/install.log" 2>&1; then
    tap_fail "installs into an empty directory" "$(tail -n 20 "$scratch/install.log")"
    tap_done
fi
tap_ok "installs into an empty directory"

prefix=$(meson introspect --buildoptions "$build" |
    python3 -c 'import json, sys; print(*(o["value"] for o in json.load(sys.stdin) if o["name"] == "prefix"))')
installed() { find "$dest$prefix" -path "*/$1" | head -n 1; }

missing=
for file in bin/agentcore sbin/agentcored include/agentcore.h libagentcore.so.0 libagentcore.a \
    pkgconfig/agentcore.pc systemd/system/agentcored.service sysusers.d/agentcore.conf \
    tmpfiles.d/agentcore.conf doc/agentcore/agentcored.yaml man1/agentcore.1 man8/agentcored.8 \
    bash-completion/completions/agentcore site-functions/_agentcore; do
    [ -n "$(installed "$file")" ] || missing="$missing $file"
done
tap_check "puts every file in place" "${missing:+missing:$missing}"

strangers=$(cd "$dest$prefix" && find . -type f -name '*.h' ! -path './include/agentcore.h')
tap_check "installs no header but the public one" "$strangers"

pc=$(installed pkgconfig/agentcore.pc)
lib=$(dirname "$(installed libagentcore.so.0)")
export PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$dest LD_LIBRARY_PATH=$lib
cflags=$(pkg-config --cflags agentcore) libs=$(pkg-config --libs agentcore)
tap_check "has a pkg-config file" "$([ -n "$libs" ] || echo "pkg-config finds no agentcore")"

# Compiles $1 to $2 with the rest; what the compiler says is the complaint.
compile() {
    local from=$1 to=$2
    shift 2
    # shellcheck disable=SC2086 # flags are split on purpose
    "${CC:-cc}" -Wall -Wextra -Werror -std=gnu99 "${flags[@]}" $cflags -o "$to" "$from" "$@" 2>&1
}

for example in "$source"/examples/c/*.c; do
    name=$(basename "$example" .c)
    # shellcheck disable=SC2086
    tap_check "examples/c/$name.c compiles against it" "$(compile "$example" "$scratch/$name" $libs)"
done
tap_check "a program links the static library" \
    "$(compile "$source/examples/c/provider.c" "$scratch/provider-static" "$lib/libagentcore.a" -lm -pthread)"

# Runs a program that must succeed and print a text.
prints() {
    local want=$1 said
    shift
    said=$("$@" 2>&1) || { echo "exit status $?"; echo "$said"; return; }
    grep -q -- "$want" <<<"$said" || { echo "no \"$want\" in:"; echo "$said"; }
}
tap_check "examples/c/watch raises the alert" "$(prints 'firing.*worker-1' "$scratch/watch")"
tap_check "examples/c/provider climbs to an emergency" "$(prints 'firing *emergency' "$scratch/provider")"
tap_check "the static program does the same" "$(prints 'resolved' "$scratch/provider-static")"

declared=$(sed 's|/\*.*\*/||' "$source/include/agentcore.h" |
    grep -oE '\bac_[a-z0-9_]+\(' | tr -d '(' | sort -u)
exported=$(nm -D --defined-only "$lib/libagentcore.so.0" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort -u)
tap_check "exports what the header declares, and nothing else" "$(diff <(echo "$declared") <(echo "$exported"))"
others=$(nm -g --defined-only "$lib/libagentcore.a" | awk 'NF == 3 && $3 !~ /^(ac_|__odr_asan)/ { print $3 }')
tap_check "the static library's other names are local" "$others"
needed=$(readelf -d "$lib/libagentcore.so.0" | grep -o 'NEEDED.*' | grep -vE '(lib(c|m|asan|ubsan|tsan|gcc_s)|ld-linux.*)\.so')
tap_check "links nothing but the C library" "$needed"

unit=$(installed systemd/system/agentcored.service)
tap_check "the unit starts the installed daemon" \
    "$(grep -qx "ExecStart=$prefix/sbin/agentcored" "$unit" || grep ExecStart "$unit")"
tap_check "the unit lets the daemon open GPUs, and no other device" \
    "$(grep -qx 'DeviceAllow=char-nvidia\* rw' "$unit" && grep -qx 'DevicePolicy=closed' "$unit" ||
        echo "no DeviceAllow for char-nvidia* under DevicePolicy=closed"; grep PrivateDevices=yes "$unit")"
if command -v systemd-analyze >/dev/null; then
    # As the daemon would be found, were it installed.
    sed "s|$prefix/sbin/agentcored|/bin/true|" "$unit" >"$scratch/agentcored.service"
    tap_check "systemd understands the unit" \
        "$(systemd-analyze verify --man=no "$scratch/agentcored.service" 2>&1 | grep agentcored.service)"
else
    tap_skip "systemd understands the unit" "systemd-analyze is not installed"
fi
tap_done
