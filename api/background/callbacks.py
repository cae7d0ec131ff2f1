"""Tells whoever asked for it that a job has ended: signed, tried again for days, at least once.

Any API process may deliver; a key in Redis keeps two from doing it at the same time, which would be harmless.
"""

import asyncio
import json
import logging
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import httpcore
from redis.exceptions import RedisError
from standardwebhooks import Webhook
from starlette.concurrency import run_in_threadpool

from api.background.outbound import Headers, Outbound
from api.metrics import CALLBACKS
from api.service import Service
from glyphq import __version__
from glyphq.callbacks import Delivery, DeliveryState
from glyphq.errors import AddressRefused, DamagedObject, GlyphqError, JobNotFinished, JobNotFound, StoreError
from glyphq.jobs import Job
from glyphq.logs import bound

log = logging.getLogger(__name__)

_TIMEOUT_SECONDS = 15.0  # as the specification advises
_AT_ONCE, _OF_AN_OWNER_AT_ONCE = 64, 4
_JITTER = 0.2
_GONE = 410
_DAMAGED_SECONDS = 3600.0  # before a damaged record is looked at again
_AGAIN_SECONDS = 60.0  # or one that the store did not give


class Callbacks:
    """One a process; `run` must be running."""

    def __init__(self, service: Service) -> None:
        self._service, self._deliveries = service, service.deliveries
        self._outbound = Outbound(service.settings.callback_hosts, timeout_seconds=_TIMEOUT_SECONDS)
        self._under_way: dict[asyncio.Task[None], Job] = {}
        self._has_room, self._more = asyncio.Event(), False
        self._last_owner = ""  # of those begun: the next look begins with the owner after
        self._not_before: dict[str, float] = {}  # by job id: of those that wait for days nothing is read

    async def run(self) -> None:
        """Begin what is due, again and again, until cancelled."""
        try:
            while True:
                try:
                    self._has_room.clear()
                    for job in await asyncio.to_thread(self._due, list(self._under_way.values())):
                        task = asyncio.create_task(self._deliver(job))
                        self._under_way[task] = job
                        task.add_done_callback(self._is_over)
                except (GlyphqError, RedisError) as error:
                    log.warning("callbacks: %s; looking again", error)
                except Exception:  # one look may fail; the next one follows
                    log.exception("callbacks: a look at what is due failed")
                with suppress(TimeoutError):  # where some had to wait for room, the next are begun when there is some
                    await asyncio.wait_for(self._has_room.wait(), self._service.settings.reconcile_seconds)
        finally:
            for task in self._under_way:
                task.cancel()

    def _is_over(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        if self._more:
            self._has_room.set()

    def _due(self, under_way: list[Job]) -> list[Job]:
        """Jobs that have ended and of which somebody is to be told now: not all of one owner's at once."""
        now = time.time()
        of_owner = Counter(job.owner for job in under_way)
        taken = {job.id for job in under_way}
        later, self._not_before = self._not_before, {}
        self._more = False
        found: list[Job] = []
        for owner, job_id in sorted(self._deliveries.waiting(), key=lambda each: each[0] <= self._last_owner):
            due_at = later.get(job_id, 0.0)
            if due_at > now:
                self._not_before[job_id] = due_at
            elif of_owner[owner] >= _OF_AN_OWNER_AT_ONCE or len(taken) >= _AT_ONCE:
                self._more = True
            elif job_id not in taken:
                job = self._if_due(owner, job_id, now)
                if job is not None:
                    found.append(job)
                    self._last_owner = owner
                    taken.add(job_id)
                    of_owner[owner] += 1
        return found

    def _if_due(self, owner: str, job_id: str, now: float) -> Job | None:
        ledger = self._service.ledger
        try:
            job = ledger.job(owner, job_id)
            if not ledger.has_ended(job):
                return None
        except JobNotFound:  # not yet, or not any more: the sweep takes it away
            return None
        except StoreError as error:  # no concern of other jobs
            log.error("job %s: nobody can be told of its end: %s", job_id, error.detail)
            self._not_before[job_id] = now + (_DAMAGED_SECONDS if isinstance(error, DamagedObject) else _AGAIN_SECONDS)
            return None
        if not self._service.progress.may_tell(job_id):
            return None
        delivery = self._deliveries.of(job)  # as it is now that no other process changes it
        if delivery.state is DeliveryState.WAITING and delivery.due_at <= now:
            return job
        self._service.progress.told(job_id)
        self._not_before[job_id] = delivery.due_at
        return None

    async def _deliver(self, job: Job) -> None:
        with bound(job.id, job.request_id):
            await self._tell(job)

    async def _tell(self, job: Job) -> None:
        try:
            before, content, headers = await run_in_threadpool(self._message, job)
            after = self._after(before, *await self._answer(job, content, headers))
            await run_in_threadpool(self._deliveries.put, job, after)
            CALLBACKS.labels(after.state).inc()
            with suppress(RedisError):  # then the next attempt waits until the key expires
                await run_in_threadpool(self._service.progress.told, job.id)
            log.info("job %s: callback: %s after %d attempts: %s", job.id, after.state, after.attempts, after.answer)
        except (JobNotFound, JobNotFinished) as error:
            log.info("job %s: no callback now: %s", job.id, error.detail)
        except Exception:  # one delivery may fail; it stays due
            log.exception("job %s: the callback could not be made", job.id)

    def _message(self, job: Job) -> tuple[Delivery, bytes, Headers]:
        """What to send, after https://www.standardwebhooks.com; its id is the job's in every attempt."""
        view = self._service.view(job.owner, job.id)
        if not view.state.ended:  # its end was damaged, and is made again
            raise JobNotFinished(f"Job {job.id} is open again.", {})
        event = {
            "type": f"job.{view.state}",
            "timestamp": view.ended_at.isoformat() if view.ended_at else None,
            "data": view.model_dump(mode="json", exclude={"results", "callback"}),
        }
        content = json.dumps(event, ensure_ascii=False)
        now = datetime.now(UTC)
        signature = Webhook(self._deliveries.secret(job.owner)).sign(job.id, now, content)
        headers: Headers = {
            "Content-Type": "application/json",
            "User-Agent": f"glyphq/{__version__}",
            "webhook-id": job.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signature,
        }
        return self._deliveries.of(job), content.encode(), headers

    async def _answer(self, job: Job, content: bytes, headers: Headers) -> tuple[int | None, str]:
        """The status, if there was an answer, and what to say of it."""
        try:
            status = await self._outbound.post(job.options.callback_url or "", content, headers)
        except AddressRefused as error:
            log.warning("job %s: %s", job.id, error.detail)  # the address itself is not for whoever chose the name
            return None, "the host leads to an address that is not public"
        except TimeoutError:
            return None, f"no answer within {_TIMEOUT_SECONDS:.0f} s"
        except (
            OSError,
            UnicodeError,
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.TimeoutException,
        ) as error:
            return None, f"{type(error).__name__}: {error}"[:200]
        return status, f"HTTP {status}"

    def _after(self, before: Delivery, status: int | None, answer: str) -> Delivery:
        attempts, pauses = before.attempts + 1, self._service.settings.callback_retry_seconds
        delivery = replace(before, attempts=attempts, answer=answer)
        if status is not None and 200 <= status < 300:
            return replace(delivery, state=DeliveryState.DELIVERED)
        if status == _GONE or attempts > len(pauses):
            return replace(delivery, state=DeliveryState.GIVEN_UP)
        pause = pauses[attempts - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # no secret
        return replace(delivery, due_at=time.time() + pause)
