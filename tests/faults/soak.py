"""`python -m tests.faults.soak`: everything goes wrong at random under load, then everything is counted.

Clients hand in zips and lone images, repeat what was not acknowledged, cancel and delete; meanwhile programs are
killed, halted, cut off and starved. After a quiet period each acknowledged job is compared with an undisturbed run.
The exit code is 1 when a row is lost or doubled, or when something does not come back to where it was.
"""

import os
import random
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter, deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx
import typer
from redis.exceptions import RedisError

from bench.report import commit
from glyphq import samples
from glyphq.client import Client
from glyphq.errors import GlyphqError, JobNotFound, ServiceUnreachable
from glyphq.progress import DEATHS, LEASED, OPEN, WAITING
from tests.faults.stack import CAN_LOSE_PACKETS, Stack, packets_lost, resident_mib, stack, until

CLIENTS = 4
SIZES = 1, 40, 700, 3000
MOST_UNFINISHED = 6  # jobs of a client; with more, what is counted at the end would take long to come
BETWEEN_FAULTS = 0.5, 4.0  # seconds
SOON_SECONDS = 300  # a key that expires within these is forgotten already
POINT_SECONDS = 5.0  # for a process to come to a point that was armed
UNKEYED = "without a key"
GONE = "deleted", "perhaps deleted"
GROWTH_MIB = 150.0  # of a process, over the base line that a warm service has


def posted_without_a_key(own: Stack, path: Path) -> str:
    """The id of the job. Raises httpx.TransportError."""
    address = f"{own.url}/v1/jobs"
    answer = httpx.post(address, params={"name": UNKEYED}, content=path.read_bytes(), trust_env=False)
    return str(answer.raise_for_status().json()["id"])


class NotStruck(Exception):
    """Raised by a fault that could not be made now."""


@dataclass
class Acknowledged:
    """A job that the service has promised to do, and what it must say."""

    id: str
    table: bytes
    fate: str = "kept"  # or cancelled or deleted, or perhaps so: the answer was lost


@dataclass
class Soak:
    """One run."""

    own: Stack
    chance: random.Random
    inputs: list[tuple[Path, bytes]]
    acknowledged: list[Acknowledged] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)
    given_up: threading.Event = field(default_factory=threading.Event)
    errors: list[str] = field(default_factory=list)

    # Load.

    def load(self, seed: int) -> None:
        """One client, until the soak is over. What it hands in it repeats until it is acknowledged."""
        chance, unfinished = random.Random(seed), deque[str]()
        try:
            with self.own.client() as client:
                while not self.over.is_set():
                    path, table = chance.choice(self.inputs)
                    job = self.posted(path) if path.suffix == ".png" else self.submitted(client, path)
                    if job is not None:
                        self.acknowledged.append(Acknowledged(job, table))
                        self.meddle(client, self.acknowledged[-1], chance)
                        unfinished.append(job)
                    while len(unfinished) > MOST_UNFINISHED and not self.over.is_set():
                        if self.has_ended(client, unfinished[0]):
                            unfinished.popleft()
        except Exception as error:  # noqa: BLE001  # told at the end
            self.errors.append(f"client: {error!r}")

    def submitted(self, client: Client, path: Path) -> str | None:
        """Repeated with the same key until it is acknowledged."""
        key = uuid.uuid4().hex
        while not self.given_up.is_set():
            with suppress(ServiceUnreachable):
                return client.submit(path, idempotency_key=key).id
        return None

    def posted(self, path: Path) -> str | None:
        """As a form of a web page would, without a key and once: what is not acknowledged may be a job or not."""
        with suppress(httpx.TransportError):
            return posted_without_a_key(self.own, path)
        return None

    def has_ended(self, client: Client, job_id: str) -> bool:
        """Or is gone. Waits for a second."""
        try:
            return client.wait(job_id, timeout_seconds=1).state.ended
        except JobNotFound:
            return True
        except GlyphqError:
            return False

    def meddle(self, client: Client, job: Acknowledged, chance: random.Random) -> None:
        what = chance.choices(("cancel", "delete", "wait", "leave"), (1, 1, 4, 4))[0]
        with suppress(GlyphqError):
            if what == "wait":
                client.wait(job.id, timeout_seconds=chance.uniform(0, 5))
            elif what == "cancel":
                job.fate = "perhaps cancelled"
                job.fate = str(client.cancel(job.id).state)
            elif what == "delete":
                job.fate = "perhaps deleted"
                client.delete(job.id)
                job.fate = "deleted"

    # Faults.

    def disturb(self, until_time: float) -> None:
        """Fault after fault, until the time has come."""
        faults = [
            self.kill_a_pool_process, self.kill_worker, self.kill_api, self.kill_redis, self.flush_redis,
            self.terminate_worker, self.terminate_api, self.halt_redis, self.halt_a_pool_process, self.pause_redis,
            self.fill_redis, self.lose_packets, self.kill_at_a_point,
        ]  # fmt: skip
        if not CAN_LOSE_PACKETS:
            faults.remove(self.lose_packets)
        while time.monotonic() < until_time:
            fault = self.chance.choice(faults)
            with suppress(RedisError, ProcessLookupError, NotStruck):
                fault()
                self.faults[fault.__name__.replace("_", " ")] += 1
            self.revive()
            self.over.wait(self.chance.uniform(*BETWEEN_FAULTS))

    def revive(self) -> None:
        for program in self.own.programs:
            if not program.running:
                program.start()

    def pool_process(self) -> int:
        children = self.own.worker.children()
        if not children:  # it has just been started
            raise NotStruck
        return self.chance.choice(children)

    def kill_a_pool_process(self) -> None:
        os.kill(self.pool_process(), signal.SIGKILL)

    def kill_worker(self) -> None:
        self.own.worker.kill()

    def kill_api(self) -> None:
        self.own.api.kill()

    def kill_redis(self) -> None:
        self.own.redis.kill()

    def terminate_worker(self) -> None:
        self.own.worker.terminate()

    def terminate_api(self) -> None:
        self.own.api.terminate()

    def flush_redis(self) -> None:
        with self.own.redis_client() as redis:
            redis.flushall()

    def halt_redis(self) -> None:
        self.own.redis.signal(signal.SIGSTOP)
        self.over.wait(self.chance.uniform(0.5, 4))
        self.own.redis.signal(signal.SIGCONT)

    def halt_a_pool_process(self) -> None:
        pid = self.pool_process()
        os.kill(pid, signal.SIGSTOP)
        self.over.wait(self.chance.uniform(0.5, 6))
        os.kill(pid, signal.SIGCONT)

    def pause_redis(self) -> None:
        with self.own.redis_client() as redis:
            redis.client_pause(self.chance.randrange(500, 4000))

    def fill_redis(self) -> None:
        with self.own.redis_client() as redis:
            redis.config_set("maxmemory", 1)
            self.over.wait(self.chance.uniform(0.5, 3))
            redis.config_set("maxmemory", 0)

    def lose_packets(self) -> None:
        with packets_lost(httpx.URL(self.own.redis_url).port or 0):
            self.over.wait(self.chance.uniform(0.5, 6))

    def kill_at_a_point(self) -> None:
        points = "api-record", "api-restore", "worker-decode", "worker-result", "worker-end", "worker-restore"
        point = self.chance.choice(points)
        armed = self.own.folder / "faults" / point
        self.own.arm(point, "kill")
        self.over.wait(POINT_SECONDS)
        if armed.exists():
            armed.unlink(missing_ok=True)
            raise NotStruck

    # Counting.

    def finished(self, clients: list[threading.Thread]) -> bool:
        """Whether no client waits any more; programs that die meanwhile, at a point that was armed, are started."""
        self.revive()
        return not any(client.is_alive() for client in clients)

    def settle(self) -> None:
        """A quiet period: every program runs, every job ends."""
        self.revive()
        until(self.own.ready, "the service is ready again")
        with self.own.client() as client:
            for job in self.acknowledged:
                if job.fate == "perhaps deleted":
                    with suppress(JobNotFound):
                        client.delete(job.id)
                elif job.fate != "deleted":
                    client.wait(job.id, timeout_seconds=600)

    def count(self) -> dict[str, int]:
        """Rows lost and doubled, and jobs that say something else than an undisturbed run."""
        found = Counter(jobs=0, rows=0, lost=0, doubled=0, other=0)
        with self.own.client() as client:
            for job in self.acknowledged:
                found["jobs"] += 1
                if job.fate in GONE:
                    continue
                lines, expected = client.results(job.id).splitlines(), job.table.splitlines()
                rows = Counter(line.partition(b",")[0] for line in lines[1:])
                found["rows"] += len(expected) - 1
                found["lost"] += sum(str(row).encode() not in rows for row in range(len(expected) - 1))
                found["doubled"] += sum(number > 1 for number in rows.values())
                state, counts = client.status(job.id).state, client.status(job.id).counts
                added_up = counts.classified + counts.blank + counts.rejected + counts.cancelled == counts.total
                possible = {"kept": {"completed"}, "perhaps cancelled": {"completed", "cancelled"}}
                told = state in possible.get(job.fate, {job.fate})
                same = all(
                    line == other or (state == "cancelled" and b",cancelled," in line)
                    for line, other in zip(lines, expected, strict=True)
                )
                found["other"] += not (added_up and told and same and counts.total == len(expected) - 1)
            known = {job.id for job in client.jobs() if job.name != UNKEYED}
            promised = {job.id for job in self.acknowledged if job.fate not in GONE}
            everything = {job.id for job in client.jobs()}
            found["lost"] += len(promised - everything)
            found["doubled"] += len(known - promised)  # a deleted job, or one beside that acknowledged under its key
        return dict(found)

    def base_line(self) -> dict[str, float]:
        """What must not grow: memory, file handles, keys, files."""
        self.revive()
        until(self.own.ready, "the service is ready")
        found: dict[str, float] = {}
        for name, pids in (("api", [self.own.api.pid]), ("worker", self.own.worker.children())):
            found[f"{name} MiB"] = max(resident_mib(pid) for pid in pids)
            found[f"{name} handles"] = max(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)
        with self.own.redis_client() as redis:
            found["redis keys that stay"] = sum(not 0 < redis.ttl(key) < SOON_SECONDS for key in redis.scan_iter())
            until(lambda: not redis.zcard(OPEN), "Redis knows of no open job")
            found["waiting in redis"] = redis.zcard(WAITING) + redis.zcard(LEASED) + redis.hlen(DEATHS)
        folders = "jobs", "ends", "idempotency"  # interrupted uploads are erased within 25 hours
        found["files"] = sum(path.is_file() for name in folders for path in (self.own.store / name).rglob("*"))
        return found


def main(
    minutes: Annotated[float, typer.Option(help="How long everything goes wrong.")] = 2.0,
    seed: Annotated[int, typer.Option(help="Of the order of faults and of what is handed in.")] = 7,
    summary: Annotated[Path | None, typer.Option(help="Write the summary here as Markdown too.")] = None,
) -> None:
    """Break the service at random under load and count what was promised."""
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="glyphq-soak-")))
        own = exits.enter_context(stack(folder / "stack"))
        own.start()
        soak = Soak(own, random.Random(seed), _inputs(own, folder))
        _emptied(own)
        before = soak.base_line()
        clients = [threading.Thread(target=soak.load, args=(seed * 100 + number,)) for number in range(CLIENTS)]
        exits.callback(soak.given_up.set)
        exits.callback(soak.over.set)
        for client in clients:
            client.start()
        soak.disturb(time.monotonic() + 60 * minutes)
        soak.over.set()
        _told("quiet")
        until(lambda: soak.finished(clients), "each client has its last acknowledgement", 600)
        soak.settle()
        counted = soak.count()
        fates = Counter(job.fate for job in soak.acknowledged)
        _emptied(own)
        after = soak.base_line()
        text = _summary(minutes, seed, soak, counted, fates, before, after)
    print(text)
    if summary:
        summary.write_text(text)
    grown = [name for name in before if after[name] > before[name] + (GROWTH_MIB if "MiB" in name else 20)]
    if counted["lost"] or counted["doubled"] or counted["other"] or soak.errors or grown:
        sys.exit(f"error: {counted}, grown: {grown}, {soak.errors}")


def _inputs(own: Stack, folder: Path) -> list[tuple[Path, bytes]]:
    """Zips and a lone image, each with the CSV of an undisturbed run."""
    made = []
    with own.client() as client:
        for size in SIZES:
            path = folder / f"{size}.zip"
            samples.write_zip(path, size, seed=size)
            if size == 1:
                path = folder / "one.png"
                path.write_bytes(next(iter(samples.draw(1, seed=1))).png)
            job_id = posted_without_a_key(own, path) if size == 1 else client.submit(path).id
            made.append((path, client.results(client.wait(job_id, timeout_seconds=120).id)))
    return made


def _emptied(own: Stack) -> None:
    with own.client() as client:
        for job in list(client.jobs()):
            client.delete(job.id)


def _told(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def _summary(
    minutes: float,
    seed: int,
    soak: Soak,
    counted: dict[str, int],
    fates: Counter[str],
    before: dict[str, float],
    after: dict[str, float],
) -> str:
    jobs = ", ".join(f"{number} {fate}" for fate, number in sorted(fates.items()))
    lines = [
        f"`make soak MINUTES={minutes:g} SEED={seed}` at commit {commit()}:",
        f"{CLIENTS} clients, zips of {', '.join(map(str, SIZES[1:]))} scans and lone images.",
        "",
        f"Jobs acknowledged: {counted['jobs']} ({jobs}). Rows: {counted['rows']:,}.",
        f"**Lost {counted['lost']}, doubled {counted['doubled']}**, otherwise than undisturbed {counted['other']}.",
        "",
        "| fault | times |",
        "|---|---|",
        *(f"| {name} | {times} |" for name, times in sorted(soak.faults.items())),
        "",
        "| after all jobs were deleted | before | after |",
        "|---|---|---|",
        *(f"| {name} | {before[name]:.0f} | {after[name]:.0f} |" for name in before),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        typer.run(main)
    except GlyphqError as error:
        sys.exit(f"error: {error.detail}")
