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
from typing import Any, Generic, Literal

from edge.analysis.card import AnyCard, DetectorCard, Model, card_path
from edge.analysis.golden import Answers, Golden, mismatch, read_golden
from edge.analysis.runtimes import COMPILED, coral, kind_of, open_runtime
from edge.analysis.runtimes.chip import NAMES, OnChip, the_chip
from edge.types import ConfigError, EdgeError, Runtime, words_of

log = logging.getLogger(__name__)

# A context around long calls: what waits, and for how many seconds at most.
Waiting = Callable[[str, float], AbstractContextManager[None]]
Where = Literal["auto", "cpu", "edgetpu", "onnx"]
Provider = Literal["cpu", "cuda", "tensorrt"]
ACCELERATED = ("tensorrt", "cuda")  # ONNX Runtime's providers, the better one first


@dataclass(frozen=True, slots=True)
class Chosen(Generic[AnyCard]):
    """A verified model in the runtime that was chosen for it."""

    model: Model[AnyCard]
    runtime: Runtime
    asked: str  # as configured
    passed_over: tuple[str, ...] = ()  # "cuda: why not"

    @property
    def reason(self) -> str:
        """Why this runtime, for now: an accelerator comes and goes."""
        return "; ".join([self.asked, *self._missed])

    @property
    def state(self) -> str:
        """ "ok", or why it does not run as asked."""
        on_chip = isinstance(self.runtime, OnChip) and self.runtime.place is not None
        missed = () if on_chip and self.asked == "auto" else self._missed
        return "; ".join(missed) or "ok"

    @property
    def _missed(self) -> tuple[str, ...]:
        if isinstance(self.runtime, OnChip) and self.runtime.reason:
            return f"{self.runtime.chip.kind}: {self.runtime.reason}", *self.passed_over
        return self.passed_over


def no_wait(_reason: str, _seconds: float) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


@dataclass(frozen=True, slots=True)
class Chain(Generic[AnyCard]):
    """How models of one kind are opened and proven."""

    table: str  # of the configuration that asks for it
    read: Callable[[Path], Model[AnyCard]]
    answers: Callable[[Runtime, Model[AnyCard]], Answers]  # EdgeError where card and tensors disagree
    runtime: Where = "auto"
    provider: Provider = "cpu"
    threads: int = 1
    waiting: Waiting = no_wait

    def open(self, file: Path) -> Chosen[AnyCard]:
        """The model of *file* in the first runtime that is present and right, beginning with ``runtime``.

        "auto" tries all that the card has files for. EdgeError where file or card is wrong, or none is right.
        """
        named = self.read(file)
        passed_over: list[str] = []
        away: Chosen[AnyCard] | None = None  # an Edge TPU that may come back
        for kind, path in links(named, self.table, self.runtime, self.provider):
            try:
                model = named if path == named.path else self.read(path)
                runtime = self._open(kind, model)
            except Exception as error:
                if kind == "cpu":
                    raise
                if isinstance(error, EdgeError):
                    why = str(error)
                    log.warning("%s: %s; trying the next runtime", kind, why)
                else:
                    why = words_of(error, typed=True)
                    log.error("%s: unexpected error; trying the next runtime", kind, exc_info=error)
                passed_over.append(f"{kind}: {why}")
                continue
            chosen = Chosen(model, runtime, self.runtime, tuple(passed_over))
            if not isinstance(runtime, OnChip) or runtime.place:
                break
            if runtime.barred or kind != "edgetpu":  # its reason is already logged
                passed_over.append(f"{kind}: {runtime.reason}")
            else:
                away = chosen
        return away if away and kind == "cpu" else chosen

    def _open(self, kind: str, model: Model[AnyCard]) -> Runtime:
        golden = self._golden(kind, model)

        def prove(runtime: Runtime) -> str:
            answers = self.answers(runtime, model)
            return mismatch(golden, answers) if golden else ""

        if kind in NAMES:
            twin = self._twin(kind, model)
            chip = the_chip(kind)
            with self.waiting(f"{chip.name} loads {model.path.name}", chip.patience_s):
                return chip.open(model.content, twin, prove)
        wanted = "cpu" if self.runtime == "cpu" else kind_of(model.content)
        try:
            runtime = open_runtime(wanted, model.content, threads=self.threads)
        except EdgeError as error:
            raise EdgeError(f"{model.path}: {error}") from error
        if failure := prove(runtime):
            raise EdgeError(f"{model.path}: {runtime.name}: {failure}")
        return runtime

    def _golden(self, kind: str, model: Model[AnyCard]) -> Golden | None:
        try:
            golden = read_golden(model)
            if isinstance(model.card, DetectorCard) and isinstance(golden.spans, float):
                raise EdgeError(f"{model.path}: golden vectors of an older form; quantize it again")
        except EdgeError as error:
            if kind != "cpu":
                raise EdgeError(f"cannot be verified: {error}") from error
            # Third-party detectors were measured on a CPU and have no golden vectors.
            log.log(logging.INFO if isinstance(model.card, DetectorCard) else logging.WARNING, "%s", error)
            return None
        return golden

    def _twin(self, kind: str, model: Model[AnyCard]) -> Runtime:
        """What the CPU runs while the chip is away, with the same tensors."""
        if kind in ACCELERATED:
            return open_runtime("onnx", model.content, threads=self.threads)
        path = _listed(model, ".tflite")
        if path is None:
            raise _no_twin(model)
        return open_runtime("cpu", self.read(path).content, threads=self.threads)


def links(model: Model[Any], table: str, runtime: Where, provider: Provider) -> list[tuple[str, Path]]:
    """(kind, file) to try for *model*, "cpu" last; ConfigError where its card has no file for *runtime*."""
    made_for = kind_of(model.content)
    compiled = model.path if made_for == "edgetpu" else _listed(model, COMPILED)
    onnx = model.path if made_for == "onnx" else _listed(model, ".onnx")
    if runtime == "onnx":
        plain = onnx
    elif runtime == "edgetpu" or (made_for == "edgetpu" and runtime == "auto"):
        plain = _listed(model, ".tflite")
    else:
        plain = model.path  # open_runtime says where its kind is not "cpu"
    needed = {"edgetpu": (compiled, COMPILED, "coral"), "onnx": (onnx, ".onnx", "jetson")}
    if runtime in needed and needed[runtime][0] is None:
        _, suffix, target = needed[runtime]
        raise ConfigError(
            f"{model.path}: no {suffix} file in its card; `quantize --target {target}` makes one, "
            f'or set {table}.runtime = "auto"'
        )
    chain: list[tuple[str, Path]] = []
    if compiled is not None and (runtime == "edgetpu" or (runtime == "auto" and made_for != "onnx")):
        chain.append(("edgetpu", compiled))
    if runtime in ("auto", "onnx") and onnx is not None:
        first = ACCELERATED.index(provider) if provider in ACCELERATED else 0 if runtime == "auto" else 2
        there = providers() if runtime == "auto" else ACCELERATED
        chain += [(name, onnx) for name in ACCELERATED[first:] if name in there]
    if plain is None:
        raise _no_twin(model)
    return [*chain, ("cpu", plain)]


def _no_twin(model: Model[Any]) -> EdgeError:
    absent = coral.absent()
    return EdgeError(
        f"{model.path}: compiled for the Edge TPU, and its uncompiled twin is not in its card, for the CPU "
        f"while the chip is away; `quantize --target coral` makes both{absent and f' ({absent})'}"
    )


def _listed(model: Model[Any], suffix: str) -> Path | None:
    """The file with *suffix* after the card's own name, if it is listed and here."""
    card = card_path(model.path)
    path = card.with_suffix(suffix)
    compiled = path == model.path and kind_of(model.content) == "edgetpu" and suffix != COMPILED
    return path if path.name in model.card.files and path.exists() and not compiled else None


def providers() -> tuple[str, ...]:
    """Those of ACCELERATED that the installed ONNX Runtime was built for."""
    try:
        import onnxruntime
    except ImportError:
        return ()
    from edge.analysis.runtimes.onnx import names_of

    return tuple(names_of(onnxruntime.get_available_providers()))
