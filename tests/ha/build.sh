#!/bin/sh
# Install pinned Home Assistant in DIR unless it is there: sh build.sh DIR
# Needs Python 3.13.2. If there is one, DIR becomes a virtual environment; otherwise (Debian or Ubuntu,
# as root) a small Debian with one. 4 minutes, 1.5 GB.
set -eu
dir=$1 here=$(cd "$(dirname "$0")" && pwd)
want="homeassistant==2026.2.3 paho-mqtt==2.1.0"
[ ! -x "$dir/opt/ha/bin/hass" ] || exit 0
echo "building Home Assistant in $dir (some minutes) ..."
mkdir -p "$dir/opt"
if python3.13 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 13, 2))' 2>/dev/null; then
  python3.13 -m venv "$dir/opt/ha"
else
  [ "$(id -u)" = 0 ] || { echo "ha-test: needs Python 3.13.2, or root to build a Debian that has it" >&2; exit 1; }
  command -v debootstrap >/dev/null ||
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap; } >/dev/null
  mirror=$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
  debootstrap --variant=minbase \
    --include=python3,python3-venv,python3-dev,ca-certificates,gcc,g++,libffi-dev,libturbojpeg0 \
    trixie "$dir" ${mirror:+"$mirror"} >"$dir/debootstrap.log" 2>&1 || { tail -n 5 "$dir/debootstrap.log" >&2; exit 1; }
  cp /etc/resolv.conf /etc/hosts "$dir/etc/"
  # The certificates that this machine trusts, too.
  cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$dir/etc/ssl/certs/ca-certificates.crt"
  sh "$here/enter.sh" "$dir" python3 -m venv /opt/ha
fi
# shellcheck disable=SC2086
sh "$here/enter.sh" "$dir" pip install -q --disable-pip-version-check $want
