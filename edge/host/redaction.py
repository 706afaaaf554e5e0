"""Hides secrets in texts that are shown.

An allow list: of an address scheme, host, port and a path of short plain words, of a query the names.
Anything else is hidden, even where it is no secret.
"""

from __future__ import annotations

import re

from edge.host.addresses import has_scheme, taken_apart

SECRET = "********"

# What an address, or a text with one in it, is divided by: GStreamer's elements.
_ELEMENTS = re.compile(r"(\s!\s)")
_BEGINS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
# Of a path; a longer one may be a token, and what is encoded a whole query.
_SEGMENT = re.compile(r"(?!.*%(?:26|3[abdf]|40))[\w .,~+%-]{1,20}", re.IGNORECASE)
_NAME = re.compile(r"[\w.-]{1,20}")
# A word with one of these in it, as a name: "user-pw=", "access_token=", "Authorization: ".
_TELLING = "user|usr|login|pass|pwd|pw|psw|auth|bearer|token|key|secret|session|cookie|credential"
_NAMES_NEXT = r"[\w.-]{0,12}(?:pass|password|pwd|auth|token|key|secret)"  # of a path: /token/…
_SECRET_FROM = re.compile(
    rf"(?<![a-z0-9])([\w.-]{{0,30}}(?:{_TELLING})[\w.-]{{0,30}}\s*=\s*|(?:authorization|cookie|bearer)\b\s*:?\s*)\S.*",
    re.IGNORECASE | re.DOTALL,
)
# Of an address without its scheme: user:password@, and ?name=value.
_LOGIN = re.compile(r"^(?://)?[^\s/@:]+:.*@", re.DOTALL)
_QUERY = re.compile(r"\?([\w.-]+=\S*)")
_FOLDERS = re.compile(
    # From a / that begins a path to its last one: folders may have spaces in their names.
    r"""(?<![\w/.:~-])(?:~\w*|\.\.?)?/(?!dev/)(?:(?!(?:[:;,]|['")](?!/))(?:\s|$)|\s[/~]).)*/"""
)


def masked(text: str) -> str:
    """*text*, a setting or a message with one in it, without what may be a secret.

    Of an address not shown: who logs in, the query's values, segments of the path over 20 characters or with
    odd ones in it, and what ``password=``, ``/token/`` and the like announce.
    """
    if has_scheme(text):
        return _masked_address(text)
    return "".join(
        part if index % 2 else _masked_element(part) for index, part in enumerate(_ELEMENTS.split(text))
    )


def masked_path(path: str) -> str:
    """*path* (with its query), which is a part of an address."""
    return masked(f"x://x{path}").removeprefix("x://x") if path.startswith("/") else SECRET


def without_folders(text: str) -> str:
    """*text* with the names of files and not of their folders, which say who runs this and where."""
    return _FOLDERS.sub("", text)


def _masked_element(text: str) -> str:
    begins = _BEGINS.search(text)
    if begins is None:
        text = _QUERY.sub(lambda found: f"?{_masked_query(found[1])}", _LOGIN.sub(f"{SECRET}@", text))
        return _SECRET_FROM.sub(rf"\1{SECRET}", text)
    before, address, after = text[: begins.start()], text[begins.start() :], ""
    if before.strip():
        address, after = _divided(address, before)
    before = _SECRET_FROM.sub(rf"\1{SECRET}", before)
    return f"{before}{_masked_address(address)}{_masked_element(after) if after else ''}"


def _divided(text: str, before: str) -> tuple[str, str]:
    """*text*, which begins with an address within another text, as the address and what follows it."""
    quoted = re.match(rf"[^{before[-1]}]*", text) if before[-1] in "\"'" else None
    end = quoted.end() if quoted else re.match(r"[^\s\"']*", text).end()  # type: ignore[union-attr]
    if "@" in text[end:]:  # a password with a space or a quote in it
        end += text[end:].rindex("@") + 1
        end += re.match(r"[^\s\"']*", text[end:]).end()  # type: ignore[union-attr]
    return text[:end], text[end:]


def _masked_address(text: str) -> str:
    address = taken_apart(text)
    if address is None:
        return f"{text.partition('://')[0]}://{SECRET}"
    login = "" if address.userinfo is None else f"{SECRET}@"
    return f"{address.scheme}://{login}{address.host}{_masked_rest(address.rest)}"


def _masked_rest(rest: str) -> str:
    """A path with its query and fragment."""
    path, mark, query = rest.partition("?")
    path, hash_mark, _ = path.partition("#")
    shown: list[str] = []
    for segment in path.split("/"):
        name, equals, _ = segment.partition("=")
        if segment and shown and re.fullmatch(_NAMES_NEXT, shown[-1], re.IGNORECASE):
            shown.append(SECRET)
            continue
        if equals and _NAME.fullmatch(name):
            shown.append(f"{name}={SECRET}")
            if re.search(_TELLING, name, re.IGNORECASE):  # its value may have a / in it
                return "/".join(shown)
        else:
            shown.append(segment if not segment or _SEGMENT.fullmatch(segment) else SECRET)
    path = "/".join(shown) + (f"#{SECRET}" if hash_mark else "")
    return path if hash_mark or not mark else f"{path}?{_masked_query(query)}"


def _masked_query(query: str) -> str:
    shown = []
    for argument in query.split("&"):
        name, equals, _ = argument.partition("=")
        if not equals or not _NAME.fullmatch(name):
            shown.append(SECRET)
            continue
        shown.append(f"{name}={SECRET}")
        if re.search(_TELLING, name, re.IGNORECASE):  # its value may have an & in it
            break
    return "&".join(shown)
