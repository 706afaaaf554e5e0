"""`emotion-edge analyze`: the daemon's analysis over video files, unpaced."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import av

from edge.analysis.pipeline import Pipeline
from edge.cli import file_path
from edge.commands.analyze_table import Summary, Table
from edge.commands.analyze_view import AnnotatedVideo, check_plotting, save_timeline
from edge.commands.options import add_engine, settings_of
from edge.node.build import build_pipeline, open_configured_detector, open_engine
from edge.settings import Settings
from edge.sources.leash import Leash
from edge.sources.opened import Opened
from edge.sources.pace import Timeline
from edge.types import EdgeError, EndOfStreamError, Event, Frame

if TYPE_CHECKING:  # imported with --movements alone
    from edge.commands.analyze_movements import Movements

READ_S = 15.0  # what the next picture may take: a disk that wakes
LONGEST_GAP_S = 60.0  # pictures further apart: the stamps jump; the scene does not pause
SHOW_EVERY_S = 0.5  # of the progress line


Step = tuple[Opened, av.VideoFrame, Frame, Sequence[Event]]  # ``taken``, ``wall``: s from the first picture


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "analyze",
        help="faces and expressions in video files",
        description="Every picture goes through the daemon's detector, tracker, network and [report] "
        "rules, by the file's own time stamps. Prints the seconds each face showed each emotion.",
    )
    parser.add_argument("videos", nargs="+", type=file_path, metavar="VIDEO", help="a video file")
    parser.add_argument(
        "--csv", type=file_path, metavar="F", help="a row a face a picture, and one a transition"
    )
    parser.add_argument(
        "--annotate", type=file_path, metavar="OUT.mp4", help="the video with faces and emotions drawn in"
    )
    parser.add_argument("--plot", type=file_path, metavar="F.png", help="a timeline of each face's emotions")
    parser.add_argument(
        "--movements", action="store_true",
        help="also brief movements of parts of a face; the video needs 58 pictures a second",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object a line and video")
    add_engine(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    _check(options)
    settings = settings_of(options)
    # The gate repeats answers to save power; a table of every picture needs them all.
    still = settings.analysis.model_copy(update={"skip_still": False})
    settings = settings.model_copy(update={"analysis": still})
    engine = open_engine(settings)
    labels = engine.model.card.labels
    failed = 0
    summaries: list[Summary] = []
    with contextlib.ExitStack() as stack:
        table = stack.enter_context(contextlib.closing(Table(options.csv, labels))) if options.csv else None
        for video in options.videos:
            pipeline = build_pipeline(
                video.name, settings, open_configured_detector(settings), engine.classifier
            )
            try:
                movements = _movements(video) if options.movements else None
                summary = _analyze(video, pipeline, settings, table, options.annotate, movements)
            except EdgeError as error:
                if len(options.videos) == 1:
                    raise
                failed += 1
                print(json.dumps({"file": str(video), "error": str(error)}) if options.json else error)
                continue
            summaries.append(summary)
            if options.json:
                more = movements.values() if movements is not None else {}
                print(json.dumps({**summary.values(), **more}), flush=True)
            else:
                lines = movements.lines() if movements is not None else []
                print("\n".join([summary.text(), *lines]), flush=True)
    if options.plot and summaries:
        save_timeline(summaries, options.plot, labels)
    return 1 if failed else 0


def _movements(video: Path) -> Movements:
    from edge.commands.analyze_movements import Movements

    return Movements(video)


def steps(video: Path, pipeline: Pipeline) -> Iterator[Step]:
    """Each picture of *video* after *pipeline* analyzed it; EdgeError where it is no video."""
    leash = Leash(str(video))
    opened = Opened(f"file:{video.absolute()}", leash, protocols="file", options={}, limit_s=READ_S)
    timeline = Timeline(LONGEST_GAP_S)
    number = 0
    try:
        while (picture := opened.next(READ_S)) is not None:
            at = timeline.place(picture.time, opened.period)
            frame = Frame(opened.picture(picture), at, at, number, pipeline.camera)
            yield opened, picture, frame, pipeline.step(frame).events
            number += 1
        if not number:
            raise EdgeError(f"{video}: no picture in it")
    except EndOfStreamError:
        return
    finally:
        opened.close()


def _analyze(
    video: Path,
    pipeline: Pipeline,
    settings: Settings,
    table: Table | None,
    annotate: Path | None,
    movements: Movements | None,
) -> Summary:
    summary = Summary(video)
    progress = _Progress(video)
    with contextlib.ExitStack() as stack:
        drawn = stack.enter_context(contextlib.closing(AnnotatedVideo(annotate))) if annotate else None
        for opened, picture, frame, events in steps(video, pipeline):
            at = frame.taken
            tracks = [track for track in pipeline.tracker.tracks if track.seen == at]
            summary.add(frame, tracks, events)
            if movements is not None:
                movements.add(frame, tracks, opened.period)
            if table:
                table.add(video, frame, tracks, events)
            if drawn:
                drawn.add(opened.color(picture), at, opened.period, tracks)
            progress.show(at, opened.seconds)
    # Whoever is in the last picture leaves, as when a camera goes offline.
    at = summary.seconds + settings.report.forget_s
    left = pipeline.expire(at + 0.001, at).events
    summary.close(left, opened.damaged, opened.period)
    if table:
        table.events(video, at, left)
    if movements is not None:
        movements.close()
        if table:
            for one in movements.seen:
                table.movement(video, one.what.onset, one.track, one.what.region)
    progress.end()
    return summary


def _check(options: argparse.Namespace) -> None:
    for video in options.videos:
        if not video.exists():
            raise EdgeError(f"{video}: no such file")
        if video.is_dir():
            raise EdgeError(f"{video}: a folder; name the video files in it")
    if options.annotate and len(options.videos) > 1:
        raise EdgeError(f"--annotate {options.annotate}: {len(options.videos)} videos; name one")
    inputs = {video.resolve() for video in options.videos}
    outputs = {"--csv": options.csv, "--annotate": options.annotate, "--plot": options.plot}
    for option, out in outputs.items():
        if out and out.resolve() in inputs:
            raise EdgeError(f"{option} {out}: is a video to be read; name another file")
        if out and not out.absolute().parent.is_dir():
            raise EdgeError(f"{option} {out}: no such folder; make it first")
    if options.annotate and options.annotate.suffix.lower() != ".mp4":
        raise EdgeError(f"--annotate {options.annotate}: expected a name that ends in .mp4")
    if options.plot:
        check_plotting(options.plot)


class _Progress:
    """A line on a terminal: how far, and how much faster than the video plays."""

    def __init__(self, video: Path) -> None:
        self._name = video.name
        self._began = self._shown = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def show(self, at: float, seconds: float | None) -> None:
        now = time.monotonic()
        if not self._terminal or now - self._shown < SHOW_EVERY_S:
            return
        self._shown = now
        share = f"{min(1.0, at / seconds):4.0%}" if seconds else f"{at:.0f} s"
        print(
            f"\r{self._name}: {share}, {at / (now - self._began):.1f} x real time  ",
            end="", file=sys.stderr, flush=True,
        )  # fmt: skip

    def end(self) -> None:
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
