"""Import direction, read from syntax trees: nothing needs to be installed or run."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Each floor may import the ones below it, and its own. A part not listed here fails the test.
FLOORS = (
    {"__init__", "types", "labels"},
    {"host", "cli"},
    {"settings", "analysis", "sources", "mqtt"},
    {"contract"},
    {"homeassistant", "web"},
    {"node"},
    {"commands"},
    {"__main__"},
)  # fmt: skip
FLOOR_OF = {part: number for number, floor in enumerate(FLOORS) for part in floor}


def imports(path: Path) -> Iterator[str]:
    """Every module imported in the file at *path*, at any depth."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def sources(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob("*.py"))


@pytest.mark.parametrize(
    ("package", "never"),
    [
        ("edge", {"training", "quantize", "tensorflow", "keras"}),
        ("quantize", {"training"}),
    ],
)
def test_packages_depend_in_one_direction_only(package: str, never: set[str]) -> None:
    found = {
        (path.name, name)
        for path in sources(package)
        for name in imports(path)
        if name.partition(".")[0] in never
    }
    assert found == set()


@pytest.mark.parametrize("package", ["training", "quantize/figures"])
def test_training_and_quantize_figures_import_only_quantize_figures(package: str) -> None:
    found = {
        (path.name, name)
        for path in sources(package)
        for name in imports(path)
        if name.startswith("quantize") and not name.startswith("quantize.figures")
    }
    assert found == set()


FIGURES = (
    "wilson", "recalls", "calibration_error", "mcnemar", "fit_temperature", "majority", "parameters", "macs",
    "macs_of_keras", "ap", "p_text", "png",
)  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_figure_has_one_definition_in_quantize_figures(name: str) -> None:
    found = [
        path.relative_to(REPOSITORY).parent.as_posix()
        for package in ("edge", "training", "quantize")
        for path in sources(package)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    assert found == ["quantize/figures"]


def test_edge_floors_import_downwards_only() -> None:
    upwards = []
    for path in sources("edge"):
        part = path.relative_to(REPOSITORY / "edge").parts[0].removesuffix(".py")
        for name in imports(path):
            above = name.split(".")[1] if name.startswith("edge.") else ""
            if above in FLOOR_OF and FLOOR_OF[above] > FLOOR_OF[part]:
                upwards.append(f"{path.name} imports {name}")
    assert upwards == []


def test_device_dependencies_exclude_tensorflow() -> None:
    """The dependencies in pyproject.toml are the device's: nothing for training."""
    text = (REPOSITORY / "pyproject.toml").read_text()
    device = text[text.index("\ndependencies = [") : text.index("[project.optional-dependencies]")]
    assert "tensorflow" not in device
    assert "keras" not in device
