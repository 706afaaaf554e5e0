"""Detector training: photos, crops, targets, loss, and resuming a killed run."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.types import Box, EdgeError
from quantize.figures.photos import Photo, read_photos
from tests.synthetic_photos import write_photos
from training.__main__ import main as training_main
from training.detect.crops import Crops
from training.detect.recipe import DetectorRecipe, read_detector_recipe
from training.detect.targets import cells, targets

# TensorFlow's arrays predate numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NONE = np.zeros((0, 4), np.float32)
DETECT = Path(__file__).resolve().parents[1] / "training" / "detect"
SHIPPED = DETECT / "shipped"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty photos, ten without a face."""
    folder = tmp_path_factory.mktemp("photos")
    return write_photos(folder, 30, (200, 160), (40, 100), empty_every=3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("{", "labels.json: not JSON"),
        ("{}", "labels.json: expected a list of photos"),
        ('[{"size": [1, 1]}]', "photo 1: expected an object with file"),
        ('[{"file": "../a.jpg"}]', "file: expected a name without a folder"),
        ('[{"file": "a.jpg", "faces": [{"box": [1, 2, 3]}]}]', r"\(a.jpg\): box: expected four numbers"),
        ('[{"file": "a.jpg", "faces": [{"box": [1, 2, -3, 4]}]}]', "box: expected x, y, width, height"),
        ('[{"file": "a.jpg", "faces": 3}]', "faces: expected a list of objects"),
        ("[]", "no photos"),
    ],
)
def test_error_in_labels_json_gets_one_line(tmp_path: Path, labels: str, message: str) -> None:
    (tmp_path / "labels.json").write_text(labels)
    with pytest.raises(EdgeError, match=message):
        read_photos([tmp_path])


def test_folder_without_labels_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"labels.json: No such file or directory; expected a folder with"):
        read_photos([tmp_path / "nowhere"])


def test_wider_face_list_is_read_with_its_flags(tmp_path: Path) -> None:
    (tmp_path / "wider_face_split").mkdir()
    listed = tmp_path / "wider_face_split" / "wider_face_train_bbx_gt.txt"
    listed.write_text(
        "0--Parade/a.jpg\n2\n10 20 30 40 0 0 0 0 0 0\n50 60 7 8 0 0 0 0 2 0\n"
        "0--Parade/b.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
    )
    one, other = read_photos([listed])
    assert one.file == tmp_path / "WIDER_train" / "images" / "0--Parade" / "a.jpg"
    assert one.boxes.tolist() == [[10, 20, 30, 40]]
    assert one.ignore.tolist() == [[50, 60, 7, 8]]  # heavily occluded
    assert np.isnan(one.eyes).all()
    assert (len(other.boxes), len(other.ignore)) == (0, 0)
    listed.write_text("0--Parade/a.jpg\ntwo\n")
    with pytest.raises(EdgeError, match=r"bbx_gt.txt:2: 0--Parade/a.jpg: expected the number"):
        read_photos([listed])


def test_corner_boxes_are_converted_with_their_scale(tmp_path: Path) -> None:
    rows = [{"file": "a.jpg", "width": 512, "boxes": [{"xyxy": [10.0, 20.0, 40.0, 60.0]}]}]
    (tmp_path / "annotations.json").write_text(json.dumps(rows))
    (photo,) = read_photos([tmp_path])
    assert (photo.boxes.tolist(), photo.width) == ([[10, 20, 30, 40]], 512.0)


def test_one_photo_in_five_is_held_out_by_name() -> None:
    files = [Path(folder) / f"a-{i:04d}.jpg" for folder in "xy" for i in range(500)]
    held = [Photo(file, NONE, NONE, NONE).held_out for file in files]
    assert held[:500] == held[500:]
    assert 70 < sum(held[:500]) < 130


def test_face_is_assigned_to_cells_at_its_centre_and_size_level() -> None:
    grid = cells(192)
    box = np.array([[80, 90, 24, 30]], np.float32)
    eyes = np.array([[86, 100, 98, 100]], np.float32)
    assigned = targets(box, eyes, NONE, 192)
    positive = assigned[:, 1] == 1
    assert set(grid[positive, 2]) == {8.0}
    assert (np.abs(grid[positive, :2] - (92, 105)) <= 6).all()
    assert assigned[positive, 2:6].tolist() == [[92, 105, 24, 30]] * positive.sum()
    assert assigned[positive, 10].all()
    # Cells of other levels on the face are neither face nor background.
    assert not assigned[
        (grid[:, 2] == 16) & (abs(grid[:, 0] - 92) < 8) & (abs(grid[:, 1] - 105) < 8), 0
    ].any()
    far = (grid[:, 0] > 120) & (assigned[:, 1] == 0)
    assert (assigned[far, 0] == 1).all()


def test_ignored_regions_have_weight_0_and_unknown_eyes_are_marked() -> None:
    ignore = np.array([[100, 100, 60, 60]], np.float32)
    assigned = targets(
        np.array([[20, 20, 60, 60]], np.float32), np.full((1, 4), np.nan, np.float32), ignore, 192
    )
    grid = cells(192)
    inside = (abs(grid[:, 0] - 130) < 30) & (abs(grid[:, 1] - 130) < 30)
    assert not assigned[inside, 0].any()
    assert assigned[:, 1].any()
    assert not assigned[:, 10].any()
    assert np.isfinite(assigned).all()


def test_crops_depend_on_the_epoch_and_match_their_targets(photos: Path) -> None:
    recipe = DetectorRecipe(crops=64, batch=16, side=96, largest=90.0)
    crops = Crops(read_photos([photos]), recipe)
    first, again, other = (list(crops.epoch(number)) for number in (0, 0, 1))
    # Grain comes from OpenCV's generator, which fit seeds per epoch; compare boxes only.
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0][1], other[0][1])
    images, wanted = first[0]
    assert (images.shape, images.dtype) == ((16, 96, 96, 1), np.uint8)
    assert wanted.shape == (16, len(cells(96)), 11)
    sides = np.concatenate([w[w[:, 1] == 1, 4] for _, batch in ((0, b[1]) for b in first) for w in batch])
    assert len(sides) > 20
    assert sides.min() >= 9
    assert sides.max() <= 120


def test_shipped_recipe_is_valid_and_a_wrong_one_is_reported(tmp_path: Path) -> None:
    assert read_detector_recipe(DETECT / "recipes" / "cpu.toml").data
    for text, message in (
        ("side = 100", "side: 100; expected a multiple of 32"),
        ("sides = 1", "sides: unknown key; did you mean 'side'"),
        ("smallest = 60\nlargest = 40", "smallest: 60; expected less than largest"),
    ):
        path = tmp_path / "r.toml"
        path.write_text(text)
        with pytest.raises(EdgeError, match=message):
            read_detector_recipe(path)


def test_box_to_ignore_becomes_a_face_only_where_the_network_sees_one(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    from training.detect.promote import promote
    from training.runs import load

    photos = read_photos([write_photos(tmp_path, 6, (320, 240), (100, 160), empty_every=3)])
    unsure = [
        replace(photo, boxes=NONE, eyes=NONE, ignore=photo.boxes)
        if len(photo.boxes)
        else replace(photo, ignore=np.array([[40, 40, 120, 120]], np.float32))
        for photo in photos
    ]
    network = load(SHIPPED)
    found = promote(unsure, network, 0.4)
    for before, after in zip(photos, found, strict=True):
        assert len(after.boxes) == len(before.boxes)
        assert len(after.ignore) == 1
        for box, eyes, true in zip(after.boxes, after.eyes, before.boxes, strict=True):
            assert Box(*box.tolist()).iou(Box(*true.tolist())) > 0.5
            middle = true[0] + true[2] / 2
            assert true[0] < eyes[0] < middle < eyes[2] < true[0] + true[2]  # not swapped by the mirror
    known = [replace(photo, ignore=photo.boxes) for photo in photos]
    assert [len(photo.boxes) for photo in promote(known, network, 0.4)] == [len(p.boxes) for p in photos]
    assert not any(len(photo.boxes) for photo in promote(unsure, network, 1.0))


def test_resumed_run_matches_an_uninterrupted_one(photos: Path, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the detector trains on tensorflow")
    from training.detect.fit import fit
    from training.runs import load

    found = read_photos([photos])
    recipe = DetectorRecipe(epochs=2, crops=48, batch=8, side=64, largest=60.0, learning_rate=0.01)
    whole = fit(found, recipe, tmp_path / "whole")

    class StoppedError(Exception):
        pass

    def stop(*_: object) -> None:
        raise StoppedError

    from training.fit import records

    kept = records.save_checkpoint
    with pytest.MonkeyPatch.context() as patch:
        # Simulates a kill right after the first epoch's checkpoint.
        patch.setattr(records, "save_checkpoint", lambda *given: (kept(*given), stop()))
        with pytest.raises(StoppedError):
            fit(found, recipe, tmp_path / "parts")
    record = tmp_path / "parts" / "recipe.json"
    older = json.loads(record.read_text())
    del older["recipe"]["promote"]  # as written before that key
    record.write_text(json.dumps(older))
    fit(found, recipe, tmp_path / "parts", resume=True)
    weights = load(tmp_path / "parts" / "model.keras").get_weights()
    for one, other in zip(weights, whole.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert len((tmp_path / "parts" / "history.csv").read_text().splitlines()) == 3
    with pytest.raises(EdgeError, match=r"recipe \(seed\); choose another --out"):
        fit(found, replace(recipe, seed=2), tmp_path / "parts", resume=True)
    with pytest.raises(EdgeError, match=r"promotes \(promote = 0.4\); expected --start-from RUN"):
        fit(found, replace(recipe, promote=0.4), tmp_path / "other")


def test_balance_shifts_only_the_scores_named_and_records_it(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    from training.runs import load

    before = load(SHIPPED)
    pixels = np.random.default_rng(0).integers(0, 255, (1, 64, 96, 1)).astype(np.float32)
    balanced = [str(SHIPPED), "--shift", "8=-0.25", "16=0.5", "--out", str(tmp_path / "one")]
    assert training_main(["detector", "balance", *balanced]) == 0
    assert training_main(["detector", "balance", str(tmp_path / "one"), "--shift", "8=-0.25", "--out",
                          str(tmp_path / "two")]) == 0  # fmt: skip
    found, wanted = load(tmp_path / "two")(pixels), before(pixels)
    for name, values in wanted.items():
        shift = {"score_8": -0.5, "score_16": 0.5}.get(name, 0.0)
        np.testing.assert_allclose(found[name], values + shift, atol=1e-4)
    was = json.loads((SHIPPED / "recipe.json").read_text()).get("score_shifts", {})
    shifts = json.loads((tmp_path / "two" / "recipe.json").read_text())["score_shifts"]
    assert shifts["8"] - was.get("8", 0) == pytest.approx(-0.5)
    assert shifts["16"] - was.get("16", 0) == pytest.approx(0.5)


def test_detectors_runs_are_averaged_with_their_records(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    from training.runs import load

    shifted, mean = tmp_path / "shifted", tmp_path / "mean"
    assert training_main(["detector", "balance", str(SHIPPED), "--shift", "16=1", "--out", str(shifted)]) == 0
    assert training_main(["average", str(SHIPPED), str(shifted), "--out", str(mean)]) == 0
    biases = [load(run).get_layer("score_16").get_weights()[1] for run in (SHIPPED, mean)]
    np.testing.assert_allclose(biases[1] - biases[0], 0.5, atol=1e-5)
    record = json.loads((mean / "recipe.json").read_text())
    assert record["averaged_with"] == [json.loads((SHIPPED / "recipe.json").read_text())]
    assert (mean / "history.csv").read_bytes() == (SHIPPED / "history.csv").read_bytes()


@pytest.mark.parametrize("shift", ["4=-0.4", "8", "8=nan", "x=1"])
def test_shift_of_an_unknown_level_is_rejected_in_one_line(
    shift: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = str(SHIPPED)
    try:
        code = training_main(["detector", "balance", shipped, "--shift", shift, "--out", str(tmp_path / "a")])
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2 if shift != "4=-0.4" else code != 0
    assert "expected" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "a").exists()
