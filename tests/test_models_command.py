import hashlib
import os
import re
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edge.__main__ import main
from edge.analysis.detectors.files import CATALOGUE, DetectorFile, models_directory
from edge.commands import models
from edge.commands.models import fetch, listed
from edge.types import EdgeError

CONTENT = bytes(range(256)) * 300
Serve = Callable[..., str]


def entry(url: str, content: bytes = CONTENT) -> DetectorFile:
    sha256 = hashlib.sha256(content).hexdigest()
    return DetectorFile("toy.onnx", sha256, len(content), url, "https://mirror.example/toy", "MIT")


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start an HTTP server that answers every request the same; returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(content: bytes = CONTENT, *, status: int = 200, announced: int | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content) if announced is None else announced))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/toy.onnx"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def fetch_error(url: str, directory: Path, content: bytes = CONTENT) -> str:
    """The error line of a fetch that must fail and leave no file."""
    with pytest.raises(EdgeError) as error:
        fetch(entry(url, content), directory)
    assert not directory.exists() or not list(directory.iterdir())
    assert "\n" not in str(error.value)
    return str(error.value)


def test_fetched_file_is_stored_world_readable(serve: Serve, tmp_path: Path) -> None:
    directory = tmp_path / "state" / "models"
    line = fetch(entry(serve()), directory)
    assert line == f"{directory}/toy.onnx: 76800 bytes, sha256 ok"
    assert (directory / "toy.onnx").read_bytes() == CONTENT
    assert stat.S_IMODE((directory / "toy.onnx").stat().st_mode) == 0o644
    assert os.listdir(directory) == ["toy.onnx"]


def test_intact_file_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "toy.onnx").write_bytes(CONTENT)
    line = fetch(entry("http://127.0.0.1:1/"), tmp_path)
    assert line == f"{tmp_path}/toy.onnx: already there, sha256 ok"


def test_damaged_file_is_replaced(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "toy.onnx").write_bytes(b"\0" + CONTENT[1:])
    fetch(entry(serve()), tmp_path)
    assert (tmp_path / "toy.onnx").read_bytes() == CONTENT


def test_wrong_hash_is_rejected_and_nothing_is_kept(serve: Serve, tmp_path: Path) -> None:
    line = fetch_error(serve(b"\0" + CONTENT[1:]), tmp_path, b"\1" + CONTENT[1:])
    assert "sha256" in line
    assert line.endswith("nothing was kept; or try --url https://mirror.example/toy")


def test_failed_fetch_keeps_the_old_file(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "toy.onnx").write_bytes(b"old")
    with pytest.raises(EdgeError, match="HTTP 503"):
        fetch(entry(serve(status=503)), tmp_path)
    assert (tmp_path / "toy.onnx").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["toy.onnx"]


def test_cut_connection_is_reported_with_bytes_received(serve: Serve, tmp_path: Path) -> None:
    line = fetch_error(serve(CONTENT[:1000], announced=76800), tmp_path)
    assert "cut after 1000 of 76800 bytes" in line


def test_oversized_file_is_not_read_to_its_end(serve: Serve, tmp_path: Path) -> None:
    assert "more than the 76800 bytes of toy.onnx" in fetch_error(serve(CONTENT * 10), tmp_path)


def test_http_error_is_reported_with_its_status(serve: Serve, tmp_path: Path) -> None:
    url = serve(b"gone", status=404)
    assert fetch_error(url, tmp_path) == f"{url}: HTTP 404 Not Found; or try --url https://mirror.example/toy"


def test_unreachable_server_is_reported(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/toy"
        assert "cannot be reached" in fetch_error(url, tmp_path)
    assert "is there a network?" in fetch_error("http://no-such-host.invalid/toy", tmp_path)


def test_silent_server_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "STALL_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert "timed out" in fetch_error(f"http://127.0.0.1:{silent.getsockname()[1]}/toy", tmp_path)


def test_invalid_address_is_reported(tmp_path: Path) -> None:
    assert "not an address" in fetch_error("yunet.onnx", tmp_path)


def test_unwritable_directory_is_named(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeError, match=r"/file/models: Not a directory; .*--directory"):
        fetch(entry(serve()), tmp_path / "file" / "models")


def test_mirror_is_checked_like_the_original(serve: Serve, tmp_path: Path) -> None:
    toy = entry("http://127.0.0.1:1/")
    with pytest.raises(EdgeError, match="sha256"):
        fetch(toy, tmp_path, serve(CONTENT[::-1]))
    fetch(toy, tmp_path, serve())
    assert (tmp_path / "toy.onnx").read_bytes() == CONTENT


def test_unknown_name_is_reported_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["models", "fetch", "ssd"])
    assert re.search(r"'ssd' \(choose from '?yunet", capsys.readouterr().err)


def test_list_shows_absent_damaged_and_present(tmp_path: Path) -> None:
    catalogue = {"toy": entry("http://127.0.0.1:1/")}
    assert listed(tmp_path, catalogue)[0].endswith("not here; `emotion-edge models fetch toy` gets it")
    (tmp_path / "toy.onnx").write_bytes(CONTENT[1:])
    assert "sha256" in listed(tmp_path, catalogue)[0]
    (tmp_path / "toy.onnx").write_bytes(CONTENT)
    assert listed(tmp_path, catalogue) == [f"toy  {tmp_path}/toy.onnx  76800 bytes, MIT: here, sha256 ok"]


def test_yunet_hash_matches_the_real_file_and_fetch_stores_it(
    serve: Serve, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = (shared_data / "models/detectors/face_detection_yunet_2023mar.onnx").read_bytes()
    assert main(["models", "fetch", "yunet", "--directory", str(tmp_path), "--url", serve(real)]) == 0
    path = tmp_path / "face_detection_yunet_2023mar.onnx"
    assert capsys.readouterr().out == f"{path}: 232589 bytes, sha256 ok\n"
    assert path.read_bytes() == real
    assert main(["models", "list", "--directory", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("here, sha256 ok\n")


def test_failed_fetch_is_one_line_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = "http://127.0.0.1:1/yunet"
    assert main(["models", "fetch", "yunet", "--directory", str(tmp_path), "--url", url]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert CATALOGUE["yunet"].mirror in error
    for url in ("http://me:hunter2@127.0.0.1:1/yunet", "http://127.0.0.1:1/yunet?sig=hunter2"):
        assert main(["models", "fetch", "yunet", "--directory", str(tmp_path), "--url", url]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "127.0.0.1:1/yunet" in error
        assert "hunter2" not in error


def test_models_directory_follows_systemd_then_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/emotion-edge:/var/lib/other")
    assert models_directory() == Path("/var/lib/emotion-edge/models")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert models_directory() == Path("/data/emotion-edge/models")
    monkeypatch.setenv("XDG_DATA_HOME", "not/absolute")
    monkeypatch.setenv("HOME", "/home/pi")
    assert models_directory() == Path("/home/pi/.local/share/emotion-edge/models")
