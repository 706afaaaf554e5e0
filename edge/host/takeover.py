"""Moves state that earlier versions kept in one file for all nodes of a user into a file for each node.

Those versions wrote ``switches.json`` and ``discovery.json`` ({"v": 1, "nodes": {NODE: content}}) and
``outbox.sqlite3``; see places.py for the names since.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from edge.host.disk import READ_S, write_whole
from edge.host.places import state_directory, state_file

log = logging.getLogger(__name__)

CONTENT = {"switches.json": "cameras", "discovery.json": "topics"}  # its key in a node's own file
OUTBOX = "outbox.sqlite3"


def take_over(node: str, within_s: float = READ_S) -> None:
    """Give *node* the state that an earlier version left, where it has none of its own; never raises.

    What cannot be taken over *within_s*, or may be another node's, stays where it is, with a warning.
    """
    thread = threading.Thread(target=_take_all, args=(node,), name="take over", daemon=True)
    thread.start()
    thread.join(within_s)
    if thread.is_alive():
        log.warning("%s: disk does not answer; an earlier version's state is left there", state_directory())


def _take_all(node: str) -> None:
    for name, key in CONTENT.items():
        _take(name, node, partial(_take_json, node=node, key=key))
    _take(OUTBOX, node, partial(_take_outbox, node=node))


def _take(name: str, node: str, move: Callable[[Path, Path], bool]) -> None:
    shared, own = state_directory() / name, state_file(name, node)
    try:
        if shared.exists() and not own.exists() and move(shared, own):
            log.info("%s: taken over from %s", own, shared.name)
    except (OSError, ValueError, RecursionError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        log.warning("%s: not taken over, left there: %s", shared, str(reason).lower())


def _take_json(shared: Path, own: Path, node: str, key: str) -> bool:
    """Whether *shared* held anything of *node*'s, which is then in *own*; it goes with its last node."""
    match json.loads(shared.read_bytes()):
        case {"v": 1, "nodes": dict() as nodes}:
            if node in nodes:
                write_whole(own, json.dumps({"v": 2, key: nodes[node]}))
            if not nodes.keys() - {node}:
                shared.unlink()
            return node in nodes
    raise ValueError("unknown version")


def _take_outbox(shared: Path, own: Path, node: str) -> bool:
    """Rename *shared* to *own*; ValueError where a message in it is another node's."""
    with closing(sqlite3.connect(shared, 0.5, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # refused while another daemon has it
        connection.execute("PRAGMA journal_mode = DELETE")  # merges what a crash left in the -wal
        topics = [topic for (topic,) in connection.execute("SELECT DISTINCT topic FROM messages")]
    if not all(f"/{node}/" in topic for topic in topics):
        raise ValueError("it holds another node's messages")
    os.rename(shared, own)
    return True
