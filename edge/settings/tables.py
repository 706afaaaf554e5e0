"""The tables of the configuration: each key's type and bounds; config.toml describes them in words."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import NoDecode

from edge.host.addresses import has_scheme, standard
from edge.host.places import content_of
from edge.settings.files import ExistingFile, existing, no_address, read_secret
from edge.settings.hosts import broker_host
from edge.settings.mistakes import found, hint, rule
from edge.types import ConfigError, EdgeError

MODEL_FILE = Path(__file__).parents[1] / "models" / "emotion.tflite"
# By the name that is set.
SHIPPED = {file.stem: file for file in sorted(MODEL_FILE.parent.glob("emotion*.tflite"))}
SOURCE_NAMES = ("auto", "picamera", "portraits")
SOURCE_SCHEMES = ("rtsp", "rtsps", "http", "https")
TOPIC_WORDS = ("status", "info", "health", "request", "response", "preview")  # topics, not cameras

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$", description="1 to 64 letters, digits, _ and -")]
Topic = Annotated[str, Field(
    max_length=128,
    pattern=r"^[^/$+#\x00-\x20\x7f]([^+#\x00-\x1f\x7f]*[^/+#\x00-\x20\x7f])?$",
    description="a topic without + and #, that begins and ends with neither / nor a space, nor begins with $",
)]  # fmt: skip


def _model(path: Path, info: ValidationInfo) -> Path:
    return SHIPPED.get(str(path)) or existing(path, info)


# Not strict: a strict field accepts only a Path.
ModelFile = Annotated[Path, Field(strict=False), BeforeValidator(no_address), AfterValidator(_model)]


def default_node_id() -> str:
    """``emotion-`` and six digits of the machine id's hash; the host's name where it has none."""
    machine = content_of(Path("/etc/machine-id"))
    if re.fullmatch(r"[0-9a-f]{32}", machine) and set(machine) != {"0"}:
        return f"emotion-{hashlib.sha256(machine.encode()).hexdigest()[:6]}"
    return re.sub(r"[^a-zA-Z0-9_-]", "-", socket.gethostname())[:64] or "emotion"


class _Table(BaseModel):
    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True
    )


def _with(other: str) -> Callable[[object, ValidationInfo], object]:
    """A validator of a key that needs *other* ("table.key", before it in the table)."""

    def check(value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get(other.partition(".")[2], "") is None:
            raise rule(f"set, but no {other}; set both")
        return value

    return check


class Node(_Table):
    id: Name = Field(default_factory=default_node_id)


class Mqtt(_Table):
    host: str = Field(default="localhost", description="a host name or address without mqtt://")
    port: int = Field(default=1883, ge=1, le=65535)
    username: str | None = Field(default=None, min_length=1, max_length=256, description="a name in quotes")
    password: SecretStr | None = Field(default=None, min_length=1, description="a text in quotes")
    password_file: ExistingFile | None = Field(default=None, description="the name of a file in quotes")
    tls: bool = False
    ca_file: ExistingFile | None = Field(default=None, description="the name of a file in quotes")
    cert_file: ExistingFile | None = Field(default=None, description="the name of a file in quotes")
    key_file: ExistingFile | None = Field(default=None, description="the name of a file in quotes")
    insecure: bool = False
    transport: Literal["tcp", "websockets"] = "tcp"
    path: str = Field(
        default="/mqtt",
        max_length=256,
        pattern=r"^/[^\x00-\x20\x7f-\U0010ffff]*$",
        description="a path that begins with / and has no spaces",
    )
    version: Literal["auto", "3.1.1", "5"] = "auto"
    prefix: Topic = "emotion-edge"
    keepalive_s: int = Field(default=15, ge=5, le=3600)
    faces_hz: float = Field(default=2.0, ge=0, le=10)

    _is_a_host_alone = field_validator("host")(broker_host)

    _needs_a_username = field_validator("password", "password_file")(_with("mqtt.username"))

    @field_validator("password_file")
    @classmethod
    def _holds_the_password(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None:
            if info.data.get("password"):
                raise rule("set, and so is mqtt.password; keep one of the two")
            try:
                read_secret(path)  # and again when it is used: here a mistake is reported with all others
            except ConfigError as error:
                raise rule(str(error)) from error
        return path

    @field_validator("ca_file", "cert_file", "key_file", "insecure")
    @classmethod
    def _needs_tls(cls, value: object, info: ValidationInfo) -> object:
        if value and info.data.get("tls") is False:
            raise rule("set, but mqtt.tls is false, so nothing is encrypted; set tls = true")
        return value

    _belongs_to_a_certificate = field_validator("key_file")(_with("mqtt.cert_file"))

    @field_validator("insecure")
    @classmethod
    def _checks_nothing(cls, insecure: bool, info: ValidationInfo) -> bool:
        if insecure and info.data.get("ca_file"):
            raise rule("set, and so is mqtt.ca_file, which is then ignored; keep one of the two")
        return insecure

    @field_validator("path")
    @classmethod
    def _is_for_websockets(cls, path: str, info: ValidationInfo) -> str:
        if path != cls.model_fields["path"].default and info.data.get("transport") == "tcp":
            raise rule('is only for transport = "websockets"; leave it out')
        return path


class Model(_Table):
    file: ModelFile = Field(default=MODEL_FILE, description="the name of a file in quotes")
    threads: int = Field(default=1, ge=1, le=4)
    runtime: Literal["auto", "cpu", "edgetpu", "onnx"] = "auto"
    provider: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    mirror: bool | None = None  # None: on the CPU only


class Detector(_Table):
    kind: Literal["auto", "ssd", "yunet", "haar"] = "auto"
    file: ExistingFile | None = Field(default=None, description="the name of a file in quotes")
    long_side: int = Field(default=320, ge=64, le=1920)  # pixels
    min_face: float | None = Field(default=None, ge=0.01, le=1)  # of the frame's long side
    min_score: float | None = Field(default=None, ge=0.01, le=1)
    runtime: Literal["auto", "cpu", "edgetpu", "onnx"] = "auto"
    provider: Literal["cpu", "cuda", "tensorrt"] = "cpu"

    @field_validator("runtime", "provider")
    @classmethod
    def _is_for_ssd(cls, value: str, info: ValidationInfo) -> str:
        if value not in ("auto", "cpu") and info.data.get("kind") in ("haar", "yunet"):
            raise rule('is only for kind = "ssd"; leave it out')
        return value


class Analysis(_Table):
    skip_still: bool = True
    adaptive_rate: bool = True


class Micro(_Table):
    enabled: bool = False


class Report(_Table):
    min_confidence: float = Field(default=0.5, ge=0, le=1)
    margin: float = Field(default=0.08, ge=0, le=0.5)
    hold_s: float = Field(default=0.6, ge=0, le=60)
    forget_s: float = Field(default=1.0, ge=0, le=60)
    appear_s: float = Field(default=0.3, ge=0, le=60)
    blend_s: float = Field(default=0.5, ge=0, le=60)


class Camera(_Table):
    name: Name = "cam"
    source: str = Field(
        default="auto",
        min_length=1,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description='"auto", "picamera", "portraits", a device, an address, a file or a folder',
    )
    fps: float = Field(default=10.0, ge=0.5, le=120)
    width: int | None = Field(default=None, ge=16, le=8192)
    height: int | None = Field(default=None, ge=16, le=8192, validate_default=True)
    loop: bool = False
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    faces: int = Field(default=2, ge=1, le=6)

    @property
    def device(self) -> str | None:
        """The canonical name of the device that only one camera may use; None: it can be shared."""
        if self.source.startswith("/dev/"):
            return os.path.realpath(self.source)
        if self.source == "picamera":
            return "picamera:0"
        if self.source == "auto" or re.fullmatch(r"picamera:\d", self.source):
            return self.source
        # A GStreamer pipeline.
        place = re.search(r"\sdevice\s*=\s*[\"']?(/dev/[^\s\"']+).*\s!\s", self.source)
        return os.path.realpath(place[1]) if place else None

    @field_validator("name")
    @classmethod
    def _is_no_topic(cls, name: str) -> str:
        if name in TOPIC_WORDS:
            raise rule(f"found {found(name)}, which is a topic of the node; choose another name")
        return name

    @field_validator("source")
    @classmethod
    def _can_be_a_source(cls, source: str) -> str:
        # load() made files absolute: a bare word that is left is a misspelling.
        if re.fullmatch(r"[\w-]+", source) and source not in SOURCE_NAMES:
            known = cls.model_fields["source"].description
            raise rule(f"found {found(source)}; expected {known}{hint(source, SOURCE_NAMES)}")
        scheme, separator, _ = source.partition("://")
        # A pipeline may name addresses of any kind, but not begin with one.
        if separator and re.fullmatch(r"[\w+.-]+", scheme) and scheme.lower() not in SOURCE_SCHEMES:
            known = ", ".join(f"{known}://" for known in SOURCE_SCHEMES)
            raise rule(f"found {scheme}://; expected one of {known}{hint(scheme, SOURCE_SCHEMES)}")
        if has_scheme(source):
            try:
                standard(source)
            except EdgeError as error:
                raise rule(str(error)) from error
        return source

    @field_validator("height")
    @classmethod
    def _comes_with_width(cls, height: int | None, info: ValidationInfo) -> int | None:
        if (height is None) != (info.data.get("width", height) is None):
            given, other = ("width", "height") if height is None else ("height", "width")
            raise rule(f"{given} is set and {other} is not; set both or neither")
        return height

    @field_validator("faces")
    @classmethod
    def _is_for_portraits(cls, faces: int, info: ValidationInfo) -> int:
        if info.data.get("source", "portraits") != "portraits":
            raise rule('is only for source = "portraits"; leave it out')
        return faces


class Discovery(_Table):
    enabled: bool = True
    format: Literal["device", "component"] = "device"
    prefix: Topic = "homeassistant"
    birth_topic: Topic = "homeassistant/status"


class Outbox(_Table):
    persist: bool = True
    max_rows: int = Field(default=10_000, ge=100, le=100_000)
    max_mib: float = Field(default=8, ge=0.1, le=64)
    max_age_h: float = Field(default=24, ge=1, le=720)


class Web(_Table):
    enabled: bool = False
    listen: str = Field(
        default="127.0.0.1:8321", description="an address and a port, or unix: and the full name of a socket"
    )
    preview: bool = False
    blur_faces: bool = False
    hosts: Annotated[tuple[str, ...], NoDecode, Field(description="names in quotes and brackets")] = ()
    url: str | None = Field(
        default=None,
        max_length=256,
        pattern=r"^https?://[a-zA-Z0-9.-]+(:[0-9]+)?(/[a-zA-Z0-9./_~-]*)?$",
        description="an address that begins with http:// or https://",
    )
    cert_file: ExistingFile | None = Field(default=None, description="the name of a file in quotes")
    key_file: ExistingFile | None = Field(default=None, description="the name of a file in quotes")

    @property
    def socket(self) -> Path | None:
        """The unix socket that is listened on; None where it is a port."""
        return Path(self.listen.removeprefix("unix:")) if self.listen.startswith("unix:") else None

    @property
    def address(self) -> tuple[str, int]:
        """(host, port) of what is listened on; not for a unix socket."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @field_validator("listen")
    @classmethod
    def _can_be_listened_on(cls, listen: str) -> str:
        port = re.fullmatch(r"(?:\[[0-9a-fA-F:.]+\]|[\w.-]{1,253}):(\d{1,5})", listen)
        if not re.fullmatch(r"unix:/[^\x00]{1,100}", listen) and not (port and 0 < int(port[1]) < 65536):
            known = cls.model_fields["listen"].description
            raise rule(f"found {found(listen)}; expected {known}, as 127.0.0.1:8321")
        return listen

    @field_validator("hosts", mode="before")
    @classmethod
    def _are_names(cls, hosts: object) -> object:
        if isinstance(hosts, str):  # the environment's
            with contextlib.suppress(ValueError):
                hosts = json.loads(hosts)
        given = hosts if isinstance(hosts, list | tuple) else (None,)
        for name in given:
            if not isinstance(name, str) or not re.fullmatch(r"[\w.-]{1,253}|\[[0-9a-fA-F:.]+\]", name):
                shown = "something else" if name is None else found(name)
                raise rule(f'found {shown}; expected names without a port, as ["kitchen-pi.local"]')
        return tuple(str(name).lower() for name in given)

    _belongs_to_a_certificate = field_validator("key_file")(_with("web.cert_file"))


class Log(_Table):
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(_Table):
    """All settings, checked: the constructor's over the defaults; load() reads file and environment."""

    node: Node = Field(default_factory=Node)
    mqtt: Mqtt = Mqtt()
    model: Model = Model()
    detector: Detector = Detector()
    analysis: Analysis = Analysis()
    micro: Micro = Micro()
    report: Report = Report()
    camera: Annotated[tuple[Camera, ...], Field(strict=False)] = (Camera(),)
    discovery: Discovery = Discovery()
    outbox: Outbox = Outbox()
    web: Web = Web()
    log: Log = Log()

    @field_validator("camera")
    @classmethod
    def _differ(cls, cameras: tuple[Camera, ...]) -> tuple[Camera, ...]:
        """In name and device."""
        if not cameras:
            raise rule("found none; expected at least one [[camera]]")
        for index, camera in enumerate(cameras):
            for first, other in enumerate(cameras[:index]):
                if camera.name == other.name:
                    taken = f"which camera[{first}] has; choose another name"
                    raise rule(f"found {found(camera.name)}, {taken}", at=(index, "name"))
                if camera.device and camera.device == other.device:
                    taken = f"the device of camera[{first}], already in use"
                    way = "name another, or remove one of the two"
                    raise rule(f"found {found(camera.source)}, {taken}; {way}", at=(index, "source"))
        return cameras


TABLES: dict[str, type[BaseModel]] = {
    name: Camera if name == "camera" else type(field.get_default(call_default_factory=True))
    for name, field in Settings.model_fields.items()
}
