"""What must not be shown: secrets within texts that are."""

from __future__ import annotations

import re

SECRET = "********"

_USERINFO = re.compile(r"://\S*@")
_ARGUMENT = re.compile(r"\b((?:password|passwd|pass|pwd|user-pw|pw|token|key|secret)=)[^&\s]+", re.I)


def masked(text: str) -> str:
    """*text* without what follows ``://`` up to an ``@`` and without values of ``password=`` and the like.

    For camera addresses, which carry user names and passwords, wherever they are shown.
    """
    return _ARGUMENT.sub(rf"\1{SECRET}", _USERINFO.sub(f"://{SECRET}@", text))
