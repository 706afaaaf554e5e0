"""A real Home Assistant connected to a broker, driven through its REST API."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tests.broker import eventually, free_port

HERE = Path(__file__).parent
START_S = 400.0  # the first start installs its integrations' packages; later starts take 10 to 45 s
VERSION = "2026.2.3"  # as in build.sh
_KEY = "k" * 128


class HomeAssistant:
    """A Home Assistant with an MQTT entry for *mqtt_port*, the API, a logger, and *configuration* (YAML).

    *home* was built by build.sh. Creating another instance in the same *home* discards its state.
    """

    def __init__(self, home: Path, mqtt_port: int, configuration: str) -> None:
        self._home = home
        self._port = free_port()
        tree = (home / "bin" / "sh").exists()
        self._config = home / "ha-config"
        self._inside = Path("/ha-config") if tree else self._config
        shutil.rmtree(self._config, ignore_errors=True)
        (self._config / ".storage").mkdir(parents=True)
        (self._config / "configuration.yaml").write_text(
            f"homeassistant:\n  name: test\nhttp:\n  server_host: 127.0.0.1\n  server_port: {self._port}\n"
            "api:\nlogger:\n  default: warning\n  logs:\n    homeassistant.components.mqtt: info\n"
            f"{configuration}"
        )
        self._store_entries(mqtt_port)
        self._token = _token()
        self._log = (home / "ha-test.log").open("w+")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start and wait until the API answers; seconds it took."""
        began = time.monotonic()
        command = ["sh", str(HERE / "enter.sh"), str(self._home), "hass", "-c", str(self._inside)]
        self._process = subprocess.Popen(command, stdout=self._log, stderr=self._log, start_new_session=True)
        assert eventually(self._running, START_S), self.log()[-3000:]
        return time.monotonic() - began

    def stop(self) -> None:
        """Stop gracefully, keeping its state. Harmless if not running."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        finally:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            self._process = None

    def close(self) -> None:
        self.stop()
        self._log.close()

    def states(self) -> dict[str, dict[str, Any]]:
        """Entity id -> its state object."""
        return {state["entity_id"]: state for state in self._ask("/api/states")}

    def state(self, entity: str) -> str | None:
        """State of *entity*; None if it does not exist."""
        found = self.states().get(entity)
        return None if found is None else str(found["state"])

    def attributes(self, entity: str) -> dict[str, Any]:
        return dict(self._ask(f"/api/states/{entity}")["attributes"])

    def call(self, service: str, entity: str, **data: Any) -> None:
        """Call "domain.name" on *entity*."""
        self._ask(f"/api/services/{service.replace('.', '/')}", {"entity_id": entity, **data})

    def template(self, text: str) -> str:
        """*text* rendered by its template engine."""
        return str(self._ask("/api/template", {"template": text}, plain=True))

    def log(self) -> str:
        self._log.flush()
        return Path(self._log.name).read_text()

    def registered(self) -> dict[str, str | None]:
        """Unique id -> who disabled the entity, for the whole registry (written on stop)."""
        registry = json.loads((self._config / ".storage" / "core.entity_registry").read_text())
        return {entry["unique_id"]: entry["disabled_by"] for entry in registry["data"]["entities"]}

    def _running(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()[-3000:]
        try:
            return bool(self._ask("/api/config")["state"] == "RUNNING")
        except OSError:
            return False

    def _ask(self, path: str, body: dict[str, Any] | None = None, plain: bool = False) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read().decode()
        return text if plain else json.loads(text)

    def _store_entries(self, mqtt_port: int) -> None:
        """Create an account and the MQTT integration, as onboarding does."""
        now = datetime.now(timezone.utc).isoformat()
        user = {
            "id": "u1", "group_ids": ["system-admin"], "is_owner": True, "is_active": True, "name": "test",
            "system_generated": False, "local_only": False,
        }  # fmt: skip
        token = {
            "id": "r1", "user_id": "u1", "client_id": None, "client_name": "test", "client_icon": None,
            "token_type": "long_lived_access_token", "created_at": now, "access_token_expiration": 3e8,
            "token": "a" * 128, "jwt_key": _KEY, "last_used_at": None, "last_used_ip": None,
            "expire_at": None, "credential_id": None, "version": VERSION,
        }  # fmt: skip
        groups = {"system-admin": "Administrators", "system-users": "Users", "system-read-only": "Read Only"}
        mqtt = {
            "created_at": now, "modified_at": now, "domain": "mqtt", "entry_id": "01MQTT0000000000000000000A",
            "version": 1, "minor_version": 2,
            "data": {"broker": "127.0.0.1", "port": mqtt_port, "protocol": "5"},
            "options": {"discovery": True, "discovery_prefix": "homeassistant"}, "title": "mqtt",
            "source": "user", "unique_id": None, "disabled_by": None, "discovery_keys": {}, "subentries": [],
            "pref_disable_new_entities": False, "pref_disable_polling": False,
        }  # fmt: skip
        self._store("core.config_entries", 1, 5, {"entries": [mqtt]})
        self._store("onboarding", 4, 1, {"done": ["user", "core_config", "analytics", "integration"]})
        self._store("auth", 1, 1, {
            "users": [user], "groups": [{"id": key, "name": name} for key, name in groups.items()],
            "credentials": [], "refresh_tokens": [token],
        })  # fmt: skip

    def _store(self, key: str, version: int, minor: int, data: dict[str, Any]) -> None:
        content = {"version": version, "minor_version": minor, "key": key, "data": data}
        (self._config / ".storage" / key).write_text(json.dumps(content))


def _token() -> str:
    """A JSON web token (HS256) for the account above."""
    now = int(time.time())
    parts = {"alg": "HS256", "typ": "JWT"}, {"iss": "r1", "iat": now - 10, "exp": now + 10**8}
    signed = b".".join(_base64(json.dumps(part).encode()) for part in parts)
    return (signed + b"." + _base64(hmac.digest(_KEY.encode(), signed, hashlib.sha256))).decode()


def _base64(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
