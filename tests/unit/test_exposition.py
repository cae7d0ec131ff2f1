"""What `GET /metrics` answers of one process, whatever lies in Redis or becomes of it."""

import asyncio
import json
import shutil
import sys
import threading
from base64 import b64encode
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError

from api.metrics import Exposition
from glyphq import __version__
from glyphq.blobs import Blobs, open_blobs
from glyphq.broker import BULK_QUEUE
from glyphq.progress import open_redis
from glyphq.settings import Settings


@pytest.fixture
def settings(server: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=server, store_url=f"file://{tmp_path}/store")


def told(settings: Settings, blobs: Blobs | None = None) -> dict[tuple[str, ...], float]:
    """Values by name and labels' values, of a fresh exposition."""
    exposition = Exposition(settings, blobs or open_blobs(settings.store_url))
    text = asyncio.run(exposition.latest(None)).decode()
    families = text_string_to_metric_families(text)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


@pytest.mark.parametrize(
    "message",
    [
        b"no JSON",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"body": "no base64"}',
        b'{"body": "%s"}' % b64encode(b"{}"),
        b'{"body": "%s"}' % b64encode(json.dumps([[], {"sent": "never"}, {}]).encode()),
        b'{"body": "%s"}' % b64encode(json.dumps([[], {"sent": float("inf")}, {}]).encode()),
    ],
)
def test_a_message_that_glyphq_has_not_sent_has_no_age(settings: Settings, redis: Redis, message: bytes) -> None:
    redis.rpush(BULK_QUEUE, message)
    found = told(settings)
    assert found["glyphq_queue_messages", "bulk"] == 1
    assert found["glyphq_queue_oldest_seconds", "bulk"] == 0


def test_refusals_of_jobs_are_told_of_before_the_first(settings: Settings, redis: Redis) -> None:
    found = told(settings)
    for status in ("500", "503", "507"):
        assert ("glyphq_http_request_duration_seconds_count", "POST", "/v1/jobs", status) in found


def test_what_a_full_redis_refuses_is_counted(settings: Settings, redis: Redis) -> None:
    before = told(settings)["glyphq_redis_errors_total",]
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            redis.set("key", "value")
        with redis.pipeline(transaction=False) as pipe, pytest.raises(OutOfMemoryError):
            pipe.set("key", "value").execute()
        found = told(settings)
    finally:
        redis.config_set("maxmemory", 0)
    assert found["glyphq_redis_up",] == 1
    assert found["glyphq_redis_errors_total",] == before + 2


def test_a_script_that_redis_has_to_be_told_first_is_no_error(settings: Settings, redis: Redis) -> None:
    before = told(settings)["glyphq_redis_errors_total",]
    redis.script_flush()
    assert redis.register_script("return 1")() == 1
    assert told(settings)["glyphq_redis_errors_total",] == before


def test_that_redis_is_back_is_logged_once(caplog: pytest.LogCaptureFixture, tmp_path: Path, server: str) -> None:
    path = tmp_path / "redis.sock"
    caplog.set_level("INFO", "glyphq.measured_redis")
    with open_redis(f"unix://{path}") as client:
        for _ in range(2):
            with pytest.raises(RedisConnectionError):
                client.ping()
        path.symlink_to(server.removeprefix("unix://"))
        for _ in range(2):
            client.ping()
    [record] = caplog.records
    assert record.getMessage().startswith("Redis answers again, after ")


def test_a_folder_has_room_and_a_reserve(settings: Settings, redis: Redis, tmp_path: Path) -> None:
    found = told(settings)
    assert 0 < found["glyphq_store_free_bytes",] <= shutil.disk_usage(tmp_path).total
    assert found["glyphq_store_reserve_bytes",] == settings.disk_reserve_bytes
    assert found["glyphq_build_info", __version__] == 1


def test_a_store_that_does_not_answer_leaves_the_rest_told(settings: Settings, redis: Redis, tmp_path: Path) -> None:
    blobs = open_blobs(settings.store_url)
    shutil.rmtree(tmp_path / "store")
    found = told(settings, blobs)
    assert ("glyphq_store_free_bytes",) not in found
    assert found["glyphq_redis_up",] == 1


def test_a_store_without_end_has_no_free_bytes(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = open_blobs(settings.store_url)
    monkeypatch.setattr(blobs, "free_bytes", lambda: sys.maxsize)  # as of s3://
    assert ("glyphq_store_free_bytes",) not in told(settings, blobs)


def test_a_store_that_hangs_holds_up_no_scrape(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, goes_on = open_blobs(settings.store_url), threading.Event()
    monkeypatch.setattr(blobs, "free_bytes", lambda: goes_on.wait(10))
    monkeypatch.setattr("api.metrics._STORE_SECONDS", 0.01)
    try:
        assert ("glyphq_store_free_bytes",) not in told(settings, blobs)
    finally:
        goes_on.set()
