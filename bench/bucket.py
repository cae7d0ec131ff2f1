"""A server of the S3 protocol with an empty bucket, `scans`, for as long as a context lasts."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, cast

import boto3

_REGION = "us-east-1"
_KEYS = {"AWS_ACCESS_KEY_ID": "glyphq", "AWS_SECRET_ACCESS_KEY": "glyphq"}


@dataclass
class Bucket:
    """`variables` are what leads there, for the environment; `requests` what has been asked of it, such as
    `GET /scans/key HTTP/1.1" 206`.
    """

    variables: dict[str, str]
    requests: list[str] = field(default_factory=list)


@contextmanager
def bucket(latency_seconds: float = 0.0) -> Iterator[Bucket]:
    """A bucket that answers each request so much later than it could."""
    command = [sys.executable, "-m", "bench.bucket", str(latency_seconds)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            lines = cast("IO[str]", server.stderr)
            url = next(found[0] for line in lines if (found := re.search(r"http://127.0.0.1:\d+", line)))
            made = Bucket({"AWS_ENDPOINT_URL": url, "AWS_REGION": _REGION, **_KEYS})
            own = {name.lower(): value for name, value in _KEYS.items()}
            boto3.client("s3", _REGION, endpoint_url=url, **own).create_bucket(Bucket="scans")
            reading = threading.Thread(target=lambda: made.requests.extend(_asked(line) for line in lines))
            reading.start()
            yield made
        finally:
            server.kill()
    reading.join()


def _serve(latency_seconds: float) -> None:
    """At a port of 127.0.0.1 that its first lines tell, until killed."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import run_simple

    class Late(MotoRequestHandler):
        def run_wsgi(self) -> None:
            time.sleep(latency_seconds)  # as the way there and back
            super().run_wsgi()

    application = DomainDispatcherApplication(create_backend_app)
    run_simple("127.0.0.1", 0, application, threaded=True, request_handler=Late)


def _asked(line: str) -> str:
    """A line of the server's log, without its colours."""
    return re.sub(r"\x1b\[\d+m|^.*\] \"", "", line).strip()


if __name__ == "__main__":
    _serve(float(sys.argv[1]))
