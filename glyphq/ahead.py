"""Answers in order, of which the next ones are asked for while one is awaited."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from itertools import islice
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def map_ahead(executor: Executor, call: Callable[[A], B], arguments: Iterable[A], at_once: int) -> Iterator[B]:
    """As `map`, with up to `at_once` calls under way: unlike `Executor.map`, which takes all arguments at the start."""
    left = iter(arguments)
    under_way = deque(executor.submit(call, each) for each in islice(left, at_once))
    try:
        while under_way:
            answer = under_way.popleft().result()
            under_way.extend(executor.submit(call, each) for each in islice(left, 1))
            yield answer
    finally:
        for each in under_way:
            each.cancel()
