"""The spotter on real videos, brought to its pace by motion interpolation: their truth is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import av.filter

from edge.analysis.detectors import open_detector
from edge.analysis.track import Tracker
from edge.commands.analyze_movements import Movements, Seen
from edge.sources.leash import Leash
from edge.sources.opened import Opened
from edge.sources.pictures import Pictures
from edge.types import EdgeError, Frame, Image

READ_S = 15.0  # what the next picture may take: a disk that wakes


class Film(NamedTuple):
    """What the spotter reported of one video."""

    video: Path
    seconds: float  # in which a face was watched
    blinks: int
    movements: tuple[Seen, ...]

    def text(self) -> str:
        lines = [f"{self.video.name}: {len(self.movements)} movements in {self.seconds:.1f} s with a face"]
        return "\n".join([*lines, *(f"  {one.text()}" for one in self.movements)])


def watch(video: Path, fps: float) -> Film:
    """*video* through detector, tracker and spotter at *fps*; EdgeError where it is no video."""
    detector, tracker, movements = open_detector("auto"), Tracker(), Movements(video)
    watched = 0
    for number, (at, image) in enumerate(interpolated(video, fps)):
        tracks = tracker.update(detector.detect(image), at)
        movements.add(Frame(image, at, at, number, video.name), tracks, 1 / fps)
        watched += movements.watching > 0
        tracker.forget(at)
    movements.close()
    return Film(video, watched / fps, movements.blinks, tuple(movements.seen))


def interpolated(video: Path, fps: float) -> Iterator[tuple[float, Image]]:
    """(s, picture) at *fps*, those between the video's own made by FFmpeg's minterpolate."""
    opened = Opened(
        f"file:{video.absolute()}", Leash(str(video)), protocols="file", options={}, limit_s=READ_S
    )
    pictures, graph, sent = Pictures(), None, 0
    try:
        while (frame := opened.next(READ_S)) is not None:
            graph = graph or _graph(frame, fps)
            graph.push(frame)
            for made in _made(graph):
                yield sent / fps, pictures.picture(made)
                sent += 1
        if graph is None:
            raise EdgeError(f"{video}: no picture in it")
        graph.push(None)
        for made in _made(graph):
            yield sent / fps, pictures.picture(made)
            sent += 1
    finally:
        opened.close()


def text(films: Sequence[Film]) -> str:
    """For people: each video, and all of them together."""
    seconds, count = sum(film.seconds for film in films), sum(len(film.movements) for film in films)
    rate = 60 * count / seconds if seconds else 0.0
    lines = [film.text() for film in films]
    return "\n".join([*lines, f"together: {count} movements in {seconds:.1f} s, {rate:.1f} a minute"])


def _graph(frame: av.VideoFrame, fps: float) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    interpolate, sink = graph.add("minterpolate", f"fps={fps:g}"), graph.add("buffersink")
    source.link_to(interpolate)
    interpolate.link_to(sink)
    graph.configure()
    return graph


def _made(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            made = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        assert isinstance(made, av.VideoFrame)
        yield made
