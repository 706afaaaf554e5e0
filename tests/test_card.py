"""The card, and the check of a model file against it."""

import hashlib
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from edge.analysis.card import MAX_MODEL_BYTES, Card, card_path, read_card, read_model, read_sibling
from edge.types import LABELS, EdgeError

CONTENT = bytes(range(256)) * 16


def card(**changes: Any) -> dict[str, Any]:
    plain = {
        "name": "edge-s",
        "version": "1",
        "files": {"emotion.tflite": {"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)}},
        "labels": list(LABELS),
        "input": {"height": 48, "width": 48, "channels": 1, "range": [0, 255]},
        "crop": {"framing": "fer2013", "upright": True},
        "output": {"kind": "probabilities", "temperature": 1.3},
        "intended_use": "tests",
        "limits": "all",
    }
    return {**plain, **changes}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "emotion.json").write_text(json.dumps(card()))
    path = tmp_path / "emotion.tflite"
    path.write_bytes(CONTENT)
    return path


def test_listed_file_is_read(model: Path) -> None:
    verified = read_model(model)
    assert (verified.content, verified.card.labels, verified.card.input.height) == (CONTENT, LABELS, 48)
    assert verified.sha256 == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["smile"], "1 labels; expected 2 to 100"),
        (["smile", "no\tsmile"], "expected 1 to 64 printable characters"),
        (["smile", ""], "label ''; expected 1 to 64"),
    ],
)
def test_unpublishable_labels_are_rejected(model: Path, labels: list[str], message: str) -> None:
    model.with_suffix(".json").write_text(json.dumps(card(labels=labels)))
    with pytest.raises(EdgeError, match=re.escape(message)):
        read_model(model)


def test_single_flipped_bit_is_rejected(model: Path) -> None:
    rng = random.Random(0)
    for _ in range(200):
        damaged = bytearray(CONTENT)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        model.write_bytes(damaged)
        with pytest.raises(EdgeError, match=r"emotion\.tflite: sha256 .*changed or damaged"):
            read_model(model)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "0 bytes, its card says 4096"), (CONTENT[:-1], "4095 bytes"), (CONTENT + b"x", "4097 bytes")],
)
def test_file_of_wrong_length_is_rejected(model: Path, content: bytes, message: str) -> None:
    model.write_bytes(content)
    with pytest.raises(EdgeError, match=message):
        read_model(model)


def test_huge_file_is_rejected_unread(model: Path) -> None:
    with model.open("r+b") as file:
        file.truncate(MAX_MODEL_BYTES + 1)  # sparse: costs no disk
    with pytest.raises(EdgeError, match="33554433 bytes, more than the 33554432 allowed"):
        read_model(model)


def test_model_without_card_is_rejected_with_advice(tmp_path: Path) -> None:
    (tmp_path / "other.tflite").write_bytes(CONTENT)
    with pytest.raises(EdgeError, match=r"other\.json: No such file.*needs its card next to it"):
        read_model(tmp_path / "other.tflite")


def test_card_that_lists_other_files_is_rejected(model: Path) -> None:
    model.with_suffix(".json").write_text(json.dumps(card(files={})))
    with pytest.raises(EdgeError, match="its card lists nothing, not this file"):
        read_model(model)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a model card: Invalid JSON"),
        ("[]", "not a model card"),
        (json.dumps(card(input={**card()["input"], "channels": 3})), r"input\.channels"),
        (json.dumps(card(labels=[])), "labels"),
        (json.dumps({key: card()[key] for key in card() if key != "output"}), "output: Field required"),
    ],
)
def test_invalid_card_gets_one_line_with_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "emotion.json"
    path.write_text(text)
    with pytest.raises(EdgeError, match=message) as caught:
        read_card(path, Card)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("name", ["a/emotion.golden.npz", "../emotion.tflite", "/etc/passwd", "..", ""])
def test_card_entries_must_be_plain_file_names(model: Path, name: str) -> None:
    entry = {"sha256": "0" * 64, "size": 1}
    path = model.with_suffix(".json")
    path.write_text(json.dumps(card(files={**card()["files"], name: entry})))
    with pytest.raises(EdgeError) as caught:
        read_model(model)
    message = f"Value error, {name!r}; expected the name of a file next to the card"
    assert str(caught.value) == f"{path}: not a model card: files: {message}"


def test_folder_instead_of_model_gets_one_line(model: Path) -> None:
    model.unlink()
    model.mkdir()
    with pytest.raises(EdgeError, match="Is a directory"):
        read_model(model)


def test_one_card_covers_several_files(model: Path) -> None:
    half, golden = b"half the bits", b"golden"
    entries = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in (("emotion.fp16.onnx", half), ("emotion.golden.npz", golden))
    }
    model.with_suffix(".json").write_text(json.dumps(card(files={**card()["files"], **entries})))
    path = model.with_name("emotion.fp16.onnx")
    path.write_bytes(half)
    assert read_model(path).content == half
    assert read_model(model).content == CONTENT
    model.with_name("emotion.golden.npz").write_bytes(golden)
    assert read_sibling(read_model(path), ".golden.npz") == ("emotion.golden.npz", golden)
    model.with_name("emotion.golden.npz").write_bytes(b"tinsel")
    with pytest.raises(EdgeError, match=r"emotion\.golden\.npz: sha256 .*changed or damaged"):
        read_sibling(read_model(path), ".golden.npz")


def test_card_named_after_the_file_takes_precedence(tmp_path: Path) -> None:
    path = tmp_path / "emotion.int8.onnx"
    assert card_path(path) == tmp_path / "emotion.int8.json"  # the name an error quotes if neither exists
    (tmp_path / "emotion.json").touch()
    assert card_path(path) == tmp_path / "emotion.json"
    (tmp_path / "emotion.int8.json").touch()
    assert card_path(path) == tmp_path / "emotion.int8.json"


def test_missing_companion_file_is_reported_by_kind(model: Path) -> None:
    with pytest.raises(EdgeError, match=r"emotion\.json: lists 0 files \*\.golden\.npz; quantize makes"):
        read_sibling(read_model(model), ".golden.npz")
