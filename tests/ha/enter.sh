#!/bin/sh
# Run a command with DIR's Home Assistant and Python: sh enter.sh DIR COMMAND...
# DIR is a virtual environment or a whole Debian (build.sh); mounts in the latter are removed again.
set -eu
dir=$1
shift
if [ ! -e "$dir/bin/sh" ]; then
  PATH="$dir/opt/ha/bin:$PATH" exec "$@"
fi
# shellcheck disable=SC2016
exec unshare --mount sh -c '
  dir=$1; shift
  for part in proc sys dev; do mount --bind "/$part" "$dir/$part"; done
  certificates=/etc/ssl/certs/ca-certificates.crt
  exec chroot "$dir" env -i HOME=/root LANG=C.UTF-8 PATH=/opt/ha/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PIP_CERT=$certificates SSL_CERT_FILE=$certificates ${https_proxy:+https_proxy="$https_proxy"} "$@"
' sh "$dir" "$@"
