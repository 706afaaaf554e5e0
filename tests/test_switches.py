"""Switch payloads, their precedence over config.toml, and the file that stores them."""

import json
import logging
from pathlib import Path

import pytest

from edge.analysis.report import Rules
from edge.contract.switches import Refused, Switches, parse, switches_file, text, texts

CONFIGURED = Rules(min_confidence=0.5, hold_s=0.6)


@pytest.mark.parametrize(
    ("name", "payload", "value"),
    [
        ("enabled", b"ON", True),
        ("enabled", b"off", False),
        ("enabled", b"Off", False),
        ("min_confidence", b"0", 0.0),
        ("min_confidence", b"1", 1.0),
        ("min_confidence", b"0.35", 0.35),
        ("min_confidence", b"0.30000000000000004", 0.3),
        ("hold", b"60", 60.0),
        ("hold", b"2.5", 2.5),
        # As written by shells, templates and other programs.
        ("enabled", b" OFF\n", False),
        ("enabled", b"oN\r\n", True),
        ("enabled", b"\tOn ", True),
        ("min_confidence", b".5", 0.5),
        ("min_confidence", b"0.5\n", 0.5),
        ("min_confidence", b" +.25", 0.25),
        ("hold", b"5.", 5.0),
        ("hold", b"  007\r\n", 7.0),
    ],
)
def test_switch_accepts_plain_values(name: str, payload: bytes, value: bool | float) -> None:
    assert parse(name, payload) == value
    assert type(parse(name, payload)) is type(value)


@pytest.mark.parametrize(
    ("name", "payload", "reason"),
    [
        ("enabled", b"", "found nothing; expected ON or OFF"),
        ("enabled", b"1", "found '1'; expected ON or OFF"),
        ("enabled", b"ON\0", "found 'ON\\x00'; expected ON or OFF"),
        ("enabled", "ＯＮ".encode(), "found '\\uff2f\\uff2e'; expected ON or OFF"),
        ("min_confidence", b"1.001", "found '1.001'; expected a plain number from 0 to 1"),
        ("min_confidence", b"-0.5", "found '-0.5'; expected a plain number from 0 to 1"),
        ("min_confidence", b"nan", "found 'nan'; expected a plain number from 0 to 1"),
        ("min_confidence", b"1e-1", "found '1e-1'; expected a plain number from 0 to 1"),
        ("min_confidence", b"0,5", "found '0,5'; expected a plain number from 0 to 1"),
        ("min_confidence", b".\n", "found '.\\n'; expected a plain number from 0 to 1"),
        ("hold", b" ", "found ' '; expected a plain number from 0 to 60"),
        ("hold", b"1 2", "found '1 2'; expected a plain number from 0 to 60"),
        ("min_confidence", "٠".encode(), "found '\\u0660'; expected a plain number from 0 to 1"),
        ("hold", b"61", "found '61'; expected a plain number from 0 to 60"),
        ("hold", b"\xff\xfe", "found '\\\\xff\\\\xfe'; expected a plain number from 0 to 60"),
        ("hold", b"9" * 99, f"found '{'9' * 24}' and 75 bytes more; expected a plain number from 0 to 60"),
    ],
)
def test_invalid_value_is_refused_with_what_was_expected(name: str, payload: bytes, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(name, payload)
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("value", "reported"), [(True, "ON"), (False, "OFF"), (0.5, "0.5"), (2.0, "2"), (60.0, "60"), (0.0, "0")]
)
def test_switch_states_are_formatted_plainly(value: bool | float, reported: str) -> None:
    assert text(value) == reported


def test_switch_overrides_current_and_later_configuration() -> None:
    switches = Switches().turned("hold", 2.0, CONFIGURED)
    assert switches.over(CONFIGURED) == Rules(min_confidence=0.5, hold_s=2.0)
    assert switches.over(Rules(min_confidence=0.7, hold_s=1.0)) == Rules(min_confidence=0.7, hold_s=2.0)
    assert switches.states(CONFIGURED) == {"enabled": "ON", "min_confidence": "0.5", "hold": "2"}


def test_switch_set_to_the_configured_value_follows_it_again() -> None:
    switches = Switches(min_confidence=0.8).turned("min_confidence", 0.5, CONFIGURED)
    assert switches == Switches()
    assert switches.over(Rules(min_confidence=0.7)).min_confidence == 0.7


def test_camera_is_on_until_switched_off() -> None:
    off = Switches().turned("enabled", False, CONFIGURED)
    assert (Switches().on, off.on, off.turned("enabled", True, CONFIGURED)) == (True, False, Switches())


def test_switches_survive_a_restart(tmp_path: Path) -> None:
    kitchen = {"hall": Switches(enabled=False, hold=2.5), "porch": Switches(min_confidence=0.123)}
    text = switches_file(tmp_path).text(texts({**kitchen, "untouched": Switches()}))
    assert json.loads(text) == {
        "v": 2,
        "cameras": {"hall": {"enabled": "OFF", "hold": "2.5"}, "porch": {"min_confidence": "0.123"}},
    }
    (tmp_path / "switches.json").write_text(text)
    assert switches_file(tmp_path / "switches.json").read() == kitchen


def test_without_a_file_every_switch_is_as_configured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert switches_file(tmp_path / "switches.json").read() == {}
    assert caplog.records == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"v":2,"cameras":{"hall":{"enabled":"O',  # cut short
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"v":1,"nodes":{}}',
        b'{"v":2,"cameras":{"hall":[]}}',
        b'{"v":2,"cameras":{"hall":{"enabled":"PERHAPS"}}}',
        b'{"v":2,"cameras":{"hall":{"hold":61}}}',
        b'{"v":2,"cameras":{"hall":{"source":"rtsp://elsewhere"}}}',
    ],
)
def test_damaged_file_is_reported_and_ignored(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "switches.json"
    path.write_bytes(content)
    assert switches_file(path).read() == {}
    assert caplog.record_tuples == [
        ("edge.host.disk", logging.WARNING, f"{path}: damaged; every switch is as config.toml says")
    ]
