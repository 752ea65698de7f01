#!/usr/bin/env bash
# The main job in half a minute, without an Envoy: serves from the capture inside the program, shows
# a few lines, and waits for a counter to move.
set -euo pipefail
cd "$(dirname "$0")/.."

program=${ENVOY_EXPORTER_BINARY:-target/debug/envoy-exporter}
port=${DEMO_PORT:-$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')}
url=http://127.0.0.1:$port

"$program" demo --web.listen-address "127.0.0.1:$port" --envoy.poll-interval 500ms --log.level warn &
demo=$!
trap 'kill "$demo" 2>/dev/null; wait "$demo" 2>/dev/null' EXIT

fetch() { curl --noproxy '*' -fsS --max-time 5 "$url$1"; }
for _ in $(seq 100); do
    fetch /-/ready >/dev/null 2>&1 && ready=yes && break
    sleep 0.1
done
[ "${ready:-no}" = yes ] || { echo "the demo is not ready" >&2; exit 1; }

echo "serving $(fetch /metrics | grep -vc '^#') samples on $url/metrics; some of them:"
echo
fetch '/metrics?name%5B%5D=envoy_cluster_upstream_rq&name%5B%5D=envoy_up' | head -n 12
echo

total() { fetch '/metrics?name%5B%5D=envoy_cluster_upstream_rq_total' | awk '!/^#/ {sum += $NF} END {printf "%d\n", sum}'; }
first=$(total)
for _ in $(seq 100); do
    second=$(total)
    if [ "$second" -gt "$first" ]; then
        echo "all requests upstream: $first -> $second"
        exit 0
    fi
    sleep 0.1
done
echo "no counter moved" >&2
exit 1
