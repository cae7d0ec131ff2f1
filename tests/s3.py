"""A server of the S3 protocol with an empty bucket, `scans`, for as long as a context lasts."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import boto3


@dataclass
class Bucket:
    """`variables` are what leads there, for the environment; `requests` what has been asked of it, such as
    `GET /scans/key HTTP/1.1" 206`.
    """

    variables: dict[str, str]
    requests: list[str] = field(default_factory=list)


@contextmanager
def bucket() -> Iterator[Bucket]:
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            url = next(found[0] for line in server.stderr if (found := re.search(r"http://127.0.0.1:\d+", line)))
            keys = {"AWS_ACCESS_KEY_ID": "glyphq", "AWS_SECRET_ACCESS_KEY": "glyphq", "AWS_REGION": "us-east-1"}
            made = Bucket({"AWS_ENDPOINT_URL": url, **keys})
            boto3.client(
                "s3", "us-east-1", endpoint_url=url, aws_access_key_id="glyphq", aws_secret_access_key="glyphq"
            ).create_bucket(Bucket="scans")
            lines = server.stderr
            reading = threading.Thread(target=lambda: made.requests.extend(_asked(line) for line in lines))
            reading.start()
            yield made
        finally:
            server.kill()
    reading.join()


def _asked(line: str) -> str:
    """A line of the server's log, without its colours."""
    return re.sub(r"\x1b\[\d+m|^.*\] \"", "", line).strip()
