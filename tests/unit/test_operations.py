"""Metrics by name: what alerts, dashboard and docs/operations.md speak of exists, and the page leaves out none."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.registry import CollectorRegistry
from redis import Redis

from api.metrics import Exposition
from glyphq.local_blobs import LocalBlobs
from glyphq.metrics import REGISTRY, begin_counting
from glyphq.settings import Settings
from tests.conftest import ROOT
from worker import metrics as worker_metrics
from worker.exposition import Processes

PAGE = (ROOT / "docs" / "operations.md").read_text()
NAME = re.compile(r"\bglyphq_[a-z_]+[a-z]\b(?=[^a-z_]|$)")
SUFFIX = re.compile(r"_(bucket|sum|count)$")


@pytest.fixture
def told(server: str, redis: Redis, tmp_path: Path) -> dict[str, str]:
    """Name -> kind, of all that API and worker tell."""
    assert worker_metrics.REGISTRY is REGISTRY
    own = CollectorRegistry()
    own.register(Processes(tmp_path))
    begin_counting()
    api = Exposition(Settings(redis_url=server), LocalBlobs(tmp_path / "store"))._make([None])[0]
    return dict(re.findall(r"^# TYPE (glyphq_\S+) (\w+)$", (api + generate_latest(own)).decode(), re.MULTILINE))


def test_every_metric_is_documented_and_every_documented_one_exists(told: dict[str, str]) -> None:
    assert set(re.findall(r"`(glyphq_[a-z_]+)(?:{[a-z_,]+})?`", PAGE)) == set(told)


@pytest.mark.parametrize("file", ["prometheus/alerts.yml", "prometheus/alerts.test.yml", "grafana/glyphq.json"])
def test_what_is_asked_for_exists(told: dict[str, str], file: str) -> None:
    text = (ROOT / "deploy" / file).read_text()
    if file.endswith(".json"):
        text = "\n".join(t["expr"] for panel in json.loads(text)["panels"] for t in panel.get("targets", []))
    asked = set(NAME.findall(text))
    assert asked
    for name in asked:
        histogram = SUFFIX.sub("", name)
        assert told.get(name) in ("counter", "gauge") or told.get(histogram) == "histogram", name


def test_every_alert_is_documented_where_it_belongs() -> None:
    [group] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
    rows = [line.split("|")[2:4] for line in PAGE.partition("## Alerts")[2].splitlines() if "`Glyphq" in line]
    for column, severity in enumerate(("page", "ticket")):
        documented = [name for row in rows for name in re.findall(r"`(Glyphq\w+)`", row[column])]
        assert sorted(documented) == sorted(
            rule["alert"] for rule in group["rules"] if rule["labels"]["severity"] == severity
        )


def test_names_say_what_they_count_and_in_what(told: dict[str, str]) -> None:
    for name, kind in told.items():
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"milli|micro|_ms|_mb|_kb|percent", name)
