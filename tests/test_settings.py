"""The configuration: what is taken, and one line for each mistake."""

import os
import random
import re
from pathlib import Path

import pytest

from edge import settings
from edge.settings import load, resolve, tables
from edge.sources import SCHEMES
from edge.types import ConfigError

# RELIABILITY row 18 wants 5,000: FUZZ_CASES=5000 pytest tests/test_settings.py
FUZZ_CASES = int(os.environ.get("FUZZ_CASES", "400"))
REFERENCE = Path(__file__).resolve().parents[1] / "config.toml"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither this machine's configuration nor its environment speaks into a test."""
    for name in os.environ:
        if name.upper().startswith("EMOTION_EDGE_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)
    monkeypatch.setattr(settings, "SEARCHED", (tmp_path / "etc.toml", Path("config.toml")))
    monkeypatch.chdir(tmp_path)


def write(text: str) -> Path:
    path = Path("config.toml")
    path.write_text(text)
    return path


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(write(text))
    assert caught.value.exit_code == 78
    return str(caught.value).split("\n")


def test_nothing_at_all_is_a_configuration() -> None:
    loaded = resolve()
    assert loaded.file is None
    assert loaded.origins == {}
    assert loaded.settings.mqtt.host == "localhost"
    assert [camera.source for camera in loaded.settings.camera] == ["auto"]
    assert loaded.settings.model.file.parts[-3:] == ("edge", "models", "emotion.tflite")


def test_two_short_tables_are_a_configuration() -> None:
    read = load(write('[mqtt]\nhost = "broker.lan"\n[[camera]]\nsource = "/dev/video2"\nfps = 15\n'))
    assert (read.mqtt.host, read.mqtt.port) == ("broker.lan", 1883)
    assert (read.camera[0].name, read.camera[0].source, read.camera[0].fps) == ("cam", "/dev/video2", 15.0)


def test_the_misspelt_port_of_the_design_is_found_on_its_line() -> None:
    assert mistakes('[node]\nid = "pi"\n\n[mqtt]\nprot = 1883\n') == [
        "config.toml:5: mqtt.prot: unknown key; did you mean 'port'?"
    ]


def test_all_mistakes_are_told_in_the_order_of_the_file() -> None:
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
    ("text", "said"),
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
         ":2: mqtt.ca_file: set, but mqtt.tls is false, so nothing would be encrypted; set tls = true"),
        ("[mqtt]\ninsecure = true",
         ":2: mqtt.insecure: set, but mqtt.tls is false, so nothing would be encrypted; set tls = true"),
        ('[mqtt]\ntls = true\nca_file = "config.toml"\ninsecure = true',
         ":4: mqtt.insecure: set beside mqtt.ca_file, which would not be looked at; keep one of the two"),
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
def test_a_mistake_is_told_with_its_line_what_was_found_and_what_was_expected(text: str, said: str) -> None:
    assert mistakes(text) == [f"config.toml{said}"]


@pytest.mark.parametrize("prefix", ["", "/a", "a/", "a/+/b", "#", "$SYS", "a\\u0000", " a", "a ", "a" * 129])
def test_a_prefix_that_is_no_topic_is_refused(prefix: str) -> None:
    (line,) = mistakes(f'[mqtt]\nprefix = "{prefix}"')
    assert line.startswith("config.toml:2: mqtt.prefix: found ")


@pytest.mark.parametrize("prefix", ["a", "home/floor 1/emotion", "käse"])
def test_a_prefix_that_is_a_topic_is_taken(prefix: str) -> None:
    assert load(write(f'[mqtt]\nprefix = "{prefix}"')).mqtt.prefix == prefix


def test_names_of_files_count_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
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


def test_the_tilde_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.tflite").touch()
    assert load(write('[model]\nfile = "~/own.tflite"')).model.file == tmp_path / "own.tflite"


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    assert mistakes('[model]\nfile = "a.tflite"') == [
        f'config.toml:2: model.file: found "{tmp_path}/a.tflite"; '
        "expected the name of a file that is there and can be read"
    ]


def test_the_first_of_the_searched_files_is_used(tmp_path: Path) -> None:
    write('[mqtt]\nhost = "here"')
    assert resolve().file == Path("config.toml")
    (tmp_path / "etc.toml").write_text('[mqtt]\nhost = "etc"')
    assert load().mqtt.host == "etc"
    assert load(Path("config.toml")).mqtt.host == "here"


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_EDGE_MQTT__HOST", "broker.lan")
    monkeypatch.setenv("EMOTION_EDGE_MQTT__PORT", "8883")
    monkeypatch.setenv("EMOTION_EDGE_MQTT__TLS", "yes")
    monkeypatch.setenv("EMOTION_EDGE_REPORT__HOLD_S", "2")
    monkeypatch.setenv("EMOTION_EDGE_MQTT__PREFIX", "")  # empty: as if it were not there
    loaded = resolve(write('[mqtt]\nhost = "a"\nport = 1884\nkeepalive_s = 20\n'))
    mqtt = loaded.settings.mqtt
    assert (mqtt.host, mqtt.port, mqtt.tls, mqtt.keepalive_s, mqtt.prefix) == (
        "broker.lan", 8883, True, 20, "emotion-edge"
    )  # fmt: skip
    assert loaded.settings.report.hold_s == 2.0
    assert loaded.origins["mqtt", "port"] == "environment: EMOTION_EDGE_MQTT__PORT"
    assert loaded.origins["mqtt", "keepalive_s"] == "config.toml:4"
    assert ("mqtt", "prefix") not in loaded.origins


def test_settings_made_by_hand_do_not_listen_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_EDGE_MQTT__HOST", "broker.lan")
    monkeypatch.setenv("EMOTION_EDGE_MQTT", "{")
    assert settings.Settings.model_validate({"mqtt": {"port": 1}}).mqtt.host == "localhost"


def test_mistakes_in_the_environment_are_told_by_the_variables_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "EMOTION_EDGE_MQTT__HOSTT": "broker.lan",
        "EMOTION_EDGE_MQTT": "{",
        "EMOTION_EDGE_CAMERA__0__NAME": "a",
        "EMOTION_EDGE_LOG__LEVEL": "chatty",
        "EMOTION_EDGE_MODEL__THREADS": "two",
    }.items():
        monkeypatch.setenv(name, text)
    assert mistakes("[mqtt]\nport = 0") == [
        "environment: EMOTION_EDGE_CAMERA__0__NAME: unknown; cameras are described in the file",
        "environment: EMOTION_EDGE_LOG__LEVEL: "
        'found "chatty"; expected "debug", "info", "warning" or "error"',
        'environment: EMOTION_EDGE_MODEL__THREADS: found "two"; expected a whole number from 1 to 4',
        "environment: EMOTION_EDGE_MQTT: unknown; a key must follow, as in EMOTION_EDGE_MQTT__HOST",
        "environment: EMOTION_EDGE_MQTT__HOSTT: unknown; did you mean EMOTION_EDGE_MQTT__HOST?",
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
def test_a_variable_that_only_begins_like_ours_is_ignored_with_a_warning(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:8321")
    assert load(write("[mqtt]\nport = 8883\n")).mqtt.port == 8883
    assert caplog.messages == [f"environment: {name}: ignored; no setting of ours{hint}"]


def test_a_variable_named_as_a_table_or_with_a_key_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EMOTION_EDGE_NODE", "EMOTION_EDGE_CAMERA", "EMOTION_EDGE_WEBB__PORT"):
        monkeypatch.setenv(name, "1")
    assert [line.split(":")[1] for line in mistakes("")] == [
        " EMOTION_EDGE_CAMERA", " EMOTION_EDGE_NODE", " EMOTION_EDGE_WEBB__PORT"
    ]  # fmt: skip


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
def test_two_cameras_on_one_device_are_found(first: str, second: str) -> None:
    (mistake,) = mistakes(
        f'[[camera]]\nname = "a"\nsource = "{first}"\n[[camera]]\nname = "b"\nsource = "{second}"\n'
    )
    assert mistake.startswith(f'config.toml:6: camera[1].source: found "{os.path.normpath(second)[:40]}')
    assert mistake.endswith(
        ", the device of camera[0], which no second one can have; name another, or remove one of the two"
    )


@pytest.mark.parametrize("source", ["rtsp://cam/1", "portraits", "a ! b", "/dev/video3", "picamera:1"])
def test_what_two_cameras_can_share_or_do_not_share_is_no_mistake(source: str) -> None:
    other = {"/dev/video3": "/dev/video4", "picamera:1": "picamera"}.get(source, source)
    text = f'[[camera]]\nname = "a"\nsource = "{source}"\n[[camera]]\nname = "b"\nsource = "{other}"\n'
    assert [camera.source for camera in load(write(text)).camera] == [source, other]


def password(text: str) -> str:
    secret = load(write(text)).mqtt.password
    assert secret is not None
    return secret.get_secret_value()


@pytest.mark.parametrize("content", ["hunter 2 \r\n", "\ufeffhunter 2 ", "\ufeffhunter 2 \n", "hunter 2 \r"])
def test_a_password_is_taken_without_line_end_and_byte_order_mark(
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
    monkeypatch.setenv("EMOTION_EDGE_MQTT__PREFIX", "\n")  # as an empty one
    assert password('[mqtt]\nusername = "u"') == "hunter 2 "
    assert (load().mqtt.port, load().mqtt.prefix) == (8883, "emotion-edge")


def test_the_environments_password_wins_over_the_credential_and_that_over_the_file(
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


def test_a_user_name_from_systemd_wins_over_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    ("content", "said"), [(b"", "empty"), (b"\n", "empty"), (b"hunter2\xff", "not UTF-8 text"),
                          (b"hunter2" * 10_000, "larger than a password may be")],
)  # fmt: skip
def test_a_password_file_that_holds_none_is_told_without_its_content(
    tmp_path: Path, content: bytes, said: str
) -> None:
    Path("secret").write_bytes(content)
    assert mistakes('[mqtt]\nusername = "u"\npassword_file = "secret"') == [
        f"config.toml:3: mqtt.password_file: {tmp_path}/secret: {said}"
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
def test_a_secret_is_never_shown(text: str) -> None:
    assert "hunter2" not in "\n".join(mistakes(text))


@pytest.mark.parametrize(
    ("host", "taken"),
    [("[::1]", "::1"), ("[fe80::1%eth0]", "fe80::1%eth0"), ("2001:db8::7", "2001:db8::7"), ("nas_2", "nas_2"),
     ("broker.fritz.box.", "broker.fritz.box."), ("192.168.1.2", "192.168.1.2"), ("bücherei", "bücherei")],
)  # fmt: skip
def test_the_broker_is_a_name_or_an_address_also_in_brackets(host: str, taken: str) -> None:
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
def test_more_than_a_host_is_refused_with_what_to_write(host: str, instead: str) -> None:
    said = f"config.toml:2: mqtt.host: expected the host alone; write {instead}"
    assert mistakes(f"[mqtt]\nhost = '{host}'") == [said]


@pytest.mark.parametrize(
    "host",
    ["", " ", "a b", "broker:", ":1883", "broker:mqtt", "a:1:2", "[::1", "::1]", "[1.2.3.4]", "[broker]",
     "ftp://broker", "mqtt://", "mqtt:broker", "x" * 254, "me:hun/ter2@broker", "a\\u0000b"],
)  # fmt: skip
def test_what_is_no_host_at_all_is_refused(host: str) -> None:
    (said,) = mistakes(f'[mqtt]\nhost = "{host}"')
    assert said.startswith("config.toml:2: mqtt.host: expected ")
    assert "ter2" not in said


def test_settings_do_not_show_the_password() -> None:
    read = load(write('[mqtt]\nusername = "u"\npassword = "hunter2"'))
    assert "hunter2" not in f"{read!r} {read} {read.model_dump()}"


def test_the_default_id_tells_machines_apart_without_telling_the_machine_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: "0123456789abcdef0123456789abcdef\n")
    # printf 0123456789abcdef0123456789abcdef | sha256sum
    assert tables.default_node_id() == "emotion-3eb1bd"


@pytest.mark.parametrize("content", ["", "\n", "uninitialized\n", "0" * 32, "0123456789abcdef"])
def test_without_a_machine_id_the_hosts_name_is_the_default_id(
    content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: content)
    monkeypatch.setattr("socket.gethostname", lambda: "pi.küche.lan")
    assert tables.default_node_id() == "pi-k-che-lan"


def test_the_schemes_that_are_accepted_are_those_that_sources_read() -> None:
    assert tables.SOURCE_SCHEMES == SCHEMES


VALUES = ("true", "-1", "1e9", "nan", '"x"', "''", "[]", "[[[[1]]]]", "{}", "{a = {b = 1}}", "1979-05-27",
          "0x" + "f" * 30, '"""a\nb"""', "'\\'", '"\\u0000"', "[1, {}]", '"status"', "")  # fmt: skip
LINES = ("[mqtt]", "[[camera]]", "[camera]", "[mqtt.host]", "[[mqtt]]", "x = 1", "mqtt.port = 2", "[a.b.c]",
         'name = "cam"', "faces = 3", "]", "= 1", '"', "'''", '"""', "[[camera.source]]", "\u00a0",
         "\x00")  # fmt: skip


def mutated(text: str, chance: random.Random) -> bytes:
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
                place = chance.choice(pairs or [0])  # none: cut off before the first
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


def test_whatever_becomes_of_the_file_it_is_valid_or_told_in_lines_without_the_secret() -> None:
    reference = REFERENCE.read_text()
    reference = reference.replace('# username = "emotion-edge"', 'username = "u"')
    reference = reference.replace('# password = "..."', 'password = "hunter2"')
    assert "hunter2" in reference
    # Most of the file is comment, which nothing can happen to.
    reference = "\n".join(line for line in reference.split("\n") if "=" in line or line.startswith("["))
    chance = random.Random(18)
    valid = 0
    path = Path("config.toml")
    for case in range(FUZZ_CASES):
        path.write_bytes(mutated(reference, chance))
        try:
            load(path)
            valid += 1
        except ConfigError as error:
            for line in str(error).split("\n"):
                assert re.match(r"config\.toml(:[1-9]\d*)?: \S", line), (case, line)
                assert len(line) < 300, (case, line)
                assert line.isprintable(), (case, line)
                assert "hunter2" not in line, case
    # Neither is everything refused nor everything taken.
    assert 0.05 < valid / FUZZ_CASES < 0.6


def test_a_shipped_model_is_set_by_its_name_from_any_folder(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[model]\nfile = "emotion"\n')
    assert load(config).model.file == tables.MODEL_FILE
    config.write_text('[model]\nfile = "emotio"\n')
    with pytest.raises(ConfigError, match=f'found "{tmp_path}/emotio"'):
        load(config)
