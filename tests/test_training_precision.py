"""Training in bfloat16: learns like float32 and writes the same files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.squares import pictures
from training.fit import records, schedule
from training.fit.precision import available, computing_in, has_bfloat16
from training.fit.steps import Steps, steps
from training.networks import NETWORKS, TRANSFER, build
from training.recipe import Recipe

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RECIPE = Recipe(epochs=1, batch=35, learning_rate=0.05, warmup_epochs=0.2, weight_decay=1e-3, dropout=0.1)
STEPS = 40


class Training:
    """`edge-xs` on bright squares in one precision, from the same initial weights."""

    def __init__(self, precision: str, network: str = "edge-xs") -> None:
        keras.utils.set_random_seed(7)
        model = build(network, RECIPE.dropout)
        self.model = computing_in(precision, model)
        self.averaged = computing_in("float32", self.model)
        self.optimizer = schedule.optimizer(RECIPE, STEPS)
        self.optimizer.build(self.model.trainable_variables)
        self.state = [*self.model.variables, *self.optimizer.variables]
        self.do: Steps = steps(self.model, self.averaged, self.optimizer, [], RECIPE)

    def learn(self, count: int, first: int = 0, batch: int = 35) -> list[float]:
        """The losses of *count* steps from the *first* on."""
        images, labels = pictures(350)
        found = []
        for step in range(first, first + count):
            some = np.arange(step * batch, step * batch + batch) % 350
            targets = np.eye(7, dtype=np.float32)[labels[some]]
            found.append(self.do.step(images[some][..., None], targets))
            self.do.average(0.8)
        self.do.settle()
        return [float(keras.ops.convert_to_numpy(loss)) for loss in found]


@pytest.fixture(scope="module")
def trained() -> dict[str, tuple[Training, list[float]]]:
    both = {precision: Training(precision) for precision in ("float32", "bfloat16")}
    return {precision: (one, one.learn(STEPS)) for precision, one in both.items()}


def test_both_precisions_train_alike(trained: dict[str, tuple[Training, list[float]]]) -> None:
    (exact, exact_losses), (rough, rough_losses) = trained["float32"], trained["bfloat16"]
    assert rough_losses[0] == pytest.approx(exact_losses[0], rel=0.02)
    assert np.mean(exact_losses[-10:]) < exact_losses[0] / 3
    assert np.mean(rough_losses[-10:]) == pytest.approx(np.mean(exact_losses[-10:]), abs=0.1)
    images, labels = pictures(210)
    for one in (exact, rough):
        probabilities = one.averaged.predict(images[..., None].astype(np.float32), verbose=0)
        assert (probabilities.argmax(1) == labels).mean() > 0.9


@pytest.mark.parametrize("network", sorted({*NETWORKS, *TRANSFER} - {"edge-m"}))
def test_every_network_trains_in_bfloat16(network: str) -> None:
    """deep-cnn normalizes vectors, too, for which there is no fused operation."""
    one = Training("bfloat16", network)
    before = [np.array(weight) for weight in one.model.get_weights()]
    # TensorFlow 2.21 crashes on mini-xception, in float32 too, in batches that are no multiple of 16.
    assert np.isfinite(one.learn(2, batch=16)).all()
    changed = [not np.array_equal(a, b) for a, b in zip(before, one.model.get_weights(), strict=True)]
    assert np.mean(changed) > 0.9


def test_evaluated_and_saved_network_is_float32_with_keras_layers(
    trained: dict[str, tuple[Training, list[float]]], tmp_path: Path
) -> None:
    rough = trained["bfloat16"][0]
    assert {layer.compute_dtype for layer in rough.model.layers[1:-2]} == {"bfloat16"}
    assert {variable.dtype for variable in rough.model.weights} == {"float32"}
    rough.averaged.save(tmp_path / "model.keras")
    saved = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    assert [type(layer) for layer in saved.layers] == [type(layer) for layer in build("edge-xs", 0.1).layers]
    for mine, theirs in zip(saved.get_weights(), rough.averaged.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("network", ["edge-xs", "plain"])
def test_training_resumes_exactly_from_a_checkpoint(network: str, tmp_path: Path) -> None:
    whole = Training("bfloat16", network)
    whole.learn(5)
    records.save_checkpoint(tmp_path, whole.state, whole.averaged.weights, 1)
    resumed = Training("bfloat16", network)
    assert records.restore_checkpoint(tmp_path, resumed.state, resumed.averaged.weights) == 1
    assert resumed.learn(3, first=5) == pytest.approx(whole.learn(3, first=5), rel=0.02)


@pytest.mark.parametrize("size", [1, 6, 24])
def test_fused_normalization_matches_keras(size: int) -> None:
    given = np.random.default_rng(size).normal(3, 2, (16, size, size, 8)).astype(np.float32)
    answers = []
    for precision in ("float32", "bfloat16"):
        inputs = keras.Input((size, size, 8))
        layer = keras.layers.BatchNormalization(momentum=0.9)
        copy = computing_in(precision, keras.Model(inputs, layer(inputs)))
        outputs = keras.ops.convert_to_numpy(keras.ops.cast(copy(given, training=True), "float32"))
        answers.append((outputs, *copy.layers[-1].non_trainable_variables))
    for exact, rough in zip(*answers, strict=True):
        np.testing.assert_allclose(np.asarray(rough), np.asarray(exact), rtol=0.08, atol=0.03)


X86 = "processor\t: 0\nflags\t\t: fpu sse avx512f {}\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd {}\n"


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has no bfloat16 on a CPU")
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (X86.format("avx512_bf16"), True),
        (X86.format("amx_bf16 amx_tile"), True),
        (X86.format("avx512_fp16"), False),
        (ARM.format("bf16 i8mm"), True),
        (ARM.format("asimdhp"), False),
        ("", False),
    ],
)
def test_bfloat16_support_is_read_from_cpuinfo(text: str, wanted: bool, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    assert has_bfloat16(cpuinfo) is wanted
    assert has_bfloat16(tmp_path / "none") is False


def test_without_bfloat16_float32_is_used_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert available("float32") == "float32"
    assert capsys.readouterr().err == ""
    found = available(replace(RECIPE, precision="bfloat16").precision)
    reported = capsys.readouterr().err
    assert (found, bool(reported)) == (("bfloat16", False) if has_bfloat16() else ("float32", True))
