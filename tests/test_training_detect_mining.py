"""What a network adds to the labels it is trained on next: doubted heads, and what it takes for a face."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.types import Box, EdgeError
from quantize.figures.photos import Photo, read_photos
from tests.made_photos import leave_photos
from training.detect.crops import Crops, Hard
from training.detect.recipe import DetectorRecipe, read_detector_recipe

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SHIPPED = Path(__file__).resolve().parents[1] / "training" / "detect" / "shipped"
NONE = np.zeros((0, 4), np.float32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Photo]:
    """Six, two of which show nobody."""
    folder = tmp_path_factory.mktemp("photos")
    return read_photos([leave_photos(folder, 6, (200, 160), (60, 100), empty_every=3)])


def test_doubted_heads_become_faces_where_the_network_is_sure(photos: list[Photo]) -> None:
    pytest.importorskip("tensorflow")
    from training.detect.mining import mine
    from training.runs import load

    doubted = [replace(p, boxes=NONE, eyes=NONE, ignore=p.boxes) if len(p.boxes) else p for p in photos]
    nowhere = np.array([[2, 2, 30, 30]], np.float32)  # in a corner: nothing there
    doubted.append(replace(next(p for p in photos if not len(p.boxes)), ignore=nowhere))
    mined, hard = mine(doubted, load(SHIPPED / "model.keras"), 0.4)

    for before, after in zip(photos, mined, strict=False):
        assert len(after.boxes) == len(before.boxes)
        assert not len(after.ignore)
        if len(before.boxes):
            assert Box(*after.boxes[0].tolist()).iou(Box(*before.boxes[0].tolist())) > 0.6
            left, right = after.eyes[0, 0], after.eyes[0, 2]
            assert before.boxes[0, 0] < left < right < before.boxes[0, :3:2].sum()
    assert not len(mined[-1].boxes)
    assert mined[-1].ignore.tolist() == nowhere.tolist()
    assert [i for i, _ in hard.heads] == [i for i, photo in enumerate(photos) if len(photo.boxes)]
    assert all(not len(doubted[i].boxes) and not len(doubted[i].ignore) for i, _ in hard.fooling)
    # Sure of nothing, it adds nothing.
    assert not mine(doubted, load(SHIPPED / "model.keras"), 1.0)[1].heads


def test_crops_come_from_what_is_hard_as_often_as_asked(photos: list[Photo]) -> None:
    some = next(i for i, photo in enumerate(photos) if len(photo.boxes))
    hard = Hard([(some, photos[some].boxes[0])], [])
    recipe = DetectorRecipe(crops=8, batch=8, side=64, largest=60.0, mined=0.4, hard=1.0, four=0, empty=0)
    only = next(Crops([photos[some]], recipe).epoch(0))
    chosen = next(Crops(photos, recipe, hard).epoch(0))
    without = next(Crops(photos, replace(recipe, hard=0.0), hard).epoch(0))
    # Each drew from one photo alone, at sizes and places of its own.
    assert only[0].shape == chosen[0].shape == (8, 64, 64, 1)
    assert not np.array_equal(chosen[0], without[0])
    assert chosen[1][..., 1].any(1).sum() >= 6  # nearly every crop shows that face


def test_what_is_mined_needs_weights_to_mine_with(photos: list[Photo], tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    from training.detect.fit import fit

    with pytest.raises(EdgeError, match="use --start-from"):
        fit(photos, DetectorRecipe(mined=0.4), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_hard_crops_are_refused_where_nothing_is_mined(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("hard = 0.2\n")
    with pytest.raises(EdgeError, match="hard: needs mined"):
        read_detector_recipe(tmp_path / "recipe.toml")
