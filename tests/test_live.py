"""Reloading the configuration of a running node: what is rebuilt and what stays."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.analysis.detectors import FaceDetector
from edge.analysis.engine import Engine
from edge.analysis.report import Rules
from edge.contract.messages import ConfigHealth
from edge.contract.switches import Switches
from edge.homeassistant.keeper import Keeper
from edge.host.disk import StateFiles
from edge.node import reload as live
from edge.node.build import open_engine
from edge.node.reload import Live, Reloaded
from edge.settings import Settings
from edge.settings.tables import MODEL_FILE
from edge.types import ConfigError
from tests.fakes import TwoWaySink

NODE = "emotion-edge/pi"


def settings(*cameras: str, **tables: Any) -> Settings:
    portraits = {"source": "portraits", "width": 320, "height": 240}
    return Settings.model_validate(
        {
            "node": {"id": "pi"},
            "detector": {"kind": "haar"},
            "camera": [{"name": name, **portraits} for name in cameras or ("hall",)],
            **tables,
        }
    )


@pytest.fixture(scope="module")
def engine() -> Engine:
    return open_engine(settings())


class LiveNode:
    """A node without a broker; the test changes its configuration."""

    def __init__(self, engine: Engine, folder: Path, first: Settings, switches: dict[str, Switches]) -> None:
        self.sink = TwoWaySink()
        self.wanted: Settings | ConfigError = first
        keeper: Any = Keeper(self.sink, folder / "discovery.json", StateFiles(folder))  # type: ignore[arg-type]
        self.live = Live(first, engine, self.sink, keeper, self._load, switches)
        self.live.start()

    def _load(self) -> Settings:
        if isinstance(self.wanted, ConfigError):
            raise self.wanted
        return self.wanted

    def reload(self, wanted: Settings | ConfigError) -> Reloaded:
        self.wanted = wanted
        return self.live.reload()

    def run_until(self, until: Callable[[], object], frames: int = 200) -> None:
        """Analyze until *until*, at most *frames* pictures."""
        for _ in range(frames):
            if until():
                return
            frame = self.live.slots.take(5.0)
            assert frame is not None, "no picture came"
            self.live.analyze(frame)
            self.live.tick()
        pytest.fail(f"not within {frames} frames")

    def tracks(self, camera: str = "hall") -> list[int]:
        return sorted(
            track.number for track in self.live.cameras[camera].pipeline.tracker.tracks if track.announced
        )

    def infos(self) -> list[Any]:
        return [json.loads(payload) for payload in self.sink.payloads(f"{NODE}/info")]


def replace_model(file: Path) -> None:
    """Replace the model by the same network plus one byte, with a matching card."""
    content = file.read_bytes() + b"\0"
    card = json.loads(file.with_suffix(".json").read_text())
    card["files"][file.name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    file.write_bytes(content)
    file.with_suffix(".json").write_text(json.dumps(card))


Start = Callable[..., LiveNode]


@pytest.fixture
def start(engine: Engine, tmp_path: Path) -> Iterator[Start]:
    homes: list[LiveNode] = []
    level = logging.getLogger().level

    def begin(first: Settings, **switches: Switches) -> LiveNode:
        own = engine if first.model == settings().model else open_engine(first)
        homes.append(LiveNode(own, tmp_path, first, switches))
        return homes[-1]

    yield begin
    for home in homes:
        home.live.close()
    logging.getLogger().setLevel(level)


def test_reloaded_rules_keep_track_numbers(start: Start) -> None:
    home = start(settings())
    home.run_until(lambda: len(home.tracks()) == 2)
    before, events = home.tracks(), len(home.sink.payloads(f"{NODE}/hall/event"))
    capture = home.live.cameras["hall"].capture
    report = {"min_confidence": 0.6, "hold_s": 30, "forget_s": 2.0, "blend_s": 0.1}
    done = home.reload(settings(report=report, mqtt={"faces_hz": 0}))
    assert done == Reloaded(changed=("mqtt.faces_hz", "report"))
    hall = home.live.cameras["hall"]
    assert hall.pipeline.rules == Rules(min_confidence=0.6, hold_s=30, blend_s=0.1)
    assert hall.pipeline.tracker.forget_s == 2.0
    assert hall.announcer.faces_hz == 0
    assert hall.capture is capture
    count = hall.analyzed
    home.run_until(lambda: hall.analyzed >= count + 5)
    assert home.tracks() == before
    assert len(home.sink.payloads(f"{NODE}/hall/event")) == events
    assert home.sink.payloads(f"{NODE}/hall/hold/state") == ["0.6", "30"]


def test_reloaded_detector_and_model_keep_track_numbers(start: Start, tmp_path: Path, engine: Engine) -> None:
    home = start(settings())
    home.run_until(lambda: len(home.tracks()) == 2)
    before = home.tracks()
    for suffix in (".tflite", ".json"):
        shutil.copy(MODEL_FILE.with_suffix(suffix), tmp_path / f"emotion{suffix}")
    model = {"file": tmp_path / "emotion.tflite"}
    changed = settings(model=model, detector={"kind": "haar", "long_side": 240})
    assert home.reload(changed).changed == ("model", "detector")
    hall = home.live.cameras["hall"]
    assert hall.pipeline.classifier is not engine.classifier
    count = hall.analyzed
    home.run_until(lambda: hall.analyzed >= count + 5)
    assert home.tracks() == before
    assert len(home.infos()) == 1  # the same model from another path


def test_replaced_model_file_is_reloaded_and_a_damaged_one_rejected(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "emotion.tflite"
    for suffix in (".tflite", ".json"):
        shutil.copy(MODEL_FILE.with_suffix(suffix), file.with_suffix(suffix))
    home = start(settings(model={"file": file}))
    hall = home.live.cameras["hall"]
    classifier = hall.pipeline.classifier
    assert home.reload(settings(model={"file": file})) == Reloaded()
    assert hall.pipeline.classifier is classifier
    replace_model(file)
    assert home.reload(settings(model={"file": file})) == Reloaded(changed=("model",))
    assert hall.pipeline.classifier is not classifier
    assert home.infos()[-1]["model"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    classifier = hall.pipeline.classifier
    file.write_bytes(file.read_bytes()[:-1])
    done = home.reload(settings(model={"file": file}))
    assert len(done.mistakes) == 1
    assert done.mistakes[0].startswith(f"{file}: ")
    assert home.live.health == ConfigHealth(error=done.mistakes[0].removeprefix(f"{tmp_path}/"))
    assert hall.pipeline.classifier is classifier


def test_cameras_are_added_removed_and_changed_independently(start: Start) -> None:
    home = start(settings("hall", "porch"))
    home.run_until(lambda: home.tracks("hall") and home.tracks("porch"))
    captures = {name: home.live.cameras[name].capture for name in ("hall", "porch")}
    tracks = home.tracks("hall")
    changed = settings("hall", "attic", "porch")
    slower = changed.camera[2].model_copy(update={"fps": 5.0})
    done = home.reload(changed.model_copy(update={"camera": (*changed.camera[:2], slower)}))
    assert done == Reloaded(changed=("camera",))
    assert home.live.cameras["hall"].capture is captures["hall"]
    assert home.live.cameras["porch"].capture is not captures["porch"]
    assert home.infos()[-1]["cameras"] == ["hall", "attic", "porch"]
    home.run_until(lambda: home.tracks("attic"))
    assert home.tracks("hall") == tracks

    home.reload(settings("attic"))
    assert list(home.live.cameras) == ["attic"]
    assert f"{NODE}/hall/state" in home.sink.forgotten
    assert f"{NODE}/porch/enabled/state" in home.sink.forgotten
    assert not any(topic.startswith(f"{NODE}/attic/") for topic in home.sink.forgotten)
    gone = "homeassistant/device/pi/hall/config"
    assert gone in home.sink.forgotten
    attic = home.live.cameras["attic"]
    count = attic.analyzed
    home.run_until(lambda: attic.analyzed >= count + 5)


def test_disabled_camera_stays_disabled_across_a_reload(start: Start) -> None:
    home = start(settings("hall", "porch"), hall=Switches(enabled=False, hold=9.0))
    home.reload(settings("hall", "porch", report={"hold_s": 2.0, "margin": 0.2}))
    hall = home.live.cameras["hall"]
    assert (hall.capture, hall.pipeline.rules) == (None, Rules(hold_s=9.0, margin=0.2))
    assert home.live.cameras["porch"].pipeline.rules == Rules(hold_s=2.0, margin=0.2)


def test_keys_that_need_a_restart_are_listed_and_the_rest_applied(start: Start) -> None:
    home = start(settings(mqtt={"host": "here", "username": "me", "password": "old"}))
    elsewhere = {"host": "there", "username": "me", "password": "new", "faces_hz": 1.0}
    done = home.reload(settings(mqtt=elsewhere, report={"hold_s": 2.0}))
    needing = ("mqtt.host", "mqtt.password")
    assert done == Reloaded(changed=("mqtt.faces_hz", "report"), restart=needing)
    assert done.story == "changed mqtt.faces_hz, report; mqtt.host, mqtt.password after a restart"
    assert home.live.health == ConfigHealth(restart=needing)
    assert home.reload(home.wanted) == Reloaded(restart=needing)  # still needed
    back = settings(mqtt={"host": "here", "username": "me", "password": "old"})
    assert home.reload(back) == Reloaded(changed=("mqtt.faces_hz", "report"))
    assert home.live.health == ConfigHealth()


def test_changed_node_id_needs_a_restart_and_topics_stay(start: Start) -> None:
    home = start(settings())
    done = home.reload(settings(node={"id": "other"}))
    assert done == Reloaded(restart=("node.id",))
    home.run_until(lambda: home.tracks())
    assert {message.topic.split("/")[1] for message in home.sink.messages} <= {"pi", "device"}


def test_errors_change_nothing_and_are_reported_until_fixed(start: Start) -> None:
    home = start(settings())
    mistakes = ("config.toml:3: mqtt.prot: unknown key", "config.toml:9: report.hold_s: found 61")
    assert home.reload(ConfigError("\n".join(mistakes))) == Reloaded(mistakes=mistakes)
    assert home.live.health == ConfigHealth(error=mistakes[0])
    for place in ("/home/o'neil/", "/srv/my edge/"):
        home.reload(ConfigError(f"{place}{mistakes[0]}"))
        assert home.live.health == ConfigHealth(error=mistakes[0])
    assert home.live.cameras["hall"].pipeline.rules == Rules()
    assert home.reload(settings()) == Reloaded()
    assert home.live.health == ConfigHealth()


def test_unavailable_detector_changes_nothing(start: Start, tmp_path: Path) -> None:
    wrong = tmp_path / "cascade.xml"
    wrong.write_text("<no cascade/>")
    home = start(settings())
    done = home.reload(settings("hall", "attic", detector={"kind": "haar", "file": wrong}))
    assert len(done.mistakes) == 1
    assert list(home.live.cameras) == ["hall"]


def test_unchanged_configuration_changes_and_publishes_nothing(start: Start) -> None:
    home = start(settings())
    home.run_until(lambda: home.tracks())
    reported = len(home.sink.messages)
    capture = home.live.cameras["hall"].capture
    assert home.reload(settings()) == Reloaded()
    assert home.live.cameras["hall"].capture is capture
    assert home.sink.messages[reported:] == []


def test_log_level_follows_a_reload(start: Start) -> None:
    before = logging.getLogger().level
    home = start(settings())
    assert logging.getLogger().level == before  # the caller's choice
    assert home.reload(settings(log={"level": "debug"})).changed == ("log",)
    assert logging.getLogger().level == logging.DEBUG


def test_reload_without_a_file_is_an_error(start: Start, engine: Engine, tmp_path: Path) -> None:
    sink = TwoWaySink()
    keeper: Any = Keeper(sink, tmp_path / "discovery.json", StateFiles(tmp_path))  # type: ignore[arg-type]
    live = Live(settings(), engine, sink, keeper, None, {})
    assert live.reload() == Reloaded(mistakes=("there is no configuration file",))


def test_unexpected_error_in_a_reload_changes_nothing_and_is_logged(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home = start(settings())

    def half_installed(part: Settings, waiting: object) -> FaceDetector:
        raise KeyError("a library\nhalf installed")

    with monkeypatch.context() as patch:
        patch.setattr(live, "open_configured_detector", half_installed)
        (mistake,) = home.reload(settings("hall", "porch")).mistakes
    assert mistake == r"unexpected KeyError: 'a library\nhalf installed'; see the log"
    assert home.live.health.error == mistake
    assert "in half_installed" in caplog.text
    assert list(home.live.cameras) == ["hall"]
    home.run_until(lambda: len(home.tracks()) == 2)
    assert home.reload(settings("hall", "porch")).changed == ("camera",)
    assert home.live.health == ConfigHealth()
