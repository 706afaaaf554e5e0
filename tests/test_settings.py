"""The configuration: accepted input, and one line per error."""

from pathlib import Path

import pytest

from edge import settings
from edge.settings import load, resolve
from tests.configured import isolated, mistakes, write

__all__ = ["isolated"]  # a fixture


def test_defaults_are_a_valid_configuration() -> None:
    loaded = resolve()
    assert loaded.file is None
    assert loaded.origins == {}
    assert loaded.settings.mqtt.host == "localhost"
    assert [camera.source for camera in loaded.settings.camera] == ["auto"]
    assert loaded.settings.model.file.parts[-3:] == ("edge", "models", "emotion.tflite")


def test_two_short_tables_are_a_valid_configuration() -> None:
    read = load(write('[mqtt]\nhost = "broker.lan"\n[[camera]]\nsource = "/dev/video2"\nfps = 15\n'))
    assert (read.mqtt.host, read.mqtt.port) == ("broker.lan", 1883)
    assert (read.camera[0].name, read.camera[0].source, read.camera[0].fps) == ("cam", "/dev/video2", 15.0)


def test_misspelt_port_is_found_on_its_line() -> None:
    assert mistakes('[node]\nid = "pi"\n\n[mqtt]\nprot = 1883\n') == [
        "config.toml:5: mqtt.prot: unknown key; did you mean 'port'?"
    ]


def test_all_errors_are_reported_in_file_order() -> None:
    assert mistakes(
        '[log]\nlevel = "INFO"\n[[camera]]\nname = "a"\n[[camera]]\nname = "b"\nfps = "fast"\n'
        "[nodes]\n[mqtt]\ntls = 'yes'\nport = 70000\n"
    ) == [
        'config.toml:2: log.level: found "INFO"; expected "debug", "info", "warning" or "error"; '
        "did you mean 'info'?",
        'config.toml:7: camera[1].fps: found "fast"; expected a number from 0.5 to 120',
        "config.toml:8: nodes: unknown key; did you mean 'node'?",
        'config.toml:10: mqtt.tls: found "yes"; expected true or false',
        "config.toml:11: mqtt.port: found 70000; expected a whole number from 1 to 65535",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[mqtt]\nport = "1883"', ':2: mqtt.port: found "1883"; expected a whole number from 1 to 65535'),
        ("[mqtt]\nport = true", ":2: mqtt.port: found true; expected a whole number from 1 to 65535"),
        ("[mqtt]\nport = 1883.0", ":2: mqtt.port: found 1883.0; expected a whole number from 1 to 65535"),
        ("[mqtt]\nfaces_hz = inf", ":2: mqtt.faces_hz: found inf; expected a number from 0 to 10"),
        ("[mqtt]\nhost = [1]",
         ":2: mqtt.host: found an array; expected a host name or address without mqtt://"),
        ("[model]\nthreads = 0x" + "f" * 5000,
         ":2: model.threads: found a number of more than 64 bits; expected a whole number from 1 to 4"),
        ("[report]\nhold_s = 0x" + "f" * 5000,
         ":2: report.hold_s: found a number of more than 64 bits; expected a number from 0 to 60"),
        ("[report]\nhold_s = 1979-05-27",
         ":2: report.hold_s: found a date or time; expected a number from 0 to 60"),
        ('[model]\nruntime = "onyx"',
         ':2: model.runtime: found "onyx"; expected "auto", "cpu", "edgetpu" or "onnx"; '
         "did you mean 'onnx'?"),
        ('[model]\nprovider = "gpu"',
         ':2: model.provider: found "gpu"; expected "cpu", "cuda" or "tensorrt"; did you mean \'cpu\'?'),
        ('[detector]\nkind = "har"', ':2: detector.kind: found "har"; expected "auto", "ssd", "yunet" or '
         "\"haar\"; did you mean 'haar'?"),
        ('[node]\nid = "a b"', ':2: node.id: found "a b"; expected 1 to 64 letters, digits, _ and -'),
        ('[node]\nid = "a\\n"', ':2: node.id: found "a…"; expected 1 to 64 letters, digits, _ and -'),
        ('[detector]\nhost = "x"', ":2: detector.host: unknown key; it belongs in [mqtt]"),
        ("mqtt = 5", ":1: mqtt: found 5; expected a table [mqtt]"),
        ('[camera]\nname = "a"', ":1: camera: found a table; expected a table [[camera]]"),
        ("camera = [3]", ":1: camera[0]: found 3; expected a table [[camera]]"),
        ("camera = []", ":1: camera: found none; expected at least one [[camera]]"),
        ('[[camera]]\nname = "status"',
         ':2: camera[0].name: found "status", which is a topic of the node; choose another name'),
        ("[[camera]]\n[[camera]]\n",
         ':2: camera[1].name: found "cam", which camera[0] has; choose another name'),
        ("[[camera]]\nfaces = 2", ':2: camera[0].faces: is only for source = "portraits"; leave it out'),
        ("[[camera]]\nwidth = 640",
         ":1: camera[0].height: width is set and height is not; set both or neither"),
        ("[[camera]]\nheight = 640",
         ":2: camera[0].height: height is set and width is not; set both or neither"),
        ('[[camera]]\nsource = "portrait"', ':2: camera[0].source: found "portrait"; expected "auto"'
         ', "picamera"'
         ", \"portraits\", a device, an address, a file or a folder; did you mean 'portraits'?"),
        ('[[camera]]\nsource = "rtps://cam/1"',
         ":2: camera[0].source: found rtps://; expected one of rtsp://, rtsps://, http://, https://; "
         "did you mean 'rtsps'?"),
        ('[[camera]]\nsource = "rtsp://me:12/34@cam/1"',
         ":2: camera[0].source: rtsp://…: unclear where its host is; write @ : / ? # % and space in a user "
         "name or password as %40 %3A %2F %3F %23 %25 %20, and an @ after the host as %40"),
        ('[mqtt]\nca_file = "config.toml"',
         ":2: mqtt.ca_file: set, but mqtt.tls is false, so nothing is encrypted; set tls = true"),
        ("[mqtt]\ninsecure = true",
         ":2: mqtt.insecure: set, but mqtt.tls is false, so nothing is encrypted; set tls = true"),
        ('[mqtt]\ntls = true\nca_file = "config.toml"\ninsecure = true',
         ":4: mqtt.insecure: set, and so is mqtt.ca_file, which is then ignored; keep one of the two"),
        ('[mqtt]\ntls = true\nkey_file = "config.toml"',
         ":3: mqtt.key_file: set, but no mqtt.cert_file; set both"),
        ("[mqtt]\nversion = 5", ':2: mqtt.version: found 5; expected "auto", "3.1.1" or "5"'),
        ('[mqtt]\ntransport = "wss"', ':2: mqtt.transport: found "wss"; expected "tcp" or "websockets"'),
        ('[mqtt]\npath = "/broker"',
         ':2: mqtt.path: is only for transport = "websockets"; leave it out'),
        ('[mqtt]\ntransport = "websockets"\npath = "/a b"',
         ':3: mqtt.path: found "/a b"; expected a path that begins with / and has no spaces'),
        ('[mqtt]\npassword = "hunter2"', ":2: mqtt.password: set, but no mqtt.username; set both"),
        ('"a\\nb" = 1', ':1: "a…": unknown key'),
        ("x" * 90 + " = 1", f":1: \"{'x' * 40}…\": unknown key"),
        ("_env_file = 'x'", ":1: _env_file: unknown key"),
    ],
)  # fmt: skip
def test_error_has_line_found_value_and_expectation(text: str, message: str) -> None:
    assert mistakes(text) == [f"config.toml{message}"]


@pytest.mark.parametrize("prefix", ["", "/a", "a/", "a/+/b", "#", "$SYS", "a\\u0000", " a", "a ", "a" * 129])
def test_prefix_that_is_not_a_topic_is_rejected(prefix: str) -> None:
    (line,) = mistakes(f'[mqtt]\nprefix = "{prefix}"')
    assert line.startswith("config.toml:2: mqtt.prefix: found ")


@pytest.mark.parametrize("prefix", ["a", "home/floor 1/emotion", "käse"])
def test_prefix_that_is_a_topic_is_accepted(prefix: str) -> None:
    assert load(write(f'[mqtt]\nprefix = "{prefix}"')).mqtt.prefix == prefix


def test_file_names_are_relative_to_the_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    for name in ("own.tflite", "clip.mp4", "faces"):
        (folder / name).touch()
    (folder / "c.toml").write_text(
        '[model]\nfile = "own.tflite"\n[[camera]]\nname = "a"\nsource = "clip.mp4"\n'
        '[[camera]]\nname = "b"\nsource = "faces"\n[[camera]]\nname = "c"\nsource = "http://cam/a.mp4"\n'
        '[[camera]]\nname = "d"\nsource = "nvarguscamerasrc ! appsink"\n'
    )
    read = load(folder / "c.toml")
    assert read.model.file == folder / "own.tflite"
    assert [camera.source for camera in read.camera] == [
        str(folder / "clip.mp4"), str(folder / "faces"), "http://cam/a.mp4", "nvarguscamerasrc ! appsink"
    ]  # fmt: skip


def test_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.tflite").touch()
    assert load(write('[model]\nfile = "~/own.tflite"')).model.file == tmp_path / "own.tflite"


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    assert mistakes('[model]\nfile = "a.tflite"') == [
        f'config.toml:2: model.file: found "{tmp_path}/a.tflite"; expected the name of a readable file'
    ]


def test_first_of_the_searched_files_is_used(tmp_path: Path) -> None:
    write('[mqtt]\nhost = "here"')
    assert resolve().file == Path("config.toml")
    (tmp_path / "etc.toml").write_text('[mqtt]\nhost = "etc"')
    assert load().mqtt.host == "etc"
    assert load(Path("config.toml")).mqtt.host == "here"


def test_environment_overrides_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_EDGE_MQTT__HOST", "broker.lan")
    monkeypatch.setenv("EMOTION_EDGE_MQTT__PORT", "8883")
    monkeypatch.setenv("EMOTION_EDGE_MQTT__TLS", "yes")
    monkeypatch.setenv("EMOTION_EDGE_REPORT__HOLD_S", "2")
    monkeypatch.setenv("EMOTION_EDGE_MQTT__PREFIX", "")  # empty: treated as unset
    loaded = resolve(write('[mqtt]\nhost = "a"\nport = 1884\nkeepalive_s = 20\n'))
    mqtt = loaded.settings.mqtt
    assert (mqtt.host, mqtt.port, mqtt.tls, mqtt.keepalive_s, mqtt.prefix) == (
        "broker.lan", 8883, True, 20, "emotion-edge"
    )  # fmt: skip
    assert loaded.settings.report.hold_s == 2.0
    assert loaded.origins["mqtt", "port"] == "environment: EMOTION_EDGE_MQTT__PORT"
    assert loaded.origins["mqtt", "keepalive_s"] == "config.toml:4"
    assert ("mqtt", "prefix") not in loaded.origins


def test_settings_built_in_code_ignore_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_EDGE_MQTT__HOST", "broker.lan")
    monkeypatch.setenv("EMOTION_EDGE_MQTT", "{")
    assert settings.Settings.model_validate({"mqtt": {"port": 1}}).mqtt.host == "localhost"


def test_errors_in_the_environment_name_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in {
        "EMOTION_EDGE_MQTT__HOSTT": "broker.lan",
        "EMOTION_EDGE_MQTT": "{",
        "EMOTION_EDGE_CAMERA__0__NAME": "a",
        "EMOTION_EDGE_LOG__LEVEL": "chatty",
        "EMOTION_EDGE_MODEL__THREADS": "two",
        "EMOTION_EDGE_WEB__HOSTS": "kitchen-pi",
    }.items():
        monkeypatch.setenv(name, text)
    assert mistakes("[mqtt]\nport = 0") == [
        "environment: EMOTION_EDGE_CAMERA__0__NAME: unknown; cameras are described in the file",
        "environment: EMOTION_EDGE_LOG__LEVEL: "
        'found "chatty"; expected "debug", "info", "warning" or "error"',
        'environment: EMOTION_EDGE_MODEL__THREADS: found "two"; expected a whole number from 1 to 4',
        "environment: EMOTION_EDGE_MQTT: unknown; a key must follow, as in EMOTION_EDGE_MQTT__HOST",
        "environment: EMOTION_EDGE_MQTT__HOSTT: unknown; did you mean EMOTION_EDGE_MQTT__HOST?",
        "environment: EMOTION_EDGE_WEB__HOSTS: found something else; expected names without a port, as "
        '["kitchen-pi.local"]',
        "config.toml:2: mqtt.port: found 0; expected a whole number from 1 to 65535",
    ]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("EMOTION_EDGE_SERVICE_HOST", ""),
        ("EMOTION_EDGE_PORT_8321_TCP_ADDR", ""),
        ("EMOTION_EDGE_CAMERA_NAME", ""),
        ("emotion_edge_mqtt_port", "; did you mean EMOTION_EDGE_MQTT__PORT?"),
    ],
)
def test_similar_variable_is_ignored_with_a_warning(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:8321")
    assert load(write("[mqtt]\nport = 8883\n")).mqtt.port == 8883
    assert caplog.messages == [f"environment: {name}: ignored; not a setting{hint}"]


def test_variable_of_a_table_or_with_a_key_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EMOTION_EDGE_NODE", "EMOTION_EDGE_CAMERA", "EMOTION_EDGE_WEBB__PORT"):
        monkeypatch.setenv(name, "1")
    assert [line.split(":")[1] for line in mistakes("")] == [
        " EMOTION_EDGE_CAMERA", " EMOTION_EDGE_NODE", " EMOTION_EDGE_WEBB__PORT"
    ]  # fmt: skip
