"""From a small network to a device file; invalid networks, data and folders; exit codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.analysis.card import read_model
from edge.analysis.classify import FaceClassifier
from edge.analysis.runtimes import open_runtime
from quantize.figures import scores as shares
from quantize.figures.temperature import fit_temperature
from tests.squares import pictures, quantize

# Keras 3.15 on TensorFlow copies variables in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def out(squares_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("devices") / "out"
    assert quantize(squares_run, out) == 0
    return out


def test_only_model_vectors_and_card_are_written_and_match(out: Path) -> None:
    assert sorted(path.name for path in out.iterdir()) == [
        "emotion.golden.npz", "emotion.json", "emotion.tflite"
    ]  # fmt: skip
    card = read_model(out / "emotion.tflite").card
    assert card.training["recipe"] == {"epochs": 12}
    assert card.data == ({"name": "squares", "licence": "CC0"},)
    assert [(figure.name, figure.data, figure.split, figure.n) for figure in card.figures] == [
        ("accuracy", "FER2013", "PublicTest", 210),
        ("calibration error", "FER2013", "PublicTest", 210),
    ]


def test_file_takes_pixel_minus_128_and_gives_int8(out: Path) -> None:
    runtime = open_runtime("cpu", (out / "emotion.tflite").read_bytes())
    assert runtime.input == ((1, 48, 48, 1), np.dtype(np.int8), 1.0, -128, "pixels")
    assert (runtime.outputs[0].shape, runtime.outputs[0].dtype) == ((1, 7), np.dtype(np.int8))


def test_quantized_file_is_accurate_and_calibrated_in_the_daemon(out: Path) -> None:
    model = read_model(out / "emotion.tflite")
    classifier = FaceClassifier(open_runtime("cpu", model.content), model.card, "emotion.tflite")
    images, labels = pictures(70)
    scores = np.stack([classifier.scores(image) for image in images])
    assert shares.accuracy(scores, labels) > 0.98
    # One in ten of the labels used to fit the temperature is wrong.
    assert 0.8 < float(scores.max(1).mean()) < 0.97


@pytest.mark.parametrize(("asked", "least", "most"), [("plus7", 0.97, 1.0), ("fer2013", 0.8, 0.97)])
def test_confidence_follows_the_requested_labels(
    asked: str, least: float, most: float, squares_run: Path, tmp_path: Path
) -> None:
    """All FER+ taggers are right; one FER2013 label in ten is wrong."""
    with np.load(squares_run / "calibration.npz") as archive:
        arrays = dict(archive)
    images, truth = pictures(210)
    votes = np.zeros((len(arrays["labels"]), 10), np.uint8)
    column = np.array([4, 5, 6, 1, 3, 2, 0])  # of each of LABELS in FER+
    votes[arrays["usage"] == 1, column[truth]] = 10
    np.savez(tmp_path / "voted.npz", **arrays, ferplus=votes)
    assert quantize(squares_run, tmp_path, "--confidence", asked, data=tmp_path / "voted.npz") == 0
    model = read_model(tmp_path / "emotion.tflite")
    classifier = FaceClassifier(open_runtime("cpu", model.content), model.card, "emotion.tflite")
    sure = np.mean([max(classifier.scores(image)) for image in images[:70]])
    assert least < sure <= most


def test_confidence_on_missing_votes_is_rejected(
    squares_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quantize(squares_run, tmp_path / "out", "--confidence", "plus7") == 1
    reported = "--confidence plus7: the data has no FER+ votes; use --confidence fer2013"
    assert capsys.readouterr().err.splitlines()[-1] == reported
    assert not (tmp_path / "out").exists()


def test_same_command_gives_the_same_bytes(squares_run: Path, out: Path, tmp_path: Path) -> None:
    assert quantize(squares_run, tmp_path / "again") == 0
    for path in out.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_drop_over_the_limit_exits_3_and_keeps_the_old_files(
    squares_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "emotion.tflite").write_bytes(b"old")
    assert quantize(squares_run, tmp_path, "--max-drop", "-100") == 3  # nothing could be that good
    assert [path.name for path in tmp_path.iterdir()] == ["emotion.tflite"]
    assert (tmp_path / "emotion.tflite").read_bytes() == b"old"
    assert "--max-drop allows -100; nothing was written" in capsys.readouterr().err


def subset(squares_run: Path, tmp_path: Path, keep: np.ndarray) -> Path:
    with np.load(squares_run / "calibration.npz") as archive:
        np.savez(tmp_path / "some.npz", **{name: archive[name][keep] for name in archive.files})
    return tmp_path / "some.npz"


def export_saved_model(shape: tuple[int, int, int], folder: Path) -> None:
    """A SavedModel that takes pictures of *shape*."""
    import keras

    from edge.host.quiet import quiet

    pixels = keras.Input(shape)
    flat = keras.layers.GlobalAveragePooling2D()(pixels)
    with quiet():
        keras.Model(pixels, keras.layers.Dense(7, activation="softmax")(flat)).export(folder)


def test_invalid_inputs_get_one_line_exit_1_and_write_nothing(
    squares_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.keras"
    text.write_text("hello")
    blocked = tmp_path / "file"
    blocked.write_text("")
    cut = tmp_path / "cut.npz"
    cut.write_bytes((squares_run / "calibration.npz").read_bytes()[:-99])
    half = tmp_path / "half.keras"
    half.write_bytes((squares_run / "model.keras").read_bytes()[:9999])
    with np.load(squares_run / "calibration.npz") as archive:
        labels = archive["labels"]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    colored = tmp_path / "colored"
    export_saved_model((32, 32, 3), colored)
    no_fear = subset(squares_run, tmp_path / "a", labels != 2)
    three = subset(squares_run, tmp_path / "b", np.arange(len(labels)) < 3)
    new = tmp_path / "new"

    def refusal(**given: Path) -> str:
        assert quantize(squares_run, given.pop("out", new), **given) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert (
        refusal(model=tmp_path / "no.keras")
        == f"{tmp_path}/no.keras: no such file; expected a run's model.keras"
    )
    for damaged in (text, half):
        assert refusal(model=damaged).startswith(f"{damaged}: not a Keras model: ")
    assert refusal(model=colored) == (
        f"{colored}: input (None, 32, 32, 3) has 3 channels; the daemon provides luma: "
        "expected one of (n, height, width, 1)"
    )
    assert refusal(data=tmp_path / "no.npz") == (
        f"{tmp_path}/no.npz: No such file or directory; expected a run's calibration.npz"
    )
    for damaged in (text, cut):
        assert refusal(data=damaged) == f"{damaged}: not an npz archive; expected a run's calibration.npz"
    assert refusal(data=no_fear) == f"{no_fear}: 0 Training pictures of fear; expected 10 per label"
    assert refusal(data=three) == f"{three}: 1 Training pictures of angry; expected 10 per label"
    assert refusal(out=blocked) == f"{blocked}: not a folder; expected one for --out"
    assert not new.exists()


def test_network_without_final_softmax_is_named(
    squares_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import keras

    pixels = keras.Input((48, 48, 1), name="pixels")
    bare = keras.Model(pixels, keras.layers.Dense(7, name="scores")(keras.layers.Flatten()(pixels)))
    bare.save(tmp_path / "bare.keras")
    assert quantize(squares_run, tmp_path / "out", model=tmp_path / "bare.keras") == 1
    assert capsys.readouterr().err == (
        f"{tmp_path}/bare.keras: ends in Dense 'scores'; expected a dense layer and softmax\n"
    )


def test_temperature_undoes_overconfidence() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 1, (5000, 7))
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([random.choice(7, p=row) for row in honest])
    boastful = honest**3 / (honest**3).sum(1, keepdims=True)
    assert fit_temperature(boastful, labels) == pytest.approx(3, rel=0.05)
    assert fit_temperature(honest, labels) == pytest.approx(1, rel=0.05)
