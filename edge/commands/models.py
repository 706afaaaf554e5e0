"""`emotion-edge models`: fetch detector files that cannot be shipped, and list them."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from edge import __version__
from edge.analysis.detectors.files import CATALOGUE, DetectorFile, models_directory, verify
from edge.cli import file_path
from edge.host.disk import write_whole
from edge.host.redaction import masked
from edge.types import EdgeError

STALL_S = 20.0  # without a byte
LIMIT_S = 300.0  # for the whole file: a server that drips bytes never stalls
CHUNK = 64 * 1024


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("models", help="fetch detector files, list those that are here")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="which files there are and whether they are here")
    fetching = actions.add_parser("fetch", help="download a file and check its sha256")
    fetching.add_argument("name", choices=sorted(CATALOGUE))
    fetching.add_argument("--url", help="download from here instead (the sha256 is checked all the same)")
    for action in (listing, fetching):
        action.add_argument(
            "--directory", type=file_path, default=None, metavar="D",
            help="where the files live (default: where the daemon looks: $STATE_DIRECTORY/models, "
            "else ~/.local/share/emotion-edge/models)",
        )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    directory: Path = args.directory or models_directory()
    if args.action == "list":
        print("\n".join(listed(directory)))
    else:
        print(fetch(CATALOGUE[args.name], directory, args.url))
    return 0


def listed(directory: Path, catalogue: Mapping[str, DetectorFile] = CATALOGUE) -> list[str]:
    """One line for each file of *catalogue*: name, whether it is in *directory*, where, size, licence."""
    lines = []
    for name, entry in catalogue.items():
        path = directory / entry.file
        state = f"not here; `emotion-edge models fetch {name}` gets it"
        if path.exists():
            try:
                verify(path, entry)
                state = "here, sha256 ok"
            except EdgeError as error:
                state = str(error)
        lines.append(f"{name}  {path}  {entry.size} bytes, {entry.licence}: {state}")
    return lines


def fetch(entry: DetectorFile, directory: Path, url: str | None = None) -> str:
    """Put *entry*'s file into *directory*, from *url* or its own, unless it is there; the line to print.

    Only the pinned content gets its name: checked in memory, written whole. EdgeError for no network, an HTTP
    error, a cut connection, another content, or a directory that cannot be written.
    """
    path = directory / entry.file
    with contextlib.suppress(EdgeError):  # missing or damaged: it is fetched
        verify(path, entry)
        return f"{path}: already there, sha256 ok"
    url = url or entry.url
    content = _download(url, entry)
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != entry.sha256:
        what = f"sha256 {sha256[:12]}…, {entry.file} has {entry.sha256[:12]}…; nothing was kept"
        raise _error(url, entry, what)
    _write(path, content)
    return f"{path}: {len(content)} bytes, sha256 ok"


def _download(url: str, entry: DetectorFile) -> bytes:
    """The bytes at *url*, as many as *entry* has at most."""
    started = time.monotonic()
    content = b""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": f"emotion-edge/{__version__}"})
        with urllib.request.urlopen(request, timeout=STALL_S) as response:
            length = response.headers.get("Content-Length", "")
            announced = int(length) if length.isdecimal() else 0
            while chunk := response.read(CHUNK):
                content += chunk
                if len(content) > entry.size:
                    what = f"more than the {entry.size} bytes of {entry.file}; nothing was kept"
                    raise _error(url, entry, what)
                if time.monotonic() - started > LIMIT_S:
                    far = f"{len(content)} of {entry.size} bytes in {LIMIT_S:.0f} s"
                    raise _error(url, entry, f"{far}; too slow, run it again")
    except urllib.error.HTTPError as error:
        error.close()
        raise _error(url, entry, f"HTTP {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        if content:
            raise _cut(url, entry, len(content), entry.size) from error
        reason = getattr(error, "reason", None) or error
        raise _error(url, entry, f"cannot be reached: {reason}; is there a network?") from error
    except ValueError as error:
        what = f"not an address: {masked(str(error))}; expected https://…"
        raise EdgeError(f"{_shown(url, entry)}: {what}") from error
    # http.client does not say so when a body read in pieces ends early.
    if len(content) < announced:
        raise _cut(url, entry, len(content), announced)
    return content


def _error(url: str, entry: DetectorFile, what: str) -> EdgeError:
    """With the mirror as the next step, unless it was tried."""
    elsewhere = "" if url == entry.mirror else f"; or try --url {entry.mirror}"
    return EdgeError(f"{_shown(url, entry)}: {what}{elsewhere}")


def _cut(url: str, entry: DetectorFile, received: int, expected: int) -> EdgeError:
    far = f"the connection was cut after {received} of {expected} bytes"
    return EdgeError(f"{_shown(url, entry)}: {far}; nothing was kept, run it again")


def _shown(url: str, entry: DetectorFile) -> str:
    """*url* for printing: one from the user may hold a token."""
    return url if url in (entry.url, entry.mirror) else masked(url)


def _write(path: Path, content: bytes) -> None:
    """*content* as *path*, whole or not at all, even across a power cut."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
        path.chmod(0o644)  # root may fetch what the daemon's user reads
    except OSError as error:
        raise EdgeError(
            f"{path.parent}: {error.strerror or error}; run it as the directory's owner, "
            "or name another with --directory and in detector.file"
        ) from error
