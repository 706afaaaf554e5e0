"""Time per face: all files in turn in one run, and Keras for comparison."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edge.analysis.runtimes import kind_of, open_runtime
from edge.analysis.tensors import quantize
from edge.host.quiet import quiet
from edge.types import Image

THREADS, BATCHES = (1, 2), (1, 8)
ROUNDS = 20
BUDGET_S = 20.0  # large networks get fewer rounds, but at least FEWEST
FEWEST = 3
_CALLS = 4  # timed calls per round with a batch of one, after one to warm up caches

Run = Callable[[], object]


class Time(NamedTuple):
    """One way to run one file."""

    file: str
    threads: int
    batch: int
    at_once: bool  # false: the network takes only one picture, so the batch was run one by one
    ms: float  # per face, median
    best_ms: float  # the fastest: close to that of an idle machine


class Latency(NamedTuple):
    """All times of one run."""

    times: tuple[Time, ...]
    keras_ms: float  # model.predict on one image, median
    rounds: int

    def of(self, file: str, threads: int = 1, batch: int = 1) -> Time:
        """The time of *file*."""
        key = (file, threads, batch)
        return next(one for one in self.times if (one.file, one.threads, one.batch) == key)


def latency(
    model: Any, files: Mapping[str, bytes], images: Image,
    threads_of: Sequence[int] = THREADS, batches: Sequence[int] = BATCHES,
) -> Latency:  # fmt: skip
    """The time per face of each of *files* (name -> content) and of the Keras network *model*.

    For each number of threads and batch size, on *images* (8 or more, height, width) uint8. Every round runs
    all of them, so that other load affects all alike; the results are medians over rounds.
    """
    from tqdm import tqdm

    runs: dict[tuple[str, int, int, bool], Run] = {}
    for file, content in files.items():
        for threads in threads_of:
            for batch in batches:
                run, at_once = _opened(content, threads, images[:batch])
                runs[file, threads, batch, at_once] = run
    one = images[:1, ..., np.newaxis].astype(np.float32)
    with quiet():
        model.predict(one, verbose=0)  # the first call compiles it
    took: dict[tuple[str, int, int, bool], list[float]] = {key: [] for key in runs}
    keras: list[float] = []
    end = time.monotonic() + BUDGET_S
    for _ in tqdm(range(ROUNDS), desc="timing", unit="round", leave=False, disable=None):
        for key, run in runs.items():
            batch = key[2]
            run()
            took[key] += [_seconds(run) / batch for _ in range(_CALLS if batch == 1 else 1)]
        keras.append(_seconds(lambda: model.predict(one, verbose=0)))
        if time.monotonic() > end and len(keras) >= FEWEST:
            break
    times = tuple(
        Time(*key, 1000 * statistics.median(seconds), 1000 * min(seconds)) for key, seconds in took.items()
    )
    return Latency(times, 1000 * statistics.median(keras), len(keras))


def _seconds(run: Run) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def _opened(content: bytes, threads: int, images: Image) -> tuple[Run, bool]:
    """A function that runs *content* on *images*, and whether it runs all at once."""
    runtime = open_runtime("auto", content, threads=threads)
    tensors = quantize(images[:, np.newaxis, ..., np.newaxis], runtime.input)
    if len(images) == 1:
        return lambda: runtime.run(tensors[0])[0], True
    # The ONNX files start with a reshape to one picture.
    run = _resized(content, threads, tensors[:, 0]) if kind_of(content) == "cpu" else None
    return (run, True) if run else (lambda: [runtime.run(tensor)[0] for tensor in tensors], False)


def _resized(content: bytes, threads: int, batch: Any) -> Run | None:
    """A function that runs a TFLite file on all of *batch* at once; None if the network cannot."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet(show_on_error=False):
            interpreter = Interpreter(model_content=content, num_threads=threads)
            (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
            interpreter.resize_tensor_input(taken["index"], batch.shape)
            interpreter.allocate_tensors()

            def run() -> Any:
                interpreter.set_tensor(taken["index"], batch)
                interpreter.invoke()
                return interpreter.get_tensor(given["index"])

            return run if len(run()) == len(batch) else None
    except (RuntimeError, ValueError):  # a shape of one picture is hard-coded inside
        return None
