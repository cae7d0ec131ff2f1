"""What stands between the service and work, as `/readyz` and `glyphq doctor` say it."""

import asyncio
import time
import uuid
from collections.abc import Sequence
from functools import cached_property

from redis import RedisError

from api.batcher import Batcher
from glyphq.errors import ModelError, StoreError
from glyphq.ledger import Ledger
from glyphq.object_names import API_PROBE
from glyphq.progress import Progress
from glyphq.settings import Settings
from glyphq.vision.checkpoint import SHIPPED, read_weights

_UNCONDITIONAL = (
    "The store overwrites objects that exist: it ignores If-None-Match, so rows could be lost. "
    "Use one that honours conditional puts."
)
_SHARED_REDIS = (
    "Redis is in use by a service with another store, or was until a minute ago, and no job would end. Give this one a "
    "Redis of its own, or a database of its own: GLYPHQ_REDIS_URL=redis://HOST:6379/1."
)
_CLOCKS_APART_SECONDS = 5.0
_PATIENCE_SECONDS = 10.0  # with a store that hangs; whoever asks is to be told so
_CHECKED_SECONDS = 1.0  # an answer about what stands between the service and work serves whoever asks so long


class ReadinessCheck:
    """Looks at Redis, the workers, the clocks, the store and the model."""

    def __init__(self, settings: Settings, ledger: Ledger, progress: Progress) -> None:
        self._settings, self._ledger, self._progress = settings, ledger, progress
        self._so_far = dict.fromkeys(("redis", "worker", "clock", "store", "disk", "model"), "Not looked at yet.")

    async def checks(self) -> dict[str, str]:
        """What stands between the service and work: `ok`, or a sentence that says what to do. May be a second old."""
        looking = asyncio.ensure_future(self._look(None))
        try:
            return await asyncio.wait_for(asyncio.shield(looking), _PATIENCE_SECONDS)
        except TimeoutError:
            return self._so_far

    @cached_property
    def _look(self) -> Batcher[None, dict[str, str]]:
        found: dict[str, str] = {}
        looked_at = float("-inf")

        def look(askers: Sequence[None]) -> list[dict[str, str]]:
            nonlocal found, looked_at
            if time.monotonic() - looked_at > _CHECKED_SECONDS:
                unknown = f"The store has not answered for {_PATIENCE_SECONDS:.0f} s."
                model = self._model_check()
                self._so_far = {**self._redis_checks(), "store": unknown, "disk": unknown, "model": model}
                found = {**self._so_far, **self._store_checks()}
                if found["redis"] == "ok" and self._redis_is_shared():
                    found["redis"] = _SHARED_REDIS
                looked_at = time.monotonic()
            return [found] * len(askers)

        return Batcher(look)

    def _redis_checks(self) -> dict[str, str]:
        try:
            heard_from, difference = self._progress.workers(), self._progress.clock_difference()
        except RedisError as error:
            unknown = "Unknown while Redis does not answer."
            return {"redis": f"Redis does not answer: {error}", "worker": unknown, "clock": unknown}
        return {
            "redis": "ok",
            "worker": "ok" if heard_from else "No worker has been heard from in the last seconds. "
            "Start one: python -m worker. If one runs, its log says what is missing.",
            "clock": "ok" if abs(difference) < _CLOCKS_APART_SECONDS else f"Redis' clock and this machine's are "
            f"{abs(difference):,.0f} s apart. No row is lost, but times are shown wrongly. Set both by NTP.",
        }  # fmt: skip

    def _redis_is_shared(self) -> bool:
        """Whether what Redis says is of another store."""
        try:
            return self._progress.store() not in (None, self._ledger.identity())
        except (RedisError, StoreError):  # as the other checks say, or the next ones will
            return False

    def _store_checks(self) -> dict[str, str]:
        reserve = self._settings.disk_reserve_bytes
        try:
            self._ledger.blobs.replace(API_PROBE, b"ok")
            if self._ledger.blobs.create(API_PROBE, uuid.uuid4().bytes):
                return {"store": _UNCONDITIONAL, "disk": "Unknown while the store cannot be used."}
            free = self._ledger.blobs.free_bytes()
        except StoreError as error:
            return {"store": error.detail, "disk": "Unknown while the store does not answer."}
        full = (
            f"The store has {free:,} bytes left, and uploads are refused below {reserve:,}. Delete jobs or free space."
        )
        return {"store": "ok", "disk": "ok" if free > reserve else full}

    def _model_check(self) -> str:
        try:
            read_weights(self._settings.model or SHIPPED)
        except ModelError as error:
            return error.detail
        return "ok"
