"""Real videos through the whole daemon, in real time, as five cameras at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.broker import Mosquitto, eventually, subscriber
from tests.process import Process

CLIPS = {
    "one": "WolfgangLanger_Pexels.mp4",  # one face, 19.7 s
    "nobody": "no_face.mp4",
    "leaves": "face_noface.mov",  # the face is gone from 2.4 s on
    "comes": "noface_face.mov",  # the face is there from 3.95 s to the end at 6.35 s
    "three": "intel/face-demographics-walking-and-pause.gif",  # three faces (YuNet), 3.4 s
}
WHEN_LEFT = 2.4 + 1.0  # forget_s later
WHEN_APPEARED = 3.95 + 0.3  # appear_s later


@dataclass
class Reported:
    """Messages about one camera; times are seconds since it came online."""

    events: list[dict[str, Any]]
    faces: list[dict[str, Any]]
    states: list[dict[str, Any]]
    online_s: float  # for how long
    start: datetime

    def when(self, body: dict[str, Any]) -> float:
        return (datetime.fromisoformat(body["ts"]) - self.start).total_seconds()

    def of_type(self, event_type: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event_type"] == event_type]


@pytest.fixture(scope="module", params=["haar", "yunet", "ssd"])
def reported(
    request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Reported]]:
    folder = tmp_path_factory.mktemp("videos")
    mosquitto = Mosquitto(folder)
    mosquitto.start()
    detector = f'kind = "{request.param}"\n'
    if request.param == "yunet":
        detector += f'file = "{shared_data}/models/detectors/face_detection_yunet_2023mar.onnx"\n'
    videos = shared_data / "videos"
    cameras = "".join(
        f'[[camera]]\nname = "{name}"\nsource = "{videos / clip}"\n' for name, clip in CLIPS.items()
    )
    with subscriber(mosquitto.port) as client:
        daemon = Process(
            folder,
            f'[node]\nid = "pi"\n[mqtt]\nhost = "127.0.0.1"\nport = {mosquitto.port}\nfaces_hz = 10\n'
            f"[detector]\n{detector}{cameras}",
        )
        try:
            # The longest ends last; its face is forgotten a second later.
            ended = "emotion-edge/pi/one/status"
            assert eventually(lambda: client.payloads(ended)[-2:] == ["online", "offline"])
            assert eventually(lambda: _last_state(client.payloads("emotion-edge/pi/one/state")) == "OFF")
            assert daemon.stop()[0] == 0
        finally:
            daemon.close()
            mosquitto.kill()
        yield {name: _reported(client.messages, client.times, f"emotion-edge/pi/{name}/") for name in CLIPS}


def _last_state(payloads: list[str]) -> str:
    return str(json.loads(payloads[-1])["present"]) if payloads else ""


def _reported(messages: list[tuple[str, str, bool]], times: list[float], place: str) -> Reported:
    def bodies(kind: str) -> list[dict[str, Any]]:
        return [json.loads(payload) for topic, payload, _ in messages if topic == place + kind]

    status = [
        (payload, when)
        for (topic, payload, _), when in zip(messages, times, strict=True)
        if topic == place + "status"
    ]
    online = next(when for payload, when in status if payload == "online")
    offline = next(when for payload, when in status if payload == "offline" and when > online)
    start = datetime.fromtimestamp(online).astimezone()
    return Reported(bodies("event"), bodies("faces"), bodies("state"), offline - online, start)


def test_one_face_has_at_most_two_numbers_and_is_mostly_present(
    reported: dict[str, Reported],
) -> None:
    one = reported["one"]
    numbers = {face["track"] for message in one.faces for face in message["faces"]}
    assert len(numbers) <= 2
    # Seconds between two faces messages count where the first one showed a face and no frame is missing.
    shown = [(one.when(message), bool(message["faces"])) for message in one.faces]
    covered = sum(min(b - a, 0.35) for (a, seen), (b, _) in pairwise(shown) if seen)
    assert covered / one.online_s >= 0.85


def test_empty_scene_gives_no_event(reported: dict[str, Reported]) -> None:
    assert reported["nobody"].events == []
    assert [state["emotion"] for state in reported["nobody"].states] == ["none"]


def test_departure_is_reported_once_at_the_right_time(reported: dict[str, Reported]) -> None:
    (left,) = reported["leaves"].of_type("face_left")
    assert reported["leaves"].when(left) == pytest.approx(WHEN_LEFT, abs=1.5)
    assert len(reported["leaves"].of_type("face_appeared")) == 1


def test_arrival_is_reported_once_at_the_right_time(reported: dict[str, Reported]) -> None:
    (appeared,) = reported["comes"].of_type("face_appeared")
    assert reported["comes"].when(appeared) == pytest.approx(WHEN_APPEARED, abs=1.5)


def test_three_people_are_three_tracks_for_most_of_the_clip(
    reported: dict[str, Reported], request: pytest.FixtureRequest
) -> None:
    if "haar" in request.node.name:
        pytest.skip("Haar finds one of the three faces, at any setting (shared measurement)")
    counts = [len(message["faces"]) for message in reported["three"].faces if message["faces"]]
    assert counts.count(3) / len(counts) > 0.6
    numbers = {face["track"] for message in reported["three"].faces for face in message["faces"]}
    assert numbers == {1, 2, 3}
