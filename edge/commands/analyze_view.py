"""What `emotion-edge analyze` found, for the eye: drawn into the video, and as a timeline."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from edge.commands.analyze_table import Summary
from edge.types import LABELS, UNCERTAIN, EdgeError, Image, Track, named

_TICKS = 90_000  # a second, of the time stamps written: what MP4 players expect
_FAILURES = (av.FFmpegError, OSError)
_QUALITY = "20"  # x264's CRF
_GRAY = (160, 160, 160)
# BGR; blue for what is sad, red for what is angry, as people expect.
COLORS: dict[str, tuple[int, int, int]] = {
    "angry": (60, 60, 220), "disgust": (60, 140, 90), "fear": (170, 80, 140), "happy": (60, 190, 240),
    "sad": (200, 120, 50), "surprise": (60, 140, 250), "neutral": (190, 190, 190), UNCERTAIN: _GRAY,
}  # fmt: skip


class AnnotatedVideo:
    """H.264 in an MP4 that begins to play before it is whole, pictures at the times of the original's."""

    def __init__(self, path: Path) -> None:
        self._named = f"--annotate {path}"
        with named(self._named, _FAILURES):
            self._container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        self._stream: VideoStream | None = None
        self._last = -1  # ticks

    def close(self) -> None:
        with named(self._named, _FAILURES):
            if self._stream is not None:
                self._container.mux(self._stream.encode(None))
            self._container.close()

    def add(self, image: Image, at: float, period: float, tracks: Sequence[Track]) -> None:
        """*image* (BGR) with *tracks* drawn in, *at* seconds, scaled to the first one's size."""
        for track in tracks:
            _draw(image, track)
        stream = self._stream or self._begun(image, period)
        # 4:2:0 has a color for every second pixel.
        if image.shape[:2] != (stream.height, stream.width):
            image = np.asarray(cv2.resize(image, (stream.width, stream.height)), np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        frame.time_base = Fraction(1, _TICKS)
        frame.pts = self._last = max(self._last + 1, round(at * _TICKS))
        with named(self._named, _FAILURES):
            self._container.mux(stream.encode(frame))

    def _begun(self, image: Image, period: float) -> VideoStream:
        stream = self._container.add_stream("libx264", rate=Fraction(1 / period).limit_denominator(1001))
        stream.height, stream.width = (max(2, side // 2 * 2) for side in image.shape[:2])
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        stream.options = {"crf": _QUALITY, "preset": "veryfast"}
        self._stream = stream
        return stream


def check_plotting(path: Path) -> None:
    """EdgeError where *path* cannot become a plot, before hours of video are read for it."""
    if path.suffix.lower() != ".png":
        raise EdgeError(f"--plot {path}: expected a name that ends in .png")
    if importlib.util.find_spec("matplotlib") is None:
        raise EdgeError(f"--plot {path}: needs matplotlib; run `pip install 'emotion-edge[plot]'`")


def save_timeline(summaries: Sequence[Summary], path: Path, labels: Sequence[str]) -> None:
    """One row a face, colored by emotion over time, one panel a video."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    rows = [max(1, len(summary.spans)) for summary in summaries]
    figure, panels = pyplot.subplots(
        len(summaries), 1, squeeze=False, height_ratios=rows, layout="constrained",
        figsize=(10, 1.4 * len(summaries) + 0.35 * sum(rows)),
    )  # fmt: skip
    for summary, axes in zip(summaries, panels[:, 0], strict=True):
        numbers = sorted(summary.spans)
        for row, number in enumerate(numbers):
            for span in summary.spans[number]:
                color, long = _rgb(span.emotion, labels), span.end - span.start
                axes.barh(row, long, left=span.start, height=0.8, color=color, linewidth=0)
        axes.set(
            yticks=range(len(numbers)), yticklabels=[f"face {number}" for number in numbers],
            xlim=(0, max(summary.seconds, 0.1)), ylim=(max(1, len(numbers)) - 0.5, -0.5),
            title=summary.video.name,
        )  # fmt: skip
        axes.set_xlabel("seconds")
    shown = [Patch(color=_rgb(label, labels), label=label) for label in (*labels, UNCERTAIN)]
    figure.legend(handles=shown, ncols=len(shown), loc="outside lower center", fontsize=8, frameon=False)
    try:
        with named(f"--plot {path}"):
            figure.savefig(path, dpi=110)
    finally:
        pyplot.close(figure)


def _draw(image: Image, track: Track) -> None:
    """The box of *track*, its number and what it shows."""
    label, confidence = track.shown
    color = color_of(label, track.labels)
    thick = max(1, round(max(image.shape[:2]) / 500))
    x, y, width, height = (round(side) for side in track.face.box)
    cv2.rectangle(image, (x, y), (x + width, y + height), color, 2 * thick)
    text = f"{track.number} {label} {confidence:.0%}"
    size, below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * thick, thick)
    left, bottom = max(0, x), max(size[1] + below, y - 2 * thick)
    cv2.rectangle(image, (left, bottom - size[1] - below), (left + size[0] + 4, bottom), color, -1)
    place = (left + 2, bottom - below // 2 - 1)
    cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * thick, (0, 0, 0), thick, cv2.LINE_AA)


def color_of(label: str, labels: Sequence[str]) -> tuple[int, int, int]:
    """BGR of *label*, UNCERTAIN or one of *labels*; a network's own take the seven's colors in turn."""
    if label in COLORS or label not in labels:
        return COLORS.get(label, _GRAY)
    return COLORS[LABELS[labels.index(label) % len(LABELS)]]


def _rgb(label: str, labels: Sequence[str]) -> tuple[float, float, float]:
    blue, green, red = color_of(label, labels)
    return red / 255, green / 255, blue / 255
