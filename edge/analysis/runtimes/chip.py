"""Models on an accelerator (a Coral Edge TPU, an NVIDIA GPU), and on the CPU while it is away.

Written from the vendors' documentation, without such a chip. A chip's library lives in one child process
(chip_server.py), because it may abort, never return, or leave its context unusable: that costs a deadline,
and the next try begins with a new process.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable

import numpy as np

from edge.analysis.runtimes import coral
from edge.analysis.runtimes.chip_server import spec_from_json
from edge.host.places import state_directory
from edge.host.worker import Worker, WorkerLostError
from edge.types import EdgeError, Runtime, Tensor, TensorSpec, words_of

log = logging.getLogger(__name__)

SERVER = "edge.analysis.runtimes.chip_server"
NAMES = {"edgetpu": "Edge TPU", "tensorrt": "TensorRT", "cuda": "CUDA"}
RUN_S = 1.0  # an inference takes milliseconds; the CPU answers within 2 s of a hang
# To load one model: an Edge TPU's firmware goes over USB first, TensorRT builds its engine once.
LOAD_S = {"edgetpu": 20.0, "tensorrt": 1800.0, "cuda": 120.0}
PROOF_S = 20.0  # an inference before it is proven: a GPU chooses its kernels with the first one
TURN_S = 0.1  # that an inference waits for another model's: loading one takes longer than a picture is worth
RETRY_S = (1.0, 60.0)  # between two tries: at first, at most
ABSENT_S = 5.0  # at most, between two looks for a chip that is not plugged in
STEADY_S = 60.0  # without a fault, after which the next retry is soon again
STRIKES = 3  # times that loading a model may take others off the chip

Proof = Callable[[Runtime], str]  # why a runtime's answers are wrong, in one line; empty where they are right


class Chip:
    """The chip, with all models that are to run on it.

    One thread starts the child, loads every model and proves it by its golden vectors before use; after a
    fault it tries again, ever more seldom. Meanwhile the twins answer.
    """

    def __init__(
        self,
        kind: str,
        *,
        absent: Callable[[], str] = lambda: "",
        run_s: float = RUN_S,
        load_s: float | None = None,
        retry_s: tuple[float, float] = RETRY_S,
    ) -> None:
        """*kind*: one of NAMES; *absent* says cheaply why there is no chip; *load_s*: by default LOAD_S."""
        self.kind, self.name = kind, NAMES[kind]
        self.run_s, self._retry_s = run_s, retry_s
        self.load_s = LOAD_S[kind] if load_s is None else load_s
        self.patience_s = self.load_s + 2 * PROOF_S  # that open() takes at most
        self._absent = absent
        self._numbers = itertools.count(1)
        self._models: weakref.WeakValueDictionary[int, OnChip] = weakref.WeakValueDictionary()
        self._server: _Server | None = None  # with proven models in it
        self._dying: list[_Server] = []  # killed, and not gone yet
        self._wake: queue.SimpleQueue[str] = queue.SimpleQueue()  # its put() is fit for a finalizer
        self._tried = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False

    def open(self, content: bytes, twin: Runtime, prove: Proof) -> OnChip:
        """A runtime for the compiled *content*: on the chip once *prove* finds nothing wrong, else *twin*.

        *twin* has the same tensors. Returns after the first try, or ``patience_s``.
        """
        model = OnChip(self, next(self._numbers), content, twin, prove)
        self._models[model.number] = model
        weakref.finalize(model, self._wake.put, "gone").atexit = False
        if self._thread is None:
            # The kernel counts the thread that starts the child as its parent: this one lives on.
            self._thread = threading.Thread(target=self._keep, name=self.kind, daemon=True)
            self._thread.start()
            atexit.register(self.close)
        self._wake.put("new")
        with self._tried:
            self._tried.wait_for(lambda: model.tries or self._closing, self.patience_s)
        return model

    def close(self) -> None:
        """End the child; the twins answer from then on."""
        self._closing = True
        self._wake.put("close")
        if self._thread is not None:
            self._thread.join(2.0)

    @property
    def pid(self) -> int | None:
        """The child's, while a proven model runs in it."""
        server = self._server
        return server.worker.pid if server else None

    def lost(self, server: _Server, reason: str) -> None:
        """Leave the models to their twins, and try the chip again later."""
        log.warning("%s: %s; falling back to the CPU", self.name, reason)
        self._leave(server, reason)
        self._wake.put("lost")

    def _leave(self, server: _Server, reason: str) -> None:
        if self._server is server:
            self._server = None
        for model in list(self._models.values()):
            if model.place is server:
                model.leave_chip(reason)
        if not server.worker.end():
            self._dying.append(server)

    def _waiting(self) -> list[OnChip]:
        """Models that are not on the chip and may be."""
        return [model for model in list(self._models.values()) if not (model.place or model.barred)]

    def _keep(self) -> None:
        """The chip's thread."""
        pause, due, began = self._retry_s[0], float("inf"), 0.0
        while not self._closing:
            try:
                why = self._wake.get(timeout=min(max(due - time.monotonic(), 0.0), 3600.0))
            except queue.Empty:
                why = "due"
            if self._server is not None:
                self._forget_gone(self._server)
            if self._closing or not self._waiting():
                due = float("inf")
                continue
            now = time.monotonic()
            if why == "new":
                due = now
            elif why == "lost":
                pause = self._retry_s[0] if now - began > STEADY_S else pause
                due = now + pause  # a stick that comes back needs a moment
            if now < due:
                continue
            absent, began = self._absent(), now
            if absent:
                self._note(self._waiting(), absent)
            else:
                self._try(self._waiting())
                pause = min(pause * 2, self._retry_s[1])
            self._count_tries()
            due = time.monotonic() + (min(pause, ABSENT_S) if absent else pause)
        if self._server is not None:
            self._leave(self._server, "closed")

    def _count_tries(self) -> None:
        with self._tried:
            for model in list(self._models.values()):
                model.tries += 1
            self._tried.notify_all()

    def _try(self, waiting: list[OnChip]) -> None:
        """Load and prove what is *waiting*, in the running child or a new one."""
        # Two processes must never want the chip at once: one stuck in a driver is waited for.
        self._dying = [server for server in self._dying if not server.worker.end()]
        if self._dying:
            self._note(waiting, "still held by a process that a driver does not let go; unplug it")
            return
        running = self._server
        try:
            server = running or _Server(Worker(SERVER))
        except EdgeError as error:
            self._note(waiting, str(error))
            return
        proven: list[OnChip] = []
        for model in waiting:
            try:
                if self._prove(server, model):
                    proven.append(model)
            except WorkerLostError as error:
                if running or proven:  # the chip runs others, and not this one
                    model.strikes += 1
                    model.barred = model.strikes >= STRIKES
                self._note(waiting, str(error))
                self._leave(server, str(error))
                return
        if not (running or proven):
            self._leave(server, "")
            return
        self._server = server
        for model in proven:
            model.take_chip(server)
            log.info("%s: %s, verified by its golden vectors", self.name, model.name)

    def _prove(self, server: _Server, model: OnChip) -> bool:
        """Whether *model* is loaded and right; else its reason says why not."""
        try:
            given, specs = server.load(self.kind, model, self.load_s)
            # Names are left out: the compiler may change them.
            if [spec[:4] for spec in specs] != [spec[:4] for spec in (model.input, *model.outputs)]:
                raise EdgeError("its tensors differ from the uncompiled file's; quantize makes both at once")
            model.chip_name = given
            failure = model.prove(_Trial(server, model))
        except WorkerLostError:
            raise
        except EdgeError as error:
            self._note([model], str(error))
            return False
        except Exception as error:
            reason = words_of(error, typed=True)
            if model.reason != reason:  # unexpected: log where it happened
                log.error("%s: a model cannot be verified", self.name, exc_info=error)
            self._note([model], reason)
            return False
        if failure:
            model.barred = True
            self._note([model], f"wrong answers: {failure}; not tried again before the next start")
        return not failure

    def _note(self, models: list[OnChip], reason: str) -> None:
        """Keep why *models* do not run on the chip, and log it where that is new."""
        for model in models:
            if model.reason != reason:
                model.reason = reason
                log.warning("%s: %s", self.name, reason)

    def _forget_gone(self, server: _Server) -> None:
        """Take models that nobody has any more off the chip; end the child with the last."""
        try:
            for number in server.loaded - set(self._models):
                server.drop(number)
            if not server.loaded:
                self._leave(server, "closed")
        except WorkerLostError as error:
            self.lost(server, str(error))


class OnChip(Runtime):
    """One model: on the chip while that is there and right, else by its twin."""

    def __init__(self, chip: Chip, number: int, content: bytes, twin: Runtime, prove: Proof) -> None:
        self.number, self.content, self.twin, self.prove = number, content, twin, prove
        self.input, self.outputs = twin.input, twin.outputs
        self.name = twin.name  # what computes now
        self.chip_name = chip.name  # what computes on the chip
        self.place: _Server | None = None  # where it runs, proven
        self.reason = ""  # why it does not run on the chip
        self.barred = False  # never to be tried again
        self.tries = self.strikes = 0
        self.chip = chip

    def take_chip(self, server: _Server) -> None:
        self.name, self.reason, self.place = self.chip_name, "", server

    def leave_chip(self, reason: str) -> None:
        self.name, self.reason, self.place = self.twin.name, reason, None

    def run(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """One inference; by the twin, at most ``run_s`` later, where the chip gives none."""
        server = self.place
        if server is not None:
            try:
                return server.run(self, tensor, turn_s=TURN_S, run_s=self.chip.run_s)
            except _BusyError:
                pass
            except WorkerLostError as error:
                self.chip.lost(server, str(error))
            except EdgeError as error:  # the driver says that it failed: nothing of it is to be trusted
                self.chip.lost(server, f"fails: {error}")
        return self.twin.run(tensor)


class _BusyError(EdgeError):
    """Another model has the child's attention."""


class _Server:
    """The child, which several threads may ask."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.loaded: set[int] = set()
        self._turn = threading.Lock()

    def load(self, kind: str, model: OnChip, load_s: float) -> tuple[str, list[TensorSpec]]:
        """(name of what runs it, specs of its input and outputs)."""
        asked = {"do": "load", "model": model.number, "kind": kind, "state": str(state_directory())}
        with self._turn:
            reply, _ = self.worker.ask(asked, model.content, timeout_s=load_s)
            self.loaded.add(model.number)
        return reply["name"], [spec_from_json(one) for one in reply["specs"]]

    def run(self, model: OnChip, tensor: Tensor, *, turn_s: float, run_s: float) -> tuple[Tensor, ...]:
        """One inference within *run_s*; _BusyError where another model's takes longer than *turn_s*."""
        asked = np.ascontiguousarray(tensor, model.input.dtype)
        if not self._turn.acquire(timeout=turn_s):
            raise _BusyError("busy with another model")
        try:
            payload = asked.reshape(-1).view(np.uint8).data
            header = {"do": "run", "model": model.number}
            _, content = self.worker.ask(header, payload, timeout_s=run_s)
        finally:
            self._turn.release()
        return _arrays(content, model.outputs)

    def drop(self, number: int) -> None:
        with self._turn:
            self.worker.ask({"do": "drop", "model": number}, timeout_s=RUN_S)
            self.loaded.discard(number)


class _Trial(Runtime):
    """Runs on the chip only: to be proven."""

    def __init__(self, server: _Server, model: OnChip) -> None:
        self.name, self.input, self.outputs = model.chip_name, model.input, model.outputs
        self._server, self._model = server, model

    def run(self, tensor: Tensor) -> tuple[Tensor, ...]:
        return self._server.run(self._model, tensor, turn_s=PROOF_S, run_s=PROOF_S)


def _arrays(content: bytes, specs: tuple[TensorSpec, ...]) -> tuple[Tensor, ...]:
    sizes = [int(np.prod(spec.shape)) * spec.dtype.itemsize for spec in specs]
    if sum(sizes) != len(content):
        raise EdgeError(f"gives {len(content)} bytes; expected {sum(sizes)}")
    starts = itertools.accumulate(sizes, initial=0)
    return tuple(
        np.frombuffer(content[start : start + size], spec.dtype).reshape(spec.shape)
        for start, size, spec in zip(starts, sizes, specs, strict=False)
    )


@functools.cache
def the_chip(kind: str) -> Chip:
    """This process's only chip of *kind*, one of NAMES."""
    return Chip(kind, absent=coral.absent if kind == "edgetpu" else lambda: "")
