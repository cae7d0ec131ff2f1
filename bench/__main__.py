"""`python -m bench`: glyphq, what one would take instead of it, and the bare limit of the machine, side by side.

Sections: `throughput` (a zip of 28x28 PNG by glyphq, a plain and a tuned script, and the bare limits), `peers` (a
smaller one by task queues and model servers), `stages` (where the time goes), `scale` (other sizes and formats),
`latency` (single images), `footprint` (memory, Redis, start). Exit code 1 means that answers differ or that something
failed.
"""

import json
import os
import sys
import tempfile
import time
import zipfile
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.status import Status

from bench.footprint import MIB, durable_write_ms, peak_mib, redis_bytes
from bench.http_load import latency
from bench.inputs import Kind, files, write_zip
from bench.limits import LIMITS, Limits, limits, stages
from bench.peers.http_peer import LitServePeer, MosecPeer
from bench.peers.registry import PEERS
from bench.report import machine, print_report, spread, versions
from bench.throughput import GLYPHQ, compare, glyphq_side
from glyphq.client import Client
from glyphq.embedded import EmbeddedService, embedded_service
from glyphq.errors import GlyphqError, SetupError
from glyphq.progress import open_progress
from glyphq.settings import Settings
from glyphq.vision.checkpoint import SHIPPED

SECTIONS = ("throughput", "peers", "stages", "scale", "latency", "footprint")
PROCESSES = 2
SCRIPTS = ("plain", "tuned")
LARGE_JOB_IMAGES, PAGE_JOB_IMAGES, LARGEST_JOB_IMAGES = 100_000, 2_000, 1_000_000
SCALES = {
    "200 PNG of 28x28": (200, Kind.PNG_28),
    "20,000 PNG of 28x28": (20_000, Kind.PNG_28),
    "1,000,000 PNG of 28x28": (LARGEST_JOB_IMAGES, Kind.PNG_28),
    "20,000 PNG of 128x128": (20_000, Kind.PNG_128),
    "500 PNG of 1200x900": (500, Kind.PAGE),
    "500 JPEG of 1 megapixel": (500, Kind.JPEG_MEGAPIXEL),
}
JOBS_BESIDE = 8
UPLOADED_MIB = 2048


def main(
    sections: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(SECTIONS)}; by default all.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Images in the zip of `throughput`.")] = 100_000,
    peer_images: Annotated[int, typer.Option(min=1, help="Images in the zip of `peers`.")] = 20_000,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds that count.")] = 5,
    model: Annotated[Path, typer.Option(help="Folder of the model that all sides use.")] = SHIPPED,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers here too.")] = None,
) -> None:
    """Measure glyphq beside its peers and the bare limit."""
    chosen = sections or list(SECTIONS)
    for name in chosen:
        if name not in SECTIONS:
            raise SetupError(f"There is no section {name!r}; there are {', '.join(SECTIONS)}.")
    terminal = Console(stderr=True)
    report: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="glyphq-bench-") as name, terminal.status("starting") as status:
        bench = Bench(Path(name), model, repeats, status)
        for section in chosen:
            if section == "throughput":
                report[section] = bench.throughput(images)
            elif section == "peers":
                report[section] = bench.peers(peer_images)
            else:
                report[section] = getattr(bench, section)()
            terminal.print(f"{section}: measured", highlight=False)
        with bench.service() as service:
            workers = open_progress(Settings(redis_url=service.redis_url)).workers()
            engines = {"glyphq": ", ".join(sorted(set(workers.values())))}
            report = {**report, "engines": engines, "versions": versions(service.redis_url)}
    print_report(report)
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(report, indent=2) + "\n")


class Bench:
    """The sections, each answering its part of the report."""

    def __init__(self, folder: Path, model: Path, repeats: int, status: Status) -> None:
        self._folder, self._model, self._repeats, self._status = folder, model, repeats, status

    def service(self) -> AbstractContextManager[EmbeddedService]:
        return embedded_service(workers=PROCESSES, environment={"GLYPHQ_MODEL": str(self._model)})

    def throughput(self, images: int) -> dict[str, Any]:
        archive = self._zip(images)
        with self.service() as service, Client(service.url) as client, limits(PROCESSES, self._model) as bare:
            return self._compare(client, archive, images, SCRIPTS, bare)

    def peers(self, images: int) -> dict[str, Any]:
        archive = self._zip(images)
        others = ("plain", *(name for name in PEERS if name not in SCRIPTS))
        with self.service() as service, Client(service.url) as client:
            return self._compare(client, archive, images, others)

    def _compare(
        self,
        client: Client,
        archive: Path,
        images: int,
        others: tuple[str, ...],
        bare: Limits | None = None,
    ) -> dict[str, Any]:
        with ExitStack() as stack:
            peers = []
            for name in others:
                self._status.update(f"starting {name}")
                peers.append(stack.enter_context(PEERS[name](self._model)))
            sides = {GLYPHQ: glyphq_side(client), **{peer.name: peer.classify for peer in peers}}

            def beside() -> dict[str, float]:
                return {what: bare.per_second(key, archive, images) for key, what in LIMITS.items()} if bare else {}

            return compare(
                sides, archive, images, self._repeats, self._status.update, reference=peers[0].name, beside=beside
            )

    def stages(self) -> dict[str, float]:
        self._status.update("stages")
        archive = self._zip(20_000)
        stages(archive, 20_000, self._model)  # uncounted: the first pass through fresh memory is slower
        return stages(archive, 20_000, self._model)

    def scale(self) -> dict[str, Any]:
        rates = {}
        with self.service() as service, Client(service.url) as client:
            run = glyphq_side(client)
            for name, (images, kind) in SCALES.items():
                archive, rounds = self._zip(images, kind), 1 if images > LARGE_JOB_IMAGES else self._repeats
                self._status.update(name)
                table = self._folder / "scale.csv"
                run(self._zip(200), table)
                rates[name] = spread([images / run(archive, table) for _ in range(rounds)])
        return rates

    def latency(self) -> dict[str, Any]:
        png = next(files(Kind.PNG_28))
        found: dict[str, Any] = {}
        with self.service() as service, Client(service.url) as client:
            self._status.update("latency, idle")
            address, headers = f"{service.url}/v1/jobs", {"Prefer": "wait=10", "Content-Type": "image/png"}

            def measured(*clients: int) -> dict[str, Any]:
                latency(address, png, 1, 20, headers)  # uncounted
                return {str(n): vars(latency(address, png, n, 100 + 25 * n, headers)) for n in clients}

            found["glyphq, idle"] = measured(1, 8, 64)
            for name, images, kind in (
                ("beside jobs of 100,000 PNG of 28x28", LARGE_JOB_IMAGES, Kind.PNG_28),
                ("beside jobs of 2,000 PNG of 1200x900", PAGE_JOB_IMAGES, Kind.PAGE),
            ):
                archive = self._zip(images, kind)
                self._status.update(f"latency, {name}")
                jobs = [client.submit(archive) for _ in range(JOBS_BESIDE)]
                found[f"glyphq, {name}"] = measured(1, 8, 64)
                if client.status(jobs[-1].id).state.ended:
                    raise GlyphqError(f"The jobs ended while latency was measured {name}; it takes larger ones.")
                for job in jobs:
                    client.delete(job.id)
        for server in (LitServePeer, MosecPeer):
            self._status.update(f"latency of {server.name}")
            with server(self._model) as peer:
                found[peer.name] = {str(n): vars(peer.latency(png, n, 100 + 25 * n)) for n in (1, 64)}
        return found

    def footprint(self) -> dict[str, str]:
        archive = self._zip(LARGEST_JOB_IMAGES)
        table, one = self._folder / "footprint.csv", self._folder / "one.png"
        one.write_bytes(next(files(Kind.PNG_28)))
        large = self._large_zip()
        started = time.perf_counter()
        with self.service() as service, Client(service.url) as client:
            client.wait(client.submit(one).id)
            first = time.perf_counter() - started
            durable = durable_write_ms(service.store)
            self._status.update(f"{LARGEST_JOB_IMAGES:,} images: memory, bytes through Redis")
            with redis_bytes(service) as traffic:
                glyphq_side(client)(archive, table)
            self._status.update(f"uploading {UPLOADED_MIB:,} MiB")
            client.delete(client.wait(client.submit(large).id).id)
            peaks = peak_mib(service)
        return {
            "start of a service to the first image's answer": f"{first:.1f} s",
            "a durable write (file and folder fsynced)": f"p50 {durable['p50']:.2f} ms, p99 {durable['p99']:.2f} ms",
            f"through Redis, an image of {LARGEST_JOB_IMAGES:,}": f"{traffic[0] / LARGEST_JOB_IMAGES:.1f} bytes",
            f"peak memory, after those and an upload of {UPLOADED_MIB:,} MiB": ", ".join(
                f"{name} {mib:,.0f} MiB" for name, mib in peaks.items()
            ),
        }

    def _large_zip(self) -> Path:
        """Mebibytes of noise, each of which becomes a rejected row: the upload is what is measured."""
        path = self._folder / "large.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for number in range(UPLOADED_MIB):
                archive.writestr(f"{number}.png", os.urandom(MIB))
        return path

    def _zip(self, images: int, kind: Kind = Kind.PNG_28) -> Path:
        path = self._folder / f"{images}-{kind.name}.zip"
        if not path.exists():
            self._status.update(f"writing {images:,} {kind.value}")
            write_zip(path, images, kind)
        return path


if __name__ == "__main__":
    try:
        typer.run(main)
    except GlyphqError as error:
        sys.exit(f"error: {error.detail}")
