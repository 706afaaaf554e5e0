"""TensorBoard logs in a run's folder."""

import builtins
from pathlib import Path

import pytest

from training.fit import board


def test_tensorboard_reads_each_figure_of_each_epoch(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    folder = tmp_path / "tensorboard"
    board.log(folder, 1, {"loss": 1.5, "accuracy_plus7": float("nan")})
    board.log(folder, 2, {"loss": 1.25, "accuracy_plus7": 0.5})
    (path,) = folder.iterdir()
    events = list(EventFileLoader(str(path)).Load())
    assert events[0].file_version == "brain.Event:2"
    found = [
        (event.step, value.tag, value.tensor.float_val[0])
        for event in events[1:]
        for value in event.summary.value
    ]
    assert found == [(1, "loss", 1.5), (2, "loss", 1.25), (2, "accuracy_plus7", 0.5)]


def test_missing_tensorboard_gets_one_line_and_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: object) -> object:
        if name.startswith("tensorboard"):
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", absent)
    board.warn_if_missing()
    board.log(tmp_path / "tensorboard", 1, {"loss": 1.0})
    monkeypatch.undo()
    assert capsys.readouterr().err == "no TensorBoard log: the package tensorboard is not installed\n"
    assert list(tmp_path.iterdir()) == []
