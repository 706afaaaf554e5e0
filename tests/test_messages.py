"""The MQTT contract, byte by byte."""

import json
from dataclasses import replace

import numpy as np
import pytest

from edge.contract import messages
from edge.contract.messages import CameraHealth, ConfigHealth, Health, Info, RateHealth, RuntimeHealth, Topics
from edge.mqtt.health import MqttHealth, OutboxHealth
from edge.mqtt.inbox import CommandHealth
from edge.mqtt.outbox import as_replayed
from edge.types import LABELS, Box, Event, Face, Frame, Message, Track

TOPICS = Topics("emotion-edge", "kitchen-pi")
NOON = 1772366400.123  # 2026-03-01 12:00:00.123 UTC
SCORES = (0.01, 0.02, 0.03, 0.8119, 0.04, 0.05, 0.0381)


def frame(width: int = 640, height: int = 480) -> Frame:
    return Frame(np.zeros((height, width), np.uint8), taken=106.25, wall=NOON, seq=77, camera="hall")


def track(**fields: object) -> Track:
    happy = Track(
        number=12,
        face=Face(Box(64, 48, 160, 240), 0.93456),
        since=100.0,
        seen=106.25,
        announced=True,
        scores=SCORES,
        emotion="happy",
        emotion_since=104.25,
    )
    return replace(happy, **fields)  # type: ignore[arg-type]


def test_timestamp_is_utc_with_milliseconds_and_offset() -> None:
    assert messages.timestamp(NOON) == "2026-03-01T12:00:00.123+00:00"
    assert messages.timestamp(1772366400.0) == "2026-03-01T12:00:00.000+00:00"


def test_camera_status_is_retained_at_qos_1() -> None:
    assert messages.camera_status(TOPICS, "hall", "stale") == Message(
        "emotion-edge/kitchen-pi/hall/status", b"stale", qos=1, retain=True
    )


def test_info_has_every_field_in_order() -> None:
    about = Info(
        version="0.1.0",
        model="plain 1",
        model_sha256="ab12",
        mirror=True,
        labels=LABELS,
        runtime="litert 2.3.0, cpu, 1 thread",
        runtime_reason="auto: no accelerator",
        detector="haar",
        detector_reason="auto: no YuNet file",
        cameras=["hall", "porch"],
    )
    assert messages.info(TOPICS, about, NOON) == Message(
        "emotion-edge/kitchen-pi/info",
        b'{"v":1,"ts":"2026-03-01T12:00:00.123+00:00","version":"0.1.0",'
        b'"model":{"name":"plain 1","sha256":"ab12","mirror":true},'
        b'"labels":["angry","disgust","fear","happy","sad","surprise","neutral"],'
        b'"runtime":{"name":"litert 2.3.0, cpu, 1 thread","reason":"auto: no accelerator"},'
        b'"detector":{"name":"haar","reason":"auto: no YuNet file"},"cameras":["hall","porch"]}',
        qos=1,
        retain=True,
    )


def test_health_of_a_raspberry_pi() -> None:
    now = Health(
        uptime_s=3600.4,
        rss_mib=120.04,
        temperature_c=51.66,
        throttled=("under-voltage",),
        cameras={
            "hall": CameraHealth(
                9.84, 0.083, {"detect": (5.804, 7.1), "classify": (0.7, 1.0)}, 3, (31.06, 48.2), skipped=71
            )
        },
        mqtt=MqttHealth(
            2, 1, 4, OutboxHealth(9, 2700, 500, 1, "database or disk is full; kept in memory"), True
        ),
        commands=CommandHealth(7, 2),
        config=ConfigHealth("config.toml:12: mqtt.prot: unknown key", ("mqtt.host",)),
        storage="disk does not answer; kept in memory",
        rate=RateHealth(0.5625, "cpu"),
        runtime=RuntimeHealth(model="edgetpu: no Coral found"),
    )
    assert messages.health(TOPICS, now, NOON) == Message(
        "emotion-edge/kitchen-pi/health",
        b'{"v":1,"ts":"2026-03-01T12:00:00.123+00:00","uptime_s":3600,"rss_mib":120.0,'
        b'"temperature_c":51.7,"throttled":["under-voltage"],"rate":{"share":0.56,"reason":"cpu"},'
        b'"runtime":{"model":"edgetpu: no Coral found","detector":"ok"},'
        b'"cameras":{"hall":{"fps":9.8,"frame_age_s":0.08,'
        b'"stage_ms":{"detect":{"p50":5.8,"p95":7.1},"classify":{"p50":0.7,"p95":1.0}},'
        b'"latency_ms":{"p50":31.1,"p95":48.2},"dropped":3,"failed":0,"damaged":0,"picture":"ok","skipped":71}},'
        b'"mqtt":{"reconnects":2,"queued":1,"dropped":4,"outbox":{"depth":9,"bytes":2700,'
        b'"dropped":500,"corrupt":1,"storage":"database or disk is full; kept in memory"},'
        b'"duplicate_id":true,"insecure":false},'
        b'"commands":{"accepted":7,"refused":2},'
        b'"config":{"ok":false,"error":"config.toml:12: mqtt.prot: unknown key","restart":["mqtt.host"]},'
        b'"storage":"disk does not answer; kept in memory"}',
        qos=0,
        retain=True,
    )


def test_health_omits_what_the_board_does_not_report() -> None:
    now = Health(uptime_s=1, rss_mib=100, cameras={"hall": CameraHealth(0.0, None, {}, 0)})
    assert messages.health(TOPICS, now, NOON).payload == (
        b'{"v":1,"ts":"2026-03-01T12:00:00.123+00:00","uptime_s":1,"rss_mib":100,"rate":{"share":1.0,"reason":null},'
        b'"runtime":{"model":"ok","detector":"ok"},'
        b'"cameras":{"hall":{"fps":0.0,"frame_age_s":null,"stage_ms":{},"latency_ms":{"p50":null,"p95":null},'
        b'"dropped":0,"failed":0,"damaged":0,"picture":"ok","skipped":0}},'
        b'"mqtt":{"reconnects":0,"queued":0,"dropped":0,'
        b'"outbox":{"depth":0,"bytes":0,"dropped":0,"corrupt":0,"storage":"memory only"},'
        b'"duplicate_id":false,"insecure":false},'
        b'"commands":{"accepted":0,"refused":0},"config":{"ok":true},"storage":"ok"}'
    )


@pytest.mark.parametrize(("name", "value"), [("enabled", "OFF"), ("min_confidence", "0.5"), ("hold", "2")])
def test_switch_state_is_one_retained_word(name: str, value: str) -> None:
    assert messages.switch(TOPICS, "hall", name, value) == Message(
        f"emotion-edge/kitchen-pi/hall/{name}/state", value.encode(), qos=1, retain=True
    )


def test_response_is_not_retained_and_expires() -> None:
    assert messages.response(TOPICS, "reload", {"status": "ok", "transaction": "7"}) == Message(
        "emotion-edge/kitchen-pi/response/reload",
        b'{"status":"ok","transaction":"7"}',
        qos=1,
        max_age_s=30.0,
    )


def test_state_is_the_emotion_of_the_first_face() -> None:
    tracks = [track(), track(number=13, emotion="sad", emotion_since=106.0)]
    assert messages.state(TOPICS, "hall", tracks, now=106.25, wall=NOON, empty_since=0.0) == Message(
        "emotion-edge/kitchen-pi/hall/state",
        b'{"v":1,"ts":"2026-03-01T12:00:00.123+00:00","present":"ON","faces":2,"emotion":"happy",'
        b'"confidence":0.812,"track":12,"since":"2026-03-01T11:59:58.123+00:00"}',
        qos=1,
        retain=True,
    )


def test_state_without_a_face_has_since() -> None:
    assert messages.state(TOPICS, "hall", [], now=106.25, wall=NOON, empty_since=46.25) == Message(
        "emotion-edge/kitchen-pi/hall/state",
        b'{"v":1,"ts":"2026-03-01T12:00:00.123+00:00","present":"OFF","faces":0,"emotion":"none",'
        b'"confidence":0,"track":null,"since":"2026-03-01T11:59:00.123+00:00"}',
        qos=1,
        retain=True,
    )


def test_faces_have_track_box_emotion_scores_and_age() -> None:
    assert messages.faces(TOPICS, frame(), [track()]) == Message(
        "emotion-edge/kitchen-pi/hall/faces",
        b'{"v":1,"ts":"2026-03-01T12:00:00.123+00:00","seq":77,"size":[640,480],"faces":['
        b'{"track":12,"box":[0.1,0.1,0.25,0.5],"score":0.935,"emotion":"happy","confidence":0.812,'
        b'"scores":{"angry":0.01,"disgust":0.02,"fear":0.03,"happy":0.812,"sad":0.04,"surprise":0.05,'
        b'"neutral":0.038},"age":6.2}]}',
    )


def test_faces_is_empty_after_the_last_face_left() -> None:
    assert messages.faces(TOPICS, frame(), []).payload == (
        b'{"v":1,"ts":"2026-03-01T12:00:00.123+00:00","seq":77,"size":[640,480],"faces":[]}'
    )


@pytest.mark.parametrize(
    ("box", "fractions"),
    [
        (Box(-32, -48, 64, 96), [0.0, 0.0, 0.05, 0.1]),
        (Box(608, 432, 64, 96), [0.95, 0.9, 0.05, 0.1]),
        (Box(-10, -10, 1000, 1000), [0.0, 0.0, 1.0, 1.0]),
        (Box(700, 500, 10, 10), [1.0, 1.0, 0.0, 0.0]),
    ],
)
def test_box_is_clipped_to_the_frame(box: Box, fractions: list[float]) -> None:
    payload = json.loads(messages.faces(TOPICS, frame(), [track(face=Face(box, 0.9))]).payload)
    assert payload["faces"][0]["box"] == fractions


@pytest.mark.parametrize(
    ("transition", "payload"),
    [
        (
            Event("face_appeared", "hall", 12, "none", "uncertain", 0.4126, NOON),
            b'{"event_type":"face_appeared","id":"5f1c:0","ts":"2026-03-01T12:00:00.123+00:00",'
            b'"track":12,"from":"none","to":"uncertain","confidence":0.413}',
        ),
        (
            Event("emotion_changed", "hall", 12, "neutral", "happy", 0.81, NOON),
            b'{"event_type":"emotion_changed","id":"5f1c:0","ts":"2026-03-01T12:00:00.123+00:00",'
            b'"track":12,"from":"neutral","to":"happy","confidence":0.81}',
        ),
        (
            Event("face_left", "hall", 12, "happy", "none", 0.81, NOON),
            b'{"event_type":"face_left","id":"5f1c:0","ts":"2026-03-01T12:00:00.123+00:00",'
            b'"track":12,"from":"happy","to":"none","confidence":0.81}',
        ),
    ],
    ids=lambda value: value.event_type if isinstance(value, Event) else "",
)
def test_event_is_never_retained_and_expires(transition: Event, payload: bytes) -> None:
    assert messages.event(TOPICS, transition, "5f1c", 0) == Message(
        "emotion-edge/kitchen-pi/hall/event", payload, qos=1, retain=False, max_age_s=10.0
    )


def test_log_equals_the_event_plus_replayed_and_is_durable() -> None:
    transition = Event("face_left", "hall", 12, "happy", "none", 0.81, NOON)
    message = messages.log(TOPICS, transition, "5f1c", 7)
    assert message == Message(
        "emotion-edge/kitchen-pi/hall/log",
        b'{"event_type":"face_left","id":"5f1c:7","ts":"2026-03-01T12:00:00.123+00:00",'
        b'"track":12,"from":"happy","to":"none","confidence":0.81,"replayed":false}',
        qos=1, retain=False, max_age_s=None, durable=True,
    )  # fmt: skip
    event = json.loads(messages.event(TOPICS, transition, "5f1c", 7).payload)
    again = as_replayed(message)
    assert json.loads(again.payload) == {**event, "replayed": True}
    assert as_replayed(again) == again


def test_eight_faces_with_full_digits_stay_below_2_kib() -> None:
    wide = track(
        number=123456,
        since=106.25 - 98765.4,
        face=Face(Box(123.4567, 111.1111, 77.7777, 99.9999), 0.98765),
        scores=(0.12345,) * 7,
        emotion="surprise",
    )
    message = messages.faces(TOPICS, replace(frame(1920, 1080), seq=123456789), [wide] * 8)
    assert len(message.payload) <= 2048
    scores = json.loads(message.payload)["faces"][7]["scores"]
    assert scores == dict.fromkeys(LABELS, 0.123)
