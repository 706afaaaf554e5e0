"""From a face in a picture to a network's input, in training, quantize and the daemon: they must agree."""

from __future__ import annotations

import math

import cv2
import numpy as np

from edge.types import Box, Face, Floats, Image


def luma(image: Image) -> Image:
    """*image* as (height, width) uint8; BGR is weighted as ITU-R BT.601 does, luma passes through."""
    if image.ndim == 2:
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)


def tilt(face: Face) -> float:
    """Radians by which the line between the eyes falls to the right; 0 where they are unknown or wrong."""
    if face.eyes is None:
        return 0.0
    (left_x, left_y), (right_x, right_y) = face.eyes
    angle = math.atan2(right_y - left_y, right_x - left_x)
    # Beyond 45 degrees the eye points are more often wrong than the head is lying.
    return angle if abs(angle) <= math.pi / 4 else 0.0


def crop(image: Image, face: Face, height: int, width: int) -> Image:
    """*face* cut from *image* (BGR or luma), upright, as (height, width) uint8 luma.

    The square around the box's center is sampled; what lies beyond the frame repeats its edge. Large faces
    are averaged down (cv2.INTER_AREA) before they are turned, because a bare affine warp would alias.
    """
    center_x, center_y = face.box.center
    side = max(face.box.width, face.box.height, 1.0)
    # Averaging by a whole factor leaves at most 2:1 to the bilinear warp.
    shrink = max(1, int(side / max(height, width)))
    if shrink > 3:
        shrink -= shrink % 2
    # A turned square needs its circumscribed box; two averaged pixels more feed the interpolation.
    angle = tilt(face)
    reach = side / 2 * (abs(math.cos(angle)) + abs(math.sin(angle))) + 2 * shrink
    rows, columns = image.shape[:2]
    left, top = math.floor(center_x - reach), math.floor(center_y - reach)
    right, bottom = math.ceil(center_x + reach), math.ceil(center_y + reach)
    # What the frame has of that square, at least one pixel; the warp repeats its edge for the rest.
    x0, y0 = min(max(left, 0), columns - 1), min(max(top, 0), rows - 1)
    # OpenCV averages whole factors exactly and many times faster than others. What is missing to a
    # multiple is taken on the right and below, where it moves nothing.
    x1 = max(min(right + (x0 - right) % shrink, columns), x0 + 1)
    y1 = max(min(bottom + (y0 - bottom) % shrink, rows), y0 + 1)
    patch = luma(image[y0:y1, x0:x1])
    if shrink > 1:
        below, right = -patch.shape[0] % shrink, -patch.shape[1] % shrink
        if below or right:  # at the frame's edge
            patch = np.asarray(cv2.copyMakeBorder(patch, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
        # Halving has a path of its own, eight times faster than other factors: it goes first.
        for factor in (2, shrink // 2) if shrink % 2 == 0 else (shrink,):
            if factor > 1:
                size = (patch.shape[1] // factor, patch.shape[0] // factor)
                patch = np.asarray(cv2.resize(patch, size, interpolation=cv2.INTER_AREA), np.uint8)
    # Output pixel (u, v) samples the patch at center + R(angle) (u - width/2, v - height/2) side/size, in
    # pixels of the averaged patch. An index i is the pixel's middle, i + 1/2: hence the halves.
    step_x, step_y = side / width / shrink, side / height / shrink
    cos, sin = math.cos(angle), math.sin(angle)
    half_x, half_y = (width - 1) / 2, (height - 1) / 2
    along_x, along_y, down_x, down_y = cos * step_x, sin * step_x, -sin * step_y, cos * step_y
    from_x = (center_x - x0) / shrink - along_x * half_x - down_x * half_y - 0.5
    from_y = (center_y - y0) / shrink - along_y * half_x - down_y * half_y - 0.5
    matrix = np.array(((along_x, down_x, from_x), (along_y, down_y, from_y)))
    return np.asarray(warped(patch, matrix, (width, height)), np.uint8)


def warped(image: Image | Floats, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """*image* resampled to *size* (width, height); *matrix* (2, 3) maps the result's pixels to its own."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def crop_whole(image: Image, height: int, width: int) -> Image:
    """A picture that is already one framed face (a data set's), through the same code as a face's."""
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return luma(image)
    return crop(image, Face(Box(0, 0, columns, rows), 1.0), height, width)
