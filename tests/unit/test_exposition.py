"""What `GET /metrics` answers of one process, whatever lies in Redis or becomes of it."""

import asyncio
import json
from base64 import b64encode
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from api.metrics import Exposition
from glyphq.broker import BULK_QUEUE
from glyphq.settings import Settings


@pytest.fixture
def settings(server: str, tmp_path: Path) -> Settings:
    return Settings(redis_url=server, store_url=f"file://{tmp_path}/store")


def told(settings: Settings) -> dict[tuple[str, ...], float]:
    """Values by name and labels' values, of a fresh exposition."""
    text = asyncio.run(Exposition(settings).latest(None)).decode()
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
