"""Who waits for a job to move: one subscription to Redis a process, fanned out in memory. An event may be lost;
waiters look again by themselves."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError

from glyphq.progress import EVENTS

log = logging.getLogger(__name__)

_RECONNECT_SECONDS = 1.0
_SILENT_SECONDS = 30.0


class Events:
    """Tells waiters that a job has moved, or that the service stops. `run` must be running."""

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url
        self._waiters: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.stopping = False
        """Whether nobody is to wait any longer."""

    def stop(self) -> None:
        """Wake all who wait: the service stops."""
        self.stopping = True
        for waiters in self._waiters.values():
            for moved in waiters:
                moved.set()

    @contextmanager
    def watching(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the job moves, and when the service stops."""
        moved = asyncio.Event()
        self._waiters[job_id].add(moved)
        try:
            yield moved
        finally:
            self._waiters[job_id].discard(moved)
            if not self._waiters[job_id]:
                del self._waiters[job_id]

    async def run(self) -> None:
        """Listen until cancelled, over every loss of the connection. One that is silent for long is made anew."""
        while True:
            try:
                async with Redis.from_url(self._url, decode_responses=True) as redis, redis.pubsub() as channel:
                    await channel.subscribe(EVENTS)
                    # None after so much silence, and at once when the kernel gives the connection up with ETIMEDOUT,
                    # which redis-py takes for that timeout. Both times a new one is made. `listen` would ask the old
                    # one again for ever and let nothing else run.
                    while (message := await channel.get_message(timeout=_SILENT_SECONDS)) is not None:
                        if message["type"] == "message":
                            for moved in self._waiters.get(message["data"], ()):
                                moved.set()
            except (RedisError, OSError) as error:
                log.warning("events: %s; listening again in %s s", error, _RECONNECT_SECONDS)
                await asyncio.sleep(_RECONNECT_SECONDS)
