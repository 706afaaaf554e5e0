"""Files that outlast the daemon: the old or the new, never a part."""

from pathlib import Path

import pytest

from edge.host.places import write_whole


def test_a_file_is_made_with_its_folder_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "state" / "deep" / "file.json"
    write_whole(path, "old and long")
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert [file.name for file in path.parent.iterdir()] == ["file.json"]
    assert path.parent.stat().st_mode & 0o077 == 0


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_whole(path, "old")
    (tmp_path / "file.json.new").mkdir()  # as good as a disk that refuses, for root, too
    with pytest.raises(OSError, match="Is a directory"):
        write_whole(path, "new")
    assert path.read_text() == "old"
