"""config.toml, the annotated reference, against the code."""

import re
from pathlib import Path

import pytest

from edge import settings
from edge.settings import TABLES, load, resolve
from edge.settings.mistakes import limits, options

REFERENCE = Path(__file__).resolve().parents[1] / "config.toml"
PAIR = re.compile(r"^(?P<off># )?(?P<key>[a-z_]+) = (?P<value>.+)$")


def entries() -> dict[tuple[str, str], tuple[bool, str]]:
    """(table, key) -> whether the line is active, and the comment above it."""
    found: dict[tuple[str, str], tuple[bool, str]] = {}
    table, comment = "", ""
    for line in REFERENCE.read_text().split("\n"):
        if header := re.match(r"\[+([a-z]+)\]+$", line):
            table, comment = header[1], ""
        elif pair := PAIR.match(line):
            found[table, pair["key"]] = (pair["off"] is None, comment)
        else:
            comment = f"{comment} {line[2:]}" if line else ""
    return found


@pytest.fixture(autouse=True)
def _no_other_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "SEARCHED", ())
    monkeypatch.chdir(tmp_path)


def test_reference_equals_the_defaults() -> None:
    assert load(REFERENCE) == load()


def test_reference_has_every_setting_and_no_other() -> None:
    assert set(entries()) == {(table, key) for table, model in TABLES.items() for key in model.model_fields}


def test_keys_with_a_default_are_not_commented_out() -> None:
    off = {".".join(key) for key, (in_force, _) in entries().items() if not in_force}
    assert off == {
        "mqtt.username", "mqtt.password", "mqtt.password_file", "mqtt.ca_file", "mqtt.cert_file",
        "mqtt.key_file", "node.id", "model.file", "model.mirror", "detector.file", "detector.min_face",
        "detector.min_score", "camera.width", "camera.height", "camera.faces", "web.url", "web.cert_file",
        "web.key_file",
    }  # fmt: skip
    given = resolve(REFERENCE).origins
    assert ("mqtt", "port") in given
    assert ("mqtt", "username") not in given


def test_every_range_and_choice_is_documented_above_its_key() -> None:
    reported = entries()
    checked = 0
    for table, model in TABLES.items():
        for key, field in model.model_fields.items():
            comment = reported[table, key][1]
            assert len(comment) > 10, (table, key)
            for choice in options(field):
                assert f'"{choice}"' in comment, (table, key)
                checked += 1
            if any(hasattr(bound, "ge") for bound in field.metadata):
                low, high = limits(field)
                assert f"{low:g} to {high:g}" in comment, (table, key)
                checked += 1
    assert checked == 51


def test_every_commented_line_can_be_enabled(tmp_path: Path) -> None:
    network = "face_detection_yunet_2023mar.onnx"
    files = ("mqtt_password", "ca.crt", "client.crt", "client.key", "web.crt", "web.key", "emotion.tflite")
    for name in (*files, network):
        (tmp_path / name).write_text("x")
    lines = REFERENCE.read_text().split("\n")
    text = "\n".join(line.removeprefix("# ") if PAIR.match(line) else line for line in lines)
    # As the comments require.
    text = text.replace("tls = false", "tls = true").replace('password = "..."', "")
    text = text.replace('source = "auto"', 'source = "portraits"')
    (tmp_path / "config.toml").write_text(text)
    read = load(tmp_path / "config.toml")
    assert read.node.id == "kitchen-pi"
    assert read.mqtt.password_file == tmp_path / "mqtt_password"
    assert read.detector.file == tmp_path / network
    assert (read.camera[0].width, read.camera[0].height) == (640, 480)


def test_the_four_lines_for_usb_camera_and_broker_are_marked() -> None:
    marked = [key for key, (_, comment) in entries().items() if re.search(r"\[[1-4]\]", comment)]
    assert marked == [("mqtt", "host"), ("mqtt", "username"), ("mqtt", "password_file"), ("camera", "source")]
