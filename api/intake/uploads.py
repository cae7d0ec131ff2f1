"""What a request hands in, while it comes: streamed to the store, hashed and counted.

Nothing exists until the record does; whatever fails before leaves nothing behind.
"""

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import Self

from starlette.concurrency import run_in_threadpool
from uuid_utils import uuid7

from api.edge.quotas import Share
from glyphq.blobs import BlobWriter
from glyphq.errors import LimitExceeded, StoreFull
from glyphq.ledger import Ledger
from glyphq.object_names import input_key
from glyphq.settings import Settings
from glyphq.sniff import HEAD_BYTES, sniff

_BUFFER_BYTES = 1 << 20


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
            raise too_many_images(limit)
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
            staging = asyncio.ensure_future(run_in_threadpool(self.stage))
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


def too_many_images(limit: int) -> LimitExceeded:
    return LimitExceeded("max_form_images", limit, f"One request takes at most {limit:,} images. Put them in a zip.")


def require_room(ledger: Ledger, settings: Settings, size: int = 0) -> None:
    """Raise StoreFull where `size` bytes more would take from the room that is kept for results."""
    if ledger.blobs.free_bytes() - size < settings.disk_reserve_bytes:
        raise StoreFull(
            "There is no room in the store for this upload. Delete old jobs or free space, then submit again."
        )
