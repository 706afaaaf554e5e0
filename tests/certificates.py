"""Real certificates made by openssl: an authority and the certificates it signs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


class Authority:
    """A certificate authority in *folder*; files are PEM."""

    def __init__(self, folder: Path, name: str) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed: apt-get install openssl")
        self._folder = folder
        self.certificate = folder / f"{name}.crt"
        self._key = folder / f"{name}.key"
        openssl(
            folder, "req", "-x509", *_new_key(self._key), "-days", "2", "-subj", f"/CN={name}",
            "-out", self.certificate,
        )  # fmt: skip

    def sign(self, name: str, *, days: int = 2, address: str = "IP:127.0.0.1") -> tuple[Path, Path]:
        """(certificate, key) for *address*; with *days* -1 it expired yesterday."""
        request, certificate, key = (self._folder / f"{name}.{kind}" for kind in ("csr", "crt", "key"))
        names = self._folder / f"{name}.txt"
        names.write_text(f"subjectAltName={address}")
        openssl(self._folder, "req", *_new_key(key), "-subj", f"/CN={name}", "-out", request)
        openssl(
            self._folder, "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key,
            "-CAcreateserial", "-extfile", names, "-days", str(days), "-out", certificate,
        )  # fmt: skip
        return certificate, key


def openssl(folder: Path, *arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], cwd=folder, check=True, capture_output=True)


def _new_key(file: Path) -> tuple[str | Path, ...]:
    """Arguments for a new elliptic curve key, which takes milliseconds."""
    return "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", file
