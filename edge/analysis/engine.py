"""The classifier in the runtime chosen for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge.analysis.card import Model, read_model
from edge.analysis.classify import FaceClassifier
from edge.analysis.runtimes.chain import Chain, Chosen, Provider, Waiting, Where, no_wait
from edge.analysis.runtimes.chip import OnChip
from edge.types import Runtime


@dataclass(frozen=True, slots=True)
class Engine:
    """A verified model in the runtime that was chosen for it."""

    chosen: Chosen[Model]
    classifier: FaceClassifier

    @property
    def model(self) -> Model:
        return self.chosen.model

    @property
    def runtime(self) -> Runtime:
        return self.chosen.runtime

    @property
    def reason(self) -> str:
        """Why this runtime, as of now."""
        return self.chosen.reason


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
    chosen = Chain("model", read_model, _classifier, runtime, provider, threads, waiting).open(file)
    twice = not isinstance(chosen.runtime, OnChip) if mirror is None else mirror
    return Engine(chosen, _classifier(chosen.runtime, chosen.model, mirror=twice))


def _classifier(runtime: Runtime, model: Model, *, mirror: bool = False) -> FaceClassifier:
    return FaceClassifier(runtime, model.card, str(model.path), mirror=mirror)
