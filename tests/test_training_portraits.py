"""The mean faces: found by a detector, and made only of faces that annotators agree on."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.types import LABELS, EdgeError
from training import portraits
from training.data import Dataset

SHIPPED = Path(portraits.__file__).parents[1] / "edge" / "models" / "portraits.npz"


def faces() -> np.ndarray:
    with np.load(SHIPPED) as archive:
        return np.asarray(archive["faces"])


def test_shipped_faces_are_one_per_label_in_order() -> None:
    with np.load(SHIPPED) as archive:
        assert archive["labels"].tolist() == list(LABELS)
        assert archive["counts"].min() >= 20  # plus as many mirror images: no identifiable face
        assert (archive["faces"].shape, archive["faces"].dtype) == ((7, 48, 48), np.uint8)


@pytest.mark.parametrize("side", [100, 150, 240])
def test_haar_finds_each_mean_face_once_on_a_plain_wall(side: int) -> None:
    haar = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_frontalface_default.xml")
    found = []
    for face in faces():
        enlarged = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
        wall = cv2.copyMakeBorder(enlarged, 60, 60, 60, 60, cv2.BORDER_CONSTANT, value=128)
        found.append(len(haar.detectMultiScale(wall, 1.1, 5)))
    assert found == [1] * 7


def noisy_dataset(agreeing: int) -> Dataset:
    """Per label, *agreeing* noisy faces that all annotators agree on, and as many without agreement."""
    n = 14 * agreeing
    random = np.random.default_rng(0)
    labels = np.arange(n) % 7
    votes = np.zeros((n, 10), np.uint8)
    votes[np.arange(n), np.array([4, 5, 6, 1, 3, 2, 0])[labels]] = 10
    votes[n // 2 :] = [2, 1, 1, 1, 1, 1, 1, 1, 1, 0]
    images = np.clip(faces()[labels] + random.normal(0, 10, (n, 48, 48)), 0, 255).astype(np.uint8)
    return Dataset(images, labels, np.zeros(n, np.uint8), votes, np.arange(n))


def test_only_pictures_with_annotator_agreement_count() -> None:
    means, counts = portraits.mean_faces(noisy_dataset(25))
    assert counts.tolist() == [25] * 7
    np.testing.assert_array_equal(means, means[:, :, ::-1])


def test_too_few_pictures_of_a_label_are_rejected() -> None:
    with pytest.raises(EdgeError, match="agree on 5 pictures of angry; expected 20"):
        portraits.mean_faces(noisy_dataset(5))
