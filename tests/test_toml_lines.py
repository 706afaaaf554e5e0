"""Line numbers in TOML files, and errors for invalid ones."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.settings.toml_lines import MAX_BYTES, KeyPath, locate, read_toml, tomllib
from edge.types import ConfigError

AWKWARD = '''\
# comment with [table] and = in it
top = 1
"quoted key"."with.dot" = [1, [2, 3], # ] is no end here
  {x = 1, y.z = "}"},
]
[mqtt] # [other]
host = """one "quoted"
port = 3
"""""
topic = \'\'\'
[not.a.table]\'\'\'
when = 1979-05-27 07:32:00.5
[[camera]]
name = 'a = [[camera]]'
[[camera]]
name = "b\\"] #"
[camera.sub.table]
fps = 1.5e3
[[camera.many]]
[[camera.many]]
k = {}
[ spaced . "header" ]
'''


def leaves(value: object, key: KeyPath = ()) -> Iterator[KeyPath]:
    yield key
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*key, name))
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*key, index))


def inside_a_value(key: KeyPath) -> bool:
    """Whether *key* is inside a value of AWKWARD, which only has a line as a whole."""
    return key[:2] == ("quoted key", "with.dot") and len(key) > 2


def write(folder: Path, content: bytes) -> Path:
    path = folder / "x.toml"
    path.write_bytes(content)
    return path


def test_every_key_of_an_awkward_file_has_a_line() -> None:
    keys = {key for key in leaves(tomllib.loads(AWKWARD)) if key and not inside_a_value(key)}
    assert set(locate(AWKWARD)) == keys


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("top",), 2),
        (("quoted key", "with.dot"), 3),
        (("mqtt",), 6),
        (("mqtt", "host"), 7),
        (("mqtt", "topic"), 10),
        (("mqtt", "when"), 12),
        (("camera",), 13),
        (("camera", 0, "name"), 14),
        (("camera", 1), 15),
        (("camera", 1, "name"), 16),
        (("camera", 1, "sub", "table", "fps"), 18),
        (("camera", 1, "many", 1, "k"), 21),
        (("spaced", "header"), 22),
    ],
)
def test_key_line_is_the_one_it_starts_on(key: KeyPath, line: int) -> None:
    assert locate(AWKWARD)[key] == line


def test_key_without_a_line_gets_that_of_its_table(tmp_path: Path) -> None:
    file = read_toml(write(tmp_path, b"\n[[camera]]\nname = 'a'\n"))
    assert file.place(("camera", 0, "width")) == f"{tmp_path}/x.toml:2"
    assert file.place(("log",)) == f"{tmp_path}/x.toml"
    file = read_toml(write(tmp_path, b"\ncamera = [\n  {fps = 1},\n]\n"))
    assert file.place(("camera", 0, "fps")) == f"{tmp_path}/x.toml:2"


@pytest.mark.quiet_clock
def test_large_file_takes_seconds(tmp_path: Path) -> None:
    lines = [b"k%d = [1, # ]" % number + b"\n]\n" for number in range(40_000)]
    began = time.monotonic()
    assert read_toml(write(tmp_path, b"".join(lines))).place(("k39999",)).endswith(":79999")
    assert time.monotonic() - began < 20


def test_crlf_and_byte_order_mark_are_accepted(tmp_path: Path) -> None:
    file = read_toml(write(tmp_path, b"\xef\xbb\xbf[mqtt]\r\nhost = 'a'\r\n"))
    assert file.data == {"mqtt": {"host": "a"}}
    assert file.lines == {("mqtt",): 1, ("mqtt", "host"): 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = 1\nb = yes\n", ":2: not TOML: invalid value; a text needs quotes"),
        (b"a = 1\n\nb 1\n", ":3: not TOML: expected '=' after a key in a key/value pair"),
        (b'a = "x', ":1: not TOML: unterminated string"),
        (b"[mqtt]\nport = 1\nport = 2\n", ":3: port: was given before; keep one of the two"),
        (b"[mqtt]\n[log]\n[mqtt]\n", ":3: table [mqtt] was given before; put its keys together"),
        (b"a = 1\nb = '\xff'\n", ":2: found the byte 0xff; save the file as UTF-8"),
        ("[mqtt]".encode("utf-16"), ":1: found the byte 0xff; save the file as UTF-8"),
        (b"a = " + b"9" * 5000, ":1: a number with too many digits"),
        (b"a = " + b"[" * 5000, ": tables or arrays within one another, more than 8 deep"),
        (
            b".".join([b"a"] * 2000) + b" = 1",
            ": tables or arrays within one another, more than 8 deep",
        ),
        (b"#" * (MAX_BYTES + 1), ": larger than 1 MiB; name a configuration file"),
        (b"\x00", ":1: not TOML: invalid statement"),
    ],
)
def test_invalid_toml_is_reported_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_toml(write(tmp_path, content))
    assert str(caught.value) == f"{tmp_path}/x.toml{message}"


def test_missing_file_folder_and_endless_device_are_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: no such file or directory; name a readable"):
        read_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r": is a directory; name a readable TOML file$"):
        read_toml(tmp_path)
    with pytest.raises(ConfigError, match=r"^/dev/zero: larger than 1 MiB"):
        read_toml(Path("/dev/zero"))
    with pytest.raises(ConfigError, match="null byte"):
        read_toml(Path("a\0b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = 1\nb = “c”\n", ':2: found the quote “, which TOML does not know; write "'),
        ("[‘b’]\n", ":1: found the quote ‘, which TOML does not know; write '"),
        ("b = „c“\n", ':1: found the quote „, which TOML does not know; write "'),
        ('b = "c”\nd = 1\n', ':1: found the quote ”, which TOML does not know; write "'),
        ('b = "“c”" d\n', ":1: not TOML: expected newline or end of document after a statement"),
        ("b = c # “d”\n", ":1: not TOML: invalid value; a text needs quotes"),
        ("a = 1\nb\u00a0= 'c'\n", ":2: found the invisible character U+00A0; write a space, or nothing"),
        ("b = 'c'\u200b\n", ":1: found the invisible character U+200B; write a space, or nothing"),
        ("b = True\n", ":1: found True; write true"),
        ("b = FALSE # so\n", ":1: found FALSE; write false"),
        ("b = 0,5\n", ":1: found 0,5; write a point, as in 0.5"),
        ("[t]\nb: 'c'\n", ":2: found :; write ="),
        ('b = "C:\\Users"\n', ":1: found a \\ in a text; put the text in single quotes, or write \\\\"),
        (
            'b = "C:\\films"\nc = "\\d"\n',
            ":2: found a \\ in a text; put the text in single quotes, or write \\\\",
        ),
    ],
)
def test_syntax_of_other_formats_and_word_processors_is_named(
    text: str, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path, text.encode())
    with pytest.raises(ConfigError) as caught:
        read_toml(path)
    assert str(caught.value) == f"{path}{message}"


def test_typographic_quotes_inside_a_string_are_kept(tmp_path: Path) -> None:
    assert read_toml(write(tmp_path, 'b = "“c”"\n'.encode())).data == {"b": "“c”"}
