#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Which agent used most memory over the last hour, as "MiB id". Needs a running agentcored and jq.
set -eu
agentcore ps --json | jq -r '.agents[].id' | while read -r id; do
    peak=$(agentcore history "$id" --since 1h --json |
        jq '[.points[].max.memory_mb | values] | max // empty')
    [ -z "$peak" ] || echo "$peak $id"
done | sort -rn | head -n 1
