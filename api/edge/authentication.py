"""Who asks: keys and the owners they speak for. One a process."""

import asyncio
import time
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlsplit

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.concurrency import run_in_threadpool

from glyphq.blobs import Blobs
from glyphq.errors import HostRefused, KeyRefused, QuotaExceeded, StoreError
from glyphq.keys import ApiKey, Keys, parts
from glyphq.settings import KeyLimits, Settings

LOCAL_OWNER = "local"
"""Of whoever needs no key, and of the first key."""

_OWN_HOSTS = "localhost", "127.0.0.1", "::1"
_READ_AGAIN_SECONDS = 5.0  # a key that was revoked is refused after this long
_PATIENCE_SECONDS = 1.0  # with a store that is slow to give a key that is known


@dataclass(frozen=True)
class Caller:
    """Whose jobs a request may touch, what its key is called, and what it may: without a key, everything."""

    owner: str
    name: str = ""
    limits: KeyLimits | None = None


class Authenticator:
    """Knows callers by their keys, and counts the requests of each; every API process counts by itself."""

    def __init__(self, settings: Settings, blobs: Blobs) -> None:
        self._settings = settings
        self._keys = Keys(blobs)
        self._known: dict[str, tuple[ApiKey, float]] = {}
        self._reading: dict[str, asyncio.Future[ApiKey | None]] = {}  # each in a thread, while the store hangs for long
        self._rates = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._hosts: frozenset[str] | None = None  # any
        if settings.allowed_hosts or not settings.keys_required:
            self._hosts = frozenset(map(str.lower, (*_OWN_HOSTS, settings.host, *settings.allowed_hosts)))

    def check_host(self, header: str) -> None:
        """Raises HostRefused for a name that is not the service's: without keys, a page of another site could have its
        own name lead here (DNS rebinding).
        """
        if self._hosts is None:
            return
        try:
            name = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            name = ""
        if name not in self._hosts:
            raise HostRefused(
                f"This service does not go by {name[:100]!r}. Whoever runs it can add that to GLYPHQ_ALLOWED_HOSTS."
            )

    async def caller(self, text: str | None) -> Caller:
        """Whoever shows this key. Raises KeyRefused, or QuotaExceeded for one request too many in a minute."""
        if self._settings.keys == "off" or (text is None and not self._settings.keys_required):
            return Caller(LOCAL_OWNER, LOCAL_OWNER)
        if text is None:
            raise KeyRefused("This service asks for a key. Send it as: Authorization: Bearer KEY")
        key = await self._key(text)
        if key is None:
            raise KeyRefused("The key is not known, has expired or was revoked. Whoever runs the service makes keys.")
        limits = replace(self._settings.key_limits, **key.limits)
        await self._count_request(key, limits)
        return Caller(key.owner, key.name or key.id, limits)

    async def _key(self, text: str) -> ApiKey | None:
        shown = parts(text)
        if shown is None:
            return None
        key_id, secret = shown
        key, read_at = self._known.get(key_id, (None, 0.0))
        if key is None or time.monotonic() - read_at > _READ_AGAIN_SECONDS:
            key = await self._read(key_id, key)
        return key if key is not None and key.admits(secret) else None

    async def _read(self, key_id: str, known: ApiKey | None) -> ApiKey | None:
        """The key as it is stored, or as it was known while the store does not answer: metrics are wanted most then."""
        reading = self._reading.get(key_id)
        if reading is None:
            reading = self._reading[key_id] = asyncio.ensure_future(run_in_threadpool(self._keys.get, key_id))
            reading.add_done_callback(partial(self._take_in, key_id))
        await asyncio.wait([reading], timeout=None if known is None else _PATIENCE_SECONDS)
        if known is None or (reading.done() and not isinstance(reading.exception(), StoreError)):
            return reading.result()
        self._known[key_id] = known, time.monotonic()
        return known

    def _take_in(self, key_id: str, reading: asyncio.Future[ApiKey | None]) -> None:
        """What was read, though whoever asked for it may have gone on without."""
        del self._reading[key_id]
        if reading.cancelled() or reading.exception() is not None:
            return
        self._known.pop(key_id, None)
        key = reading.result()
        if key is not None:
            self._known[key_id] = key, time.monotonic()

    async def _count_request(self, key: ApiKey, limits: KeyLimits) -> None:
        allowed = RateLimitItemPerMinute(limits.requests_per_minute)
        if await self._rates.hit(allowed, key.id):
            return
        window = await self._rates.get_window_stats(allowed, key.id)
        raise QuotaExceeded(
            "requests_per_minute",
            limits.requests_per_minute,
            max(1, round(window.reset_time - time.time())),
            f"This key may send {limits.requests_per_minute:,} requests a minute. "
            "To follow a job with few of them, ask with `Prefer: wait=30`.",
        )
