"""Networks trained on other pixel ranges than 0 to 255 are detected and adapted, or rejected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.analysis.runtimes import open_runtime
from quantize import convert, measure, pixels
from quantize.costs import FER2013
from quantize.figures import scores, tflite
from quantize.figures.labelsets import LabelSet
from tests import squares

# Keras 3.15 on TensorFlow copies variables in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def with_range(network: Any, name: str) -> Any:
    """*network*, which takes 0 to 255, converted to the pixel range *name*."""
    import keras

    low, high = pixels.limits(name)
    given = keras.Input((48, 48, 1), name="given")
    scale = 255 / (high - low)
    whole = keras.layers.Rescaling(scale, offset=-low * scale)(given)
    return keras.Model(given, network(whole), name="with_range")


@pytest.fixture(scope="module")
def network(squares_run: Path) -> Any:
    return convert.load(squares_run / "model.keras")


def labelled_pictures() -> tuple[Any, LabelSet]:
    images, labels = squares.pictures(140)
    return images, LabelSet(FER2013, np.ones(len(labels), bool), labels)


@pytest.mark.parametrize("name", pixels.RANGES)
def test_pixel_range_is_found_and_folded_in(network: Any, name: str) -> None:
    images, truth = labelled_pictures()
    model = with_range(network, name)
    best, line = pixels.found(model, images, truth)
    assert best == name
    assert line.startswith(f"pixels {pixels.text_of(name)}: ")
    wanted = convert.predict(network, images)
    found = convert.predict(pixels.with_pixels(model, best), images)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("low_high", [(-2.0, 2.5), (-9.0, 4.0), (-127.5, 127.5)])
def test_mean_and_deviation_are_folded_in_without_changing_outputs(
    network: Any, low_high: tuple[float, float]
) -> None:
    low, high = low_high
    mean, std = -low * 255 / (high - low), 255 / (high - low)
    images, truth = labelled_pictures()
    normalized = with_range(network, f"{mean},{std}")
    wanted = convert.predict(network, images)
    np.testing.assert_allclose(
        convert.predict(pixels.with_pixels(normalized, f"{mean},{std}"), images), wanted, atol=1e-3
    )
    found, _ = pixels.found(normalized, images, truth)
    right = scores.accuracy(convert.predict(pixels.with_pixels(normalized, found), images), truth.truth)
    assert right > 0.95


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("127.5,127.5", -1.0, 1.0), ("0.5,0.5", -1.0, 1.0), ("0,1", 0.0, 1.0), ("0,255", 0.0, 1.0),
     ("128,1", -128.0, 127.0), ("0.5,0.25", -2.0, 2.0)],
)  # fmt: skip
def test_mean_and_deviation_may_be_of_0_to_255_or_0_to_1(name: str, low: float, high: float) -> None:
    assert pixels.limits(name) == (low, high)


@pytest.mark.parametrize("name", ["2", "0.5", "1,2,3", "a,b", "nan,1", "1,nan", "10,0", "-1,1", "300,1", ""])
def test_invalid_range_is_rejected(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from quantize.__main__ import main

    with pytest.raises(SystemExit) as stopped:
        main(["no.keras", "--data", "no.npz", "--out", "o", f"--pixels={name}"])
    assert stopped.value.code == 2
    assert "expected 255, 1, signed, or MEAN,STD" in capsys.readouterr().err


def test_lower_loss_decides_between_equally_accurate_ranges() -> None:
    """Without biases the argmax is the same at any scale, but too large a scale is overconfident."""
    import keras

    given = keras.Input((48, 48, 1))
    x = keras.layers.Dense(7, use_bias=False)(
        keras.layers.Flatten()(keras.layers.AveragePooling2D(16)(given))
    )
    model = keras.Model(given, keras.layers.Softmax()(x))
    kernel = np.full((9, 7), -1.0, np.float32)
    kernel[np.arange(7), np.arange(7)] = 6.0
    model.set_weights([kernel])
    images, truth = labelled_pictures()
    wrong = truth.truth.copy()
    wrong[::7] = (wrong[::7] + 1) % 7
    assert pixels.found(model, images, truth._replace(truth=wrong))[0] == "1"


@pytest.mark.parametrize("asked", [None, "1"])
def test_network_for_0_to_1_becomes_a_file_for_0_to_255(
    network: Any, squares_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: str | None
) -> None:
    model, out = tmp_path / "unit.keras", tmp_path / "out"
    with_range(network, "1").save(model)
    more = ["--pixels", asked] if asked else []
    assert squares.quantize(squares_run, out, *more, model=model) == 0
    reported = capsys.readouterr().out
    assert ("folded in (--pixels 1)" in reported) == (asked is None)
    content = (out / "emotion.tflite").read_bytes()
    graph = tflite.read(content)
    taken = graph.tensors[graph.inputs[0]]
    assert (list(taken.scales), list(taken.zero_points)) == ([1.0], [-128])
    images, labels = squares.pictures(70)
    given = measure.probabilities_of(open_runtime("cpu", content), images)
    assert scores.accuracy(given, labels) > 0.95
    card = json.loads((out / "emotion.json").read_text())
    assert card["input"]["range"] == [0, 255]
    assert card["training"]["quantization"]["pixels the network takes"] == "0 to 1"


@pytest.mark.parametrize("fault", ["pixels", "labels", "untrained"])
def test_network_at_chance_exits_3(
    network: Any, squares_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    import keras

    model, data, out = squares_run / "model.keras", squares_run / "calibration.npz", tmp_path / "out"
    if fault == "labels":
        arrays = dict(np.load(data))
        arrays["labels"] = (arrays["labels"] + 3) % 7
        np.savez(data := tmp_path / "other.npz", **arrays)
    if fault == "untrained":
        keras.utils.set_random_seed(3)
        keras.models.clone_model(network).save(model := tmp_path / "new.keras")
    more = ["--pixels", "1"] if fault == "pixels" else []
    assert squares.quantize(squares_run, out, *more, model=model, data=data) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{model}: the float network has ")
    assert line.endswith("nothing was written")
    assert not out.exists()


@pytest.mark.parametrize("name", ["a/b", "", "../up", ".hidden", "a\\b", "n" * 101])
def test_invalid_name_is_rejected_at_once(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from quantize.__main__ import main

    with pytest.raises(SystemExit) as stopped:
        main(["no.keras", "--data", "no.npz", "--out", "o", "--name", name])
    assert stopped.value.code == 2
    assert "expected a file's name without its suffix" in capsys.readouterr().err


@pytest.mark.parametrize("points", ["nan", "inf", "-inf", "half"])
def test_invalid_drop_limit_is_rejected(points: str, capsys: pytest.CaptureFixture[str]) -> None:
    from quantize.__main__ import main

    with pytest.raises(SystemExit):
        main(["no.keras", "--data", "no.npz", "--out", "o", f"--max-drop={points}"])
    assert f"found '{points}'; expected a number" in capsys.readouterr().err
