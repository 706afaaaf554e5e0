"""The values that flow through the daemon, and its protocols.

Imports nothing of the project. Times named ``taken``, ``since`` or ``now`` are
``time.monotonic()`` seconds; ``wall`` is Unix time in seconds, for people and never for arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # unless a card lists its own
UNCERTAIN = "uncertain"  # a face, but no label above the confidence floor
NONE = "none"  # no face

Image = npt.NDArray[np.uint8]  # (height, width, 3) BGR or (height, width) luma
Floats = npt.NDArray[np.float32]
Tensor = npt.NDArray[np.generic]
Point = tuple[float, float]


class EdgeError(Exception):
    """An error that the user can fix, in one line: place, what is wrong, what to do."""

    exit_code = 1


@contextmanager
def named(place: object, errors: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
    """Turn *errors* into an EdgeError that begins with *place*."""
    try:
        yield
    except errors as error:
        raise EdgeError(f"{place}: {getattr(error, 'strerror', None) or error}") from error


def words_of(error: Exception, *, typed: bool = False) -> str:
    """What *error* says, on one line; its type where it says nothing, or before it with *typed*."""
    words, kind = " ".join(str(error).split()), type(error).__name__
    return f"{kind}: {words}" if typed else words or kind


class ConfigError(EdgeError):
    """A wrong configuration; systemd must not restart into it (EX_CONFIG)."""

    exit_code = 78


class Box(NamedTuple):
    """A rectangle in pixels of the frame; may reach beyond its edge."""

    x: float
    y: float
    width: float
    height: float

    @property
    def center(self) -> Point:
        return self.x + self.width / 2, self.y + self.height / 2

    @property
    def area(self) -> float:
        return self.width * self.height

    def iou(self, other: Box) -> float:
        """Intersection over union with *other*, 0..1."""
        width = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        if width <= 0 or height <= 0:
            return 0.0
        return width * height / (self.area + other.area - width * height)


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of one camera."""

    image: Image
    taken: float  # monotonic s
    wall: float  # Unix s
    seq: int
    camera: str

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.image.shape[1], self.image.shape[0]


@dataclass(frozen=True, slots=True)
class Face:
    """A face in one frame, framed as FER2013 frames its faces."""

    box: Box
    score: float  # the detector's own confidence, 0..1
    eyes: tuple[Point, Point] | None = None  # the eye on the picture's left side, then on its right


@dataclass(frozen=True, slots=True)
class Track:
    """A face over time; immutable, changed by dataclasses.replace."""

    number: int
    face: Face
    since: float  # first seen, monotonic s
    seen: float  # last seen, monotonic s
    sightings: int = 1
    announced: bool = False  # face_appeared was published
    labels: tuple[str, ...] = LABELS  # of the classifier that gave the scores
    scores: tuple[float, ...] = ()  # blended probabilities in the labels' order; empty before the first
    emotion: str = UNCERTAIN  # what is reported
    emotion_since: float = 0.0  # monotonic s
    rival: str = UNCERTAIN  # what would be reported once it has lasted
    rival_since: float = 0.0  # monotonic s
    doubted: bool = False  # the reported label has fallen below the floor; what follows it has yet to last

    @property
    def confidence(self) -> float:
        """Blended probability of the reported label, or of the likeliest while uncertain; 0..1."""
        return self._probability(self.emotion)

    @property
    def shown(self) -> tuple[str, float]:
        """(label, probability) to show now: never a label below the floor."""
        label = UNCERTAIN if self.doubted else self.emotion
        return label, self._probability(label)

    def _probability(self, label: str) -> float:
        if not self.scores:
            return 0.0
        return self.scores[self.labels.index(label)] if label in self.labels else max(self.scores)


EventType = Literal["face_appeared", "emotion_changed", "face_left"]


@dataclass(frozen=True, slots=True)
class Event:
    """A transition of one track; *before* and *after* are labels, ``uncertain`` or ``none``."""

    event_type: EventType
    camera: str
    track: int
    before: str
    after: str
    confidence: float
    wall: float  # Unix s


@dataclass(frozen=True, slots=True)
class Movement:
    """A brief movement of a region of a track's face; times in Unix s, *amplitude* in eye distances."""

    camera: str
    track: int
    region: str
    onset: float
    apex: float
    offset: float
    amplitude: float
    wall: float  # when it was spotted, Unix s


@dataclass(frozen=True, slots=True)
class Message:
    """A message to the broker."""

    topic: str
    payload: bytes
    qos: Literal[0, 1] = 0
    retain: bool = False
    max_age_s: float | None = None  # drop it rather than send it later than this
    durable: bool = False  # goes through the outbox: at least once, also across restarts


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message from the broker."""

    topic: str
    payload: bytes
    retained: bool  # published before we subscribed: a state, never a command


class TensorSpec(NamedTuple):
    """One tensor of a model. *scale* is 0 where the tensor is not quantized."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    scale: float = 0.0
    zero_point: int = 0
    name: str = ""


class EndOfStreamError(EdgeError):
    """A regular end: a file was played through."""


class Source(Protocol):
    """A camera. Construction opens it, or the first read() one in the network; EdgeError when that fails.

    A source may have ``patience``, seconds that the next picture may take before it counts as stalled, and
    ``damaged``, how many pictures could not be decoded.
    """

    @property
    def still(self) -> bool:
        """It shows images, not a scene: consecutive pictures may be equal."""

    def read(self) -> Image:
        """Block until the next picture; EndOfStreamError at a regular end, EdgeError when it fails."""

    def interrupt(self) -> None:
        """Make this read and each later one fail soon; from any thread, never blocks or raises."""

    def close(self) -> None:
        """Release the device; harmless twice. Only for the reading thread: a driver may take long."""


class Detector(Protocol):
    """Finds faces; their eye points, if any, turn the crop upright."""

    def detect(self, image: Image) -> list[Face]: ...


class Runtime(Protocol):
    """The seam for hardware: arrays in, arrays out."""

    name: str  # as published in info, for example "litert 2.3.0, cpu, 1 thread"
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]  # at least one
    resizable: bool = False  # resize() may be asked for another input shape

    def run(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """One inference; shapes and dtypes are those of ``input`` and ``outputs``."""

    def resize(self, shape: tuple[int, ...]) -> None:
        """Take tensors of *shape* from now on; EdgeError where it cannot."""
        raise EdgeError(f"{self.name}: takes {self.input.shape} only, not {shape}")


class Classifier(Protocol):
    @property
    def labels(self) -> tuple[str, ...]:
        """LABELS, or a network's own."""

    def classify(self, image: Image, faces: Sequence[Face]) -> Floats:
        """Probabilities (len(faces), len(labels)) float32, rows in the order of *faces*."""


class Duplex(Protocol):
    """Sends and receives messages. Never blocks, never raises: the daemon runs without a broker."""

    def publish(self, message: Message) -> None: ...

    def subscribe(self, topic: str, handler: Callable[[Incoming], None]) -> None:
        """Call *handler*, in the sink's thread, with each message on the exact *topic*."""

    def unsubscribe(self, topic: str) -> None: ...

    def forget(self, topic: str) -> None:
        """Clear what is retained on *topic*."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """The result of one step of a camera's analysis."""

    tracks: tuple[Track, ...] = ()  # in view and announced, largest face first
    events: tuple[Event, ...] = ()  # in the order they happened
    timings_ms: Mapping[str, float] = field(default_factory=dict)  # stage -> ms; empty without a frame
