"""Celery as glyphq needs it: the app factory, task names, sending by name.

Celery carries "chunk 42 of job J" and may lose or repeat it; the ledger makes both harmless. So there is no result
backend, no visibility timeout (kombu would keep a second retry engine in Redis) and Celery sends nothing twice.
"""

import json
from base64 import b64decode
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from kombu.exceptions import OperationalError
from redis import RedisError
from redis.connection import parse_url

from glyphq.progress import BULK_QUEUE, INTERACTIVE_QUEUE
from glyphq.settings import Settings

CLASSIFY_CHUNK = "glyphq.classify_chunk"
DRAIN = "glyphq.drain"
QUEUE_ERRORS = RedisError, OperationalError
"""Of whoever sends through Redis: the first where it is asked itself, the second where Celery asks."""
_HEALTH_CHECK_SECONDS = 10
"""A worker whose Redis vanished without a word asks anew after about two of these."""
_PUBLISH_RETRY = {"max_retries": 1, "interval_start": 0.1, "interval_step": 0.0, "interval_max": 0.1}


def create_celery(settings: Settings) -> Celery:
    """The Celery app for both ends. Opens no connection."""
    app = Celery("glyphq", broker=_kombu_url(settings.redis_url), set_as_current=False)
    app.conf.update(
        broker_use_ssl=_tls(settings.redis_url),
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=True,  # with early acks a process reserves one more chunk than it works on
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_proc_alive_timeout=120.0,  # the model is loaded and compiled before a process is up
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=2.0,
        broker_transport_options={
            "ack_emulation": False,
            "queue_order_strategy": "round_robin",  # a chunk is interrupted by the other queue, so neither holds up one
            "socket_timeout": 5.0,
            "socket_connect_timeout": 2.0,
            "socket_keepalive": True,
            "health_check_interval": _HEALTH_CHECK_SECONDS,
        },
    )
    return app


def send_chunk(app: Celery, owner: str, job_id: str, chunk: int, sent: int) -> None:
    """Ask for one chunk. Raises kombu's OperationalError when Redis does not answer."""
    _send(app, CLASSIFY_CHUNK, {"owner": owner, "job_id": job_id, "chunk": chunk, "sent": sent}, BULK_QUEUE)


def send_drain(app: Celery) -> None:
    """Ask some worker to answer what waits in the interactive lane. Raises as `send_chunk`."""
    _send(app, DRAIN, {}, INTERACTIVE_QUEUE)


def sent_with(message: str) -> int:
    """The time that was sent with a chunk's message, as it lies in Redis; 0 where there is none, as in a message that
    `send_chunk` has not made.
    """
    try:
        _, arguments, _ = json.loads(b64decode(json.loads(message)["body"]))
        return int(arguments["sent"])
    except (ValueError, TypeError, LookupError, OverflowError):
        return 0


def _send(app: Celery, task: str, arguments: dict[str, object], queue: str) -> None:
    app.send_task(task, kwargs=arguments, queue=queue, retry=True, retry_policy=_PUBLISH_RETRY, ignore_result=True)


def _kombu_url(redis_url: str) -> str:
    """What redis-py reads in the URL, as kombu writes it: unix://PATH is redis+socket://PATH there, a query says other
    things, and TLS is left to `_tls`.
    """
    if redis_url.startswith("unix://"):
        return redis_url.replace("unix://", "redis+socket://", 1)
    database = parse_url(redis_url).get("db", 0)  # type: ignore[no-untyped-call]  # redis-py's
    return urlsplit(redis_url)._replace(path=f"/{database}", query="").geturl()


def _tls(redis_url: str) -> dict[str, Any] | None:
    """What redis-py reads of TLS in the URL. kombu, told nothing, would look at nobody's certificate."""
    if not redis_url.startswith("rediss://"):
        return None
    known = parse_url(redis_url)  # type: ignore[no-untyped-call]  # redis-py's
    return {"ssl_cert_reqs": "required", **{name: known[name] for name in known if name.startswith("ssl_")}}
