"""The classifier in the runtime chosen for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edge.analysis.card import Card, Model, read_model
from edge.analysis.classify import FaceClassifier
from edge.analysis.runtimes.chain import Chain, Chosen, Provider, Waiting, Where, no_wait
from edge.analysis.runtimes.chip import OnChip
from edge.types import Runtime


@dataclass(frozen=True, slots=True)
class Engine(Chosen[Card]):
    """A verified model in the runtime that was chosen for it, as a classifier."""

    classifier: FaceClassifier = field(kw_only=True)


def open_chain(
    file: Path,
    *,
    runtime: Where = "auto",
    provider: Provider = "cpu",
    threads: int = 1,
    mirror: bool | None = None,
    waiting: Waiting = no_wait,
) -> Engine:
    """The model of *file* in the first runtime that is present and right; see edge.analysis.runtimes.chain.

    *mirror* None averages each face with its mirror image on the CPU only: an accelerator's calls cost a
    transfer. EdgeError where file or card is wrong, or no runtime is right.
    """
    one = Chain("model", read_model, _classifier, runtime, provider, threads, waiting).open(file)
    twice = not isinstance(one.runtime, OnChip) if mirror is None else mirror
    classifier = _classifier(one.runtime, one.model, mirror=twice)
    return Engine(one.model, one.runtime, one.asked, one.passed_over, classifier=classifier)


def _classifier(runtime: Runtime, model: Model[Card], *, mirror: bool = False) -> FaceClassifier:
    return FaceClassifier(runtime, model.card, str(model.path), mirror=mirror)
