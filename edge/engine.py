"""Which chip runs a model: Edge TPU, then TensorRT or CUDA, then the CPU, each proven by golden vectors.

One card lists the files of one model: ``X.tflite``, ``X.edgetpu.tflite`` (the same, compiled), ``X.onnx``.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from edge.card import Model, card_path, read_model
from edge.classify import FaceClassifier
from edge.golden import Golden, mismatch, read_golden
from edge.runtimes import COMPILED, kind_of, open_runtime
from edge.runtimes.edgetpu import OnEdgeTpu, the_chip
from edge.types import EdgeError, Runtime

log = logging.getLogger(__name__)

# Around what takes long, with what it is and for how many seconds at most: a watchdog's declared wait.
Waiting = Callable[[str, float], AbstractContextManager[None]]
OPEN_S, BUILD_S = 60.0, 1800.0  # TensorRT builds its engine for minutes, the first time
ACCELERATED = ("tensorrt", "cuda")  # ONNX Runtime's providers, the better one first


@dataclass(frozen=True, slots=True)
class Engine:
    """A verified model in the runtime that was chosen for it."""

    model: Model
    runtime: Runtime
    classifier: FaceClassifier
    asked: str  # model.runtime
    passed_over: tuple[str, ...] = ()  # "cuda: why not"

    @property
    def reason(self) -> str:
        """Why this runtime, as of now: an Edge TPU comes and goes."""
        away = self.runtime.reason if isinstance(self.runtime, OnEdgeTpu) else ""
        return "; ".join([self.asked, *([f"edgetpu: {away}"] if away else []), *self.passed_over])


def no_wait(_reason: str, _seconds: float) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def open_chain(
    file: Path,
    *,
    runtime: str = "auto",
    provider: str = "cpu",
    threads: int = 1,
    mirror: bool | None = None,
    waiting: Waiting = no_wait,
) -> Engine:
    """The model of *file* in the first runtime of the chain that is there and right.

    The chain begins with *runtime* and *provider*; "auto" tries all that the card has files for. *mirror*
    None averages each face with its mirror image on the CPU only: an accelerator's calls cost a transfer.
    EdgeError where file and card are not right, or no runtime is.
    """
    named = read_model(file)
    passed_over: list[str] = []
    away: Engine | None = None  # an Edge TPU that may come back
    for kind, path in _chain(named, runtime, provider):
        try:
            model = named if path == named.path else read_model(path)
            engine = _open(kind, model, threads, waiting, runtime, mirror, tuple(passed_over))
        except EdgeError as error:
            if kind == "cpu":
                raise
            passed_over.append(f"{kind}: {error}")
            log.warning("%s: %s; the next runtime is tried", kind, error)
            continue
        if not isinstance(engine.runtime, OnEdgeTpu) or engine.runtime.place:
            break
        if engine.runtime.barred:
            passed_over.append(f"{kind}: {engine.runtime.reason}")
        else:
            away = engine
    return away if away and kind == "cpu" else engine


def _chain(model: Model, runtime: str, provider: str) -> list[tuple[str, Path]]:
    """What to try, in order, each with its file; the last is "cpu"."""
    made_for = kind_of(model.content)
    compiled = model.path if made_for == "edgetpu" else _listed(model, COMPILED)
    onnx = model.path if made_for == "onnx" else _listed(model, ".onnx")
    plain = _listed(model, ".tflite") if "edgetpu" in (made_for, runtime) else model.path
    if runtime == "edgetpu" and compiled is None:
        raise EdgeError(
            f"{model.path}: no {COMPILED} file of its card beside it; `quantize --target coral` makes one, "
            'or set model.runtime = "auto"'
        )
    if runtime == "onnx":
        if onnx is None:
            raise EdgeError(f"{model.path}: no .onnx file in its card; `quantize --onnx` makes one")
        plain = onnx
    chain: list[tuple[str, Path]] = []
    if compiled is not None and (runtime == "edgetpu" or (runtime == "auto" and made_for != "onnx")):
        chain.append(("edgetpu", compiled))
    if runtime in ("auto", "onnx") and onnx is not None:
        first = ACCELERATED.index(provider) if provider in ACCELERATED else 0 if runtime == "auto" else 2
        there = _providers() if runtime == "auto" else ACCELERATED
        chain += [(name, onnx) for name in ACCELERATED[first:] if name in there]
    if runtime == "cpu":
        plain = model.path  # whose kind open_runtime holds against it
    if plain is None:
        raise EdgeError(f"{model.path}: its uncompiled twin is not in its card; quantize makes both at once")
    return [*chain, ("cpu", plain)]


def _open(
    kind: str,
    model: Model,
    threads: int,
    waiting: Waiting,
    asked: str,
    mirror: bool | None,
    passed_over: tuple[str, ...],
) -> Engine:
    name = str(model.path)
    golden: Golden | None = None
    try:
        golden = read_golden(model)
    except EdgeError as error:
        if kind != "cpu":
            raise EdgeError(f"cannot be proven: {error}") from error
        log.warning("%s", error)  # whoever made this model measured it on a CPU

    def prove(runtime: Runtime) -> str:
        return mismatch(golden, FaceClassifier(runtime, model.card, name)) if golden else ""

    runtime: Runtime
    match kind:
        case "edgetpu":
            twin = _listed(model, ".tflite")
            if twin is None:
                raise EdgeError("its uncompiled twin is not in its card; quantize makes both at once")
            cpu = open_runtime("cpu", read_model(twin).content, threads=threads)
            with waiting("opening the Edge TPU", OPEN_S):
                runtime = the_chip().open(model.content, cpu, prove)
        case "cpu":
            wanted = "cpu" if asked == "cpu" else kind_of(model.content)
            runtime = open_runtime(wanted, model.content, threads=threads)
        case provider:
            with waiting(f"{provider} loads the model", BUILD_S):
                runtime = open_runtime("onnx", model.content, threads=threads, provider=provider)
    if kind != "edgetpu" and (failure := prove(runtime)):
        raise EdgeError(f"{name}: {runtime.name}: {failure}")
    twice = kind == "cpu" if mirror is None else mirror
    return Engine(model, runtime, FaceClassifier(runtime, model.card, name, mirror=twice), asked, passed_over)


def _listed(model: Model, suffix: str) -> Path | None:
    """The file of *model*'s card with *suffix* after the card's own name, where it is there."""
    card = card_path(model.path)
    path = card.with_suffix(suffix)
    return path if path.name in model.card.files and path.exists() else None


def _providers() -> tuple[str, ...]:
    """Those of ACCELERATED that the installed ONNX Runtime was built for."""
    try:
        import onnxruntime
    except ImportError:
        return ()
    from edge.runtimes.onnx import names_of

    return tuple(names_of(onnxruntime.get_available_providers()))
