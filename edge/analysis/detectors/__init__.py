"""Face detectors: one file each, shared code around them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edge.analysis.detectors.files import CATALOGUE, FACES, models_directory, verify
from edge.analysis.detectors.shared import FaceDetector, Finder
from edge.types import ConfigError, EdgeError

if TYPE_CHECKING:  # needs pydantic, which a machine that only trains may lack
    from edge.analysis.runtimes.chain import Provider, Waiting, Where

__all__ = ["FACES", "FaceDetector", "Kind", "open_detector"]

Kind = Literal["auto", "ssd", "yunet", "haar"]  # after auto: in the order in which it takes them
LONG_SIDE = 320  # pixels


def open_detector(
    kind: Kind = "auto",
    *,
    file: Path | None = None,
    long_side: int | None = None,
    min_face: float | None = None,
    min_score: float | None = None,
    threads: int = 1,
    runtime: Where = "auto",
    provider: Provider = "cpu",
    waiting: Waiting | None = None,
) -> FaceDetector:
    """The detector *kind*; ``auto`` takes the first of ssd, YuNet and Haar that is here and runs.

    *file*: a network with a card (``ssd``), another YuNet network or another cascade; ``auto`` takes what
    it is for. *long_side*: pixels to which a picture is shrunk before it is searched, by default 320 or what
    a network of one fixed shape takes. *min_face*: the smallest face that counts, its framed side as a
    fraction of the picture's long side, by default .05 (ssd) or .08. *min_score*: 0..1, by default the
    detector's own. *runtime*, *provider*: where ssd runs, see edge.analysis.runtimes.chain; *waiting* is put
    around what takes long there.
    ``description`` of the result says what was taken and why. EdgeError when it cannot be opened.
    """
    match kind:
        case "ssd":
            from edge.analysis.detectors.ssd import Ssd

            if file is None and not FACES.exists():
                raise EdgeError(f"no network {FACES} in this installation; name one in detector.file")
            ssd = Ssd(
                file or FACES, min_score=min_score, long_side=long_side, threads=threads, runtime=runtime,
                provider=provider, waiting=waiting,
            )  # fmt: skip
            return _around(ssd, ssd.long_side or long_side, min_face, 0.05)
        case "haar":
            from edge.analysis.detectors.haar import MIN_SCORE, Haar

            least = 0.08 if min_face is None else min_face
            haar = Haar(file, min_face=least, min_score=MIN_SCORE if min_score is None else min_score)
            return _around(haar, long_side, least, 0.08)
        case "yunet":
            yunet = _open_yunet(file, 0.7 if min_score is None else min_score)
            return _around(yunet, long_side, min_face, 0.08)
        case "auto":
            some = partial(
                open_detector, file=file, long_side=long_side, min_face=min_face, min_score=min_score,
                threads=threads, runtime=runtime, provider=provider, waiting=waiting,
            )  # fmt: skip
            # A file that the user named must work; optional ones need not.
            return _first_that_runs(some) if file is None else some("ssd" if is_ssd(file) else "yunet")
        case _:
            raise ConfigError(f"detector.kind: {kind!r} is not known; expected auto, ssd, yunet or haar")


def file_of(kind: Kind, file: Path | None) -> Path | None:
    """The network with a card that open_detector takes for *kind* and *file*; None where it takes none."""
    if kind == "ssd":
        return file or FACES
    if kind == "auto" and file is None:
        return FACES if FACES.exists() else None
    return file if kind == "auto" and file is not None and is_ssd(file) else None


def first_of(kind: Kind, file: Path | None) -> str:
    """What open_detector tries first, by the files that are here; nothing is opened."""
    if taken := file_of(kind, file):
        return f"ssd ({taken})"
    if kind == "auto" and file is None:
        return "yunet" if (models_directory() / CATALOGUE["yunet"].file).exists() else "haar"
    kind = "yunet" if kind == "auto" else kind
    return f"{kind} ({file})" if file else kind


def is_ssd(file: Path) -> bool:
    """Whether ``auto`` takes *file* for a network with a card."""
    # Here, because it needs pydantic, which a machine that only trains may lack.
    from edge.analysis.card import card_path

    return file.suffix == ".tflite" or card_path(file).exists()


def _around(finder: Finder, long_side: int | None, min_face: float | None, least: float) -> FaceDetector:
    smallest = least if min_face is None else min_face
    return FaceDetector(finder, long_side=long_side or LONG_SIDE, min_face=smallest)


def _first_that_runs(some: Callable[[Kind], FaceDetector]) -> FaceDetector:
    reasons: list[str] = []
    preferred: tuple[Kind, ...] = ("ssd", "yunet")
    for kind in preferred:
        try:
            detector = some(kind)
            break
        except ConfigError:  # these settings are for ssd: no fallback to another detector
            raise
        except EdgeError as error:
            reasons.append(str(error))
    else:
        detector = some("haar")
    detector.because = "; ".join(reasons)
    return detector


def _open_yunet(file: Path | None, min_score: float) -> Finder:
    from edge.analysis.detectors.yunet import YuNet

    if file is None:
        entry = CATALOGUE["yunet"]
        file = models_directory() / entry.file
        if not file.exists():
            raise EdgeError(f"no YuNet file at {file}; `emotion-edge models fetch yunet` gets it")
        verify(file, entry)
    return YuNet(file, min_score=min_score)
