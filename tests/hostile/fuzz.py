"""Coverage-guided fuzzing of what reads strangers' bytes, one process a target, from the seeds of corpus.py.

`make fuzz MINUTES=20` shares the minutes among the targets. An input that breaks an invariant, takes over
TIMEOUT_SECONDS or more memory than RSS_LIMIT_MIB ends its target and is kept in FOUND; it becomes a case of corpus.py,
or a file in tests/hostile/found/ where code cannot make it.
"""

import argparse
import asyncio
import csv
import fnmatch
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

Target = Callable[[bytes], None]

TIMEOUT_SECONDS = 20
RSS_LIMIT_MIB = 2048
PART_SECONDS = 20
ROOT = Path(__file__).parent.parent.parent
KEPT = Path(__file__).parent / "found"
FOUND = ROOT / "runs" / "fuzz"
MAX_SEED_BYTES = 1 << 16
MAX_PIXELS = 1_000_000
INSTRUMENTED = ["glyphq", "api", "PIL", "python_multipart"]


def archive() -> Target:
    """The index of a zip and the contents of its entries, held against zipfile where that reads it too."""
    from glyphq.archive import ArchiveLimits, index_zip
    from glyphq.contents import contents
    from glyphq.errors import InvalidRequest
    from glyphq.index import INDEX_SCHEMA
    from glyphq.jobs import Rejection

    limits = ArchiveLimits(200, 1 << 20, 1 << 24, 16, 1 << 16)

    def run(data: bytes) -> None:
        try:
            found = index_zip(io.BytesIO(data), limits, "cp437")
        except InvalidRequest:
            return
        read: list[bytes | Rejection] = []
        for batch in found.batches():
            assert batch.schema == INDEX_SCHEMA
            assert 0 < batch.num_rows <= limits.chunk_images
            assert batch.column("row").to_pylist() == list(range(len(read), len(read) + batch.num_rows))
            found_there = contents(batch, lambda start, length: data[start : start + length])
            read += [content if isinstance(content, Rejection) else bytes(content) for content in found_there]
        assert len(read) == found.total
        assert all(len(content) <= limits.max_entry_bytes for content in read if isinstance(content, bytes))
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as other:
                assert len(other.infolist()) == found.total + found.ignored, "zipfile lists another number of entries"
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError):
            return

    return run


def image() -> Target:
    """Decode and normalize; the first byte is the polarity."""
    from glyphq.jobs import Invert, Rejection
    from glyphq.vision.decode import decode, prepare_process
    from glyphq.vision.frames import has_more_frames
    from glyphq.vision.normalize import is_inverted, normalize

    prepare_process()

    def run(data: bytes) -> None:
        invert, data = list(Invert)[(data or b"\0")[0] % len(Invert)], data[1:]
        has_more_frames(data)
        scan = decode(data, MAX_PIXELS)
        if isinstance(scan, Rejection):
            assert 0 < len(scan.detail) < 300
            assert scan.detail.isprintable()
            return
        assert scan.ndim == 2
        assert 0 < scan.size <= MAX_PIXELS
        is_inverted(scan, invert)
        picture = normalize(scan, invert)
        assert picture is None or (picture.shape == (28, 28) and picture.dtype == "uint8")

    return run


def http() -> Target:
    """POST /v1/jobs: the query, a content type, Prefer and Idempotency-Key, a line each, and behind them the body."""
    from api.app import create_app
    from api.edge.authentication import LOCAL_OWNER, Authenticator
    from api.edge.quotas import Quotas
    from api.intake.acceptance import prepare_inline
    from api.intake.uploads import Upload
    from glyphq.errors import EmptyInput, GlyphqError
    from glyphq.jobs import Options
    from glyphq.ledger import Ledger
    from glyphq.local_blobs import LocalBlobs
    from glyphq.settings import Settings

    folder = tempfile.mkdtemp(prefix="glyphq-fuzz-")
    settings = Settings(store_url=f"file://{folder}", max_form_images=20, max_json_bytes=1 << 16)
    ledger = Ledger(LocalBlobs(Path(folder)))

    async def submit(owner: str, upload: Upload, options: Options, *_: object) -> None:
        assert owner == LOCAL_OWNER
        if upload.inline:
            job = prepare_inline(upload, options, owner)
            assert job.total == len(upload.parts)
            assert job.input_bytes == sum(part.size for part in upload.parts)
        raise EmptyInput("So far, so good.")

    app = create_app(settings)
    app.state.service = SimpleNamespace(
        settings=settings,
        ledger=ledger,
        submit=submit,
        authenticator=Authenticator(settings, ledger.blobs),
        quotas=Quotas(settings, ledger),
    )
    loop = asyncio.new_event_loop()

    async def answer(data: bytes) -> tuple[int, bytes]:
        query, content_type, prefer, key, body = (data.split(b"\n", 4) + [b""] * 5)[:5]
        pieces = [body[at : at + 512] for at in range(0, len(body), 512)] or [b""]
        told: list[dict] = []

        async def receive() -> dict:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: dict) -> None:
            told.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", content_type), (b"prefer", prefer)]
        headers += [(b"idempotency-key", key)] if key else []
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/v1/jobs", "raw_path": b"/v1/jobs",
                 "query_string": query, "headers": headers, "scheme": "http", "server": ("localhost", 80),
                 "client": ("127.0.0.1", 1), "root_path": "", "asgi": {"version": "3.0"}}  # fmt: skip
        await app(scope, receive, send)
        return told[0]["status"], b"".join(message.get("body", b"") for message in told)

    codes = {error.code for error in _family(GlyphqError)}

    def run(data: bytes) -> None:
        status, body = loop.run_until_complete(answer(data))
        problem = json.loads(body)
        assert 400 <= status < 500, (status, problem)
        assert problem["status"] == status
        assert problem["code"] in codes
        assert len(body) < 64_000

    return run


def _family(error: type) -> list[type]:
    return [error, *(member for child in error.__subclasses__() for member in _family(child))]


def names() -> Target:
    """A name in every place where one is read, matched or written; its first line is a glob."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from api.reading.images import _file_name
    from glyphq.archive import _LITTER, is_litter
    from glyphq.charset_rules import CharsetRule, charset_chooser
    from glyphq.results import cancelled, csv_header, to_csv, to_ndjson

    header = csv_header(1).decode()

    def run(data: bytes) -> None:
        text = data[:5000].decode("utf-8", "replace")
        glob, _, name = text.partition("\n")
        if 0 < len(glob) <= 40 and len(name) <= 200:
            matches = charset_chooser([CharsetRule(glob, "digits")], "all")(name) == "digits"
            assert matches == fnmatch.fnmatchcase(name, glob)
        assert is_litter(name) == pc.match_substring_regex(pa.array([name]), _LITTER)[0].as_py() or "\n" in name
        shown = _file_name(name, "png")
        assert shown.isprintable()
        assert not set(shown) & set("/\\")
        assert shown.endswith((".png", ".PNG")) or shown.lower().endswith(".png")
        batch = cancelled(np.zeros(1, np.uint32), [name], 1)
        (line,) = to_ndjson(batch).decode().removesuffix("\n").split("\n")
        assert json.loads(line)["filename"] == name
        table = header + to_csv(batch, 1).decode()
        assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", table)
        columns, fields = csv.reader(io.StringIO(table, newline=""), strict=True)
        assert len(fields) == len(columns)
        for start in re.split(r"[;\t\r\n]", fields[1]):
            assert not re.match(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]", start), start

    return run


TARGETS = {target.__name__: target for target in (archive, image, http, names)}


def seeds(target: str) -> dict[str, bytes]:
    """Small files of the corpus as the target takes them."""
    from tests.hostile import corpus

    scans = [corpus.saved(form) for form in ("PNG", "JPEG", "WEBP", "TIFF", "BMP")]
    match target:
        case "archive":
            made = [case.make() for case in corpus.ARCHIVES]
        case "image":
            made = [b"\0" + data for data in (*scans, *(case.make() for case in corpus.IMAGES))]
        case "http":
            form = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
            parts = form % (b"file", b'; filename="a.png"', scans[0]) + form % (b"top_k", b"", b"3")
            made = [b"top_k=3&charset=digits\nmultipart/form-data; boundary=b\nwait=1\nk\n" + parts + b"--b--\r\n"]
            made += [b"\napplication/json\n\n\n" + case.make() for case in corpus.JSON]
            made += [b"charset_rules=*=digits&invert=yes&name=x\nimage/png\n\n\n" + scans[0]]
        case _:
            made = [b"*.png\n" + name.encode() for name in corpus.HOSTILE_NAMES]
    made = [data for data in made if len(data) <= MAX_SEED_BYTES]
    kept = {path.name: path.read_bytes() for path in KEPT.glob(f"{target}-*")}
    return kept | {f"{number:03}": data for number, data in enumerate(made)}


def fuzz(target: str, options: list[str]) -> None:
    """In this process, which ends with it: 0 when nothing was found."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        run = TARGETS[target]()
    atheris.Setup([sys.argv[0], *options], run)
    atheris.Fuzz()


def guarded(target: str, *, runs: int, seconds: int, seed: int) -> int:
    """The exit status of processes that fuzz the target for so many runs or seconds, whichever is not 0."""
    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="glyphq-fuzz-") as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for name, data in seeds(target).items():
            (corpus / name).write_bytes(data)
        environment = {**os.environ, "TMPDIR": folder}
        for part, part_seconds in enumerate(_parts(seconds)):
            options = [
                f"-runs={runs or -1}", f"-max_total_time={part_seconds}", f"-seed={seed + part}",
                f"-timeout={TIMEOUT_SECONDS}", f"-rss_limit_mb={RSS_LIMIT_MIB}", f"-max_len={MAX_SEED_BYTES}",
                f"-artifact_prefix={FOUND}/{target}-", "-print_final_stats=1", str(corpus),
            ]  # fmt: skip
            command = [sys.executable, "-m", "tests.hostile.fuzz", target, "--here", *options]
            status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
            if status:
                return status
    return 0


def _parts(seconds: int) -> list[int]:
    """In which a process each fuzzes, with the corpus of those before: atheris itself loses 5 KB an image."""
    whole, rest = divmod(seconds, PART_SECONDS)
    return [PART_SECONDS] * whole + [rest] * (rest > 0 or not whole)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="*", help=f"{', '.join(TARGETS)}; all of them where none is named")
    parser.add_argument("--minutes", type=float, default=0.0, help="for all targets together")
    parser.add_argument("--runs", type=int, default=0, help="of each target, instead")
    parser.add_argument("--seed", type=int, default=7)
    if sys.argv[2:3] == ["--here"]:
        fuzz(sys.argv[1], sys.argv[3:])
    asked = parser.parse_args()
    chosen = asked.target or list(TARGETS)
    seconds = int(asked.minutes * 60 / len(chosen))
    failed = [name for name in chosen if guarded(name, runs=asked.runs, seconds=seconds, seed=asked.seed)]
    print(f"found something: {', '.join(failed)}; see {FOUND}" if failed else "nothing found")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
