"""Calls of Redis over connections that die without a word, and over one that falls silent."""

import threading
from collections.abc import Iterator
from pathlib import Path
from socket import AF_UNIX, socket
from socketserver import BaseRequestHandler, ThreadingUnixStreamServer

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from glyphq.metrics import REGISTRY
from glyphq.progress import open_redis


class Way(ThreadingUnixStreamServer):
    """The way to Redis, as through a balancer: that it has forgotten a connection is heard by whoever uses it next."""

    daemon_threads = True

    def __init__(self, path: Path, redis: str) -> None:
        super().__init__(str(path), _Passing)
        self.url, self.redis = f"unix://{path}", redis
        self.known: set[BaseRequestHandler] = set()
        self.asked: list[bytes] = []
        self.is_cut, self.is_mute = False, False


class _Passing(BaseRequestHandler):
    server: Way

    def handle(self) -> None:
        self.server.known.add(self)
        with socket(AF_UNIX) as redis:
            redis.connect(self.server.redis)
            while asked := self.request.recv(65536):
                self.server.asked.append(asked)
                if self not in self.server.known or self.server.is_cut:
                    return
                if not self.server.is_mute:
                    redis.sendall(asked)
                    self.request.sendall(redis.recv(65536))


@pytest.fixture
def way(server: str, redis: Redis, tmp_path: Path) -> Iterator[Way]:
    with Way(tmp_path / "way.sock", server.removeprefix("unix://")) as made:
        thread = threading.Thread(target=made.serve_forever, args=[0.01])
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def client(way: Way) -> Iterator[Redis]:
    """One that has a connection to Redis."""
    with open_redis(way.url, timeout_seconds=0.5) as made:
        made.ping()
        yield made


def errors() -> float:
    found = REGISTRY.get_sample_value("glyphq_redis_errors_total")
    assert found is not None
    return found


def test_a_connection_that_turns_out_to_be_dead_costs_no_call(way: Way, client: Redis) -> None:
    before = errors()
    way.known.clear()
    assert client.set("key", "value")
    way.known.clear()
    with client.pipeline() as pipe:
        assert pipe.get("key").delete("key").execute() == ["value", 1]
    assert errors() == before


def test_what_is_dead_again_at_once_is_an_error_and_one(way: Way, client: Redis) -> None:
    before = errors()
    way.is_cut = True
    with pytest.raises(RedisConnectionError):
        client.set("key", "value")
    assert errors() == before + 1


def test_what_was_not_answered_in_time_is_not_asked_again(way: Way, client: Redis) -> None:
    before = errors()
    way.is_mute = True
    way.asked.clear()
    with pytest.raises(RedisTimeoutError):
        client.set("key", "value")
    assert len(way.asked) == 1
    assert errors() == before + 1
