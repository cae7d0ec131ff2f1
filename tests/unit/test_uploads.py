"""Uploads that a store holds up are in nobody's way."""

import asyncio
import threading

import pytest

from api.batcher import Batcher
from api.edge.authentication import Caller
from api.edge.quotas import Quotas
from api.intake.uploads import Upload
from glyphq.blobs import BlobWriter
from glyphq.ledger import Ledger
from glyphq.settings import Settings

_PATIENCE_SECONDS = 30.0


def test_while_the_store_holds_up_uploads_the_service_can_still_be_looked_at(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings()
    begun: list[str] = []
    free = threading.Event()
    opened = ledger.blobs.writer

    def held_up(key: str) -> BlobWriter:
        begun.append(key)
        free.wait()
        return opened(key)

    monkeypatch.setattr(ledger.blobs, "writer", held_up)

    async def uploaded(quotas: Quotas) -> int:
        with await quotas.share(Caller("local")) as share, Upload(ledger, settings, share) as upload:
            upload.begin("")
            upload.add(bytes(settings.inline_bytes + 1))
            await upload.flush(last=True)
            return upload.size

    async def scenario() -> list[int]:
        quotas = Quotas(settings, ledger)
        uploads = [asyncio.create_task(uploaded(quotas)) for _ in range(settings.max_uploads)]
        try:
            while len(begun) < settings.max_uploads:  # noqa: ASYNC110  # of threads there is no event
                await asyncio.sleep(0.01)
            looked = Batcher[None, bool](lambda askers: [True] * len(askers))
            assert await asyncio.wait_for(looked(None), _PATIENCE_SECONDS)
        finally:
            free.set()
        return await asyncio.gather(*uploads)

    sizes = asyncio.run(asyncio.wait_for(scenario(), 2 * _PATIENCE_SECONDS))
    assert sizes == [settings.inline_bytes + 1] * settings.max_uploads
