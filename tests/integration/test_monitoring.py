"""A real Prometheus reads a service as deploy/ tells it to; every query of dashboard and alerts is put to it."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from glyphq.client import Client
from glyphq.embedded import embedded_service
from glyphq.keys import Keys
from glyphq.local_blobs import LocalBlobs
from tests.conftest import ROOT
from tests.faults.stack import free_port, until
from tests.integration.conftest import zip_of

DEPLOYED = ROOT / "deploy" / "prometheus"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "glyphq.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]
ALERTS = yaml.safe_load((DEPLOYED / "alerts.yml").read_text())["groups"][0]["rules"]


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    """Debian's package `prometheus` has both programs."""
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        if os.environ.get("GLYPHQ_REQUIRE_DATA"):
            pytest.fail("GLYPHQ_REQUIRE_DATA is set and there is no prometheus on the PATH")
        pytest.skip("there is no prometheus on the PATH: apt-get install prometheus")


def promtool(*arguments: object) -> None:
    done = subprocess.run(["promtool", *map(str, arguments)], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_sound(tmp_path: Path) -> None:
    shutil.copytree(DEPLOYED, tmp_path / "prometheus")
    (tmp_path / "prometheus" / "glyphq.key").write_text("glyphq_a_key")
    promtool("check", "config", tmp_path / "prometheus" / "prometheus.yml")


def test_the_alerts_are_sound_and_each_fires_where_it_should() -> None:
    promtool("check", "rules", DEPLOYED / "alerts.yml")
    promtool("test", "rules", DEPLOYED / "alerts.test.yml")
    tested = (DEPLOYED / "alerts.test.yml").read_text()
    assert [alert["alert"] for alert in ALERTS if alert["alert"] not in tested] == []


@dataclass(frozen=True)
class Prometheus:
    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, trust_env=False).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def result(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("query", query=query)["result"]
        return found


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, scans: dict[str, bytes]) -> Iterator[Prometheus]:
    """It has seen a service do some work. What it was told differs from deploy/ in addresses and pace alone."""
    folder = tmp_path_factory.mktemp("monitored")
    _, key = Keys(LocalBlobs(folder / "store")).create("prometheus")
    port, worker_port = free_port(), free_port()
    variables = {"GLYPHQ_KEYS": "required", "GLYPHQ_METRICS_PORT": str(worker_port)}
    shutil.copytree(DEPLOYED, folder / "prometheus")
    (folder / "prometheus" / "glyphq.key").write_text(key)
    with embedded_service(folder / "store", 2, environment=variables) as service:
        file = folder / "prometheus" / "prometheus.yml"
        config = yaml.safe_load(file.read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        api, worker = config["scrape_configs"]
        api["static_configs"] = [{"targets": [service.url.removeprefix("http://")]}]
        del worker["dns_sd_configs"]
        worker["static_configs"] = [{"targets": [f"127.0.0.1:{worker_port}"]}]
        file.write_text(yaml.safe_dump(config))
        command = [
            "prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
        ]  # fmt: skip
        with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                running = Prometheus(f"http://127.0.0.1:{port}")
                until(_answers(running, process), "Prometheus answers")
                until(lambda: len(running.result("up == 1")) == 2, "both have been scraped")
                with Client(service.url, key) as client:
                    for work in (zip_of({**scans, "letter.txt": b"Dear Sir"}), next(iter(scans.values()))):
                        client.wait(client.submit(work).id)
                until(lambda: running.result("sum(rate(glyphq_images_total[1m])) > 0"), "the work is seen")
                until(lambda: running.result("sum(rate(glyphq_images_accepted_total[1m])) > 0"), "and who took it in")
                yield running
            finally:
                process.terminate()


def _answers(prometheus: Prometheus, process: subprocess.Popen[bytes]) -> Callable[[], bool]:
    def answers() -> bool:
        assert process.poll() is None, "Prometheus has ended"
        try:
            return httpx.get(f"{prometheus.url}/-/ready", trust_env=False).is_success
        except httpx.TransportError:
            return False

    return answers


@pytest.mark.parametrize("query", QUERIES)
def test_every_panel_of_the_dashboard_shows_something(prometheus: Prometheus, query: str) -> None:
    asked = query.replace("$__rate_interval", "1m")
    assert "$" not in asked
    until(lambda: prometheus.result(asked), f"there is an answer to {asked}", seconds=20)


def test_no_alert_fires_while_all_is_well(prometheus: Prometheus) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]

    until(lambda: all(rule["health"] != "unknown" for rule in rules()), "each has been looked at")
    assert [rule["name"] for rule in rules()] == [alert["alert"] for alert in ALERTS]
    assert [rule for rule in rules() if rule["health"] != "ok" or rule["state"] != "inactive"] == []


def test_what_is_scraped_has_few_series(prometheus: Prometheus) -> None:
    """They are for one service; owners, jobs and files would make more of them without end."""
    names = {label for series in prometheus.ask("series", **{"match[]": '{__name__=~"glyphq_.*"}'}) for label in series}
    assert names == {
        "__name__", "instance", "job", "le", "lane", "outcome", "status", "operation", "action", "stage", "state",
        "queue", "method", "route", "digest", "engine", "version",
    }  # fmt: skip
    [counted] = prometheus.result('count({__name__=~"glyphq_.*"})')
    assert int(counted["value"][1]) < 2000


def test_the_dashboard_is_as_grafana_reads_it() -> None:
    """Grafana is not at hand: what it would not say, but show as an empty panel, is looked for here."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource"]
    places = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & places, panel["title"]
        places |= cells
    for panel in PANELS:
        assert panel["description"]
        if panel["type"] == "stat":  # of a range it would show the last value there was, however old
            assert panel["fieldConfig"]["defaults"]["noValue"]
            assert all(target["instant"] and not target["range"] for target in panel["targets"])
        assert panel["fieldConfig"]["defaults"]["unit"] in ("none", "ops", "reqps", "s", "bytes", "percentunit")
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            for name in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                assert name == "instance" or name in target["expr"], panel["title"]
