"""Every data set format, and one line per error."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.labels import order
from edge.types import LABELS, EdgeError
from tests.tiny_onnx import write_onnx
from training import data
from training.__main__ import main
from training.fit.batches import select
from training.recipe import Recipe

PIXELS = " ".join(str(value % 256) for value in range(48 * 48))
IMAGE = (np.arange(48 * 48) % 256).astype(np.uint8).reshape(48, 48)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_onnx(tmp_path_factory.mktemp("network") / "bright.onnx", ["n", 48, 48, 1]))


def write_csv(path: Path, *rows: str, header: str = "emotion,pixels,Usage") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def error_lines(path: Path, ferplus: Path | None = None) -> list[str]:
    with pytest.raises(EdgeError) as caught:
        data.read([path], ferplus)
    return str(caught.value).splitlines()


def test_fer2013_csv_gives_pixels_label_and_split(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "fer2013.csv", f"3,{PIXELS},Training", f"0,{PIXELS},PublicTest")
    dataset = data.read([path])
    assert dataset.labels.tolist() == [3, 0]
    assert dataset.usage.tolist() == [0, 1]
    assert dataset.images.dtype == np.uint8
    np.testing.assert_array_equal(dataset.images[0], IMAGE)


def test_icml_face_data_with_other_header_and_order_is_read(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "icml.csv", f"6,PrivateTest,{PIXELS}", header="emotion, Usage, pixels")
    dataset = data.read([path])
    assert (dataset.labels.tolist(), dataset.usage.tolist()) == ([6], [2])
    np.testing.assert_array_equal(dataset.images[0], IMAGE)


def test_votes_are_joined_by_row_even_after_a_skipped_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_csv(
        tmp_path / "f.csv", f"3,{PIXELS},Training", f"9,{PIXELS},Training", f"6,{PIXELS},Training"
    )
    votes = write_csv(
        tmp_path / "fer2013new.csv",
        "Training,a.png,0,10,0,0,0,0,0,0,0,0",
        "Training,b.png,0,0,10,0,0,0,0,0,0,0",
        "Training,c.png,7,0,0,3,0,0,0,0,0,0",
        header="Usage,Image name," + ",".join(data.VOTES),
    )
    dataset = data.read([path], votes, skip_bad=True)
    assert dataset.votes[:, :4].tolist() == [[0, 10, 0, 0], [7, 0, 0, 3]]
    assert "skipped: 1 bad row (--skip-bad)" in capsys.readouterr().err


def test_each_malformed_row_gets_one_line_with_its_place(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path / "f.csv",
        f"3,{PIXELS},Training",
        "3,1 2 3,Training",
        f"9,{PIXELS},Training",
        f"0,{PIXELS.replace('255', '256')},Training",
        f"0,{PIXELS.replace('255', 'x')},Training",
        f"0,{PIXELS},Tuesday",
        "4",
    )
    assert error_lines(path) == [
        f"{path}:3: 3 pixels; expected 2304 (48x48)",
        f"{path}:4: emotion '9'; expected a number 0 to 6",
        f"{path}:5: a pixel of 256; expected 0 to 255",
        f"{path}:6: pixels are not all whole numbers; expected 2304 from 0 to 255",
        f"{path}:7: usage 'Tuesday'; expected Training, PublicTest, PrivateTest",
        f"{path}:8: 0 pixels; expected 2304 (48x48)",
        "6 bad rows; fix them, or skip them with --skip-bad",
    ]


@pytest.mark.parametrize(
    ("row", "reported"),
    [
        ("3,1 2 3,Training", "3 pixels; expected 2304 (48x48)"),
        (f"9,{PIXELS},Training", "emotion '9'; expected a number 0 to 6"),
    ],
)
def test_bad_row_is_reported_in_one_line(tmp_path: Path, row: str, reported: str) -> None:
    path = write_csv(tmp_path / "f.csv", f"3,{PIXELS},Training", row)
    assert error_lines(path) == [f"{path}:3: {reported}; fix it, or skip it with --skip-bad"]


def test_blank_picture_is_reported_with_its_line_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    black = " ".join(["0"] * 48 * 48)
    path = write_csv(tmp_path / "f.csv", f"3,{PIXELS},Training", f"6,{black},Training", f"0,{PIXELS},")
    assert len(data.read([path])) == 3
    assert capsys.readouterr().err == (
        f"{path}: line 3: blank (a single gray value); kept, but not trained on\n"
    )


def test_blank_picture_of_a_tree_is_reported_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, picture in (("happy/a.png", IMAGE), ("sad/b.png", np.full((48, 48), 9, np.uint8))):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), picture)
    assert len(data.read([tmp_path])) == 2
    assert f"{tmp_path}: picture sad/b.png: blank (a single gray value); kept" in capsys.readouterr().err


def test_csv_without_a_required_column_is_rejected_at_its_header(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "f.csv", header="emotion,Usage")
    assert error_lines(path) == [f"{path}:1: no column 'pixels'; found emotion, usage"]


def test_too_few_votes_are_rejected(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "f.csv", f"3,{PIXELS},Training")
    votes = write_csv(tmp_path / "v.csv", header=",".join(data.VOTES))
    assert error_lines(path, votes)[0].startswith(f"{votes}: 0 rows, fewer than the 1 of {path}")


def test_votes_in_another_order_than_the_csv_are_rejected(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "f.csv", f"3,{PIXELS},Training", f"3,{PIXELS},Training")
    votes = write_csv(
        tmp_path / "v.csv",
        "Training,0,10,0,0,0,0,0,0,0,0",
        "PublicTest,0,10,0,0,0,0,0,0,0,0",
        header="Usage," + ",".join(data.VOTES),
    )
    assert error_lines(path, votes) == [
        f"{votes}:3: PublicTest, where {path} has Training; both must be complete and in original order"
    ]


@pytest.mark.parametrize("layout", [("train", "validation"), ("images/train", "images/validation")])
def test_tree_of_label_folders_in_any_spelling_is_read(tmp_path: Path, layout: tuple[str, str]) -> None:
    names = ["Anger", "disgusted", "FEAR", "happiness", "Sad", "5_surprised", "neutrality"]
    for part in layout:
        for name in names:
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            cv2.imwrite(str(folder / "a.png"), IMAGE)
    dataset = data.read([tmp_path])
    assert sorted(zip(dataset.usage.tolist(), dataset.labels.tolist(), strict=True)) == [
        (usage, label) for usage in (0, 1) for label in range(7)
    ]
    np.testing.assert_array_equal(dataset.images[0], IMAGE)


def test_numbered_folders_need_the_label_order(tmp_path: Path) -> None:
    for part in ("train", "validation"):
        for number in range(4):
            (tmp_path / part / str(number)).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / part / str(number) / "a.png"), IMAGE)
    with pytest.raises(EdgeError, match=f"^{tmp_path}/train/0: a number names no label; expected --labels"):
        data.read([tmp_path], skip_bad=True)
    assert data.read([tmp_path], order=order("sad,joy,fear,anger")).labels.tolist() == [4, 3, 2, 0] * 2
    with pytest.raises(EdgeError, match="not one of the labels"):
        data.read([tmp_path], order=order("sad,joy,contempt,anger"))
    left = data.read([tmp_path], order=order("sad,joy,contempt,anger"), skip_bad=True)
    assert left.labels.tolist() == [4, 3, 0] * 2


def test_numbers_of_csv_and_npz_follow_the_order(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "rows.csv", f"0,{PIXELS},Training", f"2,{PIXELS},PublicTest")
    archive = tmp_path / "rows.npz"
    np.savez(archive, images=np.stack([IMAGE] * 2), labels=np.array([0, 2]), usage=np.array([0, 1]))
    for path in (table, archive):
        assert data.read([path]).labels.tolist() == [0, 2]
        assert data.read([path], order=order("neutral,sad,happy")).labels.tolist() == [6, 3]
        with pytest.raises(EdgeError, match="expected"):
            data.read([path], order=order("neutral,sad,contempt,happy"))


def test_large_color_pictures_get_the_camera_crop(tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    picture = np.full((96, 96, 3), (200, 100, 50), np.uint8)
    cv2.imwrite(str(tmp_path / "happy" / "a.png"), picture)
    dataset = data.read([tmp_path])
    assert dataset.images.shape == (1, 48, 48)
    assert abs(int(dataset.images[0, 24, 24]) - 96) <= 1  # .114 * 200 + .587 * 100 + .299 * 50


def test_unreadable_picture_and_unknown_folder_get_one_line_each(tmp_path: Path) -> None:
    for name, content in (("happy/a.png", b"hello"), ("happy/b.png", b""), ("grumpy/a.png", b"x")):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
    assert error_lines(tmp_path) == [
        f"{tmp_path}/grumpy: not one of the labels {', '.join(LABELS)}",
        f"{tmp_path}/happy/a.png: not a readable image",
        f"{tmp_path}/happy/b.png: not a readable image",
        "3 files; fix them, or skip them with --skip-bad",
    ]


def test_empty_folder_and_missing_file_are_named(tmp_path: Path) -> None:
    assert error_lines(tmp_path)[0].startswith(f"{tmp_path}: empty folder")
    assert error_lines(tmp_path / "no.csv") == [f"{tmp_path}/no.csv: no such file or folder"]


def test_label_folder_without_pictures_is_named(tmp_path: Path) -> None:
    for name in ("train/happy", "train/sad"):
        (tmp_path / name).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "train/happy/a.png"), IMAGE)
    assert error_lines(tmp_path) == [
        f"{tmp_path}/train/sad: empty folder; fix it, or skip it with --skip-bad"
    ]


def test_folder_is_the_validation_split_if_there_is_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("train", "test", "validation"):
        folder = tmp_path / part / "happy"
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "a.png"), IMAGE)
    assert data.read([tmp_path]).usage.tolist() == [2, 0, 1]
    (tmp_path / "validation").rename(tmp_path.parent / "elsewhere")
    assert data.read([tmp_path]).usage.tolist() == [1, 0]
    assert capsys.readouterr().err == (
        f"{tmp_path}: test/ without validation/: its pictures count as PublicTest\n"
    )


def test_npz_is_read_as_pictures_or_second_differences(tmp_path: Path) -> None:
    images = np.stack([IMAGE, IMAGE.T])
    votes = np.eye(10, dtype=np.uint8)[:2] * 10
    np.savez(tmp_path / "arrays.npz", images=images, labels=[1, 2], usage=[0, 1], ferplus=votes)
    plain = data.read([tmp_path / "arrays.npz"])
    assert plain.usage.tolist() == [0, 1]
    assert plain.votes.tolist() == votes.tolist()

    delta = np.diff(np.diff(images, axis=2, prepend=np.uint8(0)), axis=1, prepend=np.uint8(0))
    folder = tmp_path / "packed"
    folder.mkdir()
    np.savez(folder / "training.npz", delta=delta, labels=[1, 2])
    np.savez(folder / "publictest.npz", delta=delta[:1], labels=[5])
    packed = data.read([folder])
    np.testing.assert_array_equal(packed.images, np.concatenate([images, images[:1]]))
    assert packed.usage.tolist() == [0, 0, 1]


def test_invalid_or_incomplete_npz_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"not an archive")
    assert error_lines(tmp_path / "a.npz")[0].startswith(f"{tmp_path}/a.npz: not an npz archive")
    np.savez(tmp_path / "b.npz", labels=[1])
    assert error_lines(tmp_path / "b.npz") == [f"{tmp_path}/b.npz: no array 'images'; found labels"]
    np.savez(tmp_path / "c.npz", images=IMAGE[None], labels=[1, 2])
    assert error_lines(tmp_path / "c.npz") == [f"{tmp_path}/c.npz: labels (2,); expected (1,) for 1 images"]


def votes(**of: int) -> np.ndarray:
    return np.array([[of.get(name, 0) for name in data.VOTES]], np.uint8)


@pytest.mark.parametrize(
    ("given", "label"),
    [
        (votes(happiness=10), 3),
        (votes(sadness=5, neutral=4, fear=1), 4),  # the single vote is dropped, then 5 of 9
        (votes(sadness=5, neutral=5), -1),
        (votes(contempt=8, anger=2), -1),
        (votes(NF=10), -1),
        (votes(), -1),
    ],
)
def test_majority_follows_microsofts_rule(given: np.ndarray, label: int) -> None:
    assert data.majority(given).tolist() == [label]


def test_distribution_drops_contempt_and_single_votes_and_sums_to_one() -> None:
    shares = data.distributions(votes(anger=6, sadness=2, contempt=1, fear=1))
    np.testing.assert_allclose(shares, [[0.75, 0, 0, 0, 0.25, 0, 0]])
    np.testing.assert_allclose(data.distributions(votes(fear=1, NF=9)), [[0, 0, 1, 0, 0, 0, 0]])
    assert data.distributions(votes(NF=10)).sum() == 0


@pytest.mark.parametrize(
    ("given", "firm", "raw", "microsoft"),
    [
        # anger, disgust, fear, happy, sad, surprise, neutral, as counts; None: no target
        (votes(anger=6, sadness=2, fear=1, contempt=1), "6...2..", "6.1.2..", "6...2.."),
        (votes(contempt=6, neutral=3, anger=1), "......3", "1.....3", "......3"),
        (votes(unknown=4, sadness=3, fear=2, NF=1), "..2.3..", "..2.3..", None),
        (votes(NF=5, happiness=4, unknown=1), "...4...", "...4...", None),
        (votes(happiness=4, NF=4, fear=1), "...4...", "..14...", "...4..."),  # a tie is no majority
        (votes(fear=1, surprise=1, contempt=8), "..1..1.", "..1..1.", None),
        (votes(NF=10), None, None, None),
    ],
)
def test_votes_become_targets_by_the_given_rule(
    given: np.ndarray, firm: str | None, raw: str | None, microsoft: str | None
) -> None:
    for rule, reported in (("firm", firm), ("raw", raw), ("microsoft", microsoft)):
        counts = np.array([0 if one == "." else int(one) for one in reported or "." * 7])
        wanted = counts / max(counts.sum(), 1)
        np.testing.assert_allclose(data.targets(given, rule)[0], wanted, rtol=1e-6, err_msg=rule)


def test_fer2013_has_the_published_counts(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = data.read([shared_data / "fer2013"])
    reported = capsys.readouterr().err
    assert "training.npz: rows 6458, 7629, 10423, " in reported
    assert "publictest.npz: row 1293: blank (a single gray value); kept, but not trained on" in reported
    training, public = dataset.split("Training"), dataset.split("PublicTest")
    assert (len(training), len(public)) == (28709, 3589)
    assert (data.majority(public.votes) >= 0).sum() == 3186
    assert data.recurring(public.images, training.images).sum() == 280
    assert data.blank(dataset.images).sum() == 12
    rows = {rule: len(select(dataset, Recipe(ferplus=1.0, votes=rule)).images) for rule in data.RULES}
    assert rows == {"firm": 28217, "raw": 28217, "microsoft": 28013}


GOOD = f"3,{PIXELS},PublicTest"


@pytest.mark.parametrize(
    ("row", "reported"),
    [
        ("3,1 2 3,Training", "3: 3 pixels; expected 2304 (48x48)"),
        (f"9,{PIXELS},Training", "3: emotion '9'; expected a number 0 to 6"),
        (f"3,{PIXELS},Someday", "3: usage 'Someday'; expected Training, PublicTest, PrivateTest"),
    ],
)
def test_command_stops_at_a_bad_row_without_skip_bad(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str, reported: str
) -> None:
    path = write_csv(tmp_path / "fer2013.csv", GOOD, row, GOOD)
    command = ["evaluate", model, "--data", str(path)]
    assert main(command) == 1
    assert capsys.readouterr().err == f"{path}:{reported}; fix it, or skip it with --skip-bad\n"
    assert main([*command, "--skip-bad"]) == 0
    shown = capsys.readouterr()
    assert shown.err == f"{path}:{reported}\nskipped: 1 bad row (--skip-bad)\n"
    assert "FER2013, PublicTest, n = 2" in shown.out


def test_command_reports_a_blank_picture_and_counts_it(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_csv(tmp_path / "f.csv", GOOD, f"0,{' '.join(['7'] * 48 * 48)},PublicTest")
    assert main(["evaluate", model, "--data", str(path)]) == 0
    shown = capsys.readouterr()
    assert shown.err == f"{path}: line 3: blank (a single gray value); kept, but not trained on\n"
    assert "f, PublicTest, n = 2" in shown.out


@pytest.mark.parametrize(
    ("name", "content", "reported"),
    [
        ("f.csv", b"emotion,Usage\n", "f.csv:1: no column 'pixels'; found emotion, usage"),
        ("f.csv", b"", "f.csv:1: no column 'emotion'; found nothing"),
        ("f.csv", b"emotion,pixels\n", "f.csv: no usable row"),
        ("f.csv", b"\xff\xfe", "f.csv: not UTF-8 text; expected a csv file"),
        ("t/train/happy/a.png", b"hello", "t/train/happy/a.png: not a readable image; fix it, or skip"),
        ("t/train/grumpy/a.png", b"hello", "t/train/grumpy: not one of the labels angry, disgust, fear, "),
        ("t/.keep", b"", "t: empty folder; expected train/<label>/*.png and validation/<label>/*.png"),
        ("t/a.csv", b"", "t: a.csv is not in a label's folder; pass a csv or npz itself; fix it"),
        ("f.txt", b"", "f.txt: unknown format; expected a csv, npz or a folder"),
    ],
)
def test_command_reports_unreadable_data_in_one_line(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, reported: str
) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    given = tmp_path / name.split("/")[0]
    assert main(["evaluate", model, "--data", str(given)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path}/{reported}")
