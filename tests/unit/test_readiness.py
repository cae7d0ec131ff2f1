"""What `/readyz` finds of a store, without a service around it."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from api.service import Service
from glyphq.local_blobs import LocalBlobs
from glyphq.settings import Settings


class Unconditional(LocalBlobs):
    """As a bucket whose service takes no notice of If-None-Match."""

    def create(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        self.replace(key, data)
        return durable


def store_checks(blobs: LocalBlobs) -> dict[str, str]:
    stub = SimpleNamespace(settings=Settings(), ledger=SimpleNamespace(blobs=blobs))
    return Service._store_checks(cast("Service", stub))


def test_a_store_that_puts_one_object_in_the_place_of_another_is_refused(tmp_path: Path) -> None:
    assert "conditional puts" in store_checks(Unconditional(tmp_path))["store"]
    assert store_checks(LocalBlobs(tmp_path))["store"] == "ok"
