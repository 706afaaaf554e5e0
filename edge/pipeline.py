"""One camera's analysis: a frame in, transitions out. No thread, socket, file or clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edge.report import Rules, blend, depart, settle
from edge.track import Tracker
from edge.types import CameraState, Classifier, Detector, Event, Frame, Track

# By how much another face's area must exceed that of the face that leads the state, before it leads:
# of two people at one distance, detection noise alone would choose another one with every frame.
LEAD = 1.3


class Pipeline:
    """Detect, track, classify, report: everything injected, so values in a test drive it.

    *stopwatch* gives seconds and is only used to tell how long each stage took. Between two frames the
    rules, the detector and the classifier may be replaced: the faces keep their numbers and scores.
    """

    def __init__(
        self,
        camera: str,
        detector: Detector,
        classifier: Classifier,
        tracker: Tracker,
        rules: Rules,
        stopwatch: Callable[[], float],
    ) -> None:
        self.camera = camera
        self.rules = rules
        self.detector = detector
        self.classifier = classifier
        self.tracker = tracker
        self.state = CameraState()
        self._stopwatch = stopwatch

    def step(self, frame: Frame) -> list[Event]:
        """Analyse *frame*; the transitions in the order they happened. ``state`` is then up to date."""
        start = self._stopwatch()
        faces = self.detector.detect(frame.image)
        detected = self._stopwatch()
        before = {track.number: track.seen for track in self.tracker.tracks}
        tracks = self.tracker.update(faces, frame.taken)
        tracked = self._stopwatch()
        scores = self.classifier.classify(frame.image, [track.face for track in tracks])
        classified = self._stopwatch()
        events = []
        for track, row in zip(tracks, scores.tolist(), strict=True):
            elapsed = frame.taken - before.get(track.number, frame.taken)
            events += self._settle(blend(track, row, elapsed, self.rules), frame)
        events += self.expire(frame.taken, frame.wall)
        reported = self._stopwatch()
        self.state = replace(
            self.state,
            timings_ms={
                "detect": (detected - start) * 1e3,
                "track": (tracked - detected) * 1e3,
                "classify": (classified - tracked) * 1e3,
                "report": (reported - classified) * 1e3,
            },
        )
        return events

    def expire(self, now: float, wall: float) -> list[Event]:
        """Forget who was not seen for too long: with every frame, and while a camera gives none."""
        gone = [depart(track, self.camera, wall) for track in self.tracker.forget(now)]
        announced = (track for track in self.tracker.tracks if track.announced)
        leader = self.state.tracks[0].number if self.state.tracks else None

        def size(track: Track) -> float:
            return track.face.box.area * (LEAD if track.number == leader else 1.0)

        largest_first = sorted(announced, key=size, reverse=True)
        self.state = replace(self.state, tracks=tuple(largest_first))
        return [event for event in gone if event is not None]

    def _settle(self, track: Track, frame: Frame) -> list[Event]:
        settled, event = settle(track, self.camera, frame.taken, frame.wall, self.rules)
        self.tracker.store(settled)
        return [] if event is None else [event]
