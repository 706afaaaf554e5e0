"""What Home Assistant shows of a node and of each camera, in the keys of its discovery schema.

Keys are abbreviated as https://www.home-assistant.io/integrations/mqtt/ lists: ``t`` topic, ``avty``
availability, ``stat_t`` state_topic, ``cmd_t`` command_topic, ``val_tpl`` value_template, ``dev_cla``
device_class, ``ent_cat`` entity_category, ``stat_cla`` state_class, ``p`` platform, ``cu`` configuration_url.
A topic base (``~``) is not used: Home Assistant refuses it at the root of a device's payload.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from edge.contract.messages import Topics
from edge.contract.switches import LIMITS
from edge.types import LABELS, NONE, UNCERTAIN, EventType

MAKER = "emotion-edge"
TRANSACTION = "ha"  # of the requests that Home Assistant's buttons make

Config = dict[str, Any]

# Home Assistant ignores a payload that is neither of an availability's two: a stale camera would stay
# available. So any word but online becomes the second one.
_ONLINE = "{{ 'online' if value == 'online' else 'offline' }}"


@dataclass(frozen=True, slots=True)
class Device:
    """A device and its entities; the keys of *shared* hold for every entity that has not its own."""

    place: tuple[str, ...]  # (node,) or (node, camera)
    about: Config
    shared: Config
    # By a name that is unique in the device and never changes: small letters and _; a node's has no _.
    entities: Mapping[str, Config]

    @property
    def id(self) -> str:
        """Identifies the device, and begins the unique id of each of its entities."""
        return identity(*self.place)


def identity(*place: str) -> str:
    """Unique to *place*: camera c of node a_b is not camera b_c of node a."""
    # Names without _ are joined as in 0.1: a changed unique id costs an entity's settings.
    return "_".join(name.replace("_", ".") for name in place)


def node_device(
    topics: Topics, version: str, *, temperature: bool, page: bool = False, url: str | None = None
) -> Device:
    """The node; *temperature* where its board has a sensor, *page* where it has one, at *url*."""
    health, info = topics.of("health"), topics.of("info")
    entities = {
        # Without availability: it shows that the node is gone.
        "connectivity": _diagnostic(
            "binary_sensor", "Connection", topics.of("status"),
            dev_cla="connectivity", pl_on="online", pl_off="offline", avty=[],
        ),
        "model": _diagnostic("sensor", "Model", info, val_tpl="{{ value_json.model.name }}"),
        "runtime": _diagnostic("sensor", "Runtime", info, val_tpl="{{ value_json.runtime.name }}"),
    }  # fmt: skip
    if temperature:
        entities["temperature"] = _diagnostic(
            "sensor", "Temperature", health, val_tpl="{{ value_json.temperature_c }}",
            dev_cla="temperature", unit_of_meas="°C", stat_cla="measurement",
        )  # fmt: skip
    if page:
        entities["preview"] = _diagnostic("binary_sensor", "Preview", topics.of("preview"))
    place = (topics.node,)
    about: Config = {"ids": identity(*place), "name": topics.node, "mf": MAKER, "mdl": "node", "sw": version}
    if url:
        about["cu"] = url
    return Device(place, about, {"avty": _node_online(topics)}, entities)


def camera_device(topics: Topics, camera: str, version: str, labels: Sequence[str] = LABELS) -> Device:
    """One camera of the node, whose model distinguishes *labels*."""
    node = _node_online(topics)
    name = f"{topics.node} {camera}"
    place = (topics.node, camera)
    about = {
        "ids": identity(*place), "name": name, "mf": MAKER, "mdl": "camera", "sw": version,
        "via_device": identity(topics.node),
    }  # fmt: skip
    # Of a frozen picture (``stale``) nothing is known; controls and diagnostics depend on the node alone.
    shared = {
        "avty": [*node, {"t": topics.of(camera, "status"), "val_tpl": _ONLINE}],
        "avty_mode": "all",
    }
    entities = _shown(topics, camera, labels) | _controls(topics, camera, node) | _fares(topics, camera, node)
    return Device(place, about, shared, entities)


def _shown(topics: Topics, camera: str, labels: Sequence[str]) -> dict[str, Config]:
    state = topics.of(camera, "state")
    return {
        "face_present": {
            "p": "binary_sensor", "name": "Face present", "dev_cla": "occupancy", "stat_t": state,
            "val_tpl": "{{ value_json.present }}",
        },
        "emotion": {
            "p": "sensor", "name": "Emotion", "dev_cla": "enum", "ops": [NONE, UNCERTAIN, *labels],
            "stat_t": state, "val_tpl": "{{ value_json.emotion }}",
        },
        "faces": {
            "p": "sensor", "name": "Faces", "stat_cla": "measurement", "stat_t": state,
            "val_tpl": "{{ value_json.faces }}",
        },
        # Disabled by default: it changes far more often than all others together.
        "confidence": {
            "p": "sensor", "name": "Confidence", "en": False, "unit_of_meas": "%", "stat_cla": "measurement",
            "stat_t": state, "val_tpl": "{{ (value_json.confidence * 100) | round(1) }}",
        },
        # Without availability: an entity that comes back from "unavailable" to the time of its last event
        # looks like a new event to an automation that waits for any change of state.
        "event": {
            "p": "event", "name": "Event", "stat_t": topics.of(camera, "event"), "qos": 1,
            "evt_typ": list(get_args(EventType)), "avty": [],
        },
    }  # fmt: skip


def _controls(topics: Topics, camera: str, node: list[Config]) -> dict[str, Config]:
    def switch(name: str) -> Config:
        return {
            "stat_t": topics.of(camera, name, "state"), "cmd_t": topics.of(camera, name, "set"), "qos": 1,
            "avty": node,
        }  # fmt: skip

    request = json.dumps({"transaction": TRANSACTION, "camera": camera}, separators=(",", ":"))
    return {
        "enabled": {"p": "switch", "name": "Detection", **switch("enabled")},
        "min_confidence": {
            "p": "number", "name": "Minimum confidence", "ent_cat": "config", **switch("min_confidence"),
            "min": 0, "max": LIMITS["min_confidence"], "step": 0.01,
        },
        "hold": {
            "p": "number", "name": "Hold time", "ent_cat": "config", **switch("hold"),
            "min": 0, "max": LIMITS["hold"], "step": 0.1, "mode": "box", "dev_cla": "duration",
            "unit_of_meas": "s",
        },
        "restart": {
            "p": "button", "name": "Restart camera", "ent_cat": "config", "dev_cla": "restart",
            "cmd_t": topics.of("request", "restart_camera"), "pl_prs": request, "qos": 1, "avty": node,
        },
    }  # fmt: skip


def _fares(topics: Topics, camera: str, node: list[Config]) -> dict[str, Config]:
    def health(name: str, path: str, **keys: Any) -> Config:
        # In brackets: a camera may be called front-door, which a template would take for a difference.
        template = f"{{{{ value_json.cameras['{camera}'].{path} }}}}"
        return _diagnostic("sensor", name, topics.of("health"), val_tpl=template, avty=node, **keys)

    return {
        "connectivity": _diagnostic(
            "binary_sensor", "Connection", topics.of(camera, "status"), dev_cla="connectivity",
            val_tpl="{{ 'ON' if value == 'online' else 'OFF' }}", avty=node,
        ),
        "fps": health("Frame rate", "fps", unit_of_meas="fps", stat_cla="measurement"),
        "latency": health(
            "Latency p95", "latency_ms.p95", dev_cla="duration", unit_of_meas="ms", stat_cla="measurement"
        ),
        "dropped": health(
            "Dropped frames", "dropped", unit_of_meas="frames", stat_cla="total_increasing"
        ),
    }  # fmt: skip


def _diagnostic(platform: str, name: str, topic: str, **keys: Any) -> Config:
    return {"p": platform, "name": name, "ent_cat": "diagnostic", "stat_t": topic, **keys}


def _node_online(topics: Topics) -> list[Config]:
    return [{"t": topics.of("status")}]
