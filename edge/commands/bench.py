"""`emotion-edge bench`: what a frame costs, stage by stage, as the daemon runs it."""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from edge.cli import whole
from edge.commands import startup
from edge.commands.options import add_engine, settings_of
from edge.host.redaction import masked
from edge.node.announce import Announcer, EventIds
from edge.node.build import build_pipeline, open_configured_detector, open_engine, topics_of
from edge.sources import open_source
from edge.types import EdgeError, EndOfStreamError, Frame

CAMERA = "bench"
# Frame times: tracking and reporting count seconds, and must see a camera's pace.
FRAMES_PER_S = 25.0
T = TypeVar("T")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "bench",
        help="stage times, frames/s, CPU per frame, memory",
        description="Runs the daemon's own analysis over a source, unpaced. Times are medians "
        "and 95th percentiles in ms a frame.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--source", metavar="S", help="as in [[camera]]: a file, a device …")
    what.add_argument(
        "--startup", action="store_true", help="instead: seconds from starting the daemon to its messages"
    )
    parser.add_argument(
        "--frames", type=whole(1), default=500, metavar="N", help="at most (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    add_engine(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.startup:
        times = startup.measure()
        print(json.dumps(times) if options.json else "\n".join(f"{key:<16}{times[key]:>6}" for key in times))
        return 0
    report = measure(options)
    print(json.dumps(report) if options.json else as_table(report))
    return 0


class Stopwatch:
    """Milliseconds by stage."""

    def __init__(self) -> None:
        self.ms: dict[str, list[float]] = {}

    def add(self, stage: str, ms: float) -> None:
        self.ms.setdefault(stage, []).append(ms)

    def timed(self, stage: str, call: Callable[..., T]) -> Callable[..., T]:
        """*call*, timed under *stage*."""

        def wrapped(*arguments: Any) -> T:
            start = time.perf_counter()
            result = call(*arguments)
            self.add(stage, (time.perf_counter() - start) * 1e3)
            return result

        return wrapped

    def total(self, stage: str) -> float:
        return sum(self.ms.get(stage, ()))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole chain over at most ``options.frames`` frames of ``options.source``."""
    settings = settings_of(options)
    watch = Stopwatch()
    engine = open_engine(settings)
    detector = open_configured_detector(settings)
    # The bare inference, without any code of ours around it.
    engine.runtime.run = watch.timed("bare classify", engine.runtime.run)  # type: ignore[method-assign]
    detector.finder.find = watch.timed("bare detect", detector.finder.find)  # type: ignore[method-assign]
    pipeline = build_pipeline(CAMERA, settings, detector, engine.classifier)
    pipeline.gate = None  # what an analyzed frame costs: figures of still and moving scenes stay comparable
    announcer = Announcer(CAMERA, topics_of(settings), settings.mqtt.faces_hz, EventIds(), started=0.0)
    source = open_source(options.source, paced=False)
    faces = frames = sent = 0
    size = (0, 0)
    cpu, start = time.process_time(), time.perf_counter()
    try:
        while frames < options.frames:
            try:
                image = watch.timed("read", source.read)()
            except EndOfStreamError:
                break
            frame = Frame(image, frames / FRAMES_PER_S, time.time(), frames, CAMERA)
            began = time.perf_counter()
            analysis = pipeline.step(frame)
            stepped = time.perf_counter()
            sent += len(announcer.frame(frame, analysis.tracks, analysis.events))
            watch.add("announce", (time.perf_counter() - stepped) * 1e3)
            watch.add("whole", (time.perf_counter() - began) * 1e3)
            for stage, ms in analysis.timings_ms.items():
                watch.add(stage, ms)
            faces += len(analysis.tracks)
            size = frame.size
            frames += 1
    finally:
        source.close()
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    if not frames:
        raise EdgeError(f"{masked(options.source)}: gave no picture")
    bare = watch.total("bare detect") + watch.total("bare classify")
    return {
        "source": masked(options.source),
        "size": list(size),
        "frames": frames,
        "faces_per_frame": round(faces / frames, 2),
        "detector": detector.finder.name,
        "model": f"{engine.model.card.name} {engine.model.card.version}",
        "runtime": engine.runtime.name,
        "frames_per_s": round(frames / wall, 1),
        "cpu_ms_per_frame": round(cpu / frames * 1e3, 2),
        "rss_peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "around_bare_calls": round(watch.total("whole") / bare - 1, 4) if bare else None,
        "messages": sent,
        "stages_ms": {
            stage: {
                "p50": round(float(np.percentile(ms, 50)), 3),
                "p95": round(float(np.percentile(ms, 95)), 3),
                "calls": len(ms),
            }
            for stage, ms in watch.ms.items()
        },
    }


def as_table(report: dict[str, Any]) -> str:
    """The report for people."""
    width, height = report["size"]
    around = report["around_bare_calls"]
    lines = [
        f"{report['source']}  {width}x{height}, {report['frames']} frames, "
        f"{report['faces_per_frame']} faces a frame",
        f"detector {report['detector']}; model {report['model']}; {report['runtime']}",
        "",
        f"{report['frames_per_s']:.1f} frames/s   {report['cpu_ms_per_frame']:.2f} ms CPU a frame   "
        f"{report['rss_peak_mib']:.0f} MiB peak memory",
        "around the bare detect and classify calls: " + ("-" if around is None else f"{around:+.1%}"),
        "",
        f"{'stage':<14}{'p50 ms':>9}{'p95 ms':>9}{'calls':>8}",
    ]
    for stage, row in report["stages_ms"].items():
        lines.append(f"{stage:<14}{row['p50']:>9.3f}{row['p95']:>9.3f}{row['calls']:>8}")
    return "\n".join(lines)
