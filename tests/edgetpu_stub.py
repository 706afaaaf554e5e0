"""A stub libedgetpu that fails on demand (edgetpu_stub.c), and model files for it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edge.analysis.runtimes.chip_server import LIBRARY
from edge.settings.tables import MODEL_FILE

SOURCE = Path(__file__).with_name("edgetpu_stub.c")


class Stub:
    """The library in *folder*."""

    def __init__(self, folder: Path) -> None:
        self._mode = folder / "mode"
        self.set("load")
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("no C compiler here: the stub of libedgetpu cannot be built")
        command = [compiler, "-shared", "-fPIC", "-pthread", "-o", str(folder / LIBRARY), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True)

    def set(self, mode: str) -> None:
        """Set "load", "fail", "hang" or "abort" atomically."""
        new_path = self._mode.with_name("mode.new")
        new_path.write_text(mode)
        new_path.replace(self._mode)


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    folder = tmp_path / "lib"
    folder.mkdir()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
    return Stub(folder)


def compiled(content: bytes) -> bytes:
    """*content* with the compiler's marker appended, where a TFLite parser ignores it."""
    return content + b"edgetpu-custom-op"


def write_compiled_model(folder: Path, *, right: bool = True) -> Path:
    """The shipped model with a compiled file in its card; its golden vectors are *right* or wrong."""
    for path in MODEL_FILE.parent.glob("emotion.*"):
        shutil.copy(path, folder)
    file = folder / "emotion.edgetpu.tflite"
    file.write_bytes(compiled(MODEL_FILE.read_bytes()))
    vectors = folder / "emotion.golden.npz"
    with np.load(vectors) as archive:
        arrays = dict(archive)
    row = arrays["files"].tolist().index("emotion.tflite")
    scores = arrays["scores"][row] if right else arrays["scores"][row][:, ::-1]
    arrays["files"] = np.array([*arrays["files"], file.name])
    arrays["scores"] = np.concatenate([arrays["scores"], scores[np.newaxis]])
    arrays["tolerance"] = np.append(arrays["tolerance"], arrays["tolerance"][row])
    np.savez(vectors, **arrays)
    card = json.loads((folder / "emotion.json").read_text())
    for path in (file, vectors):
        content = path.read_bytes()
        card["files"][path.name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    (folder / "emotion.json").write_text(json.dumps(card))
    return file
