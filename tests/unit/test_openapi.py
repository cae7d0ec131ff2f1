"""OpenAPI says all there is to know: every answer of every route has a description and an example."""

import pytest

from api.app import create_app
from glyphq.settings import Settings

DESCRIBED = create_app(Settings()).openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DESCRIBED["paths"].items()
    for method, operation in operations.items()
}
ANSWERS = [
    pytest.param(answer, id=f"{name} {status}")
    for name, operation in OPERATIONS.items()
    for status, answer in operation["responses"].items()
]


def has_example(media: dict) -> bool:
    """Whether the content of one media type shows one, itself or by its schema."""
    schema = media.get("schema", {})
    if "$ref" in schema:
        schema = DESCRIBED["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return any(key in media for key in ("example", "examples")) or any(key in schema for key in ("example", "examples"))


@pytest.mark.parametrize("answer", ANSWERS)
def test_every_answer_is_described_and_shown(answer: dict) -> None:
    assert answer["description"]
    assert all(has_example(media) for media in answer.get("content", {}).values())


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_says_what_it_does_and_its_parameters_what_they_are(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["description"]
    assert all(parameter.get("description") for parameter in operation.get("parameters", []))


def test_problems_are_the_only_errors() -> None:
    for name, operation in OPERATIONS.items():
        for status, answer in operation["responses"].items():
            if status >= "400" and name != "GET /readyz":
                assert list(answer["content"]) == ["application/problem+json"], (name, status)
