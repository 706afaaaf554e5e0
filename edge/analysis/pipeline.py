"""One camera's analysis: a frame in, transitions out. No thread, socket, file or clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from edge.analysis.motion import MotionGate
from edge.analysis.report import Rules, blend, depart, settle
from edge.analysis.track import Tracker
from edge.types import Analysis, Classifier, Detector, Event, Face, Frame, Track

# By how much another face's area must exceed that of the face that leads the state, before it leads:
# of two people at one distance, detection noise alone would choose another one with every frame.
LEAD = 1.3


@dataclass(eq=False)
class Pipeline:
    """Detect, track, classify, report.

    *stopwatch* gives seconds and only times the stages. Rules, detector, classifier and gate may be replaced
    between two frames: faces keep their numbers and scores. With a *gate*, a frame that shows what the last
    analyzed one showed gets that one's faces and probabilities again; tracking and reporting go on.
    """

    camera: str
    detector: Detector
    classifier: Classifier
    tracker: Tracker
    rules: Rules
    stopwatch: Callable[[], float]
    gate: MotionGate | None = None
    skipped: int = field(default=0, init=False)  # frames without detector and classifier
    _leader: int | None = field(default=None, init=False)  # number of the track that came first last time
    _complete: bool = field(default=False, init=False)  # the last analysis succeeded, so it may be repeated
    _faces: Sequence[Face] = field(default=(), init=False)  # of the last analyzed frame
    _scores: Sequence[Sequence[float]] = field(default=(), init=False)  # theirs

    def step(self, frame: Frame) -> Analysis:
        """Analyze *frame*."""
        gate = self.gate
        analyze = gate is None or gate.moved(frame.image, frame.taken, unsettled=self._unsettled)
        laps = [("", self.stopwatch())]
        if analyze:
            self._complete = False
            self._faces = self.detector.detect(frame.image)
            laps.append(("detect", self.stopwatch()))
        before = {track.number: track.seen for track in self.tracker.tracks}
        tracks = self.tracker.update(self._faces, frame.taken)
        laps.append(("track", self.stopwatch()))
        if analyze:
            self._scores = self.classifier.classify(frame.image, self._faces).tolist()
            self._complete = True
            laps.append(("classify", self.stopwatch()))
        self.skipped += not analyze
        events: list[Event] = []
        labels = self.classifier.labels
        for track, row in zip(tracks, self._scores, strict=True):
            elapsed = frame.taken - before.get(track.number, frame.taken)
            events += self._settle(blend(track, row, elapsed, self.rules, labels), frame)
        left = self.expire(frame.taken, frame.wall)
        laps.append(("report", self.stopwatch()))
        timings_ms = {stage: (end - start) * 1e3 for (_, start), (stage, end) in pairwise(laps)}
        return Analysis(left.tracks, (*events, *left.events), timings_ms)

    @property
    def _unsettled(self) -> bool:
        """Whether the last analysis must not be repeated.

        A false face or label must not be confirmed by its own copy, a face that the detector missed once is
        looked for again at once, and a failed analysis left nothing to repeat.
        """
        tracks = self.tracker.tracks
        latest = max((track.seen for track in tracks), default=0.0)
        return (
            not self._complete
            or len(tracks) != len(self._faces)
            or any(
                not track.announced or track.rival != track.emotion or track.seen != latest
                for track in tracks
            )
        )

    def expire(self, now: float, wall: float) -> Analysis:
        """Forget faces not seen for too long: with every frame, and while a camera gives none."""
        gone = [depart(track, self.camera, wall) for track in self.tracker.forget(now)]
        announced = (track for track in self.tracker.tracks if track.announced)

        def size(track: Track) -> float:
            return track.face.box.area * (LEAD if track.number == self._leader else 1.0)

        tracks = tuple(sorted(announced, key=size, reverse=True))
        self._leader = tracks[0].number if tracks else None
        return Analysis(tracks, tuple(event for event in gone if event is not None))

    def _settle(self, track: Track, frame: Frame) -> list[Event]:
        settled, event = settle(track, self.camera, frame.taken, frame.wall, self.rules)
        self.tracker.store(settled)
        return [] if event is None else [event]
