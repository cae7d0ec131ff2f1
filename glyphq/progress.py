"""The Redis side: done bits, counts, leases, the interactive lane, heartbeats, events. Every key is named here.

Nothing here is a promise: everything can vanish at any moment and is made again from the ledger. Times are on Redis'
own clock, in milliseconds, so the clocks of workers do not matter.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from uuid import UUID

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from glyphq import scripts
from glyphq.jobs import Counts

if TYPE_CHECKING:  # which takes longer to load than all of this, for a check that is made every few seconds
    from glyphq.settings import Settings

EPOCH = "glyphq:epoch"  # there since the last pass over the store; missing after a flush
EPOCH_BUILDING = "glyphq:epoch:building"
RECONCILER_LOCK = "glyphq:reconciler"
STORE = "glyphq:store"  # which store all of this is about
INTERACTIVE_QUEUE = "interactive"  # list: Celery's messages, the next one last
BULK_QUEUE = "bulk"  # the same
EVENTS = "glyphq:events"  # channel: the id of a job that moved
OPEN = "glyphq:open"  # sorted set: owner/id of the jobs with chunks to do; by name, and so an owner's oldest first
WAITING = "glyphq:interactive"  # sorted set: owner/id/images by turn
TURNS = "glyphq:interactive:turns"  # hash: the next turn of each owner that had something waiting; `/now` of the lane
LEASED = "glyphq:interactive:leased"  # sorted set: the same by the time their lease ends
DEATHS = "glyphq:interactive:deaths"  # hash: leases that ran out, by member
DRAIN_PENDING = "glyphq:drain"  # there while a drain has been sent and not begun
LATEST_CLAIMED = "glyphq:claimed"  # when the youngest message that was ever claimed was sent
_WORKER = "glyphq:worker:"
_JOB_TTL_SECONDS = 24 * 3600
_DRAIN_PENDING_MS = 1000
_STORE_TTL_MS = 60_000
_HEARTBEAT_SECONDS = 10
_MEND_SECONDS = 60
_TELL_SECONDS = 20  # longer than a callback may last
_UNCLAIMED_MS = 30_000  # a message is lost when one sent this much later was claimed
_UNCLAIMED_EMPTY_MS = 2_000  # or when it is this old and the queue is empty
_TIMEOUT_SECONDS = 2.0
_LOOKED_AT = 1000


def _done(job_id: str) -> str:
    return f"glyphq:job:{job_id}:done"  # bitmap by chunk


def _out(job_id: str) -> str:
    return f"glyphq:job:{job_id}:out"  # hash: chunk -> "sent:<when>" or "held:<until>:<token>"


def _counts(job_id: str) -> str:
    return f"glyphq:job:{job_id}:counts"  # hash: rows by status, chunks done, lease deaths by chunk


def _counted(rows: Counts) -> list[str | int]:
    """Names and numbers in turn."""
    return [part for name in Counts.COUNTED for part in (name, getattr(rows, name))]


@dataclass(frozen=True)
class Claim:
    """What became of an attempt to take a chunk. `deaths`: how often its lease ran out before."""

    granted: bool
    done: bool
    deaths: int


@dataclass(frozen=True)
class Sending:
    """Chunks to be sent now; `sent` is the time that goes with each message."""

    chunks: tuple[int, ...]
    sent: int


@dataclass(frozen=True)
class Waiting:
    """A job of the interactive lane. `deaths`: how often whoever had leased it went silent."""

    owner: str
    job_id: str
    images: int
    deaths: int = 0

    @property
    def member(self) -> str:
        return f"{self.owner}/{self.job_id}/{self.images}"


@dataclass(frozen=True)
class Load:
    """What is open and what waits, in Redis' eyes. `now` is its clock in seconds."""

    now: float
    open_jobs: int
    """With chunks to do."""
    messages: dict[str, int]
    """By queue."""
    oldest_message: str | None
    """Of the first queue."""
    waiting_jobs: int
    leased_jobs: int
    waiting_since: float | None
    """When the oldest job that waits in the interactive lane was handed in, by its id."""
    workers: int


class Progress:
    """All that Redis is asked. Methods raise redis.RedisError; `redis` decodes its answers to text, and may carry out
    twice what it is asked once: what only the first time answered as sent or leased is found as lost messages are.

    `window` is how many chunks of one job may be out at a time, and `owner_window` how many of one owner's jobs.
    """

    def __init__(self, redis: Redis, *, window: int, owner_window: int, lease_seconds: float) -> None:
        self.redis = redis
        self._window, self._owner_window = window, owner_window
        self._lease_ms = int(lease_seconds * 1000)
        script = redis.register_script
        self._claim, self._renew, self._release = script(scripts.CLAIM), script(scripts.RENEW), script(scripts.RELEASE)
        self._done_script = script(scripts.DONE)
        self._next, self._lost, self._rebuild = script(scripts.NEXT), script(scripts.LOST), script(scripts.REBUILD)
        self._push, self._pop, self._recover = script(scripts.PUSH), script(scripts.POP), script(scripts.RECOVER)
        self._lock = script(scripts.LOCK)
        self._publish_epoch = script(scripts.PUBLISH_EPOCH)

    # Chunks.

    def open(self, owner: str, job_id: str) -> None:
        """Remember that the job has chunks to do, and has not ended."""
        with self.redis.pipeline(transaction=True) as pipe:
            pipe.zadd(OPEN, {f"{owner}/{job_id}": 0})
            pipe.hdel(_counts(job_id), "ended")
            pipe.execute()

    def open_jobs(self) -> list[tuple[str, str]]:
        """(owner, id) of the jobs with chunks to do, as far as Redis knows."""
        return [_owner_and_id(member) for member in cast("list[str]", self.redis.zrange(OPEN, 0, -1))]

    def last_let_in(self, owner: str) -> str | None:
        """The youngest of the owner's jobs that have a part of its window, where the window is full of jobs."""
        found = self.redis.zrangebylex(OPEN, f"[{owner}/", f"({owner}0", start=self._owner_window - 1, num=1)
        return _owner_and_id(cast("list[str]", found)[0])[1] if found else None

    def next_chunks(self, owner: str, job_id: str, chunks: int) -> Sending:
        """Mark as sent, and answer, the next chunks of a job under its window and its part of its owner's."""
        keys = [_done(job_id), _out(job_id), OPEN]
        now, picked = self._next(keys, self._windows(owner, job_id, chunks))
        return Sending(tuple(picked), now)

    def _windows(self, owner: str, job_id: str, chunks: int) -> list[str | int]:
        return [f"{owner}/{job_id}", chunks, self._window, self._owner_window, _JOB_TTL_SECONDS]

    def claim(self, job_id: str, chunk: int, token: str, sent: int) -> Claim:
        """Take a chunk and start its lease, unless it is done or another holds it."""
        keys = [_done(job_id), _out(job_id), _counts(job_id), LATEST_CLAIMED]
        state, deaths = self._claim(keys, [chunk, token, self._lease_ms, sent, _JOB_TTL_SECONDS])
        return Claim(state == "claimed", state == "done", deaths)

    def renew(self, job_id: str, chunk: int, token: str) -> bool:
        """A sign of life. False: the job has ended or another holds the chunk, and the work is in vain."""
        return bool(self._renew([_out(job_id), _counts(job_id)], [chunk, token, self._lease_ms, _JOB_TTL_SECONDS]))

    def release(self, job_id: str, chunk: int, token: str) -> None:
        """Give a chunk back that could not be done now; the reconciler sends it again as if its message were lost."""
        self._release([_out(job_id)], [chunk, token])

    def done(self, owner: str, job_id: str, chunk: int, chunks: int, rows: Counts) -> tuple[bool, Sending]:
        """Mark a chunk done and tell whoever follows. Answers whether all are done, and what to send next."""
        keys = [_done(job_id), _out(job_id), _counts(job_id), OPEN]
        arguments = [*self._windows(owner, job_id, chunks), chunk, EVENTS, *_counted(rows)]
        finished, now, picked = self._done_script(keys, arguments)
        return finished >= chunks, Sending(tuple(picked), now)

    def lost_chunks(self, job_id: str, queue: str) -> Sending:
        """Mark as sent again, and answer, chunks whose lease ran out or whose message will never be claimed."""
        keys = [_out(job_id), _counts(job_id), LATEST_CLAIMED, queue]
        now, lost = self._lost(keys, [_UNCLAIMED_MS, _UNCLAIMED_EMPTY_MS, _JOB_TTL_SECONDS])
        return Sending(tuple(int(chunk) for chunk in lost), now)

    def any_claimed(self) -> bool:
        """Whether Redis knows of a worker that ever took a chunk."""
        return bool(self.redis.exists(LATEST_CLAIMED))

    def done_chunks(self, job_id: str) -> set[int]:
        """The chunks whose done bit is set."""
        # Not decoded as text: a bitmap is no text.
        found = self.redis.execute_command("GET", _done(job_id), NEVER_DECODE=True)  # type: ignore[no-untyped-call]  # redis-py's
        bits = cast("bytes", found or b"")
        return {8 * i + bit for i, byte in enumerate(bits) for bit in range(8) if byte & (0x80 >> bit)}

    def rebuild(self, job_id: str, chunks: Sequence[int], rows: Counts) -> None:
        """Make bits and counts say what the ledger says."""
        keys = [_done(job_id), _out(job_id), _counts(job_id)]
        self._rebuild(keys, [_JOB_TTL_SECONDS, len(Counts.COUNTED), *_counted(rows), *chunks])

    def counts(self, job_id: str, total: int) -> Counts | None:
        """Rows by status so far; None where Redis knows nothing of the job."""
        found = cast("dict[str, str]", self.redis.hgetall(_counts(job_id)))
        if "chunks" not in found:
            return None
        numbers = {name: int(found.get(name, "0")) for name in Counts.COUNTED}
        return Counts(total, **numbers)

    def forget(self, owner: str, job_id: str) -> None:
        """The job has ended: stop who still works on it, drop the rest, tell whoever waits."""
        with self.redis.pipeline(transaction=True) as pipe:
            pipe.zrem(OPEN, f"{owner}/{job_id}")
            pipe.delete(_done(job_id), _out(job_id), _counts(job_id))
            pipe.hset(_counts(job_id), "ended", "1")
            pipe.expire(_counts(job_id), max(60, 10 * self._lease_ms // 1000))  # ten leases
            pipe.publish(EVENTS, job_id)
            pipe.execute()

    # The interactive lane.

    def push(self, *jobs: Waiting) -> bool:
        """Let jobs wait for a drain. True: a drain must be sent."""
        return bool(self._push([WAITING, TURNS, DRAIN_PENDING], [_DRAIN_PENDING_MS, *(job.member for job in jobs)]))

    def pop(self, images: int) -> list[Waiting]:
        """Lease what waits, of all owners in turn and oldest first, up to about so many images."""
        taken = self._pop([WAITING, TURNS, LEASED, DEATHS, DRAIN_PENDING], [images, self._lease_ms])
        return [_waiting(member, deaths) for member, deaths in taken]

    def settle(self, jobs: Sequence[Waiting]) -> None:
        """These have ended: drop their leases, tell whoever waits."""
        if not jobs:
            return
        members = [job.member for job in jobs]
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.zrem(WAITING, *members)
            pipe.zrem(LEASED, *members)
            pipe.hdel(DEATHS, *members)
            for job in jobs:
                pipe.publish(EVENTS, job.job_id)
            pipe.execute()

    def renew_interactive(self, jobs: Sequence[Waiting]) -> None:
        """A sign of life from whoever has leased these jobs."""
        seconds, _ = self.redis.time()
        until = seconds * 1000 + self._lease_ms
        self.redis.zadd(LEASED, {job.member: until for job in jobs}, xx=True)

    def recover_interactive(self) -> bool:
        """Put back what a silent worker had leased. True: a drain must be sent."""
        return bool(self._recover([WAITING, TURNS, LEASED, DEATHS, DRAIN_PENDING], [_DRAIN_PENDING_MS]))

    def interactive_waits(self) -> bool:
        """Whether anything waits for a drain."""
        return bool(self.redis.exists(WAITING))

    def is_interactive_known(self, job: Waiting) -> bool:
        """Whether the job waits or is leased."""
        return self.redis.zscore(WAITING, job.member) is not None or self.redis.zscore(LEASED, job.member) is not None

    # Workers, epochs.

    def heartbeat(self, worker: str, engine: str) -> None:
        """This worker process is alive and has its model in memory."""
        self.redis.set(_WORKER + worker, engine, ex=_HEARTBEAT_SECONDS)

    def workers(self) -> dict[str, str]:
        """Worker processes heard from in the last seconds, and their engines."""
        names = [str(name) for name in self.redis.scan_iter(match=_WORKER + "*", count=1000)]
        engines = cast("list[str | None]", self.redis.mget(names)) if names else []
        return {name.removeprefix(_WORKER): engine for name, engine in zip(names, engines, strict=True) if engine}

    def load(self, queues: Sequence[str]) -> Load:
        """Everything at once. Of what waits in the interactive lane, the oldest is looked for among those next in turn:
        an owner's jobs are in turn by age.
        """
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for key in (OPEN, WAITING, LEASED):
                pipe.zcard(key)
            pipe.zrange(WAITING, 0, _LOOKED_AT - 1)
            pipe.lindex(queues[0], -1)
            for queue in queues:
                pipe.llen(queue)
            (seconds, microseconds), open_jobs, waiting, leased, members, oldest, *lengths = pipe.execute()
        since = min((_handed_in(_waiting(member, 0).job_id) for member in members), default=None)
        return Load(
            now=seconds + microseconds / 1e6,
            open_jobs=open_jobs,
            messages=dict(zip(queues, lengths, strict=True)),
            oldest_message=oldest,
            waiting_jobs=waiting,
            leased_jobs=leased,
            waiting_since=since,
            workers=len(self.workers()),
        )

    def next_message(self, queue: str) -> str | None:
        """What a worker takes next from a queue of Celery, as text."""
        return cast("str | None", self.redis.lindex(queue, -1))

    def clock_difference(self) -> float:
        """By how many seconds Redis' clock is ahead of this machine's."""
        seconds, microseconds = self.redis.time()
        return float(seconds + microseconds / 1e6 - time.time())

    def lock(self, name: str, milliseconds: int) -> bool:
        """Whether `name` holds the reconciler's lock, for so long unless asked again."""
        return bool(self._lock([RECONCILER_LOCK], [name, milliseconds]))

    def claim_store(self, identity: str) -> bool:
        """Whether what Redis says is of this store. It is for a minute from now on, unless it is of another by then."""
        return bool(self._lock([STORE], [identity, _STORE_TTL_MS]))

    def store(self) -> str | None:
        """The identity of the store that Redis speaks of, while an API says so."""
        return cast("str | None", self.redis.get(STORE))

    def may_mend(self, job_id: str, chunk: int) -> bool:
        """Whether nobody has asked in the last minute for this result to be made again."""
        return bool(self.redis.set(f"glyphq:mend:{job_id}:{chunk}", "1", nx=True, ex=_MEND_SECONDS))

    def may_tell(self, job_id: str) -> bool:
        """Whether no process is just telling that this job has ended."""
        return bool(self.redis.set(f"glyphq:tell:{job_id}", "1", nx=True, ex=_TELL_SECONDS))

    def told(self, job_id: str) -> None:
        """Whoever was to be told has answered, or not."""
        self.redis.delete(f"glyphq:tell:{job_id}")

    def drop_epoch(self) -> None:
        """Redis was not told something: it no longer says what the store says."""
        self.redis.delete(EPOCH, EPOCH_BUILDING)

    def epoch_missing(self) -> bool:
        return not self.redis.exists(EPOCH)

    def begin_epoch(self, nonce: str) -> None:
        self.redis.set(EPOCH_BUILDING, nonce)

    def publish_epoch(self, nonce: str) -> bool:
        """The pass over the store is whole, if Redis kept what it was told since `begin_epoch`."""
        return bool(self._publish_epoch([EPOCH_BUILDING, EPOCH], [nonce]))


def _owner_and_id(member: str) -> tuple[str, str]:
    owner, job_id = member.rsplit("/", 1)
    return owner, job_id


def _waiting(member: str, deaths: int) -> Waiting:
    owner, job_id, images = member.rsplit("/", 2)
    return Waiting(owner, job_id, int(images), deaths)


def _handed_in(job_id: str) -> float:
    """In seconds since the epoch, of an id that is a UUIDv7."""
    return (UUID(job_id).int >> 80) / 1000


def open_progress(settings: "Settings", *, timeout_seconds: float = _TIMEOUT_SECONDS) -> Progress:
    """Connects when first used; make it after the fork."""
    return Progress(
        open_redis(settings.redis_url, timeout_seconds=timeout_seconds),
        window=settings.window_chunks,
        owner_window=settings.owner_window_chunks,
        lease_seconds=settings.lease_seconds,
    )


def open_redis(url: str, *, timeout_seconds: float = _TIMEOUT_SECONDS) -> Redis:
    """A client for `Progress`: text answers, short timeouts. Connects when first used; make it after the fork.

    Where a connection turns out to be dead, a call is made once more on a new one; after a timeout it is not.
    """
    from glyphq.measured_redis import MeasuredRedis  # of which the parent of worker processes must know nothing

    return MeasuredRedis.from_url(
        url,
        decode_responses=True,
        encoding_errors="replace",  # anybody may have put into Redis what is no text
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        health_check_interval=25,
        # Of a connection that the network gave up while it lay in the pool, the pool does not know.
        retry=Retry(NoBackoff(), 1, (RedisConnectionError,)),
    )
