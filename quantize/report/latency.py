"""How long a face takes: every file in turn in one run, and Keras beside them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edge.analysis.runtimes import kind_of, open_runtime
from edge.analysis.tensors import quantise
from edge.host.quiet import quiet
from edge.types import Image

THREADS, BATCHES = (1, 2), (1, 8)
ROUNDS = 20
BUDGET_S = 20.0  # a large network gets fewer rounds, but at least FEWEST
FEWEST = 3
_CALLS = 4  # timed of a batch of one, a round; the one before them warms the caches up

Run = Callable[[], object]


class Time(NamedTuple):
    """One way to run one file."""

    file: str
    threads: int
    batch: int
    at_once: bool  # false: the network takes one picture only, so these were run one by one
    ms: float  # a face, median
    best_ms: float  # the fastest: what a machine with nothing else to do comes near


class Latency(NamedTuple):
    """What was measured in one run, in turn."""

    times: tuple[Time, ...]
    keras_ms: float  # model.predict on one image, median
    rounds: int

    def of(self, file: str, threads: int = 1, batch: int = 1) -> Time:
        """What a face took by *file*."""
        key = (file, threads, batch)
        return next(one for one in self.times if (one.file, one.threads, one.batch) == key)


def latency(
    model: Any, files: Mapping[str, bytes], images: Image,
    threads_of: Sequence[int] = THREADS, batches: Sequence[int] = BATCHES,
) -> Latency:  # fmt: skip
    """The time that one face takes by each of *files* (name -> content) and by the Keras network *model*.

    With each number of threads and of pictures at a time, of *images* (8 or more, height, width) uint8. Every
    round runs each of them, so that what else the machine does meets them all alike; medians over rounds.
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
        model.predict(one, verbose=0)  # the first time it is compiled
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
    """What runs *content* on *images*, and whether on all at once."""
    runtime = open_runtime("auto", content, threads=threads)
    tensors = quantise(images[:, np.newaxis, ..., np.newaxis], runtime.input)
    if len(images) == 1:
        return lambda: runtime.run(tensors[0])[0], True
    # The ONNX files begin with a reshape to one picture.
    run = _resized(content, threads, tensors[:, 0]) if kind_of(content) == "cpu" else None
    return (run, True) if run else (lambda: [runtime.run(tensor)[0] for tensor in tensors], False)


def _resized(content: bytes, threads: int, batch: Any) -> Run | None:
    """What runs a TFLite file on all of *batch* at once; None where the network does not take that."""
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
    except (RuntimeError, ValueError):  # somewhere inside a shape of one picture is written down
        return None
