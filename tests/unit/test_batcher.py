"""Calls that are made together: each gets its own answer, and those that come meanwhile share one call."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from api.batcher import Batcher


def test_calls_that_come_while_one_is_under_way_are_made_together_in_their_order() -> None:
    calls: list[list[int]] = []
    begun, free = threading.Event(), threading.Event()

    def doubled(numbers: Sequence[int]) -> list[int]:
        calls.append(list(numbers))
        begun.set()
        free.wait()
        return [2 * number for number in numbers]

    async def scenario() -> list[int]:
        together = Batcher(doubled)
        first = asyncio.create_task(together(1))
        await asyncio.to_thread(begun.wait)
        rest = [asyncio.create_task(together(number)) for number in (2, 3, 4)]
        await asyncio.sleep(0)
        free.set()
        return await asyncio.gather(first, *rest)

    assert asyncio.run(scenario()) == [2, 4, 6, 8]
    assert calls == [[1], [2, 3, 4]]


def test_what_it_raises_is_raised_for_each_and_the_next_call_is_made_all_the_same() -> None:
    def checked(numbers: Sequence[int]) -> list[int]:
        if -1 in numbers:
            raise ValueError("negative")
        return list(numbers)

    async def scenario() -> list[int | BaseException]:
        together = Batcher(checked)
        failed = await asyncio.gather(together(-1), together(1), return_exceptions=True)
        return [*failed, await together(5)]

    first, second, third = asyncio.run(scenario())
    assert isinstance(first, ValueError)
    assert isinstance(second, ValueError)
    assert third == 5


def test_an_exception_that_is_answered_is_raised_for_the_one_it_stands_for() -> None:
    def halved(numbers: Sequence[int]) -> list[int | Exception]:
        return [ValueError("odd") if number % 2 else number // 2 for number in numbers]

    async def scenario() -> list[int | BaseException]:
        together = Batcher(halved)
        return await asyncio.gather(together(4), together(5), together(6), return_exceptions=True)

    first, second, third = asyncio.run(scenario())
    assert (first, third) == (2, 3)
    assert isinstance(second, ValueError)


def test_who_no_longer_waits_does_not_keep_others_from_their_answers() -> None:
    free = threading.Event()

    def held(numbers: Sequence[int]) -> list[int]:
        free.wait()
        return list(numbers)

    async def scenario() -> int:
        together = Batcher(held)
        gone, stays = asyncio.create_task(together(1)), asyncio.create_task(together(2))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        free.set()
        return await stays

    assert asyncio.run(scenario()) == 2
