"""Face detectors: one file each, shared code around them."""

from __future__ import annotations

from collections.abc import Callable
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

    *file*: a network with a card (ssd), a YuNet network (``auto`` takes either) or a cascade. *long_side*:
    pixels to which a picture is shrunk, by default 320 or a fixed network's. *min_face*: the smallest face
    that counts, its framed side / the picture's long side, by default .05 (ssd) or .08. *min_score*: 0..1, by
    default the detector's own. *runtime*, *provider*, *waiting*: see edge.analysis.runtimes.chain.
    ``description`` of the result says what was taken and why. EdgeError when it cannot be opened.
    """

    def opened(kind: Kind) -> FaceDetector:
        least = min_face if min_face is not None else 0.05 if kind == "ssd" else 0.08
        side = long_side
        finder: Finder
        match kind:
            case "ssd":
                from edge.analysis.detectors.ssd import Ssd

                if file is None and not FACES.exists():
                    raise EdgeError(f"no network {FACES} in this installation; name one in detector.file")
                finder = Ssd(
                    file or FACES, min_score=min_score, long_side=long_side, threads=threads, runtime=runtime,
                    provider=provider, waiting=waiting,
                )  # fmt: skip
                side = finder.long_side or long_side
            case "haar":
                from edge.analysis.detectors.haar import Haar

                finder = Haar(file, min_face=least, min_score=min_score)
            case "yunet":
                finder = _open_yunet(file, min_score)
            case _:
                raise ConfigError(f"detector.kind: {kind!r} is not known; expected auto, ssd, yunet or haar")
        return FaceDetector(finder, long_side=side or LONG_SIDE, min_face=least)

    if kind != "auto":
        return opened(kind)
    # A file that the user named must work; optional ones need not.
    return _first_that_runs(opened) if file is None else opened("ssd" if is_ssd(file) else "yunet")


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


def _first_that_runs(opened: Callable[[Kind], FaceDetector]) -> FaceDetector:
    reasons: list[str] = []
    preferred: tuple[Kind, ...] = ("ssd", "yunet")
    for kind in preferred:
        try:
            detector = opened(kind)
            break
        except ConfigError:  # these settings are for ssd: no fallback to another detector
            raise
        except EdgeError as error:
            reasons.append(str(error))
    else:
        detector = opened("haar")
    detector.because = "; ".join(reasons)
    return detector


def _open_yunet(file: Path | None, min_score: float | None) -> Finder:
    from edge.analysis.detectors.yunet import YuNet

    if file is None:
        entry = CATALOGUE["yunet"]
        file = models_directory() / entry.file
        if not file.exists():
            raise EdgeError(f"no YuNet file at {file}; `emotion-edge models fetch yunet` gets it")
        verify(file, entry)
    return YuNet(file, min_score=min_score)
