"""docs/api.md names every code, option, parameter and route that a client may meet."""

import re
from pathlib import Path

import pytest

from api.app import create_app
from glyphq.jobs import Options, Reason
from glyphq.settings import Settings

PAGE = (Path(__file__).parent.parent.parent / "docs" / "api.md").read_text()
NAMED = set(re.findall(r"`([^`\n]+)`", PAGE))


@pytest.fixture(scope="module")
def openapi(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return create_app(Settings(store_url=f"file://{tmp_path_factory.mktemp('store')}")).openapi()


def test_each_problem_is_named(openapi: dict) -> None:
    shown = {
        code
        for path in openapi["paths"].values()
        for operation in path.values()
        for answer in operation["responses"].values()
        for code in answer.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
    assert len(shown) > 20
    assert shown <= NAMED


def test_each_reason_is_named() -> None:
    assert {reason.value for reason in Reason} <= NAMED


def test_each_option_and_parameter_is_named(openapi: dict) -> None:
    of_results = openapi["paths"]["/v1/jobs/{job_id}/results"]["get"]["parameters"]
    parameters = {each["name"] for each in of_results if each["in"] == "query"}
    assert set(Options.__dataclass_fields__) <= NAMED
    assert parameters <= NAMED


def test_each_route_is_shown(openapi: dict) -> None:
    shown = PAGE.replace("$JOB", "{job_id}").replace("items/0", "items/{row}")
    assert [path for path in openapi["paths"] if path not in shown] == []
