"""From the bytes of a request to an accepted job. Streams to the store, hashing and counting; knows nothing of Redis.

A body is a zip or an image as it is, a multipart form of one or more files with options as fields, or JSON pixel
rows. What it is, is told by its bytes. Nothing exists until the record does; whatever fails before leaves nothing
behind.
"""

import asyncio
import hashlib
import io
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request
from uuid_utils import uuid7

from api.edge.bodies import pieces_of
from api.edge.quotas import Share
from glyphq.archive import index_zip
from glyphq.blobs import BlobWriter
from glyphq.charset_rules import MAX_RULES
from glyphq.errors import (
    EmptyInput,
    InvalidOption,
    InvalidRequest,
    LimitExceeded,
    StoreError,
    StoreFull,
    UnsupportedInput,
    UploadInterrupted,
)
from glyphq.index import raw_batch
from glyphq.jobs import Job, Kind, Options
from glyphq.ledger import Ledger, write_index
from glyphq.logs import bound_request_id
from glyphq.object_names import data_prefix, index_key, input_key, record_key
from glyphq.settings import Settings
from glyphq.sniff import HEAD_BYTES, sniff

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_BUFFER_BYTES = 1 << 20
_MAX_FIELD_BYTES = 4096
_MAX_FIELDS = 32
_MAX_PART_HEADERS = 8
_MAX_PART_HEADER_BYTES = 4096  # of each one
_EXTENDED_FILENAME = re.compile(rb"filename\*=(UTF-8|ISO-8859-1)'[^']*'([^;\s]+)", re.IGNORECASE)
_PIXELS = 784
_WHITE = 255
_PIXELS_EXAMPLE = 'Send {"images": [[784 numbers from 0 to 255], ...]}.'


@dataclass
class Part:
    """One file of the upload: where it lies in the input, and its first bytes."""

    name: str
    offset: int
    size: int = 0
    head: bytes = b""


@dataclass
class Upload:
    """What has arrived. Small inputs stay in memory; others are staged in the store.

    A context manager: leaving it discards what is staged and has not been committed.
    """

    ledger: Ledger
    settings: Settings
    share: Share
    job_id: str = field(default_factory=lambda: str(uuid7()))
    options: dict[str, str] = field(default_factory=dict)
    charset_rules: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    pixels: bool = False
    size: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    buffer: bytearray = field(default_factory=bytearray)
    staged: BlobWriter | None = None

    def begin(self, name: str) -> None:
        limit = self.settings.max_form_images
        if len(self.parts) >= limit:
            raise _too_many_images(limit)
        self.parts.append(Part(name, self.size))

    def add(self, data: bytes | memoryview) -> None:
        """More bytes of the last part."""
        part = self.parts[-1]
        self.share.charge(len(data))
        if len(part.head) < HEAD_BYTES:
            part.head += bytes(data[: HEAD_BYTES - len(part.head)])
        part.size += len(data)
        self.size += len(data)
        self.buffer += data

    async def flush(self, *, last: bool = False) -> None:
        """Hash what has gathered and stage it, off the event loop, unless it may yet stay in memory."""
        if len(self.buffer) >= _BUFFER_BYTES or (last and self.size > self.settings.inline_bytes):
            staging = asyncio.ensure_future(asyncio.to_thread(self.stage))
            try:
                await asyncio.shield(staging)
            except asyncio.CancelledError:  # the thread goes on; what it stages must be there to be discarded
                await asyncio.wait([staging])
                raise

    def stage(self) -> None:
        require_room(self.ledger, self.settings, len(self.buffer))
        self.staged = self.staged or self.ledger.blobs.writer(input_key(self.job_id))
        self.digest.update(self.buffer)
        self.staged.write(memoryview(self.buffer))
        self.buffer = bytearray()

    @property
    def interactive(self) -> bool:
        """Whether the few images that this is take the interactive lane."""
        return (
            all(sniff(part.head) != "zip" for part in self.parts)
            and len(self.parts) <= self.settings.interactive_images
            and self.size <= self.settings.interactive_bytes
        )

    @property
    def inline(self) -> bool:
        """Whether all of it rides in the job's record."""
        return self.staged is None and self.interactive and self.size <= self.settings.inline_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.staged is not None:
            self.staged.discard()


async def receive(request: Request, upload: Upload) -> None:
    """Take in the whole body. Raises LimitExceeded at once when it is announced or found to be too large."""
    settings = upload.settings
    media_type, parameters = parse_options_header(request.headers.get("content-type", ""))
    is_json = media_type == b"application/json"
    limit_name = "max_json_bytes" if is_json else "max_upload_bytes"
    async with pieces_of(request, settings, limit_name, getattr(settings, limit_name)) as pieces:
        if media_type == b"multipart/form-data":
            await _receive_form(pieces, upload, parameters.get(b"boundary"))
        elif is_json:
            await _receive_pixels(pieces, upload)
        else:
            upload.begin("")
            async for data in pieces:
                upload.add(data)
                await upload.flush()
        await upload.flush(last=True)


async def _receive_form(pieces: AsyncIterator[bytes], upload: Upload, boundary: bytes | None) -> None:
    if not boundary:
        raise InvalidRequest("The multipart form names no boundary in its Content-Type.")
    form = _Form(upload)
    try:
        parser = MultipartParser(
            boundary, form.callbacks(), max_header_count=_MAX_PART_HEADERS, max_header_size=_MAX_PART_HEADER_BYTES
        )
        async for data in pieces:
            parser.write(data)
            await upload.flush()
    except FormParserError as error:
        raise InvalidRequest(f"The multipart form is malformed: {error}.") from error
    if not form.ended:
        raise UploadInterrupted("The form ended before its last boundary. Submit again.")
    upload.parts = [part for part in upload.parts if part.name or part.size]  # a browser's file input left empty
    if not upload.parts:
        raise EmptyInput(
            "The form has no file. Send each one as a part with a filename, for example: curl -F file=@scans.zip"
        )


class _Form:
    """Follows the parser through a form: files go to the upload, other fields are options."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._header = b""
        self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._field: str | None = None
        self._content = b""
        self.ended = False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._end_part,
            "on_end": self._on_end,
        }

    def _begin_part(self) -> None:
        self._headers = {}
        self._field = None
        self._content = b""

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _end_headers(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        _, parameters = parse_options_header(disposition)
        encoded = _EXTENDED_FILENAME.search(disposition)
        if encoded:  # RFC 5987, which the parser leaves out
            self._upload.begin(unquote(encoded[2].decode("ascii", "replace"), encoded[1].decode(), "replace"))
        elif b"filename" in parameters:
            self._upload.begin(parameters[b"filename"].decode("utf-8", "replace"))
        elif b"name" in parameters:
            self._field = parameters[b"name"].decode("utf-8", "replace")
        else:
            raise InvalidRequest("A part of the form has neither a name nor a filename.")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._upload.add(memoryview(data)[start:end])
            return
        self._content += data[start:end]
        if len(self._content) > _MAX_FIELD_BYTES:
            raise InvalidOption(
                self._field[:64], f"An option is at most {_MAX_FIELD_BYTES} bytes. Send files with a filename."
            )

    def _end_part(self) -> None:
        if self._field is not None:
            self._add_option(self._field, self._content.decode("utf-8", "replace"))

    def _add_option(self, name: str, value: str) -> None:
        options, rules = self._upload.options, self._upload.charset_rules
        if name == "charset_rules":
            if len(rules) >= MAX_RULES:
                raise InvalidOption(name, f"A form has at most {MAX_RULES} charset_rules.")
            rules.append(value)
            return
        if name in options:
            raise InvalidOption(name[:64], f"The option {name[:64]} is given more than once.")
        if len(options) >= _MAX_FIELDS:
            raise InvalidOption(name[:64], f"A form has at most {_MAX_FIELDS} options.")
        options[name] = value

    def _on_end(self) -> None:
        self.ended = True


async def _receive_pixels(pieces: AsyncIterator[bytes], upload: Upload) -> None:
    body = bytearray()
    async for data in pieces:
        body += data
        if len(body) > upload.settings.inline_bytes:
            upload.share.take_place()
    if body.count(b",") > _PIXELS * upload.settings.max_form_images:  # before each takes the 72 bytes of an object
        raise _too_many_images(upload.settings.max_form_images)
    async with nullcontext() if len(body) <= upload.settings.inline_bytes else upload.share.parsing:
        rows = await asyncio.to_thread(_pixel_rows, bytes(body))
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


def require_room(ledger: Ledger, settings: Settings, size: int = 0) -> None:
    """Raise StoreFull where `size` bytes more would take from the room that is kept for results."""
    if ledger.blobs.free_bytes() - size < settings.disk_reserve_bytes:
        raise StoreFull(
            "There is no room in the store for this upload. Delete old jobs or free space, then submit again."
        )


def accept(upload: Upload, options: Options, owner: str, idempotency_key: str | None) -> Job:
    """Make what has arrived a job: input and index durable, then the record. Blocks; may take seconds for a large zip.

    Raises UnsupportedInput, EmptyInput, InvalidArchive, LimitExceeded, IdempotencyMismatch, StoreError; then nothing
    is left, but for what a repeat of the request may need.
    """
    job_id, blobs = upload.job_id, upload.ledger.blobs
    try:
        accepted = upload.ledger.accept(_prepare(upload, options, owner, idempotency_key))
    except BaseException as error:
        key_may_stand = idempotency_key and isinstance(error, StoreError) and not isinstance(error, StoreFull)
        if not key_may_stand and not blobs.exists(record_key(owner, job_id)):
            blobs.delete_folder(data_prefix(job_id))
        raise
    if accepted.id != job_id:
        blobs.delete_folder(data_prefix(job_id))
    return accepted


def prepare_inline(upload: Upload, options: Options, owner: str) -> Job:
    """The job of an inline upload, which exists once its record does. Touches no disk. Raises UnsupportedInput and
    EmptyInput.
    """
    return _prepare(upload, options, owner, None)


def _kind(upload: Upload) -> Kind:
    if upload.pixels:
        return Kind.PIXELS
    if len(upload.parts) > 1:
        if any(sniff(part.head) == "zip" for part in upload.parts):
            raise UnsupportedInput("One of several files is a zip. Send each zip as a job of its own, or images alone.")
        return Kind.IMAGES
    if upload.size == 0:
        raise EmptyInput(
            "The body is empty. Send a zip of images or an image, for example: curl --data-binary @scans.zip"
        )
    found = sniff(upload.parts[0].head)
    if found in (None, "archive"):
        raise UnsupportedInput(
            "The body is neither a zip nor a PNG, JPEG, WebP, TIFF or BMP image. "
            "Pack the scans in a zip, or send one image."
        )
    return Kind.ZIP if found == "zip" else Kind.IMAGE


def _prepare(upload: Upload, options: Options, owner: str, idempotency_key: str | None) -> Job:
    settings, blobs, job_id = upload.settings, upload.ledger.blobs, upload.job_id
    kind, interactive = _kind(upload), upload.interactive
    if upload.staged is None and not upload.inline:
        upload.stage()
    upload.digest.update(upload.buffer)
    inline_input = None
    if upload.staged is None:
        inline_input = bytes(upload.buffer)
    else:
        upload.staged.write(memoryview(upload.buffer))
        upload.staged.commit()
    ignored = 0
    inline_index = None
    if kind is Kind.ZIP:
        with blobs.open(input_key(job_id)) as file, blobs.writer(index_key(job_id)) as index:
            archive = index_zip(file, settings.archive_limits, options.filename_encoding)
            chunks = write_index(index, archive.batches())
            index.commit()
        ignored = archive.ignored
    else:
        images = settings.interactive_images if interactive else settings.chunk_images
        batches = _raw_batches(upload.parts, options.name or kind.value, images)
        memory = io.BytesIO()
        chunks = write_index(memory, batches)
        if interactive:
            inline_index = memory.getvalue()[chunks[0].offset :]
        else:
            blobs.create(index_key(job_id), memory.getvalue())
    return Job(
        id=job_id,
        owner=owner,
        kind=kind,
        options=options,
        input_sha256=upload.digest.hexdigest(),
        input_bytes=upload.size,
        total=sum(chunk.rows for chunk in chunks),
        ignored=ignored,
        chunks=chunks,
        created_at=time.time(),
        nonce=uuid.uuid4().hex,
        inline_index=inline_index,
        inline_input=inline_input,
        archive_limits=asdict(settings.archive_limits) if kind is Kind.ZIP else None,
        request_id=bound_request_id(),
        idempotency_sha256=hashlib.sha256(idempotency_key.encode()).hexdigest() if idempotency_key else None,
    )


def _raw_batches(parts: list[Part], unnamed: str, images: int) -> Iterator[pa.RecordBatch]:
    for first in range(0, len(parts), images):
        some = parts[first : first + images]
        names = [part.name or unnamed for part in some]
        yield raw_batch(names, [part.offset for part in some], [part.size for part in some], first_row=first)


def _too_many_images(limit: int) -> LimitExceeded:
    return LimitExceeded("max_form_images", limit, f"One request takes at most {limit:,} images. Put them in a zip.")
