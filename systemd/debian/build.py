"""Builds one Debian package: `python systemd/debian/build.py deb12 arm64`; `make deb` builds all four.

The package contains the pinned wheels for the given Debian and architecture, whatever this machine is, so
installing it needs neither pip nor a network. Builds are reproducible: same clone, same SOURCE_DATE_EPOCH,
same dpkg, same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
LIBRARY = "usr/lib/emotion-edge"
MAINTAINER = "emotion-edge maintainers <maintainers@emotion-edge.invalid>"


@dataclass(frozen=True)
class Debian:
    """A release of Debian, and the Raspberry Pi OS based on it."""

    python: str  # the system's python3, which runs the daemon
    lock: str  # pins for that Python only, without markers: pip evaluates those for the Python it runs in


DEBIANS = {
    "deb12": Debian(python="3.11", lock="requirements/bookworm.txt"),
    "deb13": Debian(python="3.13", lock="requirements/trixie.txt"),
}
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# Newest first; Debian 12 has glibc 2.36.
GLIBCS = ("manylinux_2_28", "manylinux_2_27", "manylinux2014")

# Destinations of the files of systemd/; {name} is the name without the suffix.
PLACES = {
    ".service": "usr/lib/systemd/system/{name}.service",
    ".sysusers": "usr/lib/sysusers.d/{name}.conf",
    ".tmpfiles": "usr/lib/tmpfiles.d/{name}.conf",
    ".rules": "usr/lib/udev/rules.d/{name}.rules",
    ".conf": "usr/share/emotion-edge/drop-ins/{name}.conf",
}

# Dropped from the wheels: build, test and typing files, and LiteRT's plug-ins for other vendors' chips.
NEEDLESS = (
    "bin", "**/tests", "**/*.pyi", "**/*.a", "**/*.h", "numpy/*core/include", "numpy/f2py", "numpy/distutils",
    "ai_edge_litert/vendors", "ai_edge_litert/tools", "ai_edge_litert/libLiteRtWebGpuAccelerator.so",
    "av/**/*.pxd", "*.dist-info/RECORD", "*.dist-info/REQUESTED", "*.dist-info/direct_url.json",
)  # fmt: skip


class BuildError(Exception):
    """Why a package cannot be built, in one line."""


def version() -> str:
    """The version in edge/__init__.py, read without importing it."""
    found = re.search(r'__version__ = "(.+)"', (TOP / "edge/__init__.py").read_text())
    if not found:
        raise BuildError("edge/__init__.py: no __version__; expected one")
    return found[1]


def control(debian: str, architecture: str, size_kib: int) -> str:
    """The text of DEBIAN/control."""
    python = DEBIANS[debian].python
    major, minor = python.split(".")
    values = {
        "VERSION": f"{version()}~{debian}",
        "ARCHITECTURE": architecture,
        "MAINTAINER": MAINTAINER,
        "SIZE": str(size_kib),
        "PYTHON": python,
        "NEXT_PYTHON": f"{major}.{int(minor) + 1}",
    }
    return re.sub(r"@(\w+)@", lambda found: values[found[1]], (HERE / "control.in").read_text())


def locked(lock: Path) -> list[str]:
    """The names of the packages pinned in *lock*, spelled as in wheel names: lower case, _ for -."""
    return [name.replace("-", "_") for name in re.findall(r"(?m)^([a-z0-9-]+)==", lock.read_text())]


def without_licence(names: list[str]) -> list[str]:
    """The *names* that debian/copyright does not cover."""
    text = (HERE / "copyright").read_text()
    covered = re.findall(rf"{LIBRARY}/(\w+)", text)
    return [name for name in names if not any(name.startswith(prefix) for prefix in covered)]


def install_wheels(debian: str, architecture: str, library: Path) -> None:
    """Install the pinned wheels into *library*, less the files no device needs; BuildError if pip fails."""
    release = DEBIANS[debian]
    uncovered = without_licence(locked(TOP / release.lock))
    if uncovered:
        raise BuildError(f"systemd/debian/copyright: {', '.join(uncovered)} missing; add their licences")
    platforms = [f"--platform={glibc}_{MACHINES[architecture]}" for glibc in GLIBCS]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run(
        [*pip, "--target", library, "--no-deps", "--no-compile", "--require-hashes", "--only-binary=:all:",
         *platforms, "--implementation=cp", f"--python-version={release.python}",
         # pip also evaluates a wheel's requirements for the Python it runs in.
         "--ignore-requires-python", "-r", TOP / release.lock]
    ).returncode:  # fmt: skip
        raise BuildError(f"{release.lock}: pip could not install its wheels for {architecture}; see above")
    for pattern in NEEDLESS:
        for path in list(library.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def ours() -> list[str]:
    """The paths of the daemon's files relative to the repository, without ignored ones."""
    listed = subprocess.run(
        ["git", "-C", TOP, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "edge"],
        capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode:
        raise BuildError(f"{TOP}: not a git clone; build the package from one")
    return [path for path in listed.stdout.split("\0") if path and (TOP / path).is_file()]


def copy_ours(debian: str, root: Path, epoch: int) -> None:
    """Copy everything but the wheels into *root*: daemon, command, configuration, systemd files."""
    for path in ours():
        put(root / LIBRARY / path, (TOP / path).read_bytes())
    put(root / "usr/bin/emotion-edge", (HERE / "emotion-edge").read_bytes())
    put(root / "etc/emotion-edge/config.toml", (TOP / "config.toml").read_bytes())
    for path in sorted((TOP / "systemd").rglob("*")):
        if path.is_file() and HERE not in path.parents and path.name != "README.md":
            put(root / place(path), path.read_bytes())
    documents = root / "usr/share/doc/emotion-edge"
    for name in ("copyright", "README.Debian"):
        put(documents / name, (HERE / name).read_bytes())
    put(documents / "changelog.gz", gzip.compress(changelog(debian, epoch).encode(), 9, mtime=0))
    put(root / "usr/share/lintian/overrides/emotion-edge", (HERE / "lintian-overrides").read_bytes())


def place(path: Path) -> str:
    """Destination of the file *path* of systemd/ in the package; BuildError if it has none."""
    if path.suffix not in PLACES:
        raise BuildError(f"{path.relative_to(TOP)}: no destination; add it to PLACES in build.py")
    return PLACES[path.suffix].format(name=path.stem)


def changelog(debian: str, epoch: int) -> str:
    """A Debian changelog with one entry; git has the rest."""
    date = subprocess.run(
        ["date", "-uR", f"-d@{epoch}"], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
    ).stdout.strip()
    return (
        f"emotion-edge ({version()}~{debian}) stable; urgency=medium\n\n"
        f"  * Version {version()}.\n\n -- {MAINTAINER}  {date}\n"
    )


def put(path: Path, content: bytes) -> None:
    """Write *content* to *path*, creating its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_control(debian: str, architecture: str, root: Path) -> None:
    """Write DEBIAN/ for the files in *root*."""
    files = [path for path in root.rglob("*") if path.is_file()]
    size_kib = sum(-(-path.stat().st_size // 1024) for path in files)
    put(root / "DEBIAN/control", control(debian, architecture, size_kib).encode())
    conffiles = sorted(f"/{path.relative_to(root)}\n" for path in files if (root / "etc") in path.parents)
    put(root / "DEBIAN/conffiles", "".join(conffiles).encode())
    for name in ("postinst", "prerm", "postrm"):
        put(root / "DEBIAN" / name, (HERE / name).read_bytes())
    summed = sorted(path.relative_to(root) for path in files if (root / "etc") not in path.parents)
    sums = subprocess.run(["md5sum", *summed], cwd=root, capture_output=True, check=True)
    put(root / "DEBIAN/md5sums", sums.stdout)


def normalize(root: Path, epoch: int) -> None:
    """Set Debian's standard modes and the time *epoch* on everything in *root*."""
    runs = {"usr/bin/emotion-edge", "DEBIAN/postinst", "DEBIAN/prerm", "DEBIAN/postrm"}
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or str(path.relative_to(root)) in runs else 0o644)
        os.utime(path, (epoch, epoch))


def source_date() -> int:
    """SOURCE_DATE_EPOCH, or else the time of the last commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    done = subprocess.run(["git", "-C", TOP, "log", "-1", "--format=%ct"], capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"{TOP}: no commit to take the time from; set SOURCE_DATE_EPOCH")
    return int(done.stdout)


def pack(root: Path, package: Path, epoch: int, *, quick: bool = False) -> Path:
    """Pack *root* into the file *package* and return it; *quick*: faster, but a larger file."""
    # One thread: xz's output depends on the number of threads.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "DPKG_DEB_THREADS_MAX": "1"}
    compression = ["-Zgzip", "-z1"] if quick else ["-Zxz", "-z6"]
    command = ["dpkg-deb", "--root-owner-group", *compression, "--build", root, package]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return package


def build(debian: str, architecture: str, out: Path, *, quick: bool = False) -> Path:
    """Build the package of *architecture* for *debian* in the folder *out*; BuildError on failure.

    *quick*: see pack().
    """
    if shutil.which("dpkg-deb") is None:
        raise BuildError("dpkg-deb: not found; build on Debian, Ubuntu or Raspberry Pi OS")
    epoch = source_date()
    package = out / f"emotion-edge_{version()}~{debian}_{architecture}.deb"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="emotion-edge-deb-") as folder:
        root = Path(folder) / "root"
        install_wheels(debian, architecture, root / LIBRARY)
        copy_ours(debian, root, epoch)
        write_control(debian, architecture, root)
        normalize(root, epoch)
        pack(root, package, epoch, quick=quick)
    return package


def main(arguments: list[str] | None = None) -> int:
    """Build the package given on the command line; return 1 on failure."""
    parser = argparse.ArgumentParser(description="Build one Debian package.")
    parser.add_argument("debian", choices=DEBIANS)
    parser.add_argument("architecture", choices=MACHINES)
    parser.add_argument("--out", type=Path, default=TOP / "dist", metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="compress little: for a test, not for others")
    options = parser.parse_args(arguments)
    try:
        package = build(options.debian, options.architecture, options.out, quick=options.quick)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{package} {package.stat().st_size / 2**20:.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
