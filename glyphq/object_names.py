"""What each object of the store is called; docs/architecture.md says what is in it. An id is safe in a name."""

import re
from uuid import UUID

STORE_ID = "store-id"
API_PROBE, WORKER_PROBE = "probe/readyz", "probe/worker"


def is_job_id(text: str) -> bool:
    """Whether `text` is a job id in its one canonical form, and so safe in a key."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def record_key(owner: str, job_id: str) -> str:
    return f"jobs/{owner}/{job_id}.json"


def end_key(owner: str, job_id: str) -> str:
    return f"ends/{owner}/{job_id}.json"


def idempotency_key(owner: str, key_sha256: str) -> str:
    return f"idempotency/{owner}/{key_sha256}.json"


def data_prefix(job_id: str) -> str:
    return f"data/{job_id}"


def input_key(job_id: str) -> str:
    return f"data/{job_id}/input"


def index_key(job_id: str) -> str:
    return f"data/{job_id}/index.arrow"


def result_key(job_id: str, chunk: int) -> str:
    return f"data/{job_id}/results/{chunk:06}.arrow"


def ended_callback_key(job_id: str) -> str:
    """Of a callback that is over, delivered or given up."""
    return f"data/{job_id}/callback.json"


def callback_key(owner: str, job_id: str) -> str:
    """Of one that has yet to be delivered."""
    return f"callbacks/{owner}/{job_id}.json"


def callback_secret_key(owner: str) -> str:
    return f"callback-secrets/{owner}"


def api_key_name(key_id: str) -> str:
    return f"keys/{key_id}.json"


def corrections_prefix(job_id: str) -> str:
    return f"data/{job_id}/corrections"


def correction_key(job_id: str, row: int) -> str:
    return f"{corrections_prefix(job_id)}/{row}.json"


def id_in(key: str) -> str:
    """The id of the job whose record, end or callback is stored under `key`."""
    return key.rsplit("/", 1)[1].removesuffix(".json")


def chunk_of(key: str) -> int | None:
    """The chunk whose result is stored under `key`; None for any other key."""
    found = re.search(r"/results/(\d+)\.arrow$", key)
    return int(found[1]) if found else None
