"""API keys on the blob store: made, found, revoked. A key is shown once; what is stored is its hash. Knows no HTTP.

A key reads glyphq_ID_SECRET. The secret has 256 random bits, so a plain SHA-256 hides it as well as a slow hash would.
"""

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter, ValidationError

from glyphq.blobs import Blobs
from glyphq.errors import DamagedObject, InvalidOption, KeyNotFound
from glyphq.object_names import api_key_name
from glyphq.seals import seal, unseal

log = logging.getLogger(__name__)

_TEXT = re.compile(r"glyphq_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")
_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_FIRST_ID = "first".ljust(12, "0")
MAX_NAME_CHARACTERS = 100


@dataclass(frozen=True)
class ApiKey:
    """Whoever shows the key speaks for `owner`, whose jobs no other owner sees. Times are seconds since the epoch.

    `limits` are those fields of settings.KeyLimits that this key has otherwise than others.
    """

    id: str
    owner: str
    name: str
    secret_sha256: str = field(repr=False)
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    limits: Mapping[str, int] = field(default_factory=dict)

    @property
    def state(self) -> str:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= time.time() else "valid"

    def admits(self, secret: str) -> bool:
        """Whether the secret is this key's, told in constant time, and the key still counts."""
        shown = hashlib.sha256(secret.encode()).hexdigest()
        return hmac.compare_digest(shown, self.secret_sha256) and self.state == "valid"


_KEY = TypeAdapter(ApiKey)


class Keys:
    """The keys in one store. Every method may raise StoreError."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def create(
        self,
        owner: str,
        name: str = "",
        lives_seconds: float | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key, and its text, which is known only now. Raises InvalidOption."""
        if not _OWNER.fullmatch(owner):
            raise InvalidOption("owner", "An owner has 1 to 64 letters, digits and dashes, such as scan-room.")
        if len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
            raise InvalidOption("name", f"A key's name has at most {MAX_NAME_CHARACTERS} printable characters.")
        made = self._made(secrets.token_hex(6), owner, name, lives_seconds, limits or {})
        if made is None:
            raise RuntimeError("two keys have the same random id")
        return made

    def create_first(self, owner: str) -> tuple[ApiKey, str] | None:
        """The first key of a store that has none, made by one of those who ask at the same time; None otherwise."""
        return None if next(self.all(), None) else self._made(_FIRST_ID, owner, "the first key", None, {})

    def _made(
        self, key_id: str, owner: str, name: str, lives_seconds: float | None, limits: Mapping[str, int]
    ) -> tuple[ApiKey, str] | None:
        """None where there is a key of this id."""
        secret, now = secrets.token_urlsafe(32), time.time()
        expires_at = None if lives_seconds is None else now + lives_seconds
        digest = hashlib.sha256(secret.encode()).hexdigest()
        key = ApiKey(key_id, owner, name, digest, now, expires_at, limits=limits)
        created = self._blobs.create(api_key_name(key_id), _sealed(key))
        return (key, f"glyphq_{key_id}_{secret}") if created else None

    def all(self) -> Iterator[ApiKey]:
        """Every key that was ever made, revoked ones too; those that cannot be read are logged and left out."""
        for name in self._blobs.list("keys"):
            key = self.get(name.removeprefix("keys/").removesuffix(".json"))
            if key is not None:
                yield key

    def get(self, key_id: str) -> ApiKey | None:
        """The key of an id; None where there is none, or none that can be read."""
        sealed = self._blobs.get(api_key_name(key_id))
        if sealed is None:
            return None
        try:
            return _KEY.validate_json(unseal(api_key_name(key_id), sealed))
        except (DamagedObject, ValidationError):
            log.error("key %s: what is stored of it is damaged; nobody can use it", key_id)
            return None

    def revoke(self, key_id: str) -> ApiKey:
        """From now on nobody can use the key. Raises KeyNotFound."""
        key = self.get(key_id) if re.fullmatch(r"[a-z0-9]{12}", key_id) else None
        if key is None:
            raise KeyNotFound(f"There is no key {key_id[:64]!r}. `glyphq keys list` shows those there are.")
        revoked = replace(key, revoked_at=key.revoked_at or time.time())
        self._blobs.replace(api_key_name(key_id), _sealed(revoked))
        return revoked


def parts(text: str) -> tuple[str, str] | None:
    """The id and the secret of a key as it was shown; None for what no key looks like."""
    found = _TEXT.fullmatch(text)
    return (found[1], found[2]) if found else None


def _sealed(key: ApiKey) -> bytes:
    return seal(_KEY.dump_json(key) + b"\n")
