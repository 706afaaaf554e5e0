"""docs/mqtt.md and docs/examples match the daemon."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from edge.contract import schemas
from edge.contract.messages import Topics
from edge.homeassistant import discovery
from edge.settings import TABLES
from tests.contract import breach, extremes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = (DOCS / "mqtt.md").read_text()
EXAMPLES = sorted((DOCS / "examples").iterdir())
PREFIX = "emotion-edge/"
FENCE = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOPIC = re.compile(rf"{PREFIX}([^\s\"'`,;)]+)")


def example(name: str) -> str:
    return (DOCS / "examples" / name).read_text()


def blocks(language: str) -> list[tuple[str, str]]:
    """(the word after the language, the content) of the page's code blocks."""
    return [(word, content) for found, word, content in FENCE.findall(PAGE) if found == language]


def keys(name: str) -> set[str]:
    """The keys of schema *name*, nested ones as ``outer.inner``."""

    def walk(part: dict[str, Any], path: str) -> Iterator[str]:
        for key, inner in part.get("properties", {}).items():
            yield f"{path}{key}"
            yield from walk(inner, f"{path}{key}.")

    return set(walk(schemas.schema(name), ""))


# The page


@pytest.mark.parametrize(("schema", "payload"), blocks("json"))
def test_payload_on_the_page_matches_its_schema(schema: str, payload: str) -> None:
    assert breach(schema, payload) is None


def test_every_json_payload_is_shown() -> None:
    json_schemas = {name for name in schemas.TOPICS.values() if schemas.schema(name).get("type") != "string"}
    assert {schema for schema, _ in blocks("json")} == json_schemas


def test_tables_list_every_topic_with_qos_and_schema() -> None:
    rows = re.findall(r"^\| `(kitchen-pi/[^`]+)` \|(.*)\|$", PAGE, re.MULTILINE)
    shown: dict[str, str] = {}
    for topic, rest in rows:
        (shown[topic],) = set(re.findall(r"`([\w-]+)`", rest)) & set(schemas.TOPICS.values())
    assert sorted(shown.values()) == sorted(schemas.TOPICS.values())
    for topic, name in shown.items():
        assert schemas.name_for(PREFIX + topic, "emotion-edge") == name
    # QoS and retain of the daemon's own messages.
    message = {schemas.name_for(it.topic, "emotion-edge"): (it.qos, it.retain) for it in extremes()}
    assert len(message) == 17
    for topic, rest in rows:
        if (name := shown[topic]) in message:
            qos, retained = (cell.strip() for cell in rest.split("|")[:2])
            assert (int(qos), retained.startswith("yes")) == message[name], topic


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (DOCS / link).exists()] == []


def test_every_example_is_linked_from_the_page() -> None:
    links = set(re.findall(r"\]\(examples/([^)]+)\)", PAGE))
    assert links == {path.name for path in EXAMPLES}


def test_configurations_on_the_page_use_existing_keys() -> None:
    shown = blocks("toml")
    assert len(shown) == 3
    for _, content in shown:
        for table, values in tomllib.loads(content).items():
            assert values.keys() <= TABLES[table].model_fields.keys()


# The examples


def pattern_exists(topic: str) -> bool:
    """Whether the contract has a topic that matches *topic*, which may have wildcards."""
    levels = topic.replace("%u", "+").split("/")
    for known in schemas.TOPICS:
        parts = known.split("/")
        if levels[-1] == "#":
            parts, wanted = parts[: len(levels) - 1], levels[:-1]
        else:
            wanted = levels
        if len(parts) == len(wanted) and all(
            "+" in (one, other) or one == other for one, other in zip(parts, wanted, strict=True)
        ):
            return True
    return False


@pytest.mark.parametrize("path", [it for it in EXAMPLES if it.name != "bridge.conf"], ids=lambda it: it.name)
def test_topics_of_an_example_exist(path: Path) -> None:
    text = re.sub(r"\(\?P<deviceid>[^)]*\)", "+/+", path.read_text())
    topics = [topic for topic in TOPIC.findall(text) if "[" not in topic]
    assert topics or path.suffix == ".items"
    assert [topic for topic in topics if not pattern_exists(topic)] == []


def test_topics_of_the_bridge_exist() -> None:
    lines = re.findall(r"^#?topic (\S+) (?:in|out) [01] (\S+) (\S+)$", example("bridge.conf"), re.MULTILINE)
    assert len(lines) == 11
    for topic, here, there in lines:
        assert here == there == PREFIX
        assert pattern_exists(topic)


def test_unknown_topic_is_detected() -> None:
    assert not pattern_exists("kitchen-pi/hall/frame")
    assert not pattern_exists("+/state")
    assert pattern_exists("+/+/+/set")


def test_home_assistant_automations_use_existing_keys_and_entities() -> None:
    text = example("home-assistant.yaml")
    automations = yaml.safe_load(text)
    assert len(automations) == 4
    for automation in automations:
        assert automation["alias"]
        assert {"triggers", "actions"} <= automation.keys()
        assert automation.keys() <= {"alias", "mode", "triggers", "conditions", "actions"}
        assert all("trigger" in trigger for trigger in automation["triggers"])
        assert all("action" in action for action in automation["actions"])
    used = set(re.findall(r"(?:payload|value)_json\.([\w.]+)", text))
    assert used == {"event_type", "to", "confidence", "config.ok", "config.error", "mqtt.duplicate_id"}
    assert used <= keys("event") | keys("health")
    devices = discovery.devices(Topics("emotion-edge", "kitchen-pi"), ["hall"], "0.1.0", temperature=True)
    entities = {
        f"{config['p']}.{_slug(device.about['name'])}_{_slug(config['name'])}"
        for device in devices
        for config in device.entities.values()
    }
    used = set(re.findall(r"entity_id: (\w+\.kitchen_pi\w+)", text))
    assert used == {"binary_sensor.kitchen_pi_hall_face_present", "switch.kitchen_pi_hall_detection"}
    assert used <= entities


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower())


def test_node_red_flow_can_be_imported() -> None:
    nodes = json.loads(example("node-red.json"))
    ids = [node["id"] for node in nodes]
    assert len(set(ids)) == len(ids)
    (tab,) = [node["id"] for node in nodes if node["type"] == "tab"]
    (house,) = [node["id"] for node in nodes if node["type"] == "mqtt-broker"]
    for node in nodes:
        assert node.get("z", tab) == tab
        assert node.get("broker", house) in (house, "localhost")
        assert {target for wire in node.get("wires", []) for target in wire} <= set(ids)
    (switch,) = [node for node in nodes if node["type"] == "switch"]
    kinds = schemas.schema("event")["properties"]["event_type"]["enum"]
    assert [rule["v"] for rule in switch["rules"]] == kinds
    assert len(switch["wires"]) == switch["outputs"] == 3
    (out,) = [node for node in nodes if node["type"] == "mqtt out"]
    sent = {node["payload"] for node in nodes if node["type"] == "inject"}
    assert out["retain"] == "false"
    name = str(schemas.name_for(out["topic"], "emotion-edge"))
    assert sent == {"ON", "OFF"}
    assert [breach(name, payload) for payload in sent] == [None, None]


def test_openhab_items_have_channels() -> None:
    things, items = example("openhab.things"), example("openhab.items")
    assert things.count("{") == things.count("}")
    assert things.count("[") == things.count("]")
    channels: set[str] = set()
    thing = ""
    for kind, name in re.findall(r"^\s*(Thing topic|Type \w+ :) (\w+)", things, re.MULTILINE):
        if kind == "Thing topic":
            thing = name
        else:
            channels.add(f"mqtt:topic:house:{thing}:{name}")
    used = re.findall(r'channel="([^"]+)"', items)
    assert set(used) == channels - {"mqtt:topic:house:hall:event"}  # a trigger, which rules listen to
    paths = set(re.findall(r"JSONPATH:\$\.(\w+)", things))
    assert paths <= keys("state") | keys("event")
    assert len(paths) == 5


def test_telegraf_configuration_matches_the_schemas() -> None:
    configuration = tomllib.loads(example("telegraf.conf"))
    assert configuration["outputs"].keys() == {"influxdb_v2"}
    inputs = configuration["inputs"]["mqtt_consumer"]
    assert [source["topics"] for source in inputs] == [
        ["emotion-edge/+/+/log"], ["emotion-edge/+/+/state"], ["emotion-edge/+/health"]
    ]  # fmt: skip
    for source in inputs:
        (topic,) = source["topics"]
        (parsing,) = source["topic_parsing"]
        assert parsing["topic"] == topic
        assert len(parsing["tags"].split("/")) == len(topic.split("/"))
        name = str(schemas.name_for(topic.replace("+", "x"), "emotion-edge"))
        known = {key.replace(".", "_") for key in keys(name)}
        assert {*source.get("tag_keys", []), *source["json_string_fields"], source["json_time_key"]} <= known
        assert source.get("persistent_session", False) == (name == "log")
    assert inputs[0]["qos"] == 1


def test_prometheus_configuration_matches_the_schema() -> None:
    configuration = yaml.safe_load(example("prometheus-mqtt.yaml"))
    mqtt, metrics = configuration["mqtt"], configuration["metrics"]
    device = re.compile(mqtt["device_id_regex"]).fullmatch("emotion-edge/kitchen-pi/hall/state")
    assert device is not None
    assert device["deviceid"] == "kitchen-pi/hall"
    assert mqtt["topic_path"] == "emotion-edge/+/+/state"
    properties = schemas.schema("state")["properties"]
    for metric in metrics:
        assert metric["prom_name"] == f"emotion_edge_{metric['mqtt_name']}"
        values = properties[metric["mqtt_name"]].get("enum")
        mapped = metric.get("string_value_mapping", {}).get("map")
        assert sorted(mapped or []) == sorted(values or [])
