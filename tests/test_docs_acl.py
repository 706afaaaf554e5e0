"""docs/examples/mosquitto.acl in a real mosquitto: the daemon has full access, outsiders none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import Mosquitto, eventually, subscriber
from tests.passwords import password_file
from tests.process import Process, Start, start  # noqa: F401

EXAMPLE = Path(__file__).resolve().parents[1] / "docs" / "examples" / "mosquitto.acl"
NODE = "emotion-edge/kitchen-pi"
HOME, RECORDER, GUEST = ("home", "h"), ("recorder", "r"), ("guest", "g")
CONFIGURATION = """
[node]
id = "kitchen-pi"
[mqtt]
host = "127.0.0.1"
port = {}
username = "kitchen-pi"
password = "k"
[[camera]]
name = "hall"
source = "portraits"
width = 320
height = 240
fps = 8
"""


@pytest.fixture
def acl_broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker with the example's ACL and passwords for its users and a guest."""
    passwords = password_file(tmp_path, kitchen_pi="k", home="h", recorder="r", guest="g", cellar_pi="c")
    rules = tmp_path / "acl"
    shutil.copy(EXAMPLE, rules)
    rules.chmod(0o600)
    mosquitto = Mosquitto(tmp_path, f"allow_anonymous false\npassword_file {passwords}\nacl_file {rules}")
    mosquitto.start()
    yield mosquitto
    mosquitto.kill()


def test_only_the_home_user_can_command_the_daemon(acl_broker: Mosquitto, start: Start) -> None:
    port = acl_broker.port
    with subscriber(port, "#", HOME) as home, subscriber(port, "#", GUEST) as guest:
        daemon = start(CONFIGURATION.format(port))
        topics = [f"{NODE}/{it}" for it in ("status", "info", "health")]
        topics += [f"{NODE}/hall/{it}" for it in ("status", "state", "event", "log", "faces", "hold/state")]
        topics += ["homeassistant/device/kitchen-pi/config", "homeassistant/device/kitchen-pi/hall/config"]
        assert eventually(lambda: all(home.payloads(topic) for topic in topics))
        assert guest.messages == []
        with subscriber(port, "#", RECORDER) as recorder, subscriber(port, "#", ("cellar-pi", "c")) as cellar:
            for outsider in (guest, recorder, cellar):
                outsider.publish(f"{NODE}/hall/enabled/set", b"OFF")
                outsider.publish(f"{NODE}/request/info", b'{"transaction":"outsider"}')
                outsider.publish(f"{NODE}/status", b"offline", retain=True)
                last = outsider.publish(f"{NODE}/hall/event", b'{"event_type":"face_appeared"}')
                last.wait_for_publish(10)  # MQTT 3.1.1 acknowledges what it refuses
                assert last.is_published()
            assert eventually(lambda: recorder.payloads(f"{NODE}/hall/log"))
            assert recorder.payloads(f"{NODE}/hall/faces") == []
            assert cellar.messages == []
        home.publish(f"{NODE}/request/info", b'{"transaction":"home"}')
        assert eventually(lambda: home.payloads(f"{NODE}/response/info"))
        assert [it.count("outsider") for it in home.payloads(f"{NODE}/response/info")] == [0]
        home.publish(f"{NODE}/hall/hold/set", b"1.5")
        assert eventually(lambda: home.last(f"{NODE}/hall/hold/state") == "1.5")
        assert home.payloads(f"{NODE}/hall/enabled/state") == ["ON"]
        assert home.payloads(f"{NODE}/status") == ["online"]
        assert not any(it == '{"event_type":"face_appeared"}' for it in home.payloads(f"{NODE}/hall/event"))
        discovery = "homeassistant/device/kitchen-pi/hall/config"
        before = len(home.payloads(discovery))
        home.publish("homeassistant/status", b"online")  # a birth: discovery is published again
        assert eventually(lambda: len(home.payloads(discovery)) > before)
        assert daemon.stop()[0] == 0
        assert eventually(lambda: home.last(f"{NODE}/status") == "offline")
        assert guest.messages == []
    assert "refuses" not in daemon.log
    assert "another daemon" not in daemon.log


def test_wrong_password_is_refused(acl_broker: Mosquitto, tmp_path: Path) -> None:
    daemon = Process(tmp_path, CONFIGURATION.format(acl_broker.port).replace('"k"', '"wrong"'))
    try:
        reported = "refused the connection (Not authorized); check mqtt.username, its password"
        assert eventually(lambda: reported in daemon.log_so_far())
    finally:
        daemon.close()
