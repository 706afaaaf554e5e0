"""Recognition by a small network from the flow between onset and apex, and from the apex alone.

Leave-one-subject-out with a fixed number of batches: nothing is selected on the held-out subject.
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
STEPS = 200  # training batches per network
BATCH = 32
INPUTS = {"flow": 3, "apex": 1}  # channels

_FLOW_SIDE = 160
_FLOW_SCALE = 0.5  # pixels that count as 1
_FACE = slice(150, 490)  # brows to chin in a framed face


def features(samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """``flow`` (n, SIDE, SIDE, 3): u, v, strain from onset to apex; ``apex`` (n, SIDE, SIDE, 1): gray."""
    detector = open_detector("auto")
    flows, apexes = [], []
    for sample in samples:
        onset, apex = _faces(detector, sample)
        flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(onset, apex, None)
        # Motion of the whole face is head motion.
        flow = (flow - np.median(flow, (0, 1))) / _FLOW_SCALE
        ux, uy = np.gradient(flow[..., 0])[::-1]
        vx, vy = np.gradient(flow[..., 1])[::-1]
        strain = np.sqrt(ux**2 + vy**2 + 0.5 * (uy + vx) ** 2)
        stacked = np.dstack([flow, 4 * strain])
        flows.append(cv2.resize(stacked, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
        gray = cv2.resize(apex, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        apexes.append((gray - gray.mean()) / max(float(gray.std()), 1.0))
    return {
        "flow": np.stack(flows).astype(np.float32),
        "apex": np.stack(apexes)[..., None].astype(np.float32),
    }


def _faces(detector: Any, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Onset and apex, framed by the eyes in the onset; the whole pictures if no face is found."""
    pictures = []
    for path in (sample.onset, sample.apex):
        image = cv2.imread(str(path))
        if image is None:
            raise EdgeError(f"{path}: not a picture; expected a JPEG")
        pictures.append(image)
    found = [face for face in detector.detect(pictures[0]) if face.eyes]
    gray = [cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) for picture in pictures]
    if found:
        eyes = max(found, key=lambda face: face.box.area).eyes
        gray = [framed(picture, eyes)[_FACE, _FACE] for picture in gray]
    size = (_FLOW_SIDE, _FLOW_SIDE)
    onset, apex = (cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in gray)
    return onset, apex


@dataclass(frozen=True, slots=True)
class Fold:
    """Training and held-out rows; EdgeError if a subject is in both."""

    train: np.ndarray
    test: np.ndarray

    @classmethod
    def of(cls, subjects: Sequence[str], train: np.ndarray, test: np.ndarray) -> Fold:
        both = {subjects[row] for row in train} & {subjects[row] for row in test}
        if both:
            raise EdgeError(f"{min(both)}: in both halves; expected each subject in one")
        return cls(train, test)


def folds(subjects: Sequence[str]) -> Iterator[Fold]:
    """Folds with one subject left out each; EdgeError with fewer than two subjects."""
    names = np.array(subjects)
    if len(set(subjects)) < 2:
        raise EdgeError("only one subject; expected two or more, to leave one out")
    for name in sorted(set(subjects)):
        yield Fold.of(subjects, np.flatnonzero(names != name), np.flatnonzero(names == name))


class Learner:
    """A small network, reset to the same initial weights for each fold."""

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
        """Train on STEPS class-balanced batches of *inputs* (n, SIDE, SIDE, channels).

        Returns each batch's loss, (STEPS,).
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
        """The most likely class of each input."""
        return np.asarray(self.model(inputs)).argmax(1)


def leave_one_out(
    keras: Any, inputs: np.ndarray, labels: np.ndarray, subjects: Sequence[str], classes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Confusion matrix (classes, classes), rows true, columns predicted, of the held-out subjects.

    Also returns the training losses (subjects, STEPS).
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
        with warnings.catch_warnings():  # Keras's about NumPy
            warnings.simplefilter("ignore", DeprecationWarning)
            learner.model.save(out / "model.keras")
        (out / "loss.png").write_bytes(plots.losses({"flow, all subjects": losses[None]}))
    except OSError as error:
        raise EdgeError(f"{out}: {error.strerror or error}; expected a writable folder for --out") from error
