"""The Debian package without a network: the files build.py writes, not the wheels."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
DEBIAN = REPOSITORY / "systemd" / "debian"
EPOCH = 1_700_000_000


def load_build_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("debian_build", DEBIAN / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


build = load_build_script()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's files without its wheels, ready to be packed."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("the package is built from a git clone")
    root = tmp_path_factory.mktemp("package") / "root"
    build.copy_ours("deb12", root, EPOCH)
    build.write_control("deb12", "arm64", root)
    build.normalize(root, EPOCH)
    return root


def test_each_debian_release_gets_its_python() -> None:
    twelve = build.control("deb12", "arm64", 1000)
    thirteen = build.control("deb13", "amd64", 1000)
    assert f"Version: {build.version()}~deb12\nArchitecture: arm64\n" in twelve
    assert "python3 (>= 3.11~), python3 (<< 3.12~)" in twelve
    assert f"Version: {build.version()}~deb13\nArchitecture: amd64\n" in thirteen
    assert "python3 (>= 3.13~), python3 (<< 3.14~)" in thirteen
    assert "@" not in twelve.replace(build.MAINTAINER, "")


def test_bookworm_lock_has_the_numpy_of_its_picamera2() -> None:
    pins = dict(re.findall(r"(?m)^([a-z-]+)==(\S+)", (REPOSITORY / "requirements/bookworm.txt").read_text()))
    assert pins["numpy"].startswith("1.")
    assert pins["opencv-python-headless"] == "4.11.0.86"
    newer = dict(re.findall(r"(?m)^([a-z-]+)==(\S+)", (REPOSITORY / "requirements/trixie.txt").read_text()))
    assert newer["numpy"].startswith("2.")
    compiled_for_numpy = {"numpy", "opencv-python-headless", "ml-dtypes"}
    assert {name for name in pins if pins[name] != newer.get(name)} == compiled_for_numpy


@pytest.mark.parametrize("release", build.DEBIANS.values(), ids=list(build.DEBIANS))
def test_debian_lock_has_no_markers(release: object) -> None:
    pins = re.findall(r"(?m)^[a-z].*", (REPOSITORY / release.lock).read_text())  # type: ignore[attr-defined]
    assert pins
    assert [pin for pin in pins if ";" in pin] == []


@pytest.mark.parametrize("release", build.DEBIANS.values(), ids=list(build.DEBIANS))
def test_every_bundled_package_has_its_licence(release: object) -> None:
    names = build.locked(REPOSITORY / release.lock)  # type: ignore[attr-defined]
    assert "ai_edge_litert" in names
    assert build.without_licence(names) == []
    assert build.without_licence([*names, "stranger"]) == ["stranger"]


def test_files_are_where_debian_expects_them(root: Path) -> None:
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert {
        "DEBIAN/control", "DEBIAN/md5sums", "DEBIAN/postinst", "DEBIAN/prerm", "DEBIAN/postrm",
        "etc/emotion-edge/config.toml", "usr/bin/emotion-edge", "usr/lib/emotion-edge/edge/node/daemon.py",
        "usr/lib/emotion-edge/edge/models/emotion.tflite",
        "usr/lib/emotion-edge/edge/contract/schemas/state.json",
        "usr/lib/systemd/system/emotion-edge.service", "usr/lib/sysusers.d/emotion-edge.conf",
        "usr/share/doc/emotion-edge/copyright", "usr/share/doc/emotion-edge/changelog.gz",
    } <= files  # fmt: skip
    assert [name for name in files if "__pycache__" in name or "report/" in name] == []
    elsewhere = ("DEBIAN/", "etc/emotion-edge/", "usr/lib/emotion-edge/", "usr/share/emotion-edge/",
                 "usr/share/doc/emotion-edge/", "usr/share/lintian/", "usr/lib/sysusers.d/",
                 "usr/lib/systemd/system/emotion-edge",
                 "usr/lib/tmpfiles.d/", "usr/lib/udev/", "usr/bin/emotion-edge")  # fmt: skip
    assert [name for name in files if not name.startswith(elsewhere)] == []
    assert (root / "DEBIAN/conffiles").read_text() == "/etc/emotion-edge/config.toml\n"


def test_service_runs_the_packaged_command(root: Path) -> None:
    unit = (root / "usr/lib/systemd/system/emotion-edge.service").read_text()
    assert "ExecStart=/usr/bin/emotion-edge run --config /etc/emotion-edge/config.toml" in unit
    assert "/opt/" not in unit


def test_systemd_file_without_destination_fails_the_build() -> None:
    with pytest.raises(build.BuildError, match=r"systemd/new\.timer: no destination"):
        build.place(REPOSITORY / "systemd/new.timer")
    assert build.place(REPOSITORY / "systemd/x/coral.conf") == "usr/share/emotion-edge/drop-ins/coral.conf"


def test_command_and_children_prefer_the_bundled_library(tmp_path: Path) -> None:
    """Bundled packages come first, then the system's; picamera2 here is a fake."""
    library, system = tmp_path / "ours", tmp_path / "system"
    for folder, packages in ((library, ("edge", "numpy")), (system, ("numpy", "picamera2"))):
        for name in packages:
            build.put(folder / name / "__init__.py", f"home = {str(folder)!r}".encode())
    inner = "import numpy, picamera2; print(numpy.home, picamera2.home)"
    program = (
        "import subprocess, sys\n"
        "def main():\n"
        f"    exec({inner!r})\n"
        f"    sys.stdout.flush()\n"
        f"    return subprocess.run([sys.executable, '-c', {inner!r}]).returncode\n"
    )
    build.put(library / "edge/__main__.py", program.encode())
    command = tmp_path / "emotion-edge"
    command.write_text((DEBIAN / "emotion-edge").read_text().replace("/usr/lib/emotion-edge", str(library)))
    done = subprocess.run(
        [sys.executable, "-sP", command] if sys.version_info >= (3, 11) else [sys.executable, "-s", command],
        env={"PYTHONPATH": str(system)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{library} {system}\n" * 2


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_maintainer_script_parses_and_stops_on_first_failure(script: str) -> None:
    text = (DEBIAN / script).read_text()
    assert text.startswith("#!/bin/sh\nset -e\n")
    subprocess.run(["sh", "-n", DEBIAN / script], check=True)


def test_install_neither_enables_nor_starts() -> None:
    """A package must not switch a camera on."""
    commands = re.findall(r"(?m)^\s*(systemctl|deb-systemd-\w+) (\S+)", (DEBIAN / "postinst").read_text())
    assert commands == [("systemctl", "daemon-reload"), ("deb-systemd-invoke", "try-restart")]


def test_package_build_is_reproducible(root: Path, tmp_path: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("needs dpkg-deb: Debian and its derivatives have it")
    packages = [build.pack(root, tmp_path / name, EPOCH) for name in ("a.deb", "b.deb")]
    assert packages[0].read_bytes() == packages[1].read_bytes()
    listed = dpkg_deb("-c", packages[0])
    assert re.search(r"-rwxr-xr-x root/root .* \./usr/bin/emotion-edge\n", listed)
    assert re.search(r"-rw-r--r-- root/root .* \./etc/emotion-edge/config\.toml\n", listed)
    assert dpkg_deb("-f", packages[0], "Package") == "emotion-edge\n"


def dpkg_deb(*question: str | Path) -> str:
    return subprocess.run(["dpkg-deb", *question], capture_output=True, text=True, check=True).stdout
