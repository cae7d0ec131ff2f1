"""How much one owner may have, and how many uploads may be under way. One a process.

What an owner has is counted in the store, and between two looks what this process accepts is added. So with several
processes a limit may be passed by what the others took in since the last look.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from starlette.concurrency import run_in_threadpool

from api.edge.authentication import Caller
from glyphq.errors import Overloaded, QuotaExceeded
from glyphq.ledger import Held, Ledger
from glyphq.settings import Settings

_LOOK_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 2.0  # where a limit is reached
_UPLOADS_RETRY_SECONDS, _STREAMS_RETRY_SECONDS, _JOBS_RETRY_SECONDS, _BYTES_RETRY_SECONDS = 5, 5, 10, 60


@dataclass
class _Account:
    """What an owner has in the store, as of a moment on the monotonic clock, and what of it is under way here."""

    held: Held = field(default_factory=lambda: Held(0, 0))
    booked: Held = field(default_factory=lambda: Held(0, 0))  # since the last look began
    looked_at: float = float("-inf")
    bytes: int = 0
    uploads: int = 0
    streams: int = 0
    jobs: int = 0
    refused: bool = False
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Quotas:
    """Admits uploads and streams, and knows what each owner holds."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger
        self._accounts: defaultdict[str, _Account] = defaultdict(_Account)
        self.parsing = asyncio.Lock()

    async def share(self, caller: Caller) -> "Share":
        """For one upload, before it is read."""
        account = self._accounts[caller.owner]
        if caller.limits is not None:
            await self._look(caller.owner, account, _LOOK_SECONDS)
            held, limits = account.held, caller.limits
            reached = held.open_jobs >= limits.open_jobs or held.stored_bytes >= limits.stored_bytes
            if reached or account.refused:
                await self._look(caller.owner, account, _LOOK_AGAIN_SECONDS)
        return Share(self, account, caller, self._settings)

    async def _look(self, owner: str, account: _Account, at_most_seconds: float) -> None:
        async with account.looking:
            if time.monotonic() - account.looked_at > at_most_seconds:
                account.booked = Held(0, 0)
                found = await run_in_threadpool(self._ledger.held, owner)
                account.held = account.booked + found  # what came meanwhile may be among what was found: once too often
                account.looked_at = time.monotonic()
                account.refused = False

    @contextmanager
    def stream(self, caller: Caller) -> Iterator[None]:
        """For an answer that may last: results, events. Raises QuotaExceeded and Overloaded."""
        account, most = self._accounts[caller.owner], self._settings.key_streams
        if caller.limits and account.streams >= most:
            raise QuotaExceeded(
                "streams",
                most,
                _STREAMS_RETRY_SECONDS,
                f"{most:,} of your results or events are being sent. Wait for one to end.",
            )
        most = self._settings.max_streams
        if sum(account.streams for account in self._accounts.values()) >= most:
            raise Overloaded(f"{most:,} results and events are being sent, which is all at once. Try again soon.")
        account.streams += 1
        try:
            yield
        finally:
            account.streams -= 1

    @property
    def uploads(self) -> int:
        """How many take a place."""
        return sum(account.uploads for account in self._accounts.values())


class Share:
    """What one upload takes. A context manager: leaving it gives back what has not been booked."""

    def __init__(self, quotas: Quotas, account: _Account, caller: Caller, settings: Settings) -> None:
        self._quotas, self._account, self._limits, self._settings = quotas, account, caller.limits, settings
        self._bytes = 0
        self._has_place = self._has_job = False
        self.parsing = quotas.parsing
        """Held by whoever parses JSON, which takes ten times its size."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._account.bytes -= self._bytes
        self._account.uploads -= self._has_place
        self._account.jobs -= self._has_job
        self._bytes, self._has_place, self._has_job = 0, False, False

    def book(self) -> None:
        """The upload has become a job."""
        mine = Held(int(self._has_job), self._bytes)
        self._account.held += mine
        self._account.booked += mine
        self.__exit__()

    def charge(self, size: int) -> None:
        """So many bytes more have come. Raises QuotaExceeded and Overloaded."""
        self._bytes += size
        self._account.bytes += size
        if self._limits and self._account.held.stored_bytes + self._account.bytes > self._limits.stored_bytes:
            most = self._limits.stored_bytes
            self._account.refused = True
            raise QuotaExceeded(
                "stored_bytes",
                most,
                _BYTES_RETRY_SECONDS,
                f"Your jobs may hold at most {most:,} bytes of input. Delete jobs whose results you have downloaded.",
            )
        if self._bytes > self._settings.inline_bytes:
            self.take_place()
        if self._bytes > self._settings.interactive_bytes:
            self.take_job()

    def take_place(self) -> None:
        """It is more than a little. Raises QuotaExceeded and Overloaded."""
        if self._has_place:
            return
        most = self._settings.max_uploads
        if self._quotas.uploads >= most:
            raise Overloaded(f"{most:,} uploads are under way, the most that are accepted at once. Try again soon.")
        most = self._settings.key_uploads
        if self._limits and self._account.uploads >= most:
            raise QuotaExceeded(
                "uploads", most, _UPLOADS_RETRY_SECONDS, f"{most:,} of your uploads are under way. Wait for one to end."
            )
        self._has_place = True
        self._account.uploads += 1

    def take_job(self) -> None:
        """It becomes a job of the bulk lane. Raises QuotaExceeded."""
        if self._has_job:
            return
        open_jobs = self._account.held.open_jobs + self._account.jobs
        if self._limits and open_jobs >= self._limits.open_jobs:
            most = self._limits.open_jobs
            raise QuotaExceeded(
                "open_jobs", most, _JOBS_RETRY_SECONDS, f"You may have {most:,} open jobs. Wait for one to end."
            )
        self._has_job = True
        self._account.jobs += 1
