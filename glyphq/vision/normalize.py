"""A scan -> the 28x28 picture the network was trained on. Knows numpy and cv2; nothing of files, formats or torch.

It does what was done to EMNIST (Cohen, Afshar, Tapson, van Schaik 2017, section II-C): light ink on a dark ground, cut
to the ink's box, its aspect kept, centred in a square with a border of 2 or 3 pixels, smoothed, resampled to 28x28 and
stretched to 0..255. EMNIST began with clean bilevel fields of 128x128; scans do not, so before that:
- polarity: ink is the minority, whatever a border says, or what the edge is not where neither is;
- uneven light: a plane laid on the paper, and what is wider than any stroke, are taken away;
- ruled lines, specks, bits of neighbours cut by the edge, and what lies below the character are left out of the box;
- strokes thinner or thicker than EMNIST's are brought near to its, as they would vanish or run together.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from glyphq.jobs import Invert
from glyphq.vision.picture import PICTURE_SIZE

MIN_CONTRAST = 10.0  # gray levels (of 255) between ink and ground; below this a scan is blank
_MIN_CONTRAST_TO_NOISE = 6.5  # the same in deviations of the ground; the faintest of 1,400 pencil scans has 8.5
_CLEAR_CONTRAST = 60.0  # gray levels; above it no grain of paper, however little of the ground is to be seen
_EVEN = 0.2  # of the pixels: ink and ground that are nearer to halves than this are told apart by the edge
_LOOK = 120  # longest side, in pixels, at which the ink is searched for
_FINE = 4  # pixels of the working picture for one of the 28
_INK_SIDE = 22  # longest side of the ink among the 28; in EMNIST 24, faint edges and all
_THIN, _THICKENED = 1.5, 2.0  # of 28: strokes under the first are thickened to the second (EMNIST: 1.7 to 3.2)
_THICK, _THINNED = 3.2, 2.8  # of 28: strokes over the first are thinned to the second
_SMOOTHING = 0.55  # of 28: standard deviation of the Gaussian before the last shrinking
_INKED = 0.2  # of the contrast: what counts as ink when the box is sought
_SPECK = 0.04  # of the largest part's area; a smaller part is a speck
_RULED, _THICK_RULE = 0.9, 0.2  # of the width that is ink, and most of the height that such rows take, in a ruled line
_BELOW = 0.3  # of the largest part's area; a smaller part wholly below the largest is another line's: dots are above
_INSIDE = 0.2  # of the largest part's area; with a part this large inside, those at the edge are not the character
_FRAME_MEAN = 32  # an EMNIST picture's outermost pixels are at most 16 on average

Gray = NDArray[np.uint8]
Ink = NDArray[np.float32]
Steps = Callable[[str, Gray], None]
"""Told the name of each step and the picture after it, uint8[H, W]: the scan dark on light, then ink from 0 to 255."""


def normalize(scan: Gray, invert: Invert = Invert.AUTO, steps: Steps | None = None) -> Gray | None:
    """uint8[H, W] of any size and polarity -> uint8[28, 28], light on dark; None when there is no ink on it.

    `invert` says which way the ink is, where the caller knows. A picture that is already as EMNIST's (28x28, its
    outermost pixels below 32 on average, its brightest 128 or more, not announced as dark ink) is returned as it is.
    `steps` is told what is done on the way.
    """
    if invert is not Invert.NO and _is_emnist(scan):
        if steps is not None:
            steps("28x28", scan)
        return scan
    look = _shrunk(scan, _LOOK)
    dark_ink = _has_dark_ink(look) if invert is Invert.AUTO else invert is Invert.NO
    found = _found(look if dark_ink else ~look, "dark on light", steps)
    if found is not None and look.shape != scan.shape:  # from the full scan: it may be a small part of a large page
        part = _shrunk(scan[_enlarged(found[1], scan.shape, look.shape)], PICTURE_SIZE * _FINE)
        found = _found(part if dark_ink else ~part, "looked at closer", steps)
    if found is None:
        return None
    ink, box = found
    picture = _drawn(ink[box])
    if steps is not None:
        steps("28x28", picture)
    return picture


def is_inverted(scan: Gray, invert: Invert) -> bool:
    """Whether the ink of uint8[H, W] looks to be the other way than `invert` says; never for AUTO."""
    return invert is not Invert.AUTO and _has_dark_ink(_shrunk(scan, _LOOK)) is not (invert is Invert.NO)


def _is_emnist(scan: Gray) -> bool:
    if scan.shape != (PICTURE_SIZE, PICTURE_SIZE):
        return False
    pixels = scan.tobytes()  # these take a quarter of the time of numpy's reductions
    side = PICTURE_SIZE
    frame = sum(pixels[:side] + pixels[-side:] + pixels[::side] + pixels[side - 1 :: side])
    return frame < _FRAME_MEAN * 4 * side and not pixels.isascii()  # some pixel has 128 or more


def _shrunk(scan: Gray, side: int) -> Gray:
    """No side longer than `side`, and none vanished; a smaller picture as it is."""
    while max(scan.shape) > 2 * side and min(scan.shape) > 1:  # halving 1200x900 takes 30 us where one step takes 980
        height, width = scan.shape[0] // 2, scan.shape[1] // 2
        scan = _resized(scan[: 2 * height, : 2 * width], height, width)
    scale = side / max(scan.shape)
    if scale >= 1:
        return scan
    height, width = (max(1, round(length * scale)) for length in scan.shape)
    return _resized(scan, height, width)


def _resized(scan: Gray, height: int, width: int) -> Gray:
    return cv2.resize(scan, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _has_dark_ink(look: Gray) -> bool:
    """Ink is the minority; where there is as much of the one as of the other, what most of the edge is, is ground."""
    level, _ = cv2.threshold(look, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    light = look > level
    share = light.mean()
    if abs(share - 0.5) < _EVEN:
        share = np.concatenate((light[0], light[-1], light[:, 0], light[:, -1])).mean()
    return bool(share > 0.5)


def _found(look: Gray, name: str, steps: Steps | None) -> tuple[Ink, tuple[slice, slice]] | None:
    """The ink of dark on light, wiped of what does not belong to it, and where it is; None when there is none."""
    ink = _ink(look)
    if steps is not None:
        steps(name, look)
        if ink is not None:
            steps("evenly lit", _levels(ink))  # a copy: _box wipes
    box = None if ink is None else _box(ink)
    if ink is None or box is None:
        return None
    if steps is not None:
        steps("kept", _levels(ink[box]))
    return ink, box


def _levels(ink: Ink) -> Gray:
    return (ink * 255).astype(np.uint8)


def _ink(look: Gray) -> Ink | None:
    """Dark ink on light paper -> how much darker than the paper each pixel is, 0..1; None when there is no ink."""
    reach = max(3, 2 * max(look.shape) // 3) | 1  # wider than any stroke, narrower than most shadows
    smooth = cv2.GaussianBlur(look, (3, 3), 0)
    paper = cv2.dilate(smooth, np.ones((reach // 2, reach // 2), np.uint8))
    shade = _slope(paper.astype(np.uint8, copy=False))
    darker = np.clip(shade - look, 0, 255).astype(np.uint8)
    smooth = np.clip(shade - smooth, 0, 255).astype(np.uint8)
    ground = cv2.morphologyEx(smooth, cv2.MORPH_OPEN, np.ones((reach, reach), np.uint8))
    darker, smooth = cv2.subtract(darker, ground), cv2.subtract(smooth, ground)
    level, _ = cv2.threshold(smooth, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    marked = (darker > level).astype(np.uint8)
    floor, noise = (float(value[0, 0]) for value in cv2.meanStdDev(darker, mask=1 - marked))
    contrast = cv2.mean(darker, mask=marked)[0] - floor
    if contrast < max(MIN_CONTRAST, min(_CLEAR_CONTRAST, _MIN_CONTRAST_TO_NOISE * noise)):
        return None
    steps = (np.arange(256, dtype=np.float32) - (floor + noise)) / (contrast - noise)
    return cv2.LUT(darker, steps.clip(0, 1)).astype(np.float32, copy=False)


def _slope(paper: Gray) -> Ink:
    """The plane nearest to `paper`, by least squares: light that falls off to one side."""
    down, across = (np.arange(length, dtype=np.float32) - (length - 1) / 2 for length in paper.shape)
    rows, columns = (cv2.reduce(paper, axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel() for axis in (1, 0))
    downward, sideways = (down @ rows) / max(1, down @ down), (across @ columns) / max(1, across @ across)
    plane: Ink = rows.mean() + (downward * down)[:, None] + sideways * across
    return plane


def _box(ink: Ink) -> tuple[slice, slice] | None:
    """Where the ink is, without specks and without what the picture's edge cuts off; those are wiped from `ink`."""
    marked = (ink > _INKED).astype(np.uint8)
    marked = _unruled(_unruled(marked).T).T
    count, labels, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(marked))
    if count == 1:
        return None
    parts = stats[1:]
    left, top, width, height, area = parts.T
    at_edge = (left == 0) | (top == 0) | (left + width == ink.shape[1]) | (top + height == ink.shape[0])
    largest = area[~at_edge].max(initial=0)
    if largest < _INSIDE * area.max():
        at_edge[:], largest = False, area.max()
    kept = ~at_edge & (area >= _SPECK * largest)
    main = np.where(kept, area, 0).argmax()
    kept &= (top <= top[main] + height[main]) | (area >= _BELOW * largest)
    mask = np.concatenate(([0], kept)).astype(np.uint8)[labels]
    ink *= cv2.dilate(mask, np.ones((5, 5), np.uint8))
    x, y, w, h = cv2.boundingRect(mask)
    return slice(y, y + h), slice(x, x + w)


def _unruled(marked: Gray) -> Gray:
    """Without the lines that run from side to side, but for where strokes cross them.

    In a scan cut close to its ink a bar of a T or Z runs from side to side as well. So it is left as it is where such a
    line lies at the very top or bottom, is thick, or where what remains is cut off by the edge.
    """
    rows = marked.mean(axis=1) > _RULED
    if not rows.any():
        return marked
    rows = cv2.dilate(rows.astype(np.uint8), np.ones((3, 1), np.uint8)).ravel() > 0  # with what is left of its edges
    if rows[0] or rows[-1] or rows.mean() > _THICK_RULE:
        return marked
    unruled = marked.copy()
    unruled[rows] = 0
    crossed = cv2.morphologyEx(unruled, cv2.MORPH_CLOSE, np.ones((2 * int(rows.sum()) + 1, 1), np.uint8)) > 0
    unruled[rows] = marked[rows] * crossed[rows]
    cut_off = unruled[0].any() or unruled[-1].any() or unruled[:, 0].any() or unruled[:, -1].any()
    return marked if cut_off or not unruled.any() else unruled


def _enlarged(box: tuple[slice, slice], full: tuple[int, ...], look: tuple[int, ...]) -> tuple[slice, slice]:
    """The box of the small picture in the full one, with a margin of an eighth of its longer side for the ground."""
    margin = max(side.stop - side.start for side in box) / 8 + 2
    rows, columns = (
        slice(max(0, int((side.start - margin) * size / small)), int(np.ceil((side.stop + margin) * size / small)))
        for side, size, small in zip(box, full, look, strict=True)
    )
    return rows, columns


def _drawn(ink: Ink) -> Gray:
    """The cut-out ink, 0..1, as EMNIST's writers would have left it: 28x28, strokes at 255."""
    scale = _INK_SIDE * _FINE / max(ink.shape)
    height, width = (max(1, round(length * scale)) for length in ink.shape)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(ink, (width, height), interpolation=how)
    side = PICTURE_SIZE * _FINE
    top, left = (side - height) // 2, (side - width) // 2
    canvas = np.zeros((side, side), np.float32)
    canvas[top : top + height, left : left + width] = resized
    stroke = _stroke_width(canvas)
    if stroke < _THIN * _FINE:
        cv2.dilate(canvas, _nib(_THICKENED * _FINE - stroke), canvas)
    elif stroke > _THICK * _FINE:
        cv2.erode(canvas, _nib(stroke - _THINNED * _FINE), canvas)
    cv2.GaussianBlur(canvas, (0, 0), _SMOOTHING * _FINE, canvas)
    small = cv2.resize(canvas, (PICTURE_SIZE, PICTURE_SIZE), interpolation=cv2.INTER_AREA)
    return cv2.convertScaleAbs(small, alpha=255 / float(small.max())).astype(np.uint8, copy=False)


def _nib(width: float) -> Gray:
    """A disc of an odd number of pixels near to `width`."""
    side = round(width) | 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.uint8, copy=False)


def _stroke_width(canvas: Ink) -> float:
    """Twice the area over the length of the outline, in pixels."""
    mask = (canvas > 0.5).astype(np.uint8)
    area = cv2.countNonZero(mask)
    return 2 * area / max(1, area - cv2.countNonZero(cv2.erode(mask, np.ones((3, 3), np.uint8))))
