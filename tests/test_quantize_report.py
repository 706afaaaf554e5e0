"""The report of a conversion: same figures as the card, plots, no partial files."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import pytest

from edge.analysis.card import read_model
from quantize.convert import to_int8
from quantize.report.facts import places
from tests.squares import pictures, quantize
from tests.test_quantize_edgetpu import LOG

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FILES = ("emotion.tflite", "emotion.onnx", "emotion.fp16.onnx", "emotion.int8.onnx")
TIMED = ("float TFLite", "emotion.tflite", "emotion.onnx", "emotion.int8.onnx")
PICTURES = ("accuracy.png", "latency.png", "layers.png", "reliability.png")


class Run(NamedTuple):
    out: Path
    report: Path
    message: str
    facts: dict[str, Any]
    text: str


@pytest.fixture(scope="module")
def run(squares_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All files, the report in its default folder; the Edge TPU compiler is a script."""
    folder = tmp_path_factory.mktemp("devices")
    out = folder / "out"
    report = out / "report"
    (folder / "log").write_text(LOG)
    compiler = folder / "edgetpu_compiler"
    compiler.write_text(f'#!/bin/sh\ncp "$4" "$3/model_edgetpu.tflite" && cat {folder}/log\n')
    compiler.chmod(0o755)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", str(folder), prepend=":")
        message: list[str] = []
        patched.setattr("builtins.print", lambda *args, **_: message.append(" ".join(map(str, args))))
        assert main(squares_run, out, "--target", "all") == 0
    facts = json.loads((report / "report.json").read_text())
    return Run(out, report, "\n".join(message), facts, (report / "report.md").read_text())


def main(squares_run: Path, out: Path, *more: str) -> int:
    from quantize.__main__ import main

    data = str(squares_run / "calibration.npz")
    return main([
        str(squares_run / "model.keras"), "--data", data, "--out", str(out), "--calibrate", "70", *more
    ])  # fmt: skip


def test_report_is_in_its_own_folder_next_to_the_files(run: Run) -> None:
    assert {path.name for path in run.report.iterdir()} == {"report.md", "report.json", *PICTURES}
    assert {path.name for path in run.out.iterdir()} == {
        *FILES, "emotion.edgetpu.tflite", "emotion.golden.npz", "emotion.json", "report"
    }  # fmt: skip


def test_figures_equal_those_of_the_card(run: Run) -> None:
    card = read_model(run.out / "emotion.tflite").card
    assert tuple(run.facts["files"]) == FILES
    for name, reported in run.facts["files"].items():
        assert (reported["sha256"], reported["size"]) == (card.files[name].sha256, card.files[name].size)
        of_card = {
            (figure.name.replace(" ", "_"), figure.data): (figure.value, figure.n)
            for figure in card.figures
            if figure.protocol.startswith(f"{name} ")
        }
        of_report = {
            (key, figure["data"]): (figure[key], figure["n"])
            for figure in reported["figures"]
            for key in ("accuracy", "calibration_error")
        }
        assert of_report == of_card
        assert reported["agreement"]["float"] == card.training["quantization"]["agreement with float"][name]
    assert run.facts["network"].endswith("/model.keras")
    assert run.facts["temperature"] == card.output.temperature
    assert run.facts["calibration"] == {"data": "calibration.npz", "pictures": 70, "seed": 0}


def test_differences_from_the_float_network_add_up(run: Run) -> None:
    for reported in run.facts["files"].values():
        for figure in reported["figures"]:
            lost = figure["only_float_right"] - figure["only_file_right"]
            assert figure["drop_points"] == pytest.approx(100 * lost / figure["n"], abs=1e-3)
            assert 0 <= figure["mcnemar_p"] <= 1
    (figure,) = run.facts["files"]["emotion.onnx"]["figures"]
    assert (figure["drop_points"], figure["mcnemar_p"]) == (0, 1)
    assert run.facts["files"]["emotion.tflite"]["agreement"]["emotion.int8.onnx"] >= 0.98


def test_macs_arena_and_op_placement_of_a_small_network(run: Run) -> None:
    reported = run.facts["files"]["emotion.tflite"]
    # Two convolutions (8 of 3x3x1 on 24x24, 8 of 3x3x8 on 12x12) and a dense layer of 72 by 7.
    assert reported["macs"] == 24 * 24 * 8 * 9 + 12 * 12 * 8 * 72 + 72 * 7
    assert reported["parameters"] == 8 * 9 + 8 + 8 * 72 + 8 + 72 * 7 + 7
    # Live at once: the input, the outputs of both convolutions, 7 scores.
    assert (
        48 * 48 + 24 * 24 * 8 + 12 * 12 * 8 <= reported["arena"] <= 48 * 48 + 24 * 24 * 8 + 12 * 12 * 8 + 128
    )
    assert reported["float_ops"] == 0
    rows = {row["op"]: row for row in run.facts["edge_tpu"]}
    assert rows["CONV_2D"] == {"op": "CONV_2D", "number": 2, "cpu": "int8", "edge_tpu": "all"}
    assert "| CONV_2D | 2 | int8 | all |" in run.text


def test_every_op_from_the_first_unsupported_one_runs_on_the_cpu() -> None:
    import keras
    from keras import layers

    pixels = keras.Input((48, 48, 1), name="pixels")
    x = layers.Conv2D(8, 3, 4, name="before")(pixels)
    x = layers.Conv2D(8, 3, name="after")(layers.LeakyReLU()(x))
    x = layers.Dense(7, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    found = {place.op: place for place in places(to_int8(keras.Model(pixels, x), pictures(14)[0]))}
    assert found["CONV_2D"] == ("CONV_2D", 2, "int8", "1 of 2: after one that it does not take")
    assert found["LEAKY_RELU"].edge_tpu == "0 of 1: LEAKY_RELU is not in its table"
    assert found["SOFTMAX"].edge_tpu == "0 of 1: after one that it does not take"


def test_edge_tpu_compiler_result_is_reported(run: Run) -> None:
    size = (run.out / "emotion.edgetpu.tflite").stat().st_size
    assert run.facts["compiled"] == {"emotion.edgetpu.tflite": {"size": size}}
    first, *others = run.facts["edge_tpu_compiler"]
    assert first.startswith("Edge TPU compiler 16.0.384591198: 17 ops on the Edge TPU, 2 on the CPU; ")
    assert "Edge TPU compiler: 1 SOFTMAX: More than one subgraph is not supported" in others
    assert f"- {first}\n" in run.text
    assert f"| emotion.edgetpu.tflite | {size:,} |" in run.text


def test_everything_is_timed_in_one_run_and_int8_beats_keras(run: Run) -> None:
    latency = run.facts["latency"]
    ways = [(one["file"], one["threads"], one["batch"]) for one in latency["times"]]
    assert ways == [(file, threads, batch) for file in TIMED for threads in (1, 2) for batch in (1, 8)]
    assert all(0 < one["best_ms"] <= one["ms"] for one in latency["times"])
    at_once = {(one["file"], one["at_once"]) for one in latency["times"] if one["batch"] == 8}
    assert ("emotion.onnx", False) in at_once
    times = {(one["file"], one["threads"], one["batch"]): one["ms"] for one in latency["times"]}
    keras = latency["keras_predict_ms"]
    assert latency["int8_against_keras"] >= 30
    assert latency["int8_against_keras"] == pytest.approx(keras / times["emotion.tflite", 1, 1], rel=0.05)
    reported = re.search(
        r"takes (\S+) ms a face on one thread: \S+ times as fast as float TFLite \((\S+) ms\), "
        r"\S+ times as fast as Keras' model.predict on one image \((\S+) ms\)",
        run.text,
    )
    assert reported
    assert reported[0] in run.message
    assert float(reported[1]) == pytest.approx(times["emotion.tflite", 1, 1], abs=0.0011)
    assert float(reported[2]) == pytest.approx(times["float TFLite", 1, 1], abs=0.0011)
    assert float(reported[3]) == pytest.approx(keras, abs=1)


def test_each_layer_is_listed_and_the_worst_is_named(run: Run) -> None:
    ops = [layer["op"] for layer in run.facts["layers"]]
    assert ops[:2] == ["CONV_2D", "CONV_2D"]
    assert ops[-2:] == ["FULLY_CONNECTED", "SOFTMAX"]
    worst = max(run.facts["layers"], key=lambda layer: layer["added"])
    assert run.facts["worst_layer"] == worst["name"]
    assert f"1. {worst['name']} ({worst['op']}): {worst['db']:.1f} dB" in run.text
    assert f"largest error: {worst['name']} " in run.message


@pytest.mark.parametrize("name", PICTURES)
def test_plot_is_small_embedded_and_not_empty(run: Run, name: str) -> None:
    assert (run.report / name).stat().st_size < 60_000
    assert f"]({name})" in run.text
    drawn = cv2.imread(str(run.report / name))
    assert drawn.shape[1] > 400
    assert len(set(map(tuple, drawn.reshape(-1, 3).tolist()))) > 8  # not blank


def test_terminal_gets_tables_and_duration_of_each_step(run: Run) -> None:
    for file in FILES:
        assert re.search(rf"^{file} +FER2013 +210 +\d+\.\d\d %", run.message, re.MULTILINE)
    assert re.search(r"^ms a face +1 thread, batch 1 +1 thread, batch 8", run.message, re.MULTILINE)
    reported = re.findall(r"^ +\d+\.\d s  (.*)$", run.message, re.MULTILINE)
    assert reported == [
        "opening network and data", "running the float network", "quantizing with 70 pictures",
        "making the ONNX files", "compiling for the Edge TPU", "measuring each file", "packing",
        "comparing layers", "timing the files", "writing the report",
    ]  # fmt: skip
    assert list(run.facts["seconds"]) == reported[:-1]


def test_invalid_report_folder_gets_one_line_before_the_work(
    squares_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert quantize(squares_run, tmp_path / "out", "--report", str(tmp_path / "file")) == 1
    captured = capsys.readouterr()
    assert captured.err == f"{tmp_path}/file: not a folder; expected one for --report\n"
    assert captured.out == ""
    assert not (tmp_path / "out").exists()


def test_unwritable_report_keeps_the_files(
    squares_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("quantize.report.latency.ROUNDS", 1)
    blocked = tmp_path / "report"
    (blocked / "report.md" / "mine").mkdir(parents=True)
    out = tmp_path / "out"
    assert quantize(squares_run, out, "--report", str(blocked)) == 1
    assert capsys.readouterr().err == (
        f"{blocked}: report.md is a folder; nothing was written of the report; the other files are in {out}\n"
    )
    assert [path.name for path in blocked.iterdir()] == ["report.md"]
    assert read_model(out / "emotion.tflite")


def test_report_without_matplotlib_is_text_with_the_reason(
    squares_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("quantize.report.latency.ROUNDS", 1)
    report = tmp_path / "elsewhere"
    assert quantize(squares_run, tmp_path / "out", "--report", str(report)) == 0
    assert sorted(path.name for path in report.iterdir()) == ["report.json", "report.md"]
    assert "![" not in (report / "report.md").read_text()
    message = capsys.readouterr().out
    assert "report without plots: " in message
    assert "run `pip install emotion-edge[quantize]`" in message
    assert not (tmp_path / "out" / "report").exists()


def test_excessive_loss_prints_table_and_worst_layers_without_report(
    squares_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report"
    out = tmp_path / "out"
    assert quantize(squares_run, out, "--report", str(report), "--max-drop", "-100") == 3
    captured = capsys.readouterr()
    assert re.search(r"^emotion\.tflite +FER2013 +210", captured.out, re.MULTILINE)
    assert captured.err.count("largest error: ") == 3
    assert captured.err.splitlines()[-1].endswith("nothing was written; try --qat 10")
    assert list(tmp_path.iterdir()) == []
