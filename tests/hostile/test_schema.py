"""schemathesis, on the running API: whatever its OpenAPI lets a caller send gets one of the answers that it names."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from glyphq.embedded import EmbeddedService, embedded_service
from glyphq.keys import Keys
from glyphq.local_blobs import LocalBlobs

SECONDS = 240


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    variables = {"GLYPHQ_KEYS": "required", "GLYPHQ_KEY_REQUESTS_PER_MINUTE": "1000000"}
    with embedded_service(tmp_path_factory.mktemp("schema") / "store", 1, environment=variables) as running:
        yield running


@pytest.mark.parametrize("seed", [1, 2])
def test_schemathesis_finds_nothing(keyed: EmbeddedService, seed: int, tmp_path: Path) -> None:
    _, key = Keys(LocalBlobs(keyed.store)).create("schema")
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{keyed.url}/openapi.json", "--no-color",
        "--header", f"Authorization: Bearer {key}", "--max-examples", "30", "--seed", str(seed),
        # Options have rules that no JSON schema says: that a rule has a `=`, that a charset is one of classes.
        "--exclude-checks", "positive_data_acceptance",
    ]  # fmt: skip
    found = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path)
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr[-2000:]
    described = httpx.get(f"{keyed.url}/openapi.json", trust_env=False).json()["paths"]
    assert f"Tested: {sum(map(len, described.values()))}" in found.stdout
    generated = re.search(r"(\d+) generated", found.stdout)
    assert generated
    assert int(generated[1]) > 300
