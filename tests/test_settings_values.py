"""Values of single settings: cameras, secrets, broker, ids; and fuzzed files."""

import os
import random
import re
from pathlib import Path

import pytest

from edge.settings import load, resolve, tables
from edge.sources import SCHEMES
from edge.types import ConfigError
from tests.configured import REFERENCE, isolated, mistakes, write

# Row 18 in full: FUZZ_CASES=5000 pytest tests/test_settings.py
FUZZ_CASES = int(os.environ.get("FUZZ_CASES", "400"))

__all__ = ["isolated"]  # a fixture


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("auto", "auto"),
        ("picamera", "picamera:0"),
        ("/dev/video2", "/dev/../dev//video2"),
        ("/dev/v4l/by-id/usb-cam", "v4l2src device=/dev/v4l/by-id/usb-cam ! a ! b"),
        ("/dev/stdin", "/dev/fd/0"),  # two links to one
    ],
)
def test_two_cameras_on_one_device_are_detected(first: str, second: str) -> None:
    (mistake,) = mistakes(
        f'[[camera]]\nname = "a"\nsource = "{first}"\n[[camera]]\nname = "b"\nsource = "{second}"\n'
    )
    assert mistake.startswith(f'config.toml:6: camera[1].source: found "{os.path.normpath(second)[:40]}')
    assert mistake.endswith(
        ", the device of camera[0], already in use; name another, or remove one of the two"
    )


@pytest.mark.parametrize("source", ["rtsp://cam/1", "portraits", "a ! b", "/dev/video3", "picamera:1"])
def test_distinct_or_shareable_devices_are_allowed(source: str) -> None:
    other = {"/dev/video3": "/dev/video4", "picamera:1": "picamera"}.get(source, source)
    text = f'[[camera]]\nname = "a"\nsource = "{source}"\n[[camera]]\nname = "b"\nsource = "{other}"\n'
    assert [camera.source for camera in load(write(text)).camera] == [source, other]


def password(text: str) -> str:
    secret = load(write(text)).mqtt.password
    assert secret is not None
    return secret.get_secret_value()


@pytest.mark.parametrize("content", ["hunter 2 \r\n", "\ufeffhunter 2 ", "\ufeffhunter 2 \n", "hunter 2 \r"])
def test_password_loses_line_end_and_byte_order_mark(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("secret").write_bytes(content.encode())
    assert password('[mqtt]\nusername = "u"\npassword_file = "secret"') == "hunter 2 "
    with monkeypatch.context() as environment:
        environment.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        (tmp_path / "mqtt_password").write_bytes(content.encode())
        assert password('[mqtt]\nusername = "u"') == "hunter 2 "
    monkeypatch.setenv("EMOTION_EDGE_MQTT__PASSWORD", content)
    monkeypatch.setenv("EMOTION_EDGE_MQTT__PORT", "8883\n")
    monkeypatch.setenv("EMOTION_EDGE_MQTT__PREFIX", "\n")  # treated as empty
    assert password('[mqtt]\nusername = "u"') == "hunter 2 "
    assert (load().mqtt.port, load().mqtt.prefix) == (8883, "emotion-edge")


def test_password_comes_from_environment_then_credential_then_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[mqtt]\nusername = "u"\npassword_file = "gone"'
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    (tmp_path / "credentials").mkdir()
    assert "mqtt.password_file" in mistakes(text)[0]
    (tmp_path / "credentials/mqtt_password").write_text("from systemd\n")
    assert password(text) == "from systemd"
    assert mistakes("") == ["credential: mqtt_password: set, but no mqtt.username; set both"]
    (tmp_path / "credentials/mqtt_password").write_text("")
    assert mistakes(text) == [f"credential: {tmp_path}/credentials/mqtt_password: empty"]
    monkeypatch.setenv("EMOTION_EDGE_MQTT__PASSWORD", "from the environment")
    assert password(text) == "from the environment"


def test_username_from_systemd_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "mqtt_username").write_text("from systemd\n")
    (tmp_path / "mqtt_password").write_text("secret\n")
    loaded = resolve(write('[mqtt]\nusername = "u"'))
    assert loaded.settings.mqtt.username == "from systemd"
    assert loaded.origins["mqtt", "username"] == "credential: mqtt_username"
    assert password("") == "secret"
    monkeypatch.setenv("EMOTION_EDGE_MQTT__USERNAME", "me")
    assert load().mqtt.username == "me"


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "empty"), (b"\n", "empty"), (b"hunter2\xff", "not UTF-8 text"),
                          (b"hunter2" * 10_000, "larger than a password may be")],
)  # fmt: skip
def test_invalid_password_file_is_reported_without_its_content(
    tmp_path: Path, content: bytes, message: str
) -> None:
    Path("secret").write_bytes(content)
    assert mistakes('[mqtt]\nusername = "u"\npassword_file = "secret"') == [
        f"config.toml:3: mqtt.password_file: {tmp_path}/secret: {message}"
    ]


@pytest.mark.parametrize(
    "text",
    [
        '[mqtt]\nusername = "u"\npassword_file = "hunter2"',
        '[mqtt]\nusername = "u"\npassword = ["hunter2"]',
        '[mqtt]\npasword = "hunter2"',
        "[mqtt]\npassword = hunter2",
        '[mqtt]\nhost = "mqtt://me:hunter2@broker"',
        '[mqtt]\nhost = """a\npassword = "hunter2"\n"""',
        'mqtt = [{password = "hunter2"}]',
        '[[camera]]\nsource = "ftp://me:hunter2@cam/"',
        '[[camera]]\nsource = "rtsp://cam/?user=me&password=hunter2\\u0000"',
    ],
)
def test_secret_is_never_shown(text: str) -> None:
    assert "hunter2" not in "\n".join(mistakes(text))


@pytest.mark.parametrize(
    ("host", "taken"),
    [("[::1]", "::1"), ("[fe80::1%eth0]", "fe80::1%eth0"), ("2001:db8::7", "2001:db8::7"), ("nas_2", "nas_2"),
     ("broker.fritz.box.", "broker.fritz.box."), ("192.168.1.2", "192.168.1.2"), ("bücherei", "bücherei")],
)  # fmt: skip
def test_broker_host_may_be_a_name_or_an_address_in_brackets(host: str, taken: str) -> None:
    assert load(write(f"[mqtt]\nhost = '{host}'")).mqtt.host == taken


@pytest.mark.parametrize(
    ("host", "instead"),
    [
        ("broker:1884", 'host = "broker", port = 1884'),
        ("[::1]:1884", 'host = "::1", port = 1884'),
        ("mqtt://broker", 'host = "broker"'),
        ("MQTT://10.0.0.2:1884/", 'host = "10.0.0.2", port = 1884'),
        ("mqtts://b.example:8883", 'host = "b.example", port = 8883, tls = true'),
        ("ssl://[2001:db8::7]", 'host = "2001:db8::7", tls = true'),
        ("ws://nas:9001", 'host = "nas", port = 9001, transport = "websockets"'),
        ("wss://b.example/mqtt",
         'host = "b.example", transport = "websockets", tls = true, path = the part from / on'),
        ("mqtt://me:hunter2@broker",
         'host = "broker", username = the user name, password_file = a file with the password'),
        ("nas/", 'host = "nas"'),
    ],
)  # fmt: skip
def test_host_with_extra_parts_is_rejected_with_the_right_settings(host: str, instead: str) -> None:
    message = f"config.toml:2: mqtt.host: expected the host alone; write {instead}"
    assert mistakes(f"[mqtt]\nhost = '{host}'") == [message]


@pytest.mark.parametrize("host", ["broker:99999", "[::1]:0", "mqtts://broker:70000"])
def test_out_of_range_port_is_not_suggested(host: str) -> None:
    (line,) = mistakes(f"[mqtt]\nhost = '{host}'")
    assert "does not exist; write host = " in line
    assert "port = " not in line


@pytest.mark.parametrize(
    "host",
    ["", " ", "a b", "broker:", ":1883", "broker:mqtt", "a:1:2", "[::1", "::1]", "[1.2.3.4]", "[broker]",
     "ftp://broker", "mqtt://", "mqtt:broker", "x" * 254, "me:hun/ter2@broker", "a\\u0000b"],
)  # fmt: skip
def test_invalid_host_is_rejected(host: str) -> None:
    (message,) = mistakes(f'[mqtt]\nhost = "{host}"')
    assert message.startswith("config.toml:2: mqtt.host: expected ")
    assert "ter2" not in message


def test_settings_repr_hides_the_password() -> None:
    read = load(write('[mqtt]\nusername = "u"\npassword = "hunter2"'))
    assert "hunter2" not in f"{read!r} {read} {read.model_dump()}"


def test_default_id_differs_by_machine_and_hides_the_machine_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path, errors: "0123456789abcdef0123456789abcdef\n")
    # printf 0123456789abcdef0123456789abcdef | sha256sum
    assert tables.default_node_id() == "emotion-3eb1bd"


@pytest.mark.parametrize("content", ["", "\n", "uninitialized\n", "0" * 32, "0123456789abcdef"])
def test_host_name_is_the_default_id_without_a_machine_id(
    content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path, errors: content)
    monkeypatch.setattr("socket.gethostname", lambda: "pi.küche.lan")
    assert tables.default_node_id() == "pi-k-che-lan"


def test_accepted_schemes_are_those_that_sources_read() -> None:
    assert tables.SOURCE_SCHEMES == SCHEMES


VALUES = ("true", "-1", "1e9", "nan", '"x"', "''", "[]", "[[[[1]]]]", "{}", "{a = {b = 1}}", "1979-05-27",
          "0x" + "f" * 30, '"""a\nb"""', "'\\'", '"\\u0000"', "[1, {}]", '"status"', "")  # fmt: skip


LINES = ("[mqtt]", "[[camera]]", "[camera]", "[mqtt.host]", "[[mqtt]]", "x = 1", "mqtt.port = 2", "[a.b.c]",
         'name = "cam"', "faces = 3", "]", "= 1", '"', "'''", '"""', "[[camera.source]]", "\u00a0",
         "\x00")  # fmt: skip


def mutate(text: str, chance: random.Random) -> bytes:
    lines = text.split("\n")
    for _ in range(chance.randint(1, 4)):
        index = chance.randrange(len(lines))
        match chance.randrange(8):
            case 0:
                lines[index] = re.sub(r"= .*", lambda _: f"= {chance.choice(VALUES)}", lines[index])
            case 1:
                lines[index] = lines[index].removeprefix("# ")
            case 2:
                lines.insert(index, chance.choice(LINES))
            case 3:
                lines.insert(index, lines[chance.randrange(len(lines))])
            case 4:
                lines[index] = ""
            case 5:
                pairs = [place for place, line in enumerate(lines) if " = " in line]
                place = chance.choice(pairs or [0])  # none: truncated before the first
                letters = list(lines[place] or " ")
                letters[chance.randrange(len(letters))] = chance.choice("abx=_.[]'\" ")
                lines[place] = "".join(letters)
            case 6:
                lines[index] += chance.choice(("[" * 50, "{a=" * 50, "a." * 50 + "a = 1"))
            case 7:
                lines = lines[:index] if chance.random() < 0.2 and index else lines
    content = bytearray("\n".join(lines).encode())
    if chance.random() < 0.3 and content:
        content[chance.randrange(len(content))] = chance.randrange(256)
    return bytes(content)


def test_fuzzed_file_is_valid_or_reported_in_lines_without_secrets() -> None:
    reference = REFERENCE.read_text()
    reference = reference.replace('# username = "emotion-edge"', 'username = "u"')
    reference = reference.replace('# password = "..."', 'password = "hunter2"')
    assert "hunter2" in reference
    # Drop comments: mutating them has no effect.
    reference = "\n".join(line for line in reference.split("\n") if "=" in line or line.startswith("["))
    chance = random.Random(18)
    valid = 0
    path = Path("config.toml")
    for case in range(FUZZ_CASES):
        path.write_bytes(mutate(reference, chance))
        try:
            load(path)
            valid += 1
        except ConfigError as error:
            for line in str(error).split("\n"):
                assert re.match(r"config\.toml(:[1-9]\d*)?: \S", line), (case, line)
                assert len(line) < 300, (case, line)
                assert line.isprintable(), (case, line)
                assert "hunter2" not in line, case
    # Both outcomes must occur.
    assert 0.05 < valid / FUZZ_CASES < 0.6


def test_shipped_model_is_found_by_name_from_any_folder(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[model]\nfile = "emotion"\n')
    assert load(config).model.file == tables.MODEL_FILE
    config.write_text('[model]\nfile = "emotio"\n')
    with pytest.raises(ConfigError, match=f'found "{tmp_path}/emotio"'):
        load(config)
