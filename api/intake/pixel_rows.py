"""Images as JSON: a list of 784 pixels each."""

import json
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool

from api.intake.uploads import Upload, too_many_images
from glyphq.errors import EmptyInput, InvalidOption, InvalidRequest

_PIXELS = 784
_WHITE = 255
_PIXELS_EXAMPLE = 'Send {"images": [[784 numbers from 0 to 255], ...]}.'


async def receive_pixels(pieces: AsyncIterator[bytes], upload: Upload) -> None:
    body = bytearray()
    async for data in pieces:
        body += data
        if len(body) > upload.settings.inline_bytes:
            upload.share.take_place()
    if body.count(b",") > _PIXELS * upload.settings.max_form_images:  # before each takes the 72 bytes of an object
        raise too_many_images(upload.settings.max_form_images)
    async with nullcontext() if len(body) <= upload.settings.inline_bytes else upload.share.parsing:
        rows = await run_in_threadpool(_pixel_rows, bytes(body))
    upload.pixels = True
    for number, row in enumerate(rows):
        upload.begin(f"pixels-{number}")
        upload.add(row.tobytes())
        await upload.flush()


def _pixel_rows(body: bytes) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """uint8[N, 784]. Raises InvalidRequest, EmptyInput or InvalidOption, naming the image at fault."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The body is not JSON ({error}). {_PIXELS_EXAMPLE}") from None
    if not isinstance(fields, dict) or set(fields) != {"images"}:
        raise InvalidRequest(
            f"The body has to be an object with `images` alone; options go in the URL. {_PIXELS_EXAMPLE}"
        )
    images = fields["images"]
    if not isinstance(images, list):
        raise InvalidRequest(f"images is not a list. {_PIXELS_EXAMPLE}")
    if not images:
        raise EmptyInput(f"The list of images is empty. {_PIXELS_EXAMPLE}")
    rows = np.empty((len(images), _PIXELS), np.uint8)
    for number, image in enumerate(images):
        fault = _pixel_fault(image)
        if fault:
            raise InvalidOption("images", f"images[{number}] {fault}. {_PIXELS_EXAMPLE}")
        rows[number] = np.rint(image)
    return rows


def _pixel_fault(image: Any) -> str | None:
    if not isinstance(image, list) or len(image) != _PIXELS:
        return f"is not a list of {_PIXELS} numbers"
    if not all(type(value) in (int, float) for value in image):
        return "holds something that is no number"
    if not all(0 <= value <= _WHITE for value in image):
        return f"has a number outside 0 to {_WHITE}"
    return None
