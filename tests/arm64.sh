#!/bin/sh
# Tests the arm64 package on an emulated Cortex-A72 (Raspberry Pi 4): run by `make arm64-test`.
#   sh tests/arm64.sh DIR PYTHON
# The first run fills DIR: Debian trixie's arm64 Python with all its libraries and qemu-user 10 (Bookworm's 7.2 crashes
# in LiteRT), from this machine's mirror and verified with Debian's keys, and the tests' wheels. Every run unpacks the
# arm64 package from dist/. Needs neither root nor binfmt: python3 is a script that calls qemu, and sys.executable is
# that script. Skips with a message if a requirement is missing.
set -eu
tree=$1 python=$2
skip() { echo "arm64-test: skipped: $*"; exit 0; }

[ "$(uname -m)" = x86_64 ] || skip "it emulates arm64 on x86_64; here make test says more"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null && [ -e $keys ] \
  || skip "it needs a Debian's apt-get, dpkg-deb and $keys"
mkdir -p "$tree" && tree=$(cd "$tree" && pwd)

if [ ! -e "$tree/.complete" ]; then
  echo "laying Debian's arm64 Python and qemu into $tree …"
  rm -rf "$tree" && mkdir -p "$tree/apt/lists/partial" "$tree/apt/cache/archives/partial" "$tree/root" "$tree/host"
  mirror=$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
  mirror=${mirror:-http://deb.debian.org/debian}
  echo "deb [arch=amd64,arm64 signed-by=$keys] $mirror trixie main" >"$tree/apt/list"
  : >"$tree/apt/status" # nothing is installed, so apt fetches every library
  apt() {
    apt-get -qq -o Dir::Etc::sourcelist="$tree/apt/list" -o Dir::Etc::sourceparts=/dev/null \
      -o Dir::State="$tree/apt" -o Dir::State::status="$tree/apt/status" -o Dir::Cache="$tree/apt/cache" \
      -o APT::Architecture=arm64 -o APT::Architectures=arm64,amd64 -o Debug::NoLocking=1 \
      -o APT::Sandbox::User="$(id -un)" "$@"
  }
  apt update || skip "Debian's mirror does not answer"
  apt -y --no-install-recommends --download-only install python3:arm64 libstdc++6:arm64
  (cd "$tree/host" && apt download qemu-user:amd64)
  for deb in "$tree"/apt/cache/archives/*.deb; do dpkg-deb -x "$deb" "$tree/root"; done
  ln -s usr/lib "$tree/root/lib" # normally made by base-files
  for deb in "$tree"/host/*.deb; do dpkg-deb -x "$deb" "$tree/host"; done
  # Missing from the package: pytest, pinned in requirements/. The demo's broker is this machine's mosquitto.
  sed -n '/^[a-z0-9-]*==/s/ *\\$//p' requirements/test.txt >"$tree/pins"
  "$python" -m pip install -qq --disable-pip-version-check --target "$tree/tests" --only-binary=:all: \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 \
    --implementation cp --python-version 3.13 -c "$tree/pins" jsonschema pytest pytest-timeout
  touch "$tree/.complete"
fi

rm -rf "$tree/package" && mkdir "$tree/package"
for deb in dist/emotion-edge_*~deb13_arm64.deb; do
  [ -e "$deb" ] || { echo "arm64-test: no dist/emotion-edge_*~deb13_arm64.deb; run make deb13_arm64"; exit 1; }
  dpkg-deb -x "$deb" "$tree/package"
done
library=$tree/package/usr/lib/emotion-edge

cat >"$tree/python3" <<END
#!/bin/sh
exec "$tree/host/usr/bin/qemu-aarch64" -cpu cortex-a72 -L "$tree/root" -0 "$tree/python3" \\
  "$tree/root/usr/bin/python3.13" "\$@"
END
chmod 755 "$tree/python3"
state=$(mktemp -d) && trap 'rm -rf "$state"' EXIT
export PYTHONHOME="$tree/root/usr" PYTHONPATH="$library" PYTHONDONTWRITEBYTECODE=1 STATE_DIRECTORY="$state"
edge() { (cd "$state" && "$tree/python3" -m edge "$@"); }

echo "machine: $("$tree/python3" -c 'import platform; print(platform.machine(), platform.python_version())')"
[ "$("$tree/python3" -c 'import platform; print(platform.machine())')" = aarch64 ]

echo "golden vectors:"
edge check --model

echo "unit tests that need neither a network nor other processes:"
# A folder with the tests only, so that `edge` is imported from the package.
mkdir "$state/repository" && cp -r tests config.toml pyproject.toml docs README.md "$state/repository/"
# Without a timed and a slow test: emulation is 15 times slower.
(cd "$state/repository" && PYTHONPATH="$library:$state/repository:$tree/tests" "$tree/python3" -m pytest \
  -q -p no:cacheprovider -o timeout=1200 -k "not few_ms and not 5_of_6_seconds" \
  tests/test_card.py tests/test_classify.py tests/test_golden.py tests/test_preprocess.py tests/test_track.py \
  tests/test_report.py tests/test_announce.py tests/test_disk.py tests/test_inbox.py tests/test_switches.py \
  tests/test_requests.py tests/test_messages.py tests/test_portraits.py tests/test_secrecy.py \
  tests/test_mqtt_queue.py)

echo "the demo, for 30 s and until it has seen a face:"
(cd "$state" && PYTHONPATH="$library:$tree/tests" exec "$tree/python3" -m edge demo --seconds 900 >demo.txt 2>&1) &
demo=$! seconds=0
until [ $seconds -ge 30 ] && grep -q 'face [0-9].*→' "$state/demo.txt"; do
  kill -0 $demo 2>/dev/null || break
  sleep 1 && seconds=$((seconds + 1))
done
kill -TERM $demo 2>/dev/null || true
wait $demo || { echo "arm64-test: the demo ended with $?"; tail -n 20 "$state/demo.txt"; exit 1; }
tail -n 5 "$state/demo.txt"
grep -q 'face [0-9].*→' "$state/demo.txt" || { echo "arm64-test: the demo saw no face"; exit 1; }
echo "arm64-test: passed"
