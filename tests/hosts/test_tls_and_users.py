"""Redis by TLS and with users: one URL is enough for every library, a wrong authority is refused, rights are few."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from api.background.events import Events
from glyphq.broker import create_celery, send_drain
from glyphq.client import Client
from glyphq.progress import BULK_QUEUE, EVENTS, open_redis
from glyphq.settings import Settings
from tests.faults.stack import PATIENCE_SECONDS, ROOT, until
from tests.hosts.cluster import ADDRESSES, REDIS_PORT, Cluster
from tests.hosts.conftest import Run

REFUSED = "certificate verify failed"


@pytest.fixture
def mistrusted(running: Cluster) -> str:
    """The URL of a worker that trusts another authority than the one that vouches for Redis."""
    return running.redis_url("worker", running.authority.with_name("other-ca.pem"))


def test_redis_speaks_tls_alone(running: Cluster) -> None:
    with (
        Redis(ADDRESSES["services"], REDIS_PORT, socket_timeout=5) as plain,
        pytest.raises(RedisConnectionError),
    ):
        plain.ping()


def test_progress_refuses_another_authority(mistrusted: str) -> None:
    with open_redis(mistrusted) as redis, pytest.raises(RedisConnectionError, match=REFUSED):
        redis.ping()


def test_celery_refuses_another_authority(mistrusted: str) -> None:
    app = create_celery(Settings(redis_url=mistrusted))
    with pytest.raises(OperationalError, match=REFUSED):
        send_drain(app)
    app.close()


def test_celery_refuses_an_authority_that_the_system_does_not_know(running: Cluster) -> None:
    app = create_celery(Settings(redis_url=running.redis_url("worker").partition("?")[0]))
    with pytest.raises(OperationalError, match=REFUSED):
        send_drain(app)
    app.close()


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Events]:
    events = Events(url)
    running = asyncio.create_task(events.run())
    try:
        yield events
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def test_events_refuse_another_authority(mistrusted: str, caplog: pytest.LogCaptureFixture) -> None:
    async def refused() -> None:
        async with listening(mistrusted):
            while REFUSED not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # of a line in a log there is no event

    with caplog.at_level(logging.WARNING):
        asyncio.run(asyncio.wait_for(refused(), PATIENCE_SECONDS))


def test_events_come_by_tls(running: Cluster) -> None:
    async def heard() -> None:
        async with listening(running.redis_url("api")) as events:
            with events.watching("some-job") as moved, running.redis("worker") as redis:
                while not moved.is_set():  # it may not have subscribed yet
                    redis.publish(EVENTS, "some-job")
                    await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(heard(), PATIENCE_SECONDS))


def test_a_worker_that_trusts_another_authority_says_so(running: Cluster, mistrusted: str) -> None:
    command = running.network.hosts["worker-1"].command([sys.executable, "-m", "worker", "--concurrency", "1"])
    variables = running.variables("worker") | {"GLYPHQ_REDIS_URL": mistrusted}
    with subprocess.Popen(command, env=variables, cwd=ROOT, stderr=subprocess.PIPE, text=True) as worker:
        assert worker.stderr is not None
        said = next(line for line in worker.stderr if "Cannot connect to rediss://" in line)
        worker.terminate()
        worker.stderr.read()
    assert REFUSED in said
    assert running.passwords["worker"] not in said


def test_users_are_denied_nothing_that_their_programs_do(running: Cluster, client: Client, undisturbed: Run) -> None:
    with running.redis() as redis:
        assert redis.acl_log() == []  # none of the jobs before has needed more
        redis.flushdb()  # and neither does telling Redis everything anew
        undisturbed.is_kept(client, client.submit(undisturbed.archive).id)
        client.delete(client.cancel(client.submit(undisturbed.archive).id).id)
        until(lambda: health_of(running, "worker-1").returncode == 0, "the worker is healthy")
        headers = {"Authorization": f"Bearer {running.key}"}
        metrics = httpx.get(f"{running.url}/metrics", headers=headers, timeout=20, trust_env=False).text
        assert "glyphq_redis_up 1.0" in metrics
        assert redis.acl_log() == []


def test_a_worker_that_is_cut_off_is_not_healthy(running: Cluster) -> None:
    until(lambda: health_of(running, "worker-2").returncode == 0, "it is healthy")
    with running.network.unplugged("worker-2"):
        assert health_of(running, "worker-2").stderr.startswith("Redis: ")
    until(lambda: health_of(running, "worker-2").returncode == 0, "it is healthy again")


def health_of(running: Cluster, worker: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "worker.health", str(running.beat(worker))]
    return subprocess.run(
        running.network.hosts[worker].command(command),
        check=False, env=running.variables("worker"), cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip


FOR_NOBODY: dict[str, Callable[[Redis], object]] = {
    "to empty it": lambda redis: redis.flushall(),
    "to list keys": lambda redis: redis.keys(),
    "to read its settings": lambda redis: redis.config_get("dir"),
    "to make users": lambda redis: redis.acl_list(),
    "to see who is connected": lambda redis: redis.client_list(),
    "to end others' connections": lambda redis: redis.client_kill("10.87.0.3:1"),
    "to see what others do": lambda redis: redis.execute_command("MONITOR"),
    "to run what it has not": lambda redis: redis.function_list(),
    "to stop it": lambda redis: redis.shutdown(),
    "to make it another's replica": lambda redis: redis.replicaof("10.87.0.9", 6379),
    "to read other keys": lambda redis: redis.get("somebody-else:key"),
    "to write other keys": lambda redis: redis.set("somebody-else:key", "value"),
    "to speak in other channels": lambda redis: redis.publish("other", "text"),
}


@pytest.mark.parametrize("user", ["api", "worker"])
@pytest.mark.parametrize("what", FOR_NOBODY)
def test_neither_user_is_allowed(running: Cluster, user: str, what: str) -> None:
    with running.redis(user) as redis, pytest.raises(NoPermissionError):
        FOR_NOBODY[what](redis)


@pytest.mark.parametrize("user", ["api", "worker"])
def test_a_script_is_allowed_no_more(running: Cluster, user: str) -> None:
    with running.redis(user) as redis, pytest.raises(ResponseError, match="can't access"):
        redis.register_script("return redis.call('GET', 'somebody-else:key')")()


def test_the_api_takes_no_messages_and_workers_do_not_listen(running: Cluster) -> None:
    with running.redis("api") as redis, pytest.raises(NoPermissionError):
        redis.brpop([BULK_QUEUE], timeout=1)
    with running.redis("worker") as redis, redis.pubsub() as channel:
        channel.subscribe(EVENTS)
        with pytest.raises(NoPermissionError):
            channel.get_message(timeout=5)


def test_nobody_is_let_in_without_a_name(running: Cluster) -> None:
    nameless = running.redis_url("worker").rpartition("@")[2]
    with Redis.from_url(f"rediss://{nameless}") as redis, pytest.raises(RedisError, match="authenticate"):
        redis.ping()
