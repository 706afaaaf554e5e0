"""A small network that locates a bright square, and its run as written by emotion-train."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def pictures(n: int) -> tuple[np.ndarray, np.ndarray]:
    """*n* noisy pictures with a bright square; its place is the label."""
    random = np.random.default_rng(n)
    labels = np.arange(n) % 7
    images = random.integers(0, 156, (n, 48, 48), np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = divmod(int(label), 3)
        image[top * 16 : top * 16 + 16, left * 16 : left * 16 + 16] += 99
    return images, labels


def write_run(folder: Path) -> None:
    """Write model.keras (accurate but overconfident), recipe.json and calibration.npz."""
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    pixels = keras.Input((48, 48, 1), name="pixels")
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Flatten()(layers.AveragePooling2D(4)(x))
    model = keras.Model(pixels, layers.Softmax()(layers.Dense(7, name="logits")(x)), name="squares")
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    images, labels = pictures(350)
    model.fit(images[..., None].astype(np.float32), labels, epochs=12, batch_size=35, verbose=0)

    model.save(folder / "model.keras")
    public, truth = pictures(210)
    truth = truth.copy()
    truth[::10] = (truth[::10] + 1) % 7  # 10 % wrong labels, as in real data
    np.savez(
        folder / "calibration.npz",
        images=np.concatenate([images[:140], public]),
        labels=np.concatenate([labels[:140], truth]),
        usage=np.repeat(np.array([0, 1], np.uint8), [140, 210]),
    )
    record = {"network": "squares", "recipe": {"epochs": 12, "data": [{"name": "squares", "licence": "CC0"}]}}
    (folder / "recipe.json").write_text(json.dumps(record))


def quantize(folder: Path, out: Path, *more: str, data: Path | None = None, model: Path | None = None) -> int:
    """Quantize the run in *folder*; the exit code. Writes a report only if *more* requests one."""
    from quantize.__main__ import main

    return main([
        str(model or folder / "model.keras"), "--data", str(data or folder / "calibration.npz"),
        "--out", str(out), "--calibrate", "70", *more,
        *([] if "--report" in more else ["--no-report"]),
    ])  # fmt: skip
