"""Who waits for a job is told when it moves, whatever becomes of the connection to Redis."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from redis import Redis

from api.background import events
from api.background.events import Events
from glyphq.progress import EVENTS

Connect = Callable[..., Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

_PATIENCE_SECONDS = 30.0
pytestmark = pytest.mark.timeout(45)  # what never lets anything else run is ended from outside alone


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.StreamReader]:
    """What is read of each connection that is made."""
    made: list[asyncio.StreamReader] = []

    def noted(connect: Connect) -> Connect:
        async def connected(*arguments: object, **options: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await connect(*arguments, **options)
            made.append(reader)
            return reader, writer

        return connected

    monkeypatch.setattr(asyncio, "open_unix_connection", noted(asyncio.open_unix_connection))
    return made


async def told(listener: Events, redis: Redis) -> None:
    """Return when a waiter has been told."""
    with listener.watching("some-job") as moved:
        while not moved.is_set():  # it may not have subscribed yet
            redis.publish(EVENTS, "some-job")
            await asyncio.sleep(0.01)


def listening(server: str, scenario: Callable[[Events], Awaitable[None]]) -> None:
    async def within() -> None:
        listener = Events(server)
        running = asyncio.create_task(listener.run())
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await scenario(listener)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    asyncio.run(within())


@pytest.mark.parametrize("number", [errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ECONNRESET], ids=errno.errorcode.get)
def test_a_connection_that_the_kernel_gives_up_is_made_anew(
    server: str, redis: Redis, connections: list[asyncio.StreamReader], number: int
) -> None:
    async def scenario(listener: Events) -> None:
        await told(listener, redis)
        connections[-1].set_exception(OSError(number, "as asyncio says it"))
        await told(listener, redis)

    listening(server, scenario)


def test_a_connection_that_is_silent_for_long_is_made_anew(
    server: str, redis: Redis, connections: list[asyncio.StreamReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_SILENT_SECONDS", 0.05)

    async def scenario(listener: Events) -> None:
        await told(listener, redis)
        while len(connections) < 3:  # noqa: ASYNC110  # of a connection there is no event
            await asyncio.sleep(0.01)
        await told(listener, redis)

    listening(server, scenario)
