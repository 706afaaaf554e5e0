"""The whole pipeline against the ground truth of the `portraits` source: boxes and labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.analysis.detectors import open_detector
from edge.node.build import build_pipeline, open_engine
from edge.settings import Settings
from edge.sources.portraits import Portraits
from edge.types import Detector, Frame

FPS = 10
SECONDS = 42  # each face shows each label once


@pytest.fixture(params=["haar", "yunet", "ssd"])
def detector(request: pytest.FixtureRequest) -> Detector:
    if request.param != "yunet":
        return open_detector(request.param)
    shared_data: Path = request.getfixturevalue("shared_data")
    return open_detector("yunet", file=shared_data / "models/detectors/face_detection_yunet_2023mar.onnx")


def test_pipeline_finds_and_labels_three_portraits(detector: Detector) -> None:
    settings = Settings()
    pipeline = build_pipeline("hall", settings, detector, open_engine(settings).classifier)
    camera = Portraits(faces=3, fps=FPS, paced=False)
    found = right = shown_fully = 0
    frames = FPS * SECONDS
    for n in range(frames):
        image, truth = camera.render(n)
        tracks = pipeline.step(Frame(image, n / FPS, 0.0, n, "hall")).tracks
        nearest = [max(tracks, key=lambda t: t.face.box.iou(p.box), default=None) for p in truth]
        if all(
            track is not None and track.face.box.iou(portrait.box) >= 0.6
            for track, portrait in zip(nearest, truth, strict=True)
        ):
            found += 1
        for track, portrait in zip(nearest, truth, strict=True):
            if portrait.weight == 1.0:
                shown_fully += 1
                right += track is not None and track.emotion == portrait.label
    print(f"all found in {found / frames:.1%} of frames, labels right {right / shown_fully:.1%} of the time")
    assert found / frames >= 0.95
    assert right / shown_fully >= 0.85  # ssd .89, yunet .89, haar .90
    assert len({track.number for track in tracks}) == 3
