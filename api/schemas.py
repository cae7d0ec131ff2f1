"""The shapes of the HTTP API's JSON, and how jobs become them."""

from datetime import UTC, datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from glyphq.callbacks import Delivery, DeliveryState
from glyphq.jobs import MAX_LABEL_CHARACTERS, Correction, Counts, End, Job, JobState, RowStatus

_EXAMPLE_ID = "019ae2f0-6c1f-7d52-b9a5-3a7a1c0d9a11"


class CountsView(BaseModel):
    """Rows by status; total is always the sum of the others."""

    total: int
    pending: int
    classified: int
    blank: int
    rejected: int
    cancelled: int


class OptionsView(BaseModel):
    """The options the job was submitted with."""

    name: str | None
    top_k: int
    charset: str
    invert: str
    filename_encoding: str
    charset_rules: list[str]
    callback_url: str | None


class CallbackView(BaseModel):
    """How far the word of a job's end has come."""

    state: DeliveryState
    attempts: int
    answer: str | None = Field(description="The last one, or why there was none.")
    next_attempt_at: datetime | None


class ModelView(BaseModel):
    """Which weights on which engine made results of the job."""

    digest: str
    engine: str


class RowView(BaseModel):
    """What became of one input."""

    row: int
    filename: str
    status: RowStatus
    label: str | None
    confidence: float | None
    top: list[dict[str, Any]]
    reason: str | None
    detail: str | None


JOB_EXAMPLE: dict[str, Any] = {
    "id": _EXAMPLE_ID,
    "name": "ledger 1897",
    "kind": "zip",
    "state": "running",
    "created_at": "2026-01-31T12:00:00Z",
    "ended_at": None,
    "counts": {
        "total": 20000,
        "pending": 9760,
        "classified": 10238,
        "blank": 2,
        "rejected": 0,
        "cancelled": 0,
    },
    "ignored": 3,
    "progress": 0.512,
    "rate": 12400.0,
    "eta_seconds": 0.8,
    "options": {
        "name": "ledger 1897",
        "top_k": 3,
        "charset": "all",
        "invert": "auto",
        "filename_encoding": "cp437",
        "charset_rules": ["dates/*=digits"],
        "callback_url": None,
    },
    "models": [],
    "warnings": [],
    "links": {
        "self": f"/v1/jobs/{_EXAMPLE_ID}",
        "results": f"/v1/jobs/{_EXAMPLE_ID}/results",
        "cancel": f"/v1/jobs/{_EXAMPLE_ID}/cancel",
        "image": f"/v1/jobs/{_EXAMPLE_ID}/items/{{row}}/image",
        "correction": f"/v1/jobs/{_EXAMPLE_ID}/items/{{row}}/correction",
        "summary": f"/v1/jobs/{_EXAMPLE_ID}/summary",
        "events": f"/v1/jobs/{_EXAMPLE_ID}/events",
    },
}


class JobView(BaseModel):
    """A job as its owner sees it."""

    model_config = ConfigDict(json_schema_extra={"example": JOB_EXAMPLE})

    id: str
    name: str | None = None
    kind: str | None = Field(None, description="zip, image, images or pixels; null where the record cannot be read.")
    state: JobState
    created_at: datetime | None = None
    ended_at: datetime | None = None
    counts: CountsView
    ignored: int = Field(0, description="Folders and desktop litter in the archive: no inputs, no rows.")
    progress: float = Field(description="Share of rows done, 0 to 1.")
    rate: float | None = Field(None, description="Images a second since the job was accepted.")
    eta_seconds: float | None = None
    options: OptionsView | None = None
    models: list[ModelView] = []
    warnings: list[str] = Field([], description="What looks wrong with the batch as a whole, in sentences.")
    links: dict[str, str] = Field(description="`image` is a URI template (RFC 6570).")
    callback: CallbackView | None = Field(None, description="Of an ended job that was submitted with `callback_url`.")
    results: list[RowView] | None = Field(None, description="Of a single image or a handful, when waited for.")


class JobPage(BaseModel):
    """Some jobs, newest first; `next` is the cursor of the following page."""

    model_config = ConfigDict(json_schema_extra={"example": {"jobs": [JOB_EXAMPLE], "next": None}})

    jobs: list[JobView]
    next: str | None


class Problem(BaseModel):
    """RFC 9457: what went wrong and what to do."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="The last part of `type`; stable.")
    option: str | None = Field(None, description="The option at fault.")
    limit: str | None = Field(None, description="The limit that was passed.")
    value: int | None = Field(None, description="Its size.")
    job: dict[str, Any] | None = Field(None, description="How far an unfinished job is.")
    reason: str | None = Field(None, description="Why there is no picture: the row's reason, or `blank`.")
    request_id: str | None = Field(None, description="`X-Request-ID`: by it, the service's log tells more.")


REQUIRED_CHECKS = "redis", "worker", "store", "model"
CHECKS = *REQUIRED_CHECKS, "clock", "disk"


class Readiness(BaseModel):
    """Whether work can be done now, and what stands in the way: each check is `ok` or a sentence."""

    model_config = ConfigDict(json_schema_extra={"example": {"ready": True, "checks": dict.fromkeys(CHECKS, "ok")}})

    ready: bool
    checks: dict[str, str]


class CallbackSecret(BaseModel):
    """What signs your callbacks; see https://www.standardwebhooks.com."""

    model_config = ConfigDict(json_schema_extra={"example": {"secret": "whsec_2hE5vKcOyC1d..."}})

    secret: str


class CorrectionGiven(BaseModel):
    """What a person says is on a scan."""

    model_config = ConfigDict(extra="forbid")

    label: str = Field(description=f"1 to {MAX_LABEL_CHARACTERS} printable characters, also such as are no class.")


class CorrectionView(BaseModel):
    """What a person said is on a scan, who, and when."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"row": 0, "label": "7", "corrected_by": "ada", "corrected_at": "2026-01-31T12:00:00Z"}
        }
    )

    row: int
    label: str
    corrected_by: str = Field(description="The name of the key, or its id.")
    corrected_at: datetime

    @classmethod
    def of(cls, row: int, correction: Correction) -> Self:
        at = datetime.fromtimestamp(correction.at, UTC)
        return cls(row=row, label=correction.label, corrected_by=correction.by, corrected_at=at)


class BinView(BaseModel):
    """The classified rows with a confidence from `confidence` up to a step more; 1 is in the last one."""

    confidence: float
    rows: int
    reviewed: int = Field(description="Of them, those that a person has given a label.")
    expected_errors: float = Field(description="How many of the others are wrong, if confidences mean what they say.")


class LabelView(BaseModel):
    """How many rows have a label in the end: a person's, or else the network's."""

    label: str
    rows: int


class SummaryView(BaseModel):
    """How sure the network was of a job's rows, and how far people have looked at them."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "job": _EXAMPLE_ID,
                "complete": True,
                "step": 0.005,
                "histogram": [{"confidence": 0.995, "rows": 9812, "reviewed": 2, "expected_errors": 11.4}],
                "labels": [{"label": "7", "rows": 9812}],
                "reviewed": 5,
                "changed": 3,
            }
        }
    )

    job: str
    complete: bool = Field(description="Whether the job has ended, so that no row is missing.")
    step: float
    histogram: list[BinView] = Field(description="By confidence, ascending; those without rows are left out.")
    labels: list[LabelView]
    reviewed: int = Field(description="Rows that a person has given a label.")
    changed: int = Field(description="Of them, those where it is not the network's.")


def job_view(job: Job, end: End | None, counts: Counts, now: float, delivery: Delivery | None = None) -> JobView:
    """A job at `now`, in seconds since the epoch."""
    seconds = max((end.ended_at if end else now) - job.created_at, 1e-3)
    rate = counts.done / seconds if counts.done else None
    return JobView(
        id=job.id,
        name=job.options.name,
        kind=job.kind.value,
        state=end.outcome if end else JobState.RUNNING if counts.done else JobState.QUEUED,
        created_at=datetime.fromtimestamp(job.created_at, UTC),
        ended_at=datetime.fromtimestamp(end.ended_at, UTC) if end else None,
        counts=CountsView(**counts.as_dict()),
        ignored=job.ignored,
        progress=round(counts.done / counts.total, 4),
        rate=round(rate, 1) if rate else None,
        eta_seconds=round(counts.pending / rate, 1) if rate and not end else None,
        options=OptionsView(**job.options.as_dict()),
        models=[ModelView(digest=model.digest, engine=model.engine) for model in end.models] if end else [],
        warnings=counts.warnings(),
        callback=_callback_view(delivery) if delivery else None,
        links=_links(job.id),
    )


def _callback_view(delivery: Delivery) -> CallbackView:
    waits = delivery.state is DeliveryState.WAITING
    return CallbackView(
        state=delivery.state,
        attempts=delivery.attempts,
        answer=delivery.answer,
        next_attempt_at=datetime.fromtimestamp(delivery.due_at, UTC) if waits and delivery.due_at else None,
    )


def failed_view(job_id: str) -> JobView:
    """A job whose stored record cannot be read."""
    return JobView(
        id=job_id,
        state=JobState.FAILED,
        counts=CountsView(**Counts(0).as_dict()),
        progress=0.0,
        warnings=[JobState.FAILED.sentence],
        links=_links(job_id),
    )


def _links(job_id: str) -> dict[str, str]:
    this = f"/v1/jobs/{job_id}"
    return {
        "self": this,
        "results": f"{this}/results",
        "cancel": f"{this}/cancel",
        "image": f"{this}/items/{{row}}/image",
        "correction": f"{this}/items/{{row}}/correction",
        "summary": f"{this}/summary",
        "events": f"{this}/events",
    }
