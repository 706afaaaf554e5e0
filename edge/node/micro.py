"""Brief movements in the daemon: every picture of a camera, in a thread each; imported with [micro] alone."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from edge.analysis.micro.pace import Regularity
from edge.analysis.micro.spotter import Spotted, Spotter
from edge.contract.messages import MicroHealth, MicroState
from edge.types import Frame, Movement, Point, Track

log = logging.getLogger(__name__)

RING = 32  # pictures, half a second, that may wait
LEAST_EYES = 60.0  # pixels between the eyes
MOST_FACES = 2  # watched at once, the largest: bounds the cost
FORGET_S = 1.0  # longest time that a face may go undetected
WAIT_S = 0.2

_EYES = ((0.31, 0.35), (0.69, 0.35))  # of a face's box, where the detector gives none


class Watch:
    """Spots movements in what offer() gets, of the faces that faces() names; take() gives them.

    offer() is for the capture thread, faces(), take() and health() for the analysis thread; *clock* gives
    monotonic s, as frames are taken.
    """

    def __init__(self, camera: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.camera = camera
        self._clock = clock
        self.pressed = False  # the board is short of processor time: this is dropped first
        self._regularity = Regularity()
        self._ring: deque[Frame] = deque(maxlen=RING)
        self._changed = threading.Condition()
        self._stopping = False
        self._spotters: dict[int, Spotter] = {}
        self._eyes: dict[int, tuple[tuple[Point, Point], float]] = {}  # of faces to watch; when seen, s
        self._found: deque[Movement] = deque(maxlen=100)
        self._dropped = self._movements = self._blinks = self._small = 0
        self._failed = False
        self.state: MicroState = "measuring"
        self._thread: threading.Thread | None = None

    def offer(self, frame: Frame) -> None:
        """A picture was captured; never blocks."""
        with self._changed:
            if self._stopping:
                return
            self._regularity.note(frame.taken)
            if self._regularity.fit and not self.pressed:
                self._dropped += len(self._ring) == RING
                self._ring.append(frame)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"micro {self.camera}", daemon=True)
                self._thread.start()
            self._changed.notify()

    def faces(self, tracks: Sequence[Track]) -> None:
        """Who is in view, largest first; faces with eyes closer than LEAST_EYES pixels are left out."""
        wide = [(track, eyes) for track in tracks if apart(eyes := eyes_of(track)) >= LEAST_EYES]
        with self._changed:
            self._small = len(tracks) - len(wide)
            self._eyes = {track.number: (eyes, track.seen) for track, eyes in wide[:MOST_FACES]}

    def take(self) -> list[Movement]:
        """What was spotted since the last call."""
        with self._changed:
            found = list(self._found)
            self._found.clear()
            return found

    def health(self) -> MicroHealth:
        with self._changed:
            verdict = self._regularity.last
            return MicroHealth(
                state=self.state,
                fps=verdict.fps if verdict else None,
                jitter=verdict.jitter if verdict else None,
                faces=len(self._eyes) if self.state == "spotting" else 0,
                left_out=self._small,
                dropped=self._dropped,
                movements=self._movements,
                blinks=self._blinks,
            )

    @property
    def story(self) -> str:
        """For people: that it does not spot, and why; empty while it does, or measures."""
        verdict = self._regularity.last
        if self.state == "refused" and verdict is not None:
            return f"movements refused: {verdict.words}"
        return "movements paused: short of processor time" if self.state == "paused" else ""

    def stop(self) -> None:
        """End the thread soon; harmless twice."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ring or self._stopping, WAIT_S)
                if self._stopping:
                    return
                self._regularity.judge(self._clock())
                self._turn()
                frame = self._ring.popleft() if self._ring else None
                eyes = self._eyes
            if frame is not None:
                try:
                    self._step(frame, eyes)
                except Exception as error:  # no picture ends it
                    level = logging.DEBUG if self._failed else logging.ERROR
                    self._failed = True
                    log.log(level, "camera %s: movements: a picture failed", self.camera, exc_info=error)
                    self._spotters.clear()

    def _turn(self) -> None:
        """Go on, stop or begin, as the pictures come and the board fares; logged when it changes."""
        verdict = self._regularity.last
        state: MicroState = "measuring"
        if verdict is not None:
            state = ("paused" if self.pressed else "spotting") if self._regularity.fit else "refused"
        if state == self.state:
            return
        self.state = state
        if state != "spotting":
            self._ring.clear()
            self._spotters.clear()
        if state == "refused" and verdict is not None:
            log.warning("camera %s: movements refused: %s", self.camera, verdict.words)
        elif state == "spotting" and verdict is not None:
            log.info(
                "camera %s: movements spotted at %.1f pictures a second, jitter %.0f %%",
                self.camera, verdict.fps, 100 * verdict.jitter,
            )  # fmt: skip
        elif state == "paused":
            log.info("camera %s: movements paused: short of processor time", self.camera)

    def _step(self, frame: Frame, eyes: dict[int, tuple[tuple[Point, Point], float]]) -> None:
        self._spotters = {number: self._spotters[number] for number in self._spotters if number in eyes}
        for number, (place, seen) in eyes.items():
            spotter = self._spotters.get(number)
            if frame.taken - seen > FORGET_S:
                self._spotters.pop(number, None)
                continue
            if spotter is None or spotter.elsewhere(place):
                spotter = self._spotters[number] = Spotter(place)
            blinks = spotter.blinks
            over = spotter.step(frame.image, frame.taken)
            if over is None:
                del self._spotters[number]
                continue
            with self._changed:
                self._blinks += spotter.blinks - blinks
                self._movements += len(over)
                self._found.extend(_movement(one, number, frame) for one in over)


def eyes_of(track: Track) -> tuple[Point, Point]:
    """The eyes in the picture's pixels; where the detector gives none, where such boxes have them."""
    if track.face.eyes is not None:
        return track.face.eyes
    box = track.face.box
    left, right = ((box.x + x * box.width, box.y + y * box.height) for x, y in _EYES)
    return left, right


def apart(eyes: tuple[Point, Point]) -> float:
    """The distance of the eyes in pixels."""
    return math.dist(*eyes)


def _movement(one: Spotted, track: int, frame: Frame) -> Movement:
    onset, apex, offset = (frame.wall + at - frame.taken for at in (one.onset, one.apex, one.offset))
    return Movement(frame.camera, track, one.region, onset, apex, offset, one.amplitude, frame.wall)
