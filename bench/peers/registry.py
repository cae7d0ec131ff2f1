"""The peers by name. Importing this imports them all."""

from collections.abc import Callable
from pathlib import Path

from bench.peers import Peer
from bench.peers.celery_peer import CeleryChunk, CeleryChunkTuned, CeleryImage
from bench.peers.http_peer import LitServePeer, MosecPeer
from bench.peers.plain_script import PlainScript
from bench.peers.tuned_script import TunedScript

PEERS: dict[str, Callable[[Path], Peer]] = {
    "plain": PlainScript,
    "tuned": TunedScript,
    "celery-image": CeleryImage,
    "celery-chunk": CeleryChunk,
    "celery-chunk-tuned": CeleryChunkTuned,
    "litserve": LitServePeer,
    "mosec": MosecPeer,
}
"""Each is made with the folder of the model."""
