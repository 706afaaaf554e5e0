"""Discovery: what makes a node and its cameras appear in Home Assistant by themselves.

Pure functions. The ``device`` format has one retained message for each device, the ``component`` format one
for each entity: for older Home Assistants, openHABs, and brokers whose packet limit a device exceeds.
Both give the same entities: unique ids do not depend on the format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from edge.contract.messages import Topics, compact
from edge.homeassistant.entities import MAKER, Config, Device, camera_device, node_device
from edge.types import LABELS, Message

Format = Literal["device", "component"]

# Config topic -> entity -> platform: what was announced there, and must be withdrawn when it goes.
Announced = dict[str, dict[str, str]]

DEVICE = "device"  # in a config topic, where the other format has an entity's platform


def devices(
    topics: Topics,
    cameras: Sequence[str],
    version: str,
    *,
    temperature: bool,
    labels: Sequence[str] = LABELS,
    page: bool = False,
    url: str | None = None,
) -> list[Device]:
    """The node and each of its *cameras*, whose model distinguishes *labels*.

    *temperature* where the board has a sensor; *page* where there is one, *url* where users can reach it.
    """
    return [
        node_device(topics, version, temperature=temperature, page=page, url=url),
        *(camera_device(topics, camera, version, labels) for camera in cameras),
    ]


def messages(
    devices: Sequence[Device],
    prefix: str,
    form: Format,
    before: Announced,
    fits: Callable[[Message], bool] = lambda message: True,
) -> dict[Message, dict[str, str]]:
    """The retained messages that announce *devices*, below *prefix*, each with its entities' platforms.

    *before*: what was announced last. Entities that a device no longer has are named with their platform
    alone, which removes them. A device whose message does not fit the broker is announced by component, an
    entity without the device's details.
    """
    found: dict[Message, dict[str, str]] = {}
    for device in devices:
        platforms = {entity: config["p"] for entity, config in device.entities.items()}
        if form == "device" and fits(whole := _device_message(device, prefix, before)):
            found[whole] = platforms
            continue
        for entity, platform in platforms.items():
            whole = _entity_message(device, entity, prefix, brief=False)
            message = whole if fits(whole) else _entity_message(device, entity, prefix, brief=True)
            found[message] = {entity: platform}
    return found


def migrating(topic: str) -> Message:
    """Makes Home Assistant (2024.11) release what *topic* announced, keeping its settings."""
    return _message(topic, {"migrate_discovery": True})


def former_topics(devices: Sequence[Device], prefix: str) -> set[str]:
    """Every topic on which the same entities, with the same unique ids, may have been announced before."""
    found = set()
    for device in devices:
        joined = "_".join(device.place)  # until 0.1; not where another device's could be joined to the same
        found.add(_topic(device, "", prefix, "device"))
        if device.id == joined:
            found.add(f"{prefix}/{DEVICE}/{joined}/config")
        for entity, config in device.entities.items():
            found.add(_topic(device, entity, prefix, "component"))
            if device.id == joined:
                found.add(f"{prefix}/{config['p']}/{joined}/{entity}/config")
    return found


def _device_message(device: Device, prefix: str, before: Announced) -> Message:
    topic = _topic(device, "", prefix, "device")
    old = before.get(topic, {})
    gone = {entity: {"p": old[entity]} for entity in old if entity not in device.entities}
    entities = {entity: _identified(device, entity) for entity in device.entities}
    return _message(topic, {**_head(device), **device.shared, "cmps": entities | gone})


def _entity_message(device: Device, entity: str, prefix: str, *, brief: bool) -> Message:
    config = _identified(device, entity)
    del config["p"]  # it is in the topic
    head = {"dev": {"ids": device.about["ids"]}, "o": {"name": MAKER}} if brief else _head(device)
    return _message(_topic(device, entity, prefix, "component"), {**head, **device.shared, **config})


def _topic(device: Device, entity: str, prefix: str, form: Format) -> str:
    """At most two levels of [a-zA-Z0-9_-] between platform and ``config``, as Home Assistant wants."""
    node, *camera = device.place  # no entity has a hyphen: the last one in CAMERA-ENTITY parts them
    if form == "device":
        return "/".join((prefix, DEVICE, *device.place, "config"))
    return f"{prefix}/{device.entities[entity]['p']}/{node}/{'-'.join((*camera, entity))}/config"


def _identified(device: Device, entity: str) -> Config:
    return {**device.entities[entity], "uniq_id": f"{device.id}_{entity}"}


def _head(device: Device) -> Config:
    return {"dev": device.about, "o": {"name": MAKER, "sw": device.about["sw"]}}


def _message(topic: str, payload: Mapping[str, Any]) -> Message:
    return Message(topic, compact(payload), qos=1, retain=True)
