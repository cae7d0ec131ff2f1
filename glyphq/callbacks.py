"""Whom to tell that a job has ended, and how far that has come: on blobs alone. Knows no HTTP.

A delivery waits as an object of its own, from just before its job's record until it is over; then it lies with the
job's data. An owner's secret signs what is sent, after the Standard Webhooks specification.
"""

import base64
import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pydantic import TypeAdapter, ValidationError

from glyphq.blobs import Blobs
from glyphq.errors import DamagedObject
from glyphq.jobs import Job
from glyphq.object_names import callback_key, callback_secret_key, ended_callback_key
from glyphq.removal import erase_if_deleted
from glyphq.seals import seal, unseal

log = logging.getLogger(__name__)

_SECRET_BYTES = 32


class DeliveryState(StrEnum):
    WAITING = "waiting"
    DELIVERED = "delivered"
    GIVEN_UP = "given up"


@dataclass(frozen=True)
class Delivery:
    """How far it is. `due_at`, in seconds since the epoch, counts once the job has ended; `answer` is the last one."""

    state: DeliveryState = DeliveryState.WAITING
    attempts: int = 0
    due_at: float = 0.0
    answer: str | None = None


_DELIVERY = TypeAdapter(Delivery)


def first_delivery() -> bytes:
    """What is stored of a delivery that nobody has tried."""
    return _sealed(Delivery())


class Deliveries:
    """The deliveries in one store, and the secrets that sign them. Every method may raise StoreError."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def waiting(self) -> Iterator[tuple[str, str]]:
        """(owner, job id) of those that are not over."""
        for key in self._blobs.list("callbacks"):
            _, owner, name = key.split("/")
            yield owner, name.removesuffix(".json")

    def of(self, job: Job) -> Delivery:
        """A damaged one begins anew: to be told twice does less harm than not at all."""
        for key in (callback_key(job.owner, job.id), ended_callback_key(job.id)):
            sealed = self._blobs.get(key)
            if sealed is not None:
                try:
                    return _DELIVERY.validate_json(unseal(key, sealed))
                except (DamagedObject, ValidationError):
                    log.error("job %s: what is stored of its callback is damaged", job.id)
        return Delivery()

    def put(self, job: Job, delivery: Delivery) -> None:
        """Remember it. Of a job that was deleted meanwhile nothing stays."""
        over = delivery.state is not DeliveryState.WAITING
        key = ended_callback_key(job.id) if over else callback_key(job.owner, job.id)
        self._blobs.replace(key, _sealed(delivery))
        if erase_if_deleted(self._blobs, job) or over:
            self._blobs.delete(callback_key(job.owner, job.id))

    def secret(self, owner: str) -> str:
        """The owner's secret, `whsec_` and base64; made when it is first asked for."""
        found = self._blobs.get(callback_secret_key(owner))
        if not found:
            self._blobs.create(callback_secret_key(owner), _new_secret())
            found = self._blobs.get(callback_secret_key(owner)) or b""
        return found.decode()

    def renew_secret(self, owner: str) -> str:
        """A new secret, which signs from now on."""
        self._blobs.replace(callback_secret_key(owner), _new_secret())
        return self.secret(owner)


def _new_secret() -> bytes:
    return b"whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES))


def _sealed(delivery: Delivery) -> bytes:
    return seal(_DELIVERY.dump_json(delivery) + b"\n")
