"""`emotion-edge probe`: what this machine has for each part of the chain, and what would be used."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple, get_args

import cv2
from cv2 import videoio_registry

from edge.analysis.card import read_model
from edge.analysis.detectors import FACES, Kind, open_detector
from edge.analysis.runtimes import COMPILED, coral
from edge.analysis.runtimes.chip_server import LIBRARY
from edge.analysis.runtimes.onnx import names_of
from edge.commands.chips import LIBRARY_STEP, PROVIDER_STEP, asked, library_failure
from edge.commands.options import add_config
from edge.host.child import failure_of
from edge.host.places import content_of
from edge.settings import load
from edge.settings.tables import MODEL_FILE
from edge.sources import describe_cameras
from edge.sources.picamera import installed
from edge.sources.v4l2 import FIRST_CODEC, is_raspberry_pi
from edge.types import EdgeError

# Distribution -> the statement that shows whether it works here.
INTERPRETERS = {
    "ai-edge-litert": "from ai_edge_litert.interpreter import Interpreter",
    "tflite-runtime": "from tflite_runtime.interpreter import Interpreter",
    "onnxruntime": "import onnxruntime",
}
CORAL_WAY = "taken first with a model whose card lists a .edgetpu.tflite file"
MAKE_STEP = "quantize MODEL.keras --data D --out DIR --target"
GPU_WAY = (
    "taken with a model whose card lists a .onnx file (none is shipped; make yours: "
    f'`{MAKE_STEP} jetson`); provider = "cuda" spares TensorRT\'s build'
)


class Finding(NamedTuple):
    """One thing looked for."""

    part: str  # "camera", "model", ...
    name: str
    found: bool
    detail: str  # what it is, or why it is not there
    used: bool = False  # with every setting left at "auto"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "probe",
        help="show cameras, accelerators, runtimes",
        description="Lists what was looked for on this machine: found or not, why, and what would be used.",
    )
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    findings = [*probe(), *configured(options.config)]
    rows = [finding._asdict() for finding in findings]
    print(json.dumps(rows, indent=2) if options.json else table(findings))
    return 0


def probe() -> list[Finding]:
    """Everything that was looked for, part by part."""
    return [
        *_model(), *_runtimes(), *_detectors(), *_cameras(), *codecs(), *_opencv(), *accelerators(),
        *service(),
    ]  # fmt: skip


def configured(file: Path | None) -> Iterator[Finding]:
    """Each accelerator that the configuration (*file*, or the one that is found) asks for."""
    try:
        for one in asked(load(file)):
            detail = one.lacks or "nothing is missing"
            yield Finding("configured", f"{one.table}: {one.kind}", not one.lacks, detail)
    except EdgeError as error:
        yield Finding("configured", "configuration", False, str(error).partition("\n")[0])


def table(findings: list[Finding]) -> str:
    """*findings* for people: one line each under the part's name."""
    width = max(len(finding.name) for finding in findings)
    lines: list[str] = []
    for index, (part, name, found, detail, used) in enumerate(findings):
        if index == 0 or findings[index - 1].part != part:
            lines += ["", part] if lines else [part]
        lines.append(f"  {'>' if used else '+' if found else '-'} {name:<{width}}  {detail}")
    return "\n".join([*lines, "", "> would be used   + found   - not found"])


def _model() -> Iterator[Finding]:
    try:
        model = read_model(MODEL_FILE)
    except EdgeError as error:
        yield Finding("model", MODEL_FILE.name, False, str(error))
    else:
        detail = f"{model.card.name} {model.card.version}, sha256 {model.sha256[:12]}…"
        yield Finding("model", MODEL_FILE.name, True, detail, used=True)


def _runtimes() -> Iterator[Finding]:
    taken = False
    for name, statement in INTERPRETERS.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            yield Finding("runtime", name, False, "not installed")
            continue
        failure = failure_of(statement)
        if failure:
            yield Finding("runtime", name, False, f"{installed}, does not load: {failure}")
        elif name == "onnxruntime":
            yield Finding("runtime", name, True, f"{installed}, {_providers()}, for ONNX files")
        else:
            yield Finding("runtime", name, True, f"{installed}, cpu", used=not taken)
            taken = True


def _providers() -> str:
    """What the installed ONNX Runtime was built to compute on, as model.provider says it."""
    import onnxruntime

    return ", ".join(names_of(onnxruntime.get_available_providers()))


def _detectors() -> Iterator[Finding]:
    taken = False
    for kind in get_args(Kind)[1:]:  # in the order in which "auto" takes them
        try:
            description = open_detector(kind).description
        except EdgeError as error:
            yield Finding("detector", kind, False, str(error))
        else:
            yield Finding("detector", kind, True, description, used=not taken)
            taken = True


def _cameras() -> Iterator[Finding]:
    cameras = describe_cameras()
    for index, (source, name) in enumerate(cameras):
        yield Finding("camera", source, True, name, used=index == 0)
    if not any(source.startswith("picamera") for source, _ in cameras):
        why = "sees no camera" if installed() else "is not installed (apt install python3-picamera2)"
        yield Finding("camera", "picamera", False, f"picamera2 {why}")
    if not any(source.startswith("/dev/") for source, _ in cameras):
        yield Finding("camera", "/dev/video*", False, "no V4L2 device gives pictures")
    yield Finding("camera", "portraits", True, "built in, shows nobody")


def codecs(root: Path = Path("/")) -> Iterator[Finding]:
    """A Raspberry Pi's nodes under *root* that look like cameras but are codecs."""
    if not is_raspberry_pi(root / "proc/device-tree/model"):
        return
    numbers = sorted(int(node.name[5:]) for node in root.glob("dev/video*") if node.name[5:].isdigit())
    names = ", ".join(f"/dev/video{number}" for number in numbers if number >= FIRST_CODEC)
    if names:
        detail = f"{names}: codecs, not cameras; auto never opens them"
        yield Finding("camera", "/dev/video10 …", False, detail)


def service(root: Path = Path("/")) -> Iterator[Finding]:
    """Limits of the systemd unit that this kernel does not enforce."""
    controllers = content_of(root / "sys/fs/cgroup/cgroup.controllers").split()
    # Version 1 lists each controller in its own line: name, hierarchy, cgroups, enabled.
    first = [
        (row[0], row[-1]) for row in map(str.split, content_of(root / "proc/cgroups").splitlines()) if row
    ]
    if "memory" in controllers or ("memory", "1") in first:
        yield Finding("service", "MemoryMax", True, "the memory cgroup is on")
    else:
        why = "the memory cgroup is off, so the unit's MemoryMax has no effect"
        way = "add cgroup_enable=memory to /boot/firmware/cmdline.txt (Raspberry Pi OS) and reboot"
        yield Finding("service", "MemoryMax", False, f"{why}; {way}")


def _opencv() -> Iterator[Finding]:
    yield Finding("opencv", "version", True, cv2.__version__, used=True)
    failure = failure_of("import av")
    detail = failure or f"{version('av')}, for video files, rtsp:// and http://"
    yield Finding("opencv", "PyAV", not failure, detail, used=not failure)
    for name, backend, purpose in (
        ("V4L2", cv2.CAP_V4L2, "USB cameras"),
        ("GStreamer", cv2.CAP_GSTREAMER, "Jetson CSI cameras"),
    ):
        built = videoio_registry.hasBackend(backend)
        yield Finding("opencv", name, built, purpose if built else f"not built in; needed for {purpose}")


def accelerators(root: Path = Path("/")) -> Iterator[Finding]:
    """Coral and NVIDIA hardware under *root*, their software: what each lacks, and the next step."""
    sticks, cards = coral.sticks(root), coral.cards(root)
    failure = library_failure()
    way = CORAL_WAY if not failure else f"{LIBRARY} is missing or does not load; {LIBRARY_STEP}"
    for name, seen, missing in (
        ("Coral USB", sticks, coral.NO_STICK), ("Coral PCIe", cards, coral.NO_CARD),
    ):  # fmt: skip
        yield Finding("accelerator", name, bool(seen), f"{', '.join(seen)}; {way}" if seen else missing)
    if failure:
        yield Finding("accelerator", LIBRARY, False, f"{failure}; {LIBRARY_STEP}")
    else:
        use = CORAL_WAY if sticks or cards else "loads; plug a Coral in"
        yield Finding("accelerator", LIBRARY, True, use)
    yield from _compiled()
    release = content_of(root / "etc/nv_tegra_release").partition("\n")[0].strip("# ")
    nodes = [f"/dev/{node.name}" for node in sorted(root.glob("dev/nvhost*"))]
    jetson = release or ", ".join(nodes[:3])
    detail = f"{jetson}; {_gpu_way()}" if jetson else "no /etc/nv_tegra_release, no /dev/nvhost*"
    yield Finding("accelerator", "Jetson", bool(jetson), detail)
    gpus = ", ".join(f"/dev/{node.name}" for node in sorted(root.glob("dev/nvidia[0-9]*")))
    detail = f"{gpus}; {_gpu_way()}" if gpus else "no /dev/nvidia0; an NVIDIA GPU needs NVIDIA's driver"
    yield Finding("accelerator", "NVIDIA GPU", bool(gpus), detail)


def _compiled() -> Iterator[Finding]:
    """Whether the default model and detector have a file for the Edge TPU: none is shipped."""
    for model in (MODEL_FILE, FACES):
        file = model.with_suffix(COMPILED)
        missing = f"not shipped (Coral's compiler runs on x86-64 only); make yours: `{MAKE_STEP} coral`"
        yield Finding("accelerator", file.name, file.exists(), CORAL_WAY if file.exists() else missing)


def _gpu_way() -> str:
    """The next step for NVIDIA's chip to be used."""
    failure = failure_of("import onnxruntime")
    there = "" if failure else _providers()
    if "cuda" in there or "tensorrt" in there:
        return GPU_WAY
    have = "no ONNX Runtime" if failure else f"its ONNX Runtime has only {there}"
    return f"{have}; {PROVIDER_STEP}"
