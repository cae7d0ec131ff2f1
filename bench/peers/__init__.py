"""What a good engineer would use instead of glyphq, each with the same weights on the same zip.

A zip of 28x28 8-bit grayscale PNGs, light on dark, becomes a CSV of row, filename, label and confidence. The seconds
that a peer tells go from just before the zip is opened to the CSV closed; its processes have started, loaded the model
and computed with it before. Importing this imports none of them.
"""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self


class Peer(Protocol):
    """Something that classifies zips for as long as its context lasts."""

    name: str

    def __enter__(self) -> Self:
        """Start what it takes, and warm it up. Raises SetupError when it cannot be started."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every process that was started."""
        ...

    def classify(self, archive: Path, table: Path) -> float:
        """Write the CSV. The seconds that took."""
        ...


def _plain(model: Path) -> Peer:
    from bench.peers.plain_script import PlainScript

    return PlainScript(model)


def _tuned(model: Path) -> Peer:
    from bench.peers.tuned_script import TunedScript

    return TunedScript(model)


def _celery_image(model: Path) -> Peer:
    from bench.peers.celery_peer import CeleryImage

    return CeleryImage(model)


def _celery_chunk(model: Path) -> Peer:
    from bench.peers.celery_peer import CeleryChunk

    return CeleryChunk(model)


def _celery_chunk_tuned(model: Path) -> Peer:
    from bench.peers.celery_peer import CeleryChunkTuned

    return CeleryChunkTuned(model)


def _litserve(model: Path) -> Peer:
    from bench.peers.http_peer import LitServePeer

    return LitServePeer(model)


def _mosec(model: Path) -> Peer:
    from bench.peers.http_peer import MosecPeer

    return MosecPeer(model)


PEERS: dict[str, Callable[[Path], Peer]] = {
    "plain": _plain,
    "tuned": _tuned,
    "celery-image": _celery_image,
    "celery-chunk": _celery_chunk,
    "celery-chunk-tuned": _celery_chunk_tuned,
    "litserve": _litserve,
    "mosec": _mosec,
}
