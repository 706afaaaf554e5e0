"""Recognition by a small network over the flow from onset to apex, and by the apex alone, to compare.

One subject is left out at a time; epochs are fixed, and nothing is chosen on who is left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.analysis.detectors import open_detector
from edge.types import EdgeError
from training.micro.casme import Sample
from training.micro.faces import framed

SIDE = 28
STEPS = 200  # batches a network is trained on
BATCH = 32
INPUTS = {"flow": 3, "apex": 1}  # channels

_FLOW_SIDE = 160
_FLOW_SCALE = 0.5  # pixels that count as 1
_FACE = slice(150, 490)  # of a framed face: brows to chin


def features(samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """``flow`` (n, SIDE, SIDE, 3): u, v, strain from onset to apex; ``apex`` (n, SIDE, SIDE, 1): its grey."""
    detector = open_detector("auto")
    flows, apexes = [], []
    for sample in samples:
        onset, apex = _faces(detector, sample)
        flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(onset, apex, None)
        # What all of the face does is the head's.
        flow = (flow - np.median(flow, (0, 1))) / _FLOW_SCALE
        ux, uy = np.gradient(flow[..., 0])[::-1]
        vx, vy = np.gradient(flow[..., 1])[::-1]
        strain = np.sqrt(ux**2 + vy**2 + 0.5 * (uy + vx) ** 2)
        stacked = np.dstack([flow, 4 * strain])
        flows.append(cv2.resize(stacked, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
        grey = cv2.resize(apex, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        apexes.append((grey - grey.mean()) / max(float(grey.std()), 1.0))
    return {
        "flow": np.stack(flows).astype(np.float32),
        "apex": np.stack(apexes)[..., None].astype(np.float32),
    }


def _faces(detector: Any, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Onset and apex, framed by the face's eyes in the onset; the whole pictures where none is found."""
    pictures = []
    for path in (sample.onset, sample.apex):
        image = cv2.imread(str(path))
        if image is None:
            raise EdgeError(f"{path}: no picture in it; expected a JPEG")
        pictures.append(image)
    found = [face for face in detector.detect(pictures[0]) if face.eyes]
    grey = [cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) for picture in pictures]
    if found:
        eyes = max(found, key=lambda face: face.box.area).eyes
        grey = [framed(picture, eyes)[_FACE, _FACE] for picture in grey]
    size = (_FLOW_SIDE, _FLOW_SIDE)
    onset, apex = (cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in grey)
    return onset, apex


@dataclass(frozen=True, slots=True)
class Fold:
    """Who is trained on and who is left out, as rows; EdgeError where a subject is in both."""

    train: np.ndarray
    test: np.ndarray

    @classmethod
    def of(cls, subjects: Sequence[str], train: np.ndarray, test: np.ndarray) -> Fold:
        both = {subjects[row] for row in train} & {subjects[row] for row in test}
        if both:
            raise EdgeError(f"{min(both)}: in both halves; a subject is trained on or tested on, never both")
        return cls(train, test)


def folds(subjects: Sequence[str]) -> Iterator[Fold]:
    """One subject left out at a time; EdgeError where there is one alone."""
    names = np.array(subjects)
    if len(set(subjects)) < 2:
        raise EdgeError("one subject alone; expected two or more, to leave one out")
    for name in sorted(set(subjects)):
        yield Fold.of(subjects, np.flatnonzero(names != name), np.flatnonzero(names == name))


class Learner:
    """A small network, begun afresh for each fold from the same weights."""

    def __init__(self, keras: Any, channels: int, classes: int, seed: int) -> None:
        keras.utils.set_random_seed(seed)
        layers = keras.layers
        self.model = keras.Sequential([
            keras.Input((SIDE, SIDE, channels)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dense(classes, activation="softmax"),
        ])  # fmt: skip
        self.model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy")
        self._weights = self.model.get_weights()
        self._seed, self._classes = seed, classes

    def fit(self, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """STEPS batches of *inputs* (n, SIDE, SIDE, channels), each class as often as any other.

        (STEPS,): each batch's loss.
        """
        self.model.set_weights(self._weights)
        for variable in self.model.optimizer.variables:
            if "learning_rate" not in variable.path:
                variable.assign(np.zeros(variable.shape))
        rng = np.random.default_rng(self._seed)
        counts = np.bincount(labels, minlength=self._classes)
        chances = 1 / counts[labels]
        losses = np.zeros(STEPS)
        for step in range(STEPS):
            rows = rng.choice(len(labels), BATCH, p=chances / chances.sum())
            self.model.reset_metrics()  # Keras would give the mean since the last one
            losses[step] = self.model.train_on_batch(inputs[rows], labels[rows])
        return losses

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """The likeliest class of each."""
        return np.asarray(self.model(inputs)).argmax(1)


def leave_one_out(
    keras: Any, inputs: np.ndarray, labels: np.ndarray, subjects: Sequence[str], classes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(classes, classes): rows what a clip is, columns what was said of it by who never saw its subject.

    Also (subjects, STEPS): the losses of those trained without each.
    """
    learner = Learner(keras, inputs.shape[-1], classes, seed)
    confusion = np.zeros((classes, classes), int)
    losses = []
    for fold in folds(subjects):
        losses.append(learner.fit(inputs[fold.train], labels[fold.train]))
        np.add.at(confusion, (labels[fold.test], learner.predict(inputs[fold.test])), 1)
    return confusion, np.stack(losses)


def save(learner: Learner, losses: np.ndarray, out: Path) -> None:
    """model.keras, and loss.png of its *losses* (STEPS,), in *out*; EdgeError where it cannot be written."""
    from training.micro import plots

    try:
        out.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():  # of Keras about NumPy
            warnings.simplefilter("ignore", DeprecationWarning)
            learner.model.save(out / "model.keras")
        (out / "loss.png").write_bytes(plots.losses({"flow, all subjects": losses[None]}))
    except OSError as error:
        raise EdgeError(
            f"{out}: {error.strerror or error}; --out needs a folder that can be written"
        ) from error
