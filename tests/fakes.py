"""Small real objects that keep the protocols, for tests of what stands around them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge.types import LABELS, Box, Face, Floats, Frame, Image, Message, TensorSpec


def picture(width: int = 64, height: int = 48) -> Image:
    return np.zeros((height, width), np.uint8)


def frame(taken: float, seq: int = 0, camera: str = "hall", image: Image | None = None) -> Frame:
    return Frame(picture() if image is None else image, taken, 1_700_000_000 + taken, seq, camera)


def face(x: float = 0.0, side: float = 20.0) -> Face:
    return Face(Box(x, 0.0, side, side), 0.9)


class ScriptedDetector:
    """Gives the next list of faces of its script at each call, and the last one for ever after."""

    def __init__(self, *script: list[Face]) -> None:
        self.script = list(script)

    def detect(self, image: Image) -> list[Face]:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


class ClassifierByPlace:
    """Gives the label named for the left edge of each face, at a fixed probability."""

    def __init__(self, labels: dict[float, str], probability: float = 0.88) -> None:
        self.labels = labels
        self.probability = probability

    def classify(self, image: Image, faces: Sequence[Face]) -> Floats:
        rest = (1 - self.probability) / (len(LABELS) - 1)
        scores = np.full((len(faces), len(LABELS)), rest, np.float32)
        for row, found in enumerate(faces):
            scores[row, LABELS.index(self.labels[found.box.x])] = self.probability
        return scores


class EchoRuntime:
    """Gives back a fixed output and remembers the tensor it was given."""

    name = "echo"

    def __init__(self, input: TensorSpec, output: TensorSpec, result: npt.NDArray[np.generic]) -> None:  # noqa: A002
        self.input, self.output, self.result = input, output, result
        self.given: npt.NDArray[np.generic] = np.empty(0)

    def run(self, tensor: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        self.given = tensor.copy()
        return self.result


class ListSink:
    """Keeps what was published."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def publish(self, message: Message) -> None:
        self.messages.append(message)
