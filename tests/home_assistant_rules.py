"""Home Assistant's documented rules for discovery payloads.

From https://www.home-assistant.io/integrations/mqtt/ (discovery, abbreviations), the pages of the six
platforms below (``sensor.mqtt`` ...), the device classes of ``sensor``, ``number``, ``binary_sensor`` and
``button`` there, and https://developers.home-assistant.io/docs/core/entity/ (entity categories).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

Config = dict[str, Any]

ABBREVIATIONS = {
    "avty": "availability",
    "avty_mode": "availability_mode",
    "cmd_t": "command_topic",
    "cmps": "components",
    "dev": "device",
    "dev_cla": "device_class",
    "en": "enabled_by_default",
    "ent_cat": "entity_category",
    "evt_typ": "event_types",
    "o": "origin",
    "ops": "options",
    "p": "platform",
    "pl_avail": "payload_available",
    "pl_not_avail": "payload_not_available",
    "pl_off": "payload_off",
    "pl_on": "payload_on",
    "pl_prs": "payload_press",
    "stat_cla": "state_class",
    "stat_t": "state_topic",
    "t": "topic",
    "uniq_id": "unique_id",
    "unit_of_meas": "unit_of_measurement",
    "val_tpl": "value_template",
}
DEVICE_ABBREVIATIONS = {
    "cu": "configuration_url",
    "ids": "identifiers",
    "mf": "manufacturer",
    "mdl": "model",
    "sw": "sw_version",
}
ORIGIN_ABBREVIATIONS = {"sw": "sw_version", "url": "support_url"}

DEVICE_KEYS = {
    "configuration_url", "connections", "hw_version", "identifiers", "manufacturer", "model", "model_id",
    "name", "serial_number", "suggested_area", "sw_version", "via_device",
}  # fmt: skip
AVAILABILITY_KEYS = {"topic", "payload_available", "payload_not_available", "value_template"}
# A device's payload may share these among its components, and has nothing else at its root.
SHARED = {"availability", "availability_mode", "state_topic", "command_topic", "qos", "encoding"}
COMMON = {
    "availability", "availability_mode", "default_entity_id", "device", "enabled_by_default", "encoding",
    "entity_category", "entity_picture", "icon", "json_attributes_template", "json_attributes_topic", "name",
    "origin", "qos", "unique_id",
}  # fmt: skip
# Platform -> (required, allowed besides COMMON).
PLATFORMS: Mapping[str, tuple[set[str], set[str]]] = {
    "binary_sensor": (
        {"state_topic"},
        {"device_class", "expire_after", "force_update", "off_delay", "payload_off", "payload_on",
         "value_template"},
    ),
    "button": ({"command_topic"}, {"command_template", "device_class", "payload_press", "retain"}),
    "event": ({"state_topic", "event_types"}, {"device_class", "value_template"}),
    "number": (
        {"command_topic"},
        {"command_template", "device_class", "max", "min", "mode", "optimistic", "payload_reset", "retain",
         "state_topic", "step", "unit_of_measurement", "value_template"},
    ),
    "sensor": (
        {"state_topic"},
        {"device_class", "expire_after", "force_update", "last_reset_value_template", "options",
         "state_class", "suggested_display_precision", "unit_of_measurement", "value_template"},
    ),
    "switch": (
        {"command_topic"},
        {"command_template", "device_class", "optimistic", "payload_off", "payload_on", "retain", "state_off",
         "state_on", "state_topic", "value_template"},
    ),
}  # fmt: skip

NO_UNIT: set[str] = set()
TIMES = {"d", "h", "min", "s", "ms", "μs"}
# Platform -> device class -> units of measurement; of those a node's entities may come to need.
DEVICE_CLASSES: Mapping[str, Mapping[str, set[str]]] = {
    "sensor": {
        "data_rate": {"bit/s", "kbit/s", "B/s", "kB/s"}, "data_size": {"bit", "kB", "MB", "kiB", "MiB"},
        "duration": TIMES, "enum": NO_UNIT, "frequency": {"mHz", "Hz", "kHz", "MHz", "GHz"},
        "temperature": {"°C", "°F", "K"}, "timestamp": NO_UNIT,
    },
    "number": {"duration": TIMES, "temperature": {"°C", "°F", "K"}},
    "binary_sensor": dict.fromkeys(
        ("connectivity", "motion", "occupancy", "presence", "problem", "running"), NO_UNIT
    ),
    "button": dict.fromkeys(("identify", "restart", "update"), NO_UNIT),
    "event": dict.fromkeys(("button", "doorbell", "motion"), NO_UNIT),
    "switch": dict.fromkeys(("outlet", "switch"), NO_UNIT),
}  # fmt: skip
# Device class -> allowed state classes.
STATE_CLASSES = {
    None: {"measurement", "total", "total_increasing"},
    "duration": {"measurement", "total", "total_increasing"},
    "temperature": {"measurement"},
}
# Read-only entities cannot be in category config.
CATEGORIES = {
    "binary_sensor": {"diagnostic"}, "event": {"diagnostic"}, "sensor": {"diagnostic"},
    "button": {"config", "diagnostic"}, "number": {"config", "diagnostic"},
    "switch": {"config", "diagnostic"},
}  # fmt: skip

CONFIG_TOPIC = re.compile(
    r"homeassistant/(?P<platform>\w+)/(?:(?P<node>[a-zA-Z0-9_-]+)/)?(?P<object>[a-zA-Z0-9_-]+)/config"
)


def entities(topic: str, payload: bytes) -> dict[str, Config]:
    """Name -> expanded configuration of every entity in *payload* on *topic*.

    AssertionError, with the reason, if Home Assistant rejects any of it.
    """
    match = CONFIG_TOPIC.fullmatch(topic)
    assert match, topic
    root = _expanded(json.loads(payload))
    if match["platform"] != "device":
        assert match["platform"] in PLATFORMS, topic
        _check(root, match["platform"])
        return {match["object"]: {**root, "platform": match["platform"]}}
    assert root.keys() <= {"device", "origin", "components"} | SHARED, root.keys()
    assert {"device", "origin", "components"} <= root.keys(), root.keys()
    shared = {key: root[key] for key in SHARED & root.keys()}
    found = {}
    for name, component in root["components"].items():
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", name), name
        if component.keys() == {"platform"}:
            continue  # removed
        config = {"device": root["device"], "origin": root["origin"], **shared, **component}
        platform = config.pop("platform")
        _check(config, platform)
        found[name] = {**config, "platform": platform}
    return found


def _expanded(config: Config) -> Config:
    config = {ABBREVIATIONS.get(key, key): value for key, value in config.items()}
    if "device" in config:
        config["device"] = {DEVICE_ABBREVIATIONS.get(k, k): v for k, v in config["device"].items()}
    if "origin" in config:
        config["origin"] = {ORIGIN_ABBREVIATIONS.get(k, k): v for k, v in config["origin"].items()}
    if "availability" in config:
        config["availability"] = [
            {ABBREVIATIONS.get(k, k): v for k, v in place.items()} for place in config["availability"]
        ]
    if "components" in config:
        config["components"] = {name: _expanded(part) for name, part in config["components"].items()}
    return config


def _check(config: Config, platform: str) -> None:
    required, allowed = PLATFORMS[platform]
    assert required <= config.keys(), (platform, required - config.keys())
    assert config.keys() <= required | allowed | COMMON, (platform, config.keys() - allowed - COMMON)
    # A device's entities need unique ids; unnamed ones are named after their class.
    assert isinstance(config["unique_id"], str)
    assert config["name"]
    assert config["device"].keys() <= DEVICE_KEYS
    assert config["device"]["identifiers"]
    assert config["origin"].keys() <= {"name", "sw_version", "support_url"}
    assert config["origin"]["name"]
    assert config.get("entity_category") in {None, *CATEGORIES[platform]}
    assert config.get("qos", 0) in (0, 1, 2)
    assert isinstance(config.get("enabled_by_default", True), bool)
    assert config.get("availability_mode", "latest") in ("all", "any", "latest")
    for place in config.get("availability", []):
        assert "topic" in place
        assert place.keys() <= AVAILABILITY_KEYS
    for topic in _topics(config):
        assert re.fullmatch(r"[^+#\0]{1,65535}", topic), topic
    device_class = config.get("device_class")
    if device_class is not None:
        assert device_class in DEVICE_CLASSES[platform], device_class
    if platform == "sensor":
        _check_sensor(config, device_class)
    if platform == "number":
        assert config["min"] < config["max"]
        assert config["step"] >= 0.001
        assert config.get("mode", "auto") in ("auto", "box", "slider")
        assert device_class is None or config["unit_of_measurement"] in DEVICE_CLASSES["number"][device_class]
    if platform == "event":
        assert config["event_types"]
        assert all(isinstance(kind, str) for kind in config["event_types"])


def _check_sensor(config: Config, device_class: str | None) -> None:
    unit, state_class = config.get("unit_of_measurement"), config.get("state_class")
    assert ("options" in config) == (device_class == "enum")
    if device_class == "enum":
        assert config["options"]
        assert len(set(config["options"])) == len(config["options"])
        assert unit is None
        assert state_class is None
    elif device_class is not None:
        assert unit in DEVICE_CLASSES["sensor"][device_class], unit
    if state_class is not None:
        assert state_class in STATE_CLASSES[device_class], state_class


def _topics(config: Config) -> Iterator[str]:
    for key, value in config.items():
        if key.endswith("topic"):
            yield value
    for place in config.get("availability", []):
        yield place["topic"]
