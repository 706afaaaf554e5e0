"""[web]: accepted and rejected values, and the address of the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.contract.messages import Topics
from edge.homeassistant import discovery
from edge.mqtt.inbox import Allowance
from edge.node.build import page_url
from edge.settings import Settings, load
from edge.settings.tables import Web
from edge.types import ConfigError
from edge.web.page import hosts_of
from tests.home_assistant_rules import entities


def loaded(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "config.toml").write_text(text)
    return load(tmp_path / "config.toml")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('listen = "8321"', 'found "8321"; expected an address and a port, or unix: and the full name'),
        ('listen = "localhost:0"', "expected an address and a port"),
        ('listen = "localhost:70000"', "expected an address and a port"),
        ('listen = "unix:web.sock"', "expected an address and a port"),
        ('hosts = "kitchen"', "found something else; expected names without a port"),
        ('hosts = ["kitchen:8321"]', 'found "kitchen:8321"; expected names without a port'),
        ("hosts = [1]", "expected names without a port"),
        ('url = "kitchen.local"', "expected an address that begins with http:// or https://"),
        ('key_file = "config.toml"', "set, but no web.cert_file; set both"),
        ("prevew = true", "unknown key; did you mean 'preview'?"),
    ],
)
def test_error_is_one_line_with_its_place(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, f"[web]\n{line}\n")
    assert str(error.value).startswith(f"{tmp_path}/config.toml:2: web.")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_camera_cannot_have_the_name_of_the_preview_topic(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='found "preview", which is a topic of the node'):
        loaded(tmp_path, '[[camera]]\nname = "preview"\n')


@pytest.mark.parametrize(
    ("web", "url"),
    [
        (Web(), None),
        (Web(enabled=True), None),  # loopback is not reachable from elsewhere
        (Web(enabled=True, listen="localhost:80"), None),
        (Web(enabled=True, listen="192.168.1.5:8321"), "http://192.168.1.5:8321/"),
        (Web(enabled=True, listen="[fd00::5]:8321"), "http://[fd00::5]:8321/"),
        (Web(enabled=True, listen="0.0.0.0:8321"), None),
        (Web(enabled=True, listen="0.0.0.0:8321", hosts=("pi.local",)), "http://pi.local:8321/"),
        (Web(enabled=True, url="https://emotion.example.org/pi"), "https://emotion.example.org/pi"),
        (Web(enabled=False, url="https://emotion.example.org"), None),
        (Web(enabled=True, listen="unix:/run/web.sock"), None),
    ],
)
def test_home_assistant_links_to_the_page_if_it_is_reachable(web: Web, url: str | None) -> None:
    assert page_url(Settings(web=web)) == url
    devices = discovery.devices(
        Topics("emotion-edge", "pi"), ["hall"], "0.1.0", temperature=False, page=web.enabled, url=url
    )
    node, _ = discovery.messages(devices, "homeassistant", "device", {})
    entities(node.topic, node.payload)  # valid by Home Assistant's rules
    message = json.loads(node.payload)
    assert message["dev"].get("cu") == url
    assert ("preview" in message["cmps"]) == web.enabled


def test_hosts_are_those_in_listen_hosts_and_url() -> None:
    web = Web(enabled=True, listen="[::]:1", hosts=("Pi.local",), url="https://Emotion.example.org:444/x")
    assert hosts_of(web) == {"pi.local", "emotion.example.org", "::"}


def test_allowance_refills_up_to_its_burst() -> None:
    now = [0.0]
    allowance = Allowance(2, 3, lambda: now[0])
    assert [allowance.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 0.5
    assert [allowance.take() for _ in range(2)] == [True, False]
    now[0] = 1000
    assert [allowance.take() for _ in range(4)] == [True, True, True, False]
