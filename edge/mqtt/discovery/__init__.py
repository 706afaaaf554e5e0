"""Discovery: what makes a node and its cameras appear in Home Assistant by themselves.

Pure functions. In the ``device`` format there is one retained message for each device; in the
``component`` format one for each entity, which older Home Assistants and openHABs read. Both give the
same entities: unique ids do not depend on the format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from edge.mqtt.discovery.entities import MAKER, Config, Device, camera_device, node_device
from edge.mqtt.messages import Topics
from edge.types import Message

Format = Literal["device", "component"]

# Config topic -> entity -> platform: what of a topic Home Assistant was told, and must be told is gone.
Told = dict[str, dict[str, str]]

DEVICE = "device"  # in a config topic, where the other format has an entity's platform


def devices(topics: Topics, cameras: Sequence[str], version: str, *, temperature: bool) -> list[Device]:
    """The node and each of its *cameras*; *temperature* where the board has a sensor for it."""
    return [
        node_device(topics, version, temperature=temperature),
        *(camera_device(topics, camera, version) for camera in cameras),
    ]


def told(devices: Sequence[Device], prefix: str, form: Format) -> Told:
    """The config topics that *devices* have below *prefix*, and the entities in each."""
    topics: Told = {}
    for device in devices:
        for entity, config in device.entities.items():
            topics.setdefault(_topic(device, entity, config, prefix, form), {})[entity] = config["p"]
    return topics


def messages(devices: Sequence[Device], prefix: str, form: Format, before: Told) -> list[Message]:
    """The retained messages that announce *devices*.

    *before*: what Home Assistant was told last. Entities that a device had then and has no longer are
    named once more with nothing but their platform, which is how it is told that they are gone.
    """
    found = []
    for device in devices:
        if form == "device":
            found.append(_device_message(device, prefix, before))
        else:
            found += [_entity_message(device, entity, prefix) for entity in device.entities]
    return found


def _device_message(device: Device, prefix: str, before: Told) -> Message:
    topic = f"{prefix}/{DEVICE}/{device.id}/config"
    gone = {
        entity: {"p": platform}
        for entity, platform in before.get(topic, {}).items()
        if entity not in device.entities
    }
    entities = {entity: _identified(device, entity) for entity in device.entities}
    return _message(topic, {**_head(device), **device.shared, "cmps": entities | gone})


def _entity_message(device: Device, entity: str, prefix: str) -> Message:
    config = _identified(device, entity)
    topic = _topic(device, entity, config, prefix, "component")
    del config["p"]  # it stands in the topic
    return _message(topic, {**_head(device), **device.shared, **config})


def _topic(device: Device, entity: str, config: Config, prefix: str, form: Format) -> str:
    if form == "device":
        return f"{prefix}/{DEVICE}/{device.id}/config"
    return f"{prefix}/{config['p']}/{device.id}/{entity}/config"


def _identified(device: Device, entity: str) -> Config:
    return {**device.entities[entity], "uniq_id": f"{device.id}_{entity}"}


def _head(device: Device) -> Config:
    return {"dev": device.about, "o": {"name": MAKER, "sw": device.about["sw"]}}


def _message(topic: str, payload: Mapping[str, Any]) -> Message:
    content = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
    return Message(topic, content, qos=1, retain=True)
