"""A network with its own labels, smile and no_smile: from picture folders to Home Assistant entities."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from edge.__main__ import main as emotion_edge
from edge.contract import schemas
from edge.sources.portraits import FILE, Portraits
from edge.types import LABELS
from quantize.__main__ import main as quantize
from tests.broker import Mosquitto, broker, eventually, subscriber  # noqa: F401
from tests.contract import breach, breaches
from tests.home_assistant_rules import entities
from tests.process import Start, start  # noqa: F401
from training.__main__ import main as train

# Keras 3.15 on TensorFlow copies variables in a way that numpy 2 warns of.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.timeout(600),  # seconds on an idle core; a loaded machine shares it
]

NAMES = ("no_smile", "smile")  # as a folder lists them
RECIPE = """
epochs = 6
batch = 20
learning_rate = 0.05
ferplus = 0.0
ema = 0.0
[augment]
blur = 0.0
erase = 0.0
"""


def write_faces(tree: Path, split: str, first: int, count: int) -> None:
    """Write *count* face crops per label, cut from the portraits source."""
    camera = Portraits(fps=1.0, faces=3, paced=False)
    left = dict.fromkeys(NAMES, count)
    for name in NAMES:
        (tree / split / name).mkdir(parents=True)
    number = first
    while any(left.values()):
        image, shown = camera.render(number)
        for face in shown:
            name = "smile" if face.label == "happy" else "no_smile"
            if face.weight == 1 and left[name]:
                left[name] -= 1
                x, y, width, height = map(round, face.box)
                cut = image[y : y + height, x : x + width]
                cv2.imwrite(str(tree / split / name / f"{number}-{x}.png"), cut)
        number += 1


class Artifacts(NamedTuple):
    tree: Path  # folders of pictures
    run: Path
    out: Path  # the device's files


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Trained and quantized as a user would, by the commands."""
    place = tmp_path_factory.mktemp("own")
    tree, run, out = place / "pictures", place / "run", place / "out"
    write_faces(tree, "train", 0, 100)
    write_faces(tree, "validation", 5000, 50)
    (place / "recipe.toml").write_text(RECIPE)
    given = ["--data", str(tree), "--own-labels", "--threads", "1"]
    recipe = ["--recipe", str(place / "recipe.toml")]
    assert train(["fit", "--model", "edge-xs", *recipe, *given, "--out", str(run)]) == 0
    given = ["--data", str(run / "calibration.npz"), "--out", str(out), "--calibrate", "100", "--no-report"]
    assert quantize([str(run / "model.keras"), *given]) == 0
    return Artifacts(tree, run, out)


def test_folder_names_are_in_record_and_card(artifacts: Artifacts) -> None:
    assert json.loads((artifacts.run / "recipe.json").read_text())["labels"] == list(NAMES)
    card = json.loads((artifacts.out / "emotion.json").read_text())
    assert card["labels"] == list(NAMES)
    assert "2 labels (no_smile, smile)" in card["intended_use"]
    assert {figure["data"] for figure in card["figures"]} == {"own labels"}


def test_evaluate_and_predict_use_the_own_labels(
    artifacts: Artifacts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(artifacts.run), str(artifacts.out / "emotion.tflite")]
    given = ["--data", str(artifacts.tree), "--own-labels"]
    assert train(["evaluate", *files, *given, "--out", str(tmp_path / "report")]) == 0
    for found in json.loads((tmp_path / "report/figures.json").read_text())["models"]:
        (figures,) = found["figures"]
        assert (list(figures["recall"]), figures["n"]) == (list(NAMES), 100)
        assert figures["accuracy"] > 0.95
    # Without --own-labels no folder name is a known label.
    assert train(["evaluate", files[0], *given[:2], "--skip-bad"]) == 1
    assert "no usable row" in capsys.readouterr().err
    smile = min((artifacts.tree / "validation/smile").iterdir())
    assert train(["predict", "--model", files[1], str(smile), "--out", str(tmp_path / "grid.png")]) == 0
    assert capsys.readouterr().out.startswith(f"{smile}: smile ")


def test_evaluation_on_other_labels_is_rejected(
    artifacts: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = Path(FILE).with_name("emotion.tflite")
    assert train(["evaluate", str(shipped), "--data", str(artifacts.tree), "--own-labels"]) == 1
    assert "emotion.tflite: its labels are angry, disgust" in capsys.readouterr().err


def test_classify_reads_folders_of_own_labels(
    artifacts: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(artifacts.out / "emotion.tflite")]
    assert emotion_edge(["classify", "--json", *model, str(artifacts.tree / "validation")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["labels"], report["n"]) == (list(NAMES), 100)
    assert report["accuracy"] > 0.95
    assert emotion_edge(["classify", *model, "--labels", "happy,sad", str(artifacts.tree)]) == 1
    assert "--labels happy,sad: only for FER2013's labels" in capsys.readouterr().err


def test_own_labels_define_payloads_schemas_and_discovery_options(
    artifacts: Artifacts, broker: Mosquitto, start: Start
) -> None:
    with subscriber(broker.port) as client:
        daemon = start(
            f'[node]\nid = "pi"\n[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\nfaces_hz = 5\n'
            f'[model]\nfile = "{artifacts.out / "emotion.tflite"}"\n'
            '[[camera]]\nname = "hall"\nsource = "portraits"\n'
        )
        event, state = (f"emotion-edge/pi/hall/{topic}" for topic in ("event", "state"))

        def message(topic: str, key: str) -> set[str]:
            return {str(json.loads(payload)[key]) for payload in client.payloads(topic)}

        # The portraits show all seven in turn; one of them smiles.
        assert eventually(lambda: set(NAMES) <= message(event, "to"), 240)
        assert eventually(lambda: message(state, "emotion") & set(NAMES), 60)
        assert daemon.stop()[0] == 0
        reported = [(topic, payload) for topic, payload, _ in client.messages]
    assert breaches(reported, labels=NAMES) == []
    assert message(event, "to") | message(state, "emotion") <= {*NAMES, "uncertain", "none"}
    (info,) = (json.loads(payload) for topic, payload in reported if topic == "emotion-edge/pi/info")
    assert info["labels"] == list(NAMES)
    faces = [json.loads(payload)["faces"] for topic, payload in reported if topic.endswith("/faces")]
    assert {tuple(face["scores"]) for some in faces for face in some} == {NAMES}
    discovery = dict(reported)["homeassistant/device/pi/hall/config"]
    found: Any = entities("homeassistant/device/pi/hall/config", discovery.encode())
    assert found["emotion"]["options"] == ["none", "uncertain", *NAMES]
    (shown, *_) = (payload for topic, payload in reported if topic == state and "smile" in payload)
    assert breach("state", shown, NAMES) is None
    assert "smile' is not one of ['angry'" in str(breach("state", shown))


def test_analyze_has_a_column_per_label(artifacts: Artifacts, tmp_path: Path) -> None:
    frame = cv2.imread(str(min((artifacts.tree / "validation/smile").iterdir())))
    video = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (320, 240))
    picture = np.full((240, 320, 3), 128, np.uint8)
    picture[40:200, 80:240] = cv2.resize(frame, (160, 160))
    for _ in range(20):
        video.write(picture)
    video.release()
    given = ["--model", str(artifacts.out / "emotion.tflite"), "--csv", str(tmp_path / "t.csv")]
    assert emotion_edge(["analyze", *given, str(tmp_path / "v.avi")]) == 0
    with (tmp_path / "t.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[9:13] == ["confidence", *NAMES, "event"]
    assert all(len(row) == len(header) for row in rows)


@pytest.mark.parametrize("name", ["none", "uncertain"])
def test_reserved_names_are_not_labels(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "validation"):
        for label in ("smile", name):
            (tmp_path / split / label).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / split / label / "a.png"), np.eye(48) * 255)
    command = [
        "fit",
        "--model",
        "plain",
        "--data",
        str(tmp_path),
        "--own-labels",
        "--out",
        str(tmp_path / "r"),
    ]
    assert train(command) == 1
    assert f"--own-labels: label '{name}': published where a face shows no label" in capsys.readouterr().err


def test_schemas_accept_any_labels() -> None:
    eight = (*LABELS, "contempt")
    for name in ("state", "event", "log", "faces", "info", "response-info"):
        seven, more = json.dumps(schemas.schema(name)), json.dumps(schemas.schema(name, eight))
        assert ("contempt" in seven, "contempt" in more) == (False, True)
        assert schemas.schema(name, LABELS) == schemas.schema(name)
