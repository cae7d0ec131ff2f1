"""What API and worker both measure for Prometheus. Knows names and meanings; nothing of how they are served.

Metrics of the API alone are in `api.metrics`, those of the worker alone in `worker.metrics`; docs/operations.md lists
all. Making one decides how its value is kept, by PROMETHEUS_MULTIPROC_DIR: a worker that serves metrics sets it before
it imports this module. No label holds an owner, a job or a name that somebody chose.
"""

from collections.abc import Mapping
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from glyphq import __version__
from glyphq.jobs import Counts, Job, JobState, Lane, RowStatus

REGISTRY = CollectorRegistry()
"""Of this process; prometheus_client's own has what this Python adds to it."""

JOBS_ENDED = Counter("glyphq_jobs_ended", "Jobs that this process ended.", ["lane", "outcome"], registry=REGISTRY)
JOB_SECONDS = Histogram(
    "glyphq_job_duration_seconds",
    "From a job's record to its end.",
    ["lane"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400),
    registry=REGISTRY,
)
IMAGES = Counter(
    "glyphq_images",
    "Images whose row this process stored, by the row's status. A chunk that comes too late for its job counts too.",
    ["lane", "status"],
    registry=REGISTRY,
)
STORE_SECONDS = Histogram(
    "glyphq_store_operation_duration_seconds",
    "Calls of the blob store.",
    ["operation"],
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30),
    registry=REGISTRY,
)
STORE_ERRORS = Counter(
    "glyphq_store_errors", "Calls of the blob store that it refused or did not answer.", ["operation"],
    registry=REGISTRY,
)  # fmt: skip
DAMAGED_OBJECTS = Counter(
    "glyphq_store_damaged_objects", "Times that a stored object was not what had been written.", registry=REGISTRY
)
REDIS_ERRORS = Counter("glyphq_redis_errors", "Calls of Redis that it refused or did not answer.", registry=REGISTRY)
RECOVERIES = Counter(
    "glyphq_reconciler_actions",
    "What the reconciler did: chunk_resent (its message was lost, or its worker fell silent), drain_sent (jobs waited "
    "in the interactive lane and no drain was pending), progress_rebuilt (Redis was told anew what is done of a job), "
    "end_made (all was done, and nobody had ended the job), end_told (Redis had not been told of an end), store_pass "
    "(a look at the whole store), erased (an old job or an orphan).",
    ["action"],
    registry=REGISTRY,
)
RECOVERY_ACTIONS = (
    "chunk_resent", "drain_sent", "progress_rebuilt", "end_made", "end_told", "store_pass", "erased"
)  # fmt: skip

_DELETED = "deleted"


def begin_counting() -> None:
    """Have what can be counted be 0 from the start: Prometheus finds no rate in a counter that begins at 1."""
    for lane, status in product(Lane, RowStatus):
        IMAGES.labels(lane, status)
    for lane, outcome in product(Lane, (JobState.COMPLETED, JobState.CANCELLED, _DELETED)):
        JOBS_ENDED.labels(lane, outcome)
        JOB_SECONDS.labels(lane)


def gauge(name: str, meaning: str, values: Mapping[tuple[str, ...], float], *labels: str) -> Metric:
    """One that is measured when it is asked for: its values by its labels' values."""
    made = GaugeMetricFamily(name, meaning, labels=labels)
    for label_values, value in values.items():
        made.add_metric(label_values, value)
    return made


def build_info() -> Metric:
    """Which glyphq this is."""
    return gauge("glyphq_build_info", "1, of the version that runs.", {(__version__,): 1}, "version")


def count_rows(job: Job, counts: Counts) -> None:
    """Rows of the job that have just been stored."""
    for status in RowStatus:
        IMAGES.labels(job.lane, status).inc(getattr(counts, status))


def count_end(job: Job, outcome: JobState, ended_at: float) -> None:
    """An end that has just been created."""
    JOBS_ENDED.labels(job.lane, outcome).inc()
    JOB_SECONDS.labels(job.lane).observe(max(0.0, ended_at - job.created_at))


def count_deleted(job: Job) -> None:
    """A job that was deleted before its end, and has none."""
    JOBS_ENDED.labels(job.lane, _DELETED).inc()
