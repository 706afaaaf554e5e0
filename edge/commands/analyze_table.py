"""What `emotion-edge analyze` found, as a table and as a summary."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edge.types import LABELS, Event, Frame, Track, named

BEFORE = ("row", "file", "time", "track", "x", "y", "width", "height", "emotion", "confidence")
AFTER = ("event", "from")  # the columns after a probability a label


class Table:
    """A CSV with a ``face`` row a face a picture and an ``event`` row a transition, by time; then a
    ``movement`` row a brief movement.

    ``time`` is in seconds from the first picture, boxes in pixels of the picture, probabilities blended over
    time as the daemon blends them. Of an event ``emotion`` is what it became and ``from`` what it was.
    """

    def __init__(self, path: Path, labels: Sequence[str] = LABELS) -> None:
        self._named = f"--csv {path}"
        with named(self._named):
            self._file = path.open("w", newline="", encoding="utf-8", errors="backslashreplace")
        # By place: a network's own label may be called as another column.
        self._writer = csv.writer(self._file)
        self._labels = tuple(labels)
        self._row([*BEFORE, *self._labels, *AFTER])

    def close(self) -> None:
        with named(self._named):
            self._file.close()

    def add(self, video: Path, frame: Frame, tracks: Sequence[Track], events: Sequence[Event]) -> None:
        """One picture: *tracks* are the faces that are in it."""
        for track in tracks:
            label, confidence = track.shown
            box = track.face.box
            self._row([
                "face", video, f"{frame.taken:.3f}", track.number, f"{box.x:.1f}", f"{box.y:.1f}",
                f"{box.width:.1f}", f"{box.height:.1f}", label, f"{confidence:.3f}",
                *(f"{score:.3f}" for score in track.scores), "", "",
            ])  # fmt: skip
        self.events(video, frame.taken, events)

    def events(self, video: Path, at: float, events: Sequence[Event]) -> None:
        """Transitions *at* that many seconds."""
        for event in events:
            self._row([
                "event", video, f"{at:.3f}", event.track, "", "", "", "", event.after,
                f"{event.confidence:.3f}", *("" for _ in self._labels), event.event_type, event.before,
            ])  # fmt: skip

    def movement(self, video: Path, at: float, track: int, region: str) -> None:
        """A brief movement of *region* that began *at* that many seconds."""
        unused = len(BEFORE) - 4 + len(self._labels)
        self._row(["movement", video, f"{at:.3f}", track, *[""] * unused, region, ""])

    def _row(self, cells: Sequence[Any]) -> None:
        with named(self._named):
            self._writer.writerow(cells)


class Span(NamedTuple):
    """For how long a face showed one emotion, in seconds from the first picture."""

    emotion: str
    start: float
    end: float


class Summary:
    """Who was in a video, and for how long with which emotion. Its size grows with the transitions alone."""

    def __init__(self, video: Path) -> None:
        self.video = video
        self.frames = 0
        self.with_face = 0  # frames
        self.seconds = 0.0  # of the last picture
        self.damaged = 0  # pictures that could not be decoded
        self.events: list[tuple[float, Event]] = []
        self.spans: dict[int, list[Span]] = defaultdict(list)  # of each track that was announced
        self._open: dict[int, Span] = {}

    def add(self, frame: Frame, tracks: Sequence[Track], events: Sequence[Event]) -> None:
        self.frames += 1
        self.with_face += bool(tracks)
        self.seconds = frame.taken
        self._note(frame.taken, events)
        for track in tracks:
            if track.number in self._open:
                self._open[track.number] = self._open[track.number]._replace(end=frame.taken)

    def close(self, left: Sequence[Event], damaged: int, period: float) -> None:
        """The video ended, and *left* with it; its last picture lasts *period* seconds."""
        self.seconds += period
        self.damaged = damaged
        self._note(self.seconds, left)

    def values(self) -> dict[str, Any]:
        """As plain values, for JSON; times in seconds from the first picture."""
        return {
            "file": str(self.video),
            "seconds": round(self.seconds, 3),
            "frames": self.frames,
            "frames_with_face": self.with_face,
            "damaged": self.damaged,
            "transitions": [
                {
                    "time": round(at, 3), "event_type": event.event_type, "track": event.track,
                    "from": event.before, "to": event.after, "confidence": round(event.confidence, 3),
                }
                for at, event in self.events
            ],
            "tracks": [
                {
                    "track": number, "from": round(spans[0].start, 3), "to": round(spans[-1].end, 3),
                    "seconds": {emotion: round(total, 3) for emotion, total in _totals(spans).items()},
                }
                for number, spans in sorted(self.spans.items())
            ],
        }  # fmt: skip

    def text(self) -> str:
        lines = [
            f"{self.video}: {self.seconds:.1f} s, {self.frames} pictures, {self.with_face} with a face, "
            f"{len(self.events)} transitions" + (f", {self.damaged} damaged" if self.damaged else "")
        ]
        for number, spans in sorted(self.spans.items()):
            shown = ", ".join(f"{emotion} {total:.1f} s" for emotion, total in _totals(spans).items())
            lines.append(f"  face {number}  {spans[0].start:.1f} to {spans[-1].end:.1f} s: {shown}")
        return "\n".join(lines)

    def _note(self, at: float, events: Sequence[Event]) -> None:
        for event in events:
            self.events.append((at, event))
            if (open_span := self._open.pop(event.track, None)) is not None:
                # Until it was last seen, where it left; until now, where it changed.
                last = event.event_type == "face_left"
                self.spans[event.track].append(open_span if last else open_span._replace(end=at))
            if event.event_type != "face_left":
                self._open[event.track] = Span(event.after, at, at)


def _totals(spans: Sequence[Span]) -> dict[str, float]:
    """Seconds of each emotion, the longest first."""
    totals: dict[str, float] = defaultdict(float)
    for span in spans:
        totals[span.emotion] += span.end - span.start
    return dict(sorted(totals.items(), key=lambda item: -item[1]))
