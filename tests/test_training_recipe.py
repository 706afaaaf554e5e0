"""Recipes are parsed strictly: a misspelt key is an error."""

from pathlib import Path

import pytest

from edge.types import EdgeError
from training.recipe import Recipe, read_recipe


def read(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "r.toml"
    path.write_text(text)
    return read_recipe(path)


def test_omitted_recipe_keys_keep_their_defaults(tmp_path: Path) -> None:
    recipe = read(tmp_path, "epochs = 3\nlearning_rate = 1\n[augment]\nblur = 0.5\n")
    assert (recipe.epochs, recipe.learning_rate, recipe.augment.blur) == (3, 1, 0.5)
    assert (recipe.batch, recipe.augment.flip) == (128, 0.5)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("epoch = 3", "epoch: unknown key; did you mean 'epochs'?"),
        ("epochs = 3.5", "epochs: 3.5; expected a whole number"),
        ("epochs = true", "epochs: True; expected a whole number"),
        ("epochs = 0", "epochs: 0; expected 1 to 100000"),
        ("ferplus = 1.5", "ferplus: 1.5; expected 0 to 1"),
        ("optimizer = 'lion'", "optimizer: 'lion'; expected sgd, adam"),
        ("schedule = 1", "schedule: 1; expected cosine, plateau, constant"),
        ("keep = 'first'", "keep: 'first'; expected last, best"),
        ("votes = 'hard'", "votes: 'hard'; expected firm, raw, microsoft"),
        ("precision = 16", "precision: 16; expected float32, bfloat16"),
        ("early_stopping = -1", "early_stopping: -1; expected 0 to 10000"),
        ("[augment]\njpeg = 2", "augment.jpeg: 2; expected 0 to 1"),
        ("[augment]\nturn = 1", "augment.turn: unknown key"),
        ("augment = 1", "augment: 1; expected a table [augment]"),
        ("[[data]]\nname = 'x'", "data: expected [[data]] tables with licence, name, used_for"),
    ],
)
def test_invalid_recipe_gets_one_line(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(EdgeError) as caught:
        read(tmp_path, text)
    assert str(caught.value) == f"{tmp_path}/r.toml: {line}"


@pytest.mark.parametrize(
    ("ferplus", "judge"), [(0.0, "fer2013"), (0.4, "fer2013"), (0.5, "plus7"), (1.0, "plus7")]
)
def test_deciding_accuracy_follows_the_larger_part_of_the_target(ferplus: float, judge: str) -> None:
    assert Recipe(ferplus=ferplus).judged_by == judge


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[1].glob("training/recipes/**/*.toml")), ids=lambda p: p.stem
)
def test_every_shipped_recipe_is_valid_and_names_its_data(path: Path) -> None:
    assert "FER2013" in read_recipe(path).data[0]["name"]
