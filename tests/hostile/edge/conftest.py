"""A service that loses patience within seconds. It has no worker: nothing here comes as far as to be classified."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager

import httpx
import pytest

from tests.faults.stack import Stack, stack, until
from tests.hostile.edge.strangers import STRANGER, Connect, Connection

LIMITS = {
    "GLYPHQ_HEAD_SECONDS": "2",
    "GLYPHQ_MAX_HEAD_BYTES": "16384",
    "GLYPHQ_MAX_BODY_GAP_SECONDS": "1",
    "GLYPHQ_MAX_ANSWER_GAP_SECONDS": "1",
    "GLYPHQ_MAX_CONNECTIONS_PER_ADDRESS": "450",
    "GLYPHQ_MAX_STREAMS": "3",
    "GLYPHQ_MAX_UPLOAD_BYTES": "20000000",
    "GLYPHQ_MAX_FORM_IMAGES": "1000",
}
CROWDED = {"GLYPHQ_MAX_CONNECTIONS": "12", "GLYPHQ_MAX_CONNECTIONS_PER_ADDRESS": "5"}


@contextmanager
def _without_worker(made: Stack) -> Iterator[Stack]:
    made.redis.start()
    made.api.start()

    def answers() -> bool:
        assert made.api.running, made.log.read_text()[-3000:]
        try:
            return httpx.get(f"{made.url}/v1/jobs", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False

    until(answers, "the API answers")
    yield made
    assert "Traceback" not in made.log.read_text()


@contextmanager
def _service(factory: pytest.TempPathFactory, limits: Mapping[str, str]) -> Iterator[Stack]:
    with stack(factory.mktemp("hostile") / "stack", variables=limits) as made, _without_worker(made) as service:
        yield service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with _service(tmp_path_factory, LIMITS) as running:
        yield running


@pytest.fixture(scope="session")
def small_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One that is soon crowded."""
    with _service(tmp_path_factory, CROWDED) as running:
        yield running


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connections, which the test's end closes."""
    with ExitStack() as exits:

        def connected(service: Stack, address: str = STRANGER) -> Connection:
            return exits.enter_context(closing(Connection(service.url, address)))

        yield connected
