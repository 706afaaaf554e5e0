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
    """Add `models list` and `models fetch` to the command line."""
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
    """`models list` or `models fetch`; 0, EdgeError in one line when a file cannot be had."""
    directory: Path = args.directory or models_directory()
    if args.action == "list":
        print("\n".join(listed(directory)))
    else:
        print(fetch(args.name, directory, args.url))
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


def fetch(
    name: str, directory: Path, url: str | None = None, catalogue: Mapping[str, DetectorFile] = CATALOGUE
) -> str:
    """Put file *name* of *catalogue* into *directory*, from *url* or its own; the line to print.

    The file's name never holds anything but the pinned content: it is checked in memory, written whole and
    renamed. A file that is there and right is not fetched again.
    EdgeError for an unknown name, no network, an HTTP error, a cut connection, another content, or a
    directory that cannot be written.
    """
    entry = catalogue.get(name)
    if entry is None:
        raise EdgeError(f"models: {name!r} is not known; expected {', '.join(sorted(catalogue))}")
    path = directory / entry.file
    with contextlib.suppress(EdgeError):  # missing or damaged: it is fetched
        verify(path, entry)
        return f"{path}: already there, sha256 ok"
    content = _download(url or entry.url, entry)
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != entry.sha256:
        raise EdgeError(
            f"{_shown(url or entry.url, entry)}: sha256 {sha256[:12]}…, "
            f"{entry.file} has {entry.sha256[:12]}…; nothing was kept{_elsewhere(url, entry)}"
        )
    _write(path, content)
    return f"{path}: {len(content)} bytes, sha256 ok"


def _download(url: str, entry: DetectorFile) -> bytes:
    """The bytes at *url*, at most one more than *entry* has."""
    elsewhere, shown = _elsewhere(url, entry), _shown(url, entry)
    started = time.monotonic()
    content = b""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": f"emotion-edge/{__version__}"})
        with urllib.request.urlopen(request, timeout=STALL_S) as response:
            length = response.headers.get("Content-Length", "")
            announced = int(length) if length.isdecimal() else None
            while chunk := response.read(CHUNK):
                content += chunk
                if len(content) > entry.size:
                    raise EdgeError(
                        f"{shown}: more than the {entry.size} bytes of {entry.file}; "
                        f"nothing was kept{elsewhere}"
                    )
                if time.monotonic() - started > LIMIT_S:
                    raise EdgeError(
                        f"{shown}: {len(content)} of {entry.size} bytes in {LIMIT_S:.0f} s; "
                        f"too slow, run it again{elsewhere}"
                    )
    except urllib.error.HTTPError as error:
        error.close()
        raise EdgeError(f"{shown}: HTTP {error.code} {error.reason}{elsewhere}") from error
    except (OSError, http.client.HTTPException) as error:
        if content:
            raise _cut(shown, len(content), entry.size) from error
        reason = getattr(error, "reason", None) or error
        raise EdgeError(f"{shown}: cannot be reached: {reason}; is there a network?{elsewhere}") from error
    except ValueError as error:
        raise EdgeError(f"{shown}: not an address: {masked(str(error))}; expected https://…") from error
    # http.client does not say so when a body read in pieces ends early.
    if announced is not None and len(content) < announced:
        raise _cut(shown, len(content), announced)
    return content


def _cut(url: str, received: int, expected: int) -> EdgeError:
    return EdgeError(
        f"{url}: the connection was cut after {received} of {expected} bytes; nothing was kept, run it again"
    )


def _shown(url: str, entry: DetectorFile) -> str:
    """*url* for printing: one from the user may hold a token."""
    return url if url in (entry.url, entry.mirror) else masked(url)


def _elsewhere(url: str | None, entry: DetectorFile) -> str:
    """The end of an error: the mirror, unless it was tried."""
    return "" if url == entry.mirror else f"; or try --url {entry.mirror}"


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
