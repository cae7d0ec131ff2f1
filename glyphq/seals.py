"""A stored object that carries its own digest, so that a damaged one is never served as good."""

import hashlib

from glyphq.errors import DamagedObject
from glyphq.metrics import DAMAGED_OBJECTS

_SEAL_BYTES = 65  # 64 hex digits and a line end


def seal(data: bytes) -> bytes:
    """`data` and a line with its SHA-256. Readers of JSON lines and of Arrow streams stop before it."""
    return data + hashlib.sha256(data).hexdigest().encode() + b"\n"


def unseal(key: str, sealed: bytes) -> bytes:
    """What was sealed. Raises DamagedObject when it is not what was written."""
    data = sealed[:-_SEAL_BYTES]
    if sealed[-_SEAL_BYTES:] != hashlib.sha256(data).hexdigest().encode() + b"\n":
        DAMAGED_OBJECTS.inc()
        raise DamagedObject(key, "The stored object does not match its digest.")
    return data
