"""Each process loads only what it works with: read from `sys.modules` of a fresh one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def loaded_by(statements: str) -> set[str]:
    """The top-level modules that are loaded after these statements in a fresh process without any settings."""
    script = f"{statements}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GLYPHQ_")}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment, timeout=120
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statements",
    [
        "import api.app",
        "from api.app import create_app; from glyphq.settings import Settings; create_app(Settings()).openapi()",
    ],
    ids=["imported", "created"],
)
def test_the_api_loads_nothing_that_decodes_or_computes(statements: str) -> None:
    loaded = loaded_by(statements)
    assert loaded & {"torch", "cv2", "PIL", "openvino", "torchvision", "training", "worker"} == set()
    assert {"fastapi", "pyarrow", "redis"} <= loaded


def test_the_worker_loads_nothing_of_the_web() -> None:
    loaded = loaded_by("import worker.tasks")
    assert loaded & {"fastapi", "starlette", "uvicorn", "uvloop", "httpx", "api", "training"} == set()
    assert {"celery", "torch", "cv2"} <= loaded


def test_a_check_of_the_worker_which_is_made_every_few_seconds_loads_little() -> None:
    loaded = loaded_by("import worker.health")
    assert loaded & {"celery", "kombu", "numpy", "pyarrow", "pydantic"} == set()
    assert "redis" in loaded


def test_the_parent_of_worker_processes_loads_no_metrics_before_it_has_said_where_they_go() -> None:
    assert "prometheus_client" not in loaded_by("import worker.__main__")


def test_the_package_alone_loads_no_client_and_the_command_line_no_http_before_it_is_needed() -> None:
    assert loaded_by("import glyphq") & {"httpx", "rich", "typer"} == set()
    command_line = loaded_by("import glyphq.cli.app")
    assert "typer" in command_line
    assert "httpx" not in command_line
    assert loaded_by("from glyphq import AsyncClient, Client, JobNotFound") & {"numpy", "pyarrow"} == set()


def test_the_library_imports_none_of_what_is_built_on_it() -> None:
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "glyphq").rglob("*.py")
    )
    assert loaded_by(f"import {', '.join(modules)}") & {"api", "worker", "training"} == set()
