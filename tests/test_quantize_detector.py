"""Quantizing a face detector: from network and photos to device files, card, vectors and report."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from edge.analysis.card import read_detector
from edge.analysis.detectors import FACES, open_detector
from edge.analysis.detectors.ssd import Ssd
from edge.analysis.golden import Outputs, deviations, mismatch, read_golden
from edge.analysis.runtimes import open_runtime
from edge.commands.check import run as check
from edge.sources.portraits import Portraits
from edge.types import EdgeError
from quantize.__main__ import main
from quantize.detector.make import agreement, golden_pictures, load
from quantize.figures import tflite
from quantize.inside import edgetpu
from tests.synthetic_photos import write_photos

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SHIPPED = Path(__file__).resolve().parents[1] / "training" / "detect" / "shipped"
ONNX = ("faces.onnx", "faces.fp16.onnx", "faces.int8.onnx")
FILES = ("faces.tflite", *ONNX)
OUTPUTS = sorted(f"{part}_{stride}" for part in ("score", "box", "eyes") for stride in (8, 16, 32))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), 96, (320, 240), (40, 140), empty_every=8)


@pytest.fixture(scope="module")
def quantized_detector(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped network quantized for a Jetson, with a report."""
    out, few = tmp_path_factory.mktemp("detector"), tmp_path_factory.mktemp("few")
    write_photos(few, 16, (320, 240), (40, 140))
    argv = [str(SHIPPED / "model.keras"), "--data", str(photos), "--measure", str(few), "--max-drop", "3"]
    argv += ["--calibrate", "16", "--min-score", "0.55"]
    assert main([*argv, "--target", "jetson", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network with a detector's nine outputs, quick to build and run."""
    import keras

    keras.utils.set_random_seed(3)
    pixels = keras.Input((None, None, 1), name="pixels")
    x = keras.layers.Rescaling(1 / 127.5, -1)(pixels)
    outputs = {}
    for stride, step in ((8, 8), (16, 2), (32, 2)):
        x = keras.layers.Conv2D(4, 3, strides=step, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        for part, values in (("score", 1), ("box", 4), ("eyes", 4)):
            name = f"{part}_{stride}"
            # Initial scores of .01: a face in every cell takes long to evaluate.
            bias = keras.initializers.Constant(-4.6 if part == "score" else 0)
            head = keras.layers.Conv2D(values, 3, padding="same", bias_initializer=bias, name=name)
            outputs[name] = head(x)
    path = tmp_path_factory.mktemp("run") / "model.keras"
    keras.Model(pixels, outputs).save(path)
    return path


def test_card_has_kind_decoding_figures_and_sources(quantized_detector: Path) -> None:
    card = read_detector(quantized_detector / "faces.tflite").card
    assert card.kind == "detector"
    assert card.decode.form == "center"
    assert card.decode.min_score == 0.55
    assert {figure.name for figure in card.figures} == {
        "average precision", "recall", "photos with a false alarm"
    }  # fmt: skip
    assert len(card.data) == 6
    assert set(card.files) == {*FILES, "faces.golden.npz"}
    assert {path.name for path in quantized_detector.iterdir()} == {
        *FILES,
        "faces.golden.npz",
        "faces.json",
        "report",
    }
    agreed = card.training["quantization"]["agreement with float"]
    assert agreed["faces.tflite"] >= 0.9
    assert agreed["faces.onnx"] >= 0.99


def test_file_finds_portraits_and_edge_tpu_supports_every_op(quantized_detector: Path) -> None:
    detector = open_detector("ssd", file=quantized_detector / "faces.tflite")
    image, truth = Portraits(faces=2, fps=10, paced=False).render(3)
    found = detector.detect(image)
    for portrait in truth:
        assert max(face.box.iou(portrait.box) for face in found) >= 0.6
    graph = tflite.read((quantized_detector / "faces.tflite").read_bytes())
    assert edgetpu.check(graph) == []
    assert (quantized_detector / "faces.tflite").stat().st_size <= 600_000


@pytest.mark.parametrize("name", ONNX)
def test_onnx_twin_has_nine_outputs_and_finds_the_same_faces(quantized_detector: Path, name: str) -> None:
    model = onnx.load(quantized_detector / name)
    onnx.checker.check_model(model, full_check=True)
    assert [output.name for output in model.graph.output] == OUTPUTS
    runtime = open_runtime("onnx", (quantized_detector / name).read_bytes())
    assert (runtime.input.shape, runtime.input.dtype) == ((1, 352, 448, 1), np.dtype(np.float32))
    assert {output.name: output.shape for output in runtime.outputs} == {
        output.name: output.shape
        for output in open_runtime("cpu", (quantized_detector / "faces.tflite").read_bytes()).outputs
    }
    ours, theirs = Ssd(quantized_detector / "faces.tflite"), Ssd(quantized_detector / name)
    shown = golden_pictures()
    assert agreement([ours.find(image) for image in shown], [theirs.find(image) for image in shown]) >= 0.9


def test_agreement_is_the_fraction_of_common_faces(quantized_detector: Path) -> None:
    faces = Ssd(quantized_detector / "faces.tflite").find(golden_pictures()[2])
    assert len(faces) >= 2
    assert agreement([faces], [faces]) == 1
    assert agreement([faces, []], [faces[:1], []]) == pytest.approx(2 / (len(faces) + 1))
    assert agreement([[]], [[]]) == 1
    assert agreement([faces], [[]]) == 0


@pytest.mark.parametrize("name", [*FILES, "shipped"])
def test_golden_vectors_match_the_file_outputs(name: str, quantized_detector: Path) -> None:
    model = read_detector(FACES if name == "shipped" else quantized_detector / name)
    golden = read_golden(model)
    assert np.array_equal(golden.pictures, golden_pictures())
    runtime = open_runtime("auto", model.content)
    answers = Outputs(runtime, model.card.input.range)
    assert max(deviations(golden, answers)) < golden.tolerance / 10

    class Mixed(Outputs):
        """Simulates a chip that swaps outputs."""

        def scores(self, pixels: np.ndarray) -> np.ndarray:
            return super().scores(pixels)[::-1]

    assert "outputs, as parts of their ranges, differ by up to" in mismatch(
        golden, Mixed(runtime, model.card.input.range)
    )


def test_check_replays_the_detector_vectors(
    quantized_detector: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import argparse

    from edge.cli import ended
    from edge.commands.check import add_parser

    def replay(*arguments: str) -> int:
        parser = argparse.ArgumentParser()
        add_parser(parser.add_subparsers())
        return ended(lambda: check(parser.parse_args(["check", *arguments])), "")

    assert replay("--model", str(quantized_detector / "faces.int8.onnx")) == 0
    reported = capsys.readouterr().out
    assert "faces.int8.onnx: onnxruntime" in reported
    assert "3 golden pictures, outputs, as parts of their ranges, differ by at most 0.0" in reported
    assert replay("--model") == 0  # the shipped classifier and the shipped detector
    first, second = capsys.readouterr().out.splitlines()
    assert "emotion.tflite: " in first
    assert "faces.tflite: " in second


def test_report_has_every_figure_and_the_edge_tpu_table(quantized_detector: Path) -> None:
    report = quantized_detector / "report"
    assert {path.name for path in report.iterdir()} == {
        "report.md", "report.json", "curves.png", "sizes.png", "layers.png"
    }  # fmt: skip
    text = (report / "report.md").read_text()
    assert "| CONV_2D | 23 | int8 | all |" in text
    assert "the Edge TPU supports all" in text
    for name in ("curves.png", "sizes.png", "layers.png"):
        assert f"({name})" in text
    facts = json.loads((report / "report.json").read_text())
    assert tuple(facts["files"]) == FILES
    card = read_detector(quantized_detector / "faces.tflite").card
    (precise,) = (figure.value for figure in card.figures if figure.name == "average precision")
    (reported,) = facts["files"]["faces.tflite"]["found"].values()
    assert reported["ap"] == pytest.approx(precise, abs=1e-4)
    assert set(facts["files"]["faces.tflite"]["alarms"]) == {"noise"}
    assert all(op["edge_tpu"] == "all" for op in facts["edge_tpu"])
    assert {layer["name"] for layer in facts["layers"]} >= {"score_8", "box_16", "eyes_32"}


def test_same_command_makes_the_same_bytes(small: Path, photos: Path, tmp_path: Path) -> None:
    argv = [str(small), "--data", str(photos), "--calibrate", "16", "--no-report"]
    for name in ("one", "other"):
        assert main([*argv, "--target", "jetson", "--out", str(tmp_path / name)]) == 0
    one, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "other")
    )
    assert set(one) == {*FILES, "faces.golden.npz", "faces.json"}
    assert [name for name in one if one[name] != other[name]] == []


def test_too_few_or_missing_photos_get_one_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    shutil.copytree(photos, few)
    rows = json.loads((few / "labels.json").read_text())
    (few / "labels.json").write_text(json.dumps(rows[:10]))
    argv = [str(SHIPPED / "model.keras"), "--out", str(tmp_path / "out"), "--data"]
    assert main([*argv, str(few)]) == 1
    assert "photos with faces for calibration; expected 50 or more" in capsys.readouterr().err
    assert main([*argv, str(tmp_path)]) == 1
    assert "labels.json: No such file or directory" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_loss_over_the_limit_writes_nothing(small: Path, photos: Path, tmp_path: Path) -> None:
    argv = [str(small), "--data", str(photos), "--calibrate", "16"]
    assert main([*argv, "--max-drop", "-100", "--out", str(tmp_path / "out")]) == 3
    assert not (tmp_path / "out").exists()


def test_missing_network_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="no such file"):
        load(tmp_path / "model.keras")
