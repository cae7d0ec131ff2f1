"""Every limit and address of the service with its default, read once from GLYPHQ_* variables and passed down."""

import re
import socket
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from glyphq.archive import ArchiveLimits
from glyphq.errors import SetupError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
_CALLED = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # addresses that are bound to, but not called


@dataclass(frozen=True)
class KeyLimits:
    """What one key may, and its owner with it."""

    requests_per_minute: int
    open_jobs: int
    stored_bytes: int


class Settings(BaseSettings):
    """Frozen. `Settings()` reads the environment; a field `max_pixels` is set by GLYPHQ_MAX_PIXELS."""

    model_config = SettingsConfigDict(env_prefix="GLYPHQ_", frozen=True, extra="forbid")

    # Where things are.
    store_url: str = Field(
        "file:///var/lib/glyphq",
        description="The blob store: file:///FOLDER, or s3://BUCKET/PREFIX with AWS_* variables.",
    )
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="redis://, rediss:// or unix:// URL of the queue.")
    model: Path | None = Field(None, description="A folder with weights and card; the shipped model if unset.")
    engine: Literal["auto", "torch", "openvino"] = Field(
        "auto",
        description="What computes the network; `auto`: PyTorch on a GPU, else OpenVINO if installed, else PyTorch.",
    )

    # The API.
    host: str = Field("127.0.0.1", description="The address that the API listens at.")
    port: int = Field(8000, ge=0, le=65535, description="Its port; 0 is any free one.")
    public_url: str | None = Field(
        None,
        pattern="^https?://[^/]",
        description="The address people open, where a published port or a proxy makes it another than host and port.",
    )
    keys: Literal["auto", "required", "off"] = Field(
        "auto",
        description="Who needs a key: `required`: all; `off`: nobody; `auto`: all, unless GLYPHQ_HOST is this "
        "machine's alone and GLYPHQ_ALLOWED_HOSTS is empty.",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Names to be called by, with commas; if none, any where keys are needed, else this machine's."
    )
    max_wait_seconds: float = Field(30.0, gt=0, description="The longest that `Prefer: wait` holds a request.")

    # What strangers may hold open.
    max_connections: int = Field(1000, gt=0, description="Open connections; one more is let in for one that idles.")
    max_connections_per_address: int = Field(
        250, ge=0, description="Of one client address; 0 behind a proxy, whose address every client has: no limit."
    )
    head_seconds: float = Field(10.0, gt=0, description="For a whole request head, from the connection's first moment.")
    max_head_bytes: int = Field(64 * KIB, ge=KIB, description="The largest request head: line and header fields.")
    max_answer_gap_seconds: float = Field(
        60.0, gt=0, description="A client that takes nothing, or is gone without a word, for so long is cut off."
    )

    # Limits of a key that sets none of its own, and of its owner.
    key_requests_per_minute: int = Field(6000, gt=0, description="Requests of one key within a minute.")
    key_open_jobs: int = Field(100, gt=0, description="Open jobs of one owner; single images do not count.")
    key_stored_bytes: int = Field(100 * GIB, gt=0, description="Input of one owner that is kept in the store.")
    key_uploads: int = Field(8, gt=0, description="Uploads over GLYPHQ_INLINE_BYTES at once, of one owner.")
    key_streams: int = Field(32, gt=0, description="Results and events being sent at once, to one owner.")

    # Callbacks.
    callback_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Hosts, or host:port, with commas, that callbacks may go to though their address is not public.",
    )
    callback_retry_seconds: Annotated[tuple[float, ...], NoDecode] = Field(
        (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400),
        description="Pauses, with commas, before a callback that failed is tried again; then it is given up.",
    )

    # What is accepted.
    max_uploads: int = Field(32, gt=0, description="Uploads over GLYPHQ_INLINE_BYTES at once, of all owners together.")
    max_streams: int = Field(256, gt=0, description="Results and events being sent at once, to all owners together.")
    max_zip_rows: int = Field(200_000, gt=0, description="Scans in one zip of results.")
    max_upload_bytes: int = Field(4 * GIB, gt=0, description="The largest body.")
    max_upload_seconds: float = Field(6 * 3600.0, gt=0, description="The longest that a body may take to arrive.")
    max_body_gap_seconds: float = Field(30.0, gt=0, description="Between two pieces of a request's body.")
    min_body_bytes_per_second: int = Field(
        1024, ge=0, description="On average, once GLYPHQ_MAX_BODY_GAP_SECONDS have been spent on waiting for a body."
    )
    max_entries: int = Field(2_000_000, gt=0, description="Entries in one archive.")
    max_entry_bytes: int = Field(64 * MIB, gt=0, description="One image file, unpacked.")
    max_unpacked_bytes: int = Field(64 * GIB, gt=0, description="All files of an archive, unpacked.")
    max_pixels: int = Field(100_000_000, gt=0, description="Width times height of one image.")
    max_form_images: int = Field(10_000, gt=0, description="Files in one form, or pixel rows in one request.")
    max_json_bytes: int = Field(32 * MIB, gt=0, description="The largest JSON body.")
    disk_reserve_bytes: int = Field(256 * MIB, ge=0, description="Uploads are refused below this much free space.")

    # What an operator sees; docs/operations.md.
    log_format: Literal["text", "json"] = Field("text", description="Lines for people, or a JSON object a line.")
    metrics_host: str = Field("127.0.0.1", description="The address at which a worker serves its metrics.")
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Where a worker serves metrics of its processes; 0: nowhere.",
    )

    # How work is cut.
    chunk_images: int = Field(1024, gt=0, le=65_536, description="Images in one chunk, the unit of work.")
    chunk_bytes: int = Field(32 * MIB, gt=0, description="A chunk is cut earlier when its input is this large.")
    window_chunks: int = Field(8, gt=0, description="Chunks of one job that may be out at a time.")
    owner_window_chunks: int = Field(32, gt=0, description="Chunks of one owner's jobs that may be out at a time.")
    interactive_images: int = Field(32, gt=0, description="The most images a job of the interactive lane has.")
    interactive_bytes: int = Field(8 * MIB, gt=0, description="The largest input of the interactive lane.")
    inline_bytes: int = Field(64 * KIB, ge=0, description="An interactive input up to this size rides in its record.")
    drain_images: int = Field(256, gt=0, description="Images that one drain takes at once.")

    # Time.
    lease_seconds: float = Field(30.0, gt=0, description="How long a claimed chunk is held without a sign of life.")
    reconcile_seconds: float = Field(2.0, gt=0, description="Between two looks at Redis.")
    reconcile_store_seconds: float = Field(300.0, gt=0, description="Between two looks at the whole store.")
    retention_days: float = Field(30.0, gt=0, description="Ended jobs are deleted after this long.")

    @field_validator("store_url")
    @classmethod
    def _known_store(cls, url: str) -> str:
        if not re.match(r"file:///.|s3://[^/]", url):
            raise ValueError("the store is a file:///FOLDER or an s3://BUCKET/PREFIX")
        return url

    @field_validator("allowed_hosts", "callback_hosts", "callback_retry_seconds", mode="before")
    @classmethod
    def _listed(cls, text: object) -> object:
        return tuple(filter(None, text.replace(" ", "").split(","))) if isinstance(text, str) else text

    @property
    def url(self) -> str:
        """Where people find the service."""
        return (self.public_url or url_of(self.host, self.port)).rstrip("/")

    @property
    def archive_limits(self) -> ArchiveLimits:
        """The limits that concern a zip and how it is cut."""
        return ArchiveLimits(
            max_entries=self.max_entries,
            max_entry_bytes=self.max_entry_bytes,
            max_unpacked_bytes=self.max_unpacked_bytes,
            chunk_images=self.chunk_images,
            chunk_bytes=self.chunk_bytes,
        )

    @property
    def key_limits(self) -> KeyLimits:
        """What a key may that says nothing else."""
        return KeyLimits(self.key_requests_per_minute, self.key_open_jobs, self.key_stored_bytes)

    @cached_property
    def keys_required(self) -> bool:
        """A host that has names is called from elsewhere, by way of a proxy, though it may be bound to loopback."""
        return self.keys == "required" or (self.keys == "auto" and (bool(self.allowed_hosts) or not self.loopback))

    @cached_property
    def loopback(self) -> bool:
        """Whether `host` is reachable from this machine only."""
        try:
            found = socket.getaddrinfo(self.host, None)
        except OSError:
            return False
        return all(ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def read_settings() -> Settings:
    """Those of the environment. Raises SetupError, which names the variables that cannot be read."""
    try:
        return Settings()
    except ValidationError as error:
        said = (f"GLYPHQ_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors())
        raise SetupError("; ".join(said)) from None


def url_of(host: str, port: int) -> str:
    """How this machine calls what is bound there."""
    called = _CALLED.get(host, host)
    return f"http://[{called}]:{port}" if ":" in called else f"http://{called}:{port}"


def without_password(url: str) -> str:
    """The URL as it may be logged."""
    return re.sub(r"//[^/]*@", "//", url)
