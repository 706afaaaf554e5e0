"""Access control of the page, over real sockets."""

from __future__ import annotations

import socket
import ssl
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.broker import Mosquitto, broker, eventually, free_port, subscriber  # noqa: F401
from tests.certificates import Authority
from tests.page import WebDaemon, read_all, shared_web, web  # noqa: F401
from tests.process import REPOSITORY, Process, environment
from tests.test_end_to_end import configuration

GET = "GET / HTTP/1.1\r\nHost: localhost\r\n"


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def send(web: WebDaemon, text: str) -> bytes:
    """The start of the response to *text*, up to its headers; empty if there is none."""
    with web.connect() as connection:
        connection.sendall(text.encode("latin-1"))
        found = b""
        while b"\r\n\r\n" not in found and (piece := connection.recv(65536)):
            found += piece
        return found


def test_without_the_token_only_the_form_is_served(shared_web: WebDaemon) -> None:
    status, text, headers = shared_web.request("GET", "/", authorization="")
    assert (status, "Token" in text, headers["Cache-Control"]) == (401, True, "no-store")
    for path in ("/events", "/timelines", "/settings", "/metrics", "/preview/hall", "/page.js", "/nothing"):
        status, text, _ = shared_web.request("GET", path, authorization="")
        assert (status, text) == (401, "no token, or a wrong one; see `emotion-edge web token`\n")
    for given in ("Bearer wrong", f"Basic {shared_web.token}", f"Bearer {shared_web.token}x", "Bearer "):
        assert shared_web.request("GET", "/metrics", authorization=given)[0] == 401
    assert shared_web.request("GET", "/metrics")[0] == 200
    assert shared_web.request_as_page("POST", "/switch", {"camera": "hall"}, authorization="")[0] == 401


def test_form_sets_a_cookie_hidden_from_scripts_and_other_sites(shared_web: WebDaemon) -> None:
    origin = shared_web.url.rstrip("/")
    form = f"token={shared_web.token}".encode()
    status, _, headers = shared_web.request("POST", "/login", form, authorization="", origin=origin)
    cookie = headers["Set-Cookie"]
    assert status == 303
    assert shared_web.token not in cookie
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    pair = cookie.partition(";")[0]
    assert shared_web.request("GET", "/settings", authorization="", cookie=pair)[0] == 200
    assert shared_web.request("GET", "/settings", authorization="", cookie=f"{pair}0")[0] == 401
    assert shared_web.request("GET", "/settings", authorization="", cookie='emotion-edge-pi=; a="')[0] == 401
    assert shared_web.request("POST", "/login", b"token=guess", authorization="", origin=origin)[0] == 403


def test_wrong_tokens_are_rate_limited(web: WebDaemon) -> None:
    origin = web.url.rstrip("/")
    answers = [
        web.request("POST", "/login", f"token={guess}".encode(), authorization="", origin=origin)[0]
        for guess in range(30)
    ]
    assert answers[0] == 403
    assert 429 in answers
    assert web.request("GET", "/metrics")[0] == 200  # a valid token still works


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8321", "", "localhost.evil.example", "a b"])
def test_foreign_host_is_refused(shared_web: WebDaemon, host: str) -> None:
    answer = send(
        shared_web, f"GET / HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {shared_web.token}\r\n\r\n"
    )
    assert status_of(answer) in (400, 421)
    assert shared_web.token.encode() not in answer


def test_own_names_are_accepted_as_host(tmp_path: Path, broker: Mosquitto) -> None:
    web = WebDaemon(tmp_path, broker, 'hosts = ["kitchen-pi.local"]\nurl = "https://emotion.example.org"')
    try:
        for host in (
            "localhost",
            "127.0.0.1",
            "Kitchen-Pi.local",
            "emotion.example.org",
            f"localhost:{web.port}",
        ):
            assert web.request("GET", "/metrics", host=host)[0] == 200, host
        assert web.request("GET", "/metrics", host="other.example.org")[0] == 421
    finally:
        web.close()


def test_foreign_page_can_neither_read_nor_change(shared_web: WebDaemon) -> None:
    switch = {"camera": "hall", "switch": "enabled", "value": "OFF"}
    refused: tuple[dict[str, str], ...] = (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": shared_web.url.rstrip("/"), "sec_fetch_site": "cross-site"},
        {},
    )
    for headers in refused:
        status, text, _ = shared_web.request("POST", "/switch", switch, **headers)
        assert (status, text.count("\n")) == (403, 1), headers
    assert shared_web.request("GET", "/metrics", origin="http://evil.example")[0] == 403
    assert shared_web.request("POST", "/switch", switch, sec_fetch_site="same-origin")[0] == 202
    assert shared_web.request_as_page("POST", "/switch", switch)[0] == 202


@pytest.mark.parametrize(
    "path",
    ["/../config.toml", "/static/../../tables.py", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/page.html",
     "/login.html", "/preview/..%2f..%2fetc%2fpasswd", "/preview/nobody", "/page.js%00.html", "/PAGE.JS"],
)  # fmt: skip
def test_no_path_leads_to_a_file(shared_web: WebDaemon, path: str) -> None:
    headers = f"Host: localhost\r\nAuthorization: Bearer {shared_web.token}\r\nConnection: close"
    answer = send(shared_web, f"GET {path} HTTP/1.1\r\n{headers}\r\n\r\n")
    assert status_of(answer) in (404, 204)
    assert b"root:" not in answer
    assert b"Traceback" not in answer


def test_unsupported_methods_are_refused(shared_web: WebDaemon) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert shared_web.request_as_page(method, "/settings")[0] == 405
    assert shared_web.request_as_page("GET", "/switch")[0] == 405
    assert shared_web.request_as_page("POST", "/metrics", {})[0] == 405


def test_oversized_requests_are_refused(shared_web: WebDaemon) -> None:
    bearer = f"Authorization: Bearer {shared_web.token}\r\nOrigin: http://localhost\r\n"
    assert status_of(send(shared_web, f"{GET}X: {'a' * 70000}\r\n\r\n")) in (400, 431)
    assert status_of(send(shared_web, GET.replace("GET /", f"GET /?{'a' * 2000}", 1) + "\r\n")) == 414
    post = f"POST /switch HTTP/1.1\r\nHost: localhost\r\n{bearer}"
    assert status_of(send(shared_web, f"{post}Content-Length: 5000\r\n\r\n{'a' * 5000}")) == 413
    assert status_of(send(shared_web, f"{post}Content-Length: 99999999999999999999\r\n\r\n")) == 413
    chunks = "".join(f"3e8\r\n{'a' * 1000}\r\n" for _ in range(6))
    assert status_of(send(shared_web, f"{post}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")) == 400
    assert shared_web.request_as_page("POST", "/switch", b"[" * 4000)[0] == 400
    assert shared_web.request("GET", "/metrics")[0] == 200


def test_invalid_changes_are_refused_in_one_line(shared_web: WebDaemon) -> None:
    for body, why in (
        (b"{", "not JSON"),
        ([], "not a JSON object"),
        ({"camera": "attic", "switch": "hold", "value": "1"}, "no camera 'attic'"),
        ({"camera": "hall", "switch": "power", "value": "1"}, "switch: expected"),
        ({"camera": "hall", "switch": "hold", "value": 1}, "expected the texts"),
        ({"camera": "hall", "switch": "hold", "value": "-1"}, "expected a plain number"),
        ({"camera": ["hall"], "switch": "hold", "value": "1"}, "expected the texts"),
        ({"camera": "hall", "switch": "hold", "value": "\ud800"}, "expected a plain number"),
    ):
        time.sleep(0.25)  # stay below the rate limit
        status, text = shared_web.request_as_page("POST", "/switch", body)
        assert (status, text.count("\n"), why in text) == (400, 1, True), text


def test_slow_requests_are_disconnected(shared_web: WebDaemon) -> None:
    """Headers, a second request's headers and a body, each sent byte by byte."""
    bearer = f"Authorization: Bearer {shared_web.token}\r\nOrigin: http://localhost\r\n"
    begun = {
        "headers": GET,
        "second": f"GET /metrics HTTP/1.1\r\nHost: localhost\r\n{bearer}\r\nGET / HTTP/1.1\r\nX-A: ",
        "body": f"POST /switch HTTP/1.1\r\nHost: localhost\r\n{bearer}Content-Length: 1000\r\n\r\n",
        "nothing": "",
        "refused body": "POST /switch HTTP/1.1\r\nHost: evil\r\nContent-Length: 1000\r\n\r\n",
    }
    connections = {name: shared_web.connect() for name in begun}
    for name, connection in connections.items():
        connection.sendall(begun[name].encode())
        connection.setblocking(False)
    open_ones = dict(connections)

    def send_and_check() -> bool:
        time.sleep(0.2)
        for name, connection in list(open_ones.items()):
            try:
                if name != "nothing":
                    connection.send(b"a")
                if connection.recv(65536) == b"":
                    del open_ones[name]
            except BlockingIOError:
                pass
            except ConnectionError:
                del open_ones[name]
        return not open_ones

    assert eventually(send_and_check, 40), open_ones.keys()
    for connection in connections.values():
        connection.close()


def test_two_hundred_connections_do_not_block_others_for_long(web: WebDaemon, broker: Mosquitto) -> None:
    descriptors = Path(f"/proc/{web.daemon.process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    with subscriber(broker.port) as client:
        crowd = [web.connect() for _ in range(200)]
        assert eventually(lambda: len(list(descriptors.iterdir())) - before <= 70)
        seen = len(client.payloads("emotion-edge/pi/hall/faces"))
        assert eventually(lambda: len(client.payloads("emotion-edge/pi/hall/faces")) > seen + 2)
        assert eventually(lambda: responds(web), 40)  # although none of the connections was closed
        for connection in crowd:
            connection.close()
    assert "more than 64 connections" in web.daemon.log_so_far()


def responds(web: WebDaemon) -> bool:
    try:
        return web.request("GET", "/metrics")[0] == 200
    except OSError:
        return False


def test_ten_viewers_that_read_nothing_do_not_slow_the_analysis(shared_web: WebDaemon) -> None:
    def frames() -> float:
        text = shared_web.request("GET", "/metrics")[1]
        (line,) = [line for line in text.splitlines() if line.startswith("emotion_edge_frames_total")]
        return float(line.rpartition(" ")[2])

    def rate() -> float:
        first, began = frames(), time.monotonic()
        time.sleep(4)
        return (frames() - first) / (time.monotonic() - began)

    assert eventually(lambda: frames() > 10)
    quiet = rate()
    viewers = []
    for _ in range(10):
        connection = shared_web.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        bearer = f"Authorization: Bearer {shared_web.token}"
        connection.sendall(f"GET /events HTTP/1.1\r\nHost: localhost\r\n{bearer}\r\n\r\n".encode())
        viewers.append(connection)
    assert rate() >= 0.7 * quiet
    for connection in viewers:
        connection.close()


def test_every_response_has_the_security_headers(shared_web: WebDaemon) -> None:
    for path, authorization in (
        ("/", ""),
        ("/", None),
        ("/metrics", ""),
        ("/nothing", None),
        ("/page.js", None),
    ):
        more = {} if authorization is None else {"authorization": authorization}
        headers = shared_web.request("GET", path, **more)[2]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["X-Content-Type-Options"], headers["Cross-Origin-Resource-Policy"]) == (
            "nosniff", "same-origin",
        )  # fmt: skip
        assert "Server" not in headers


def test_settings_are_shown_without_secrets(shared_web: WebDaemon) -> None:
    text = shared_web.request("GET", "/settings")[1]
    assert 'password = "********"' in text
    for path in ("/settings", "/metrics", "/timelines", "/"):
        body = shared_web.request("GET", path)[1]
        assert "hush-hush" not in body
        assert shared_web.token not in body
    assert shared_web.token not in shared_web.daemon.log_so_far()


def test_token_is_private_to_its_owner_and_can_be_rotated(web: WebDaemon, tmp_path: Path) -> None:
    path = web.state / "web_token-pi"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def token(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edge", "web", "token", "--config", str(web.daemon.config), *more],
            capture_output=True, text=True, cwd=REPOSITORY,
            env={**environment(), "STATE_DIRECTORY": str(web.state)},
        )  # fmt: skip

    before = web.token
    assert token().stdout.strip() == before
    assert token("--new").stdout.strip() == web.token != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert web.request("GET", "/metrics", authorization=f"Bearer {before}")[0] == 401
    assert web.request("GET", "/metrics")[0] == 200
    path.unlink()
    assert token().returncode == 1
    assert "no token yet" in token().stderr
    assert web.request("GET", "/metrics", authorization=f"Bearer {before}")[0] == 401


def test_unix_socket_needs_no_token_and_is_closed_to_others(tmp_path: Path, broker: Mosquitto) -> None:
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:  # by a killed daemon
        left_behind.bind(str(path))
    web = WebDaemon(tmp_path, broker, listen=f"unix:{path}")

    def request(host: str) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(f"GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return read_all(connection)

    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert eventually(lambda: status_of(request("localhost")) == 200)
        assert status_of(request("evil.example")) == 421
        assert not (web.state / "web_token-pi").exists()
        assert web.daemon.stop()[0] == 0
        assert not path.exists()
    finally:
        web.close()


def test_tls_is_served_and_a_hung_handshake_disconnected(tmp_path: Path, broker: Mosquitto) -> None:
    authority = Authority(tmp_path, "web")
    certificate, key = authority.sign("page")
    web = WebDaemon(tmp_path, broker, f'cert_file = "{certificate}"\nkey_file = "{key}"')
    try:
        with web.connect() as silent:
            context = ssl.create_default_context(cafile=str(authority.certificate))
            with context.wrap_socket(web.connect(), server_hostname="127.0.0.1") as connection:
                connection.sendall(f"{GET}Connection: close\r\n\r\n".encode())
                assert status_of(read_all(connection)) == 401
            silent.settimeout(30)
            assert read_all(silent) == b""
        assert "unencrypted" not in web.daemon.log_so_far()
    finally:
        web.close()


def test_plaintext_off_loopback_is_warned_of(tmp_path: Path, broker: Mosquitto) -> None:
    port = free_port()
    web = WebDaemon(tmp_path, broker, listen=f"0.0.0.0:{port}")
    try:
        assert f"web 0.0.0.0:{port}: the token crosses the network unencrypted" in web.daemon.log_so_far()
        with socket.create_connection(
            ("127.0.0.2", port)
        ) as connection:  # the address itself is accepted as host
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.2\r\nConnection: close\r\n\r\n")
            assert status_of(read_all(connection)) == 401
    finally:
        web.close()


def test_port_in_use_disables_only_the_page(tmp_path: Path, broker: Mosquitto) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken, subscriber(broker.port) as client:
        port = taken.getsockname()[1]
        web = f'[web]\nenabled = true\nlisten = "127.0.0.1:{port}"\n'
        daemon = Process(tmp_path, configuration(broker.port, 'name = "hall"\nsource = "portraits"\n') + web)
        assert eventually(lambda: client.payloads("emotion-edge/pi/hall/event"))
        assert daemon.stop()[0] == 0
        assert f"web 127.0.0.1:{port}: address already in use; change web.listen" in daemon.log
