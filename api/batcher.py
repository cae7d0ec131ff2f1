"""Calls that come while one is under way, made together: what one sync, one message or one thread can do for many."""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Argument = TypeVar("Argument")
Answer = TypeVar("Answer")


class Batcher(Generic[Argument, Answer]):
    """A blocking function of many, awaited for one. It runs in one of asyncio's threads, once at a time."""

    def __init__(self, act: Callable[[Sequence[Argument]], Sequence[Answer | Exception]]) -> None:
        """`act` answers as many as it is given, in their order; an exception is raised for the one it stands for.

        What it raises is raised for each of them.
        """
        self._act = act
        self._waiting: list[tuple[Argument, asyncio.Future[Answer]]] = []
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, argument: Argument) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((argument, answer))
        if self._running is None:
            # In a context of its own: what it logs is not about the one request that came first.
            self._running = asyncio.create_task(self._run(), context=Context())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                for (_, answer), given in zip(batch, await self._acted([each for each, _ in batch]), strict=True):
                    if answer.done():  # whoever waited is gone
                        continue
                    if isinstance(given, Exception):
                        answer.set_exception(given)
                    else:
                        answer.set_result(given)
        finally:
            self._running = None

    async def _acted(self, arguments: Sequence[Argument]) -> Sequence[Answer | Exception]:
        try:
            return await asyncio.to_thread(self._act, arguments)
        except Exception as error:  # noqa: BLE001  # whoever waits raises it
            return [error] * len(arguments)
