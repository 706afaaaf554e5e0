"""Writes synthetic clips: a lossless video and its ground truth each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av

from edge.types import EdgeError
from training.micro.faces import Person, built_in
from training.micro.render import Renderer
from training.micro.script import write_script

CLAIM = "made by emotion-train micro synthesize: a test signal, not evidence about people"


def synthesize(out: Path, seeds: Sequence[int], fps: float, people: Sequence[Person], seconds: float) -> None:
    """Write a clip per seed to *out*: SEED.mkv (FFV1, gray) and SEED.json; every second has no movement.

    EdgeError if *out* cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            person = people[number % len(people)] if people else built_in(seed)
            renderer = Renderer(person, write_script(seed, seconds=seconds, moving=number % 2 == 0))
            _save_video(renderer, fps, out / f"{seed}.mkv")
            truth = {"what": CLAIM, "fps": fps, "face": person.name, "size": list(renderer.size)}
            text = json.dumps({**truth, **renderer.script.truth()}, indent=1)
            (out / f"{seed}.json").write_text(text + "\n")
    except OSError as error:
        raise EdgeError(f"{out}: {error.strerror or error}; expected a writable folder for --out") from error


def _save_video(renderer: Renderer, fps: float, path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height = renderer.size
        stream.pix_fmt = "gray"
        for _, image in renderer.frames(fps):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode(None))
