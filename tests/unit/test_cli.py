"""The command line: what it prints where, and its exit codes."""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest

from glyphq import __version__
from glyphq.cli import main
from glyphq.errors import SetupError
from glyphq.vision.checkpoint import read_card

CARD = read_card()
JOB_ID = "0199f0a0-0000-7000-8000-000000000001"
TABLE = b"row,filename,label,confidence,status,reason,detail\n0,a.png,7,0.9876,classified,,\n"
ROW = {
    "row": 0,
    "filename": "a.png",
    "status": "classified",
    "label": "7",
    "confidence": 0.9876,
    "top": [{"label": "7", "confidence": 0.9876}],
    "reason": None,
    "detail": None,
}
VERBS = (
    "classify",
    "serve",
    "submit",
    "status",
    "wait",
    "review",
    "results",
    "follow",
    "correct",
    "uncorrect",
    "cancel",
    "delete",
    "jobs",
    "model",
    "doctor",
    "sample",
    "inspect",
    "keys create",
    "keys list",
    "keys revoke",
)


@dataclass
class FakeService:
    """One job of four rows in the state it is told to be in, behind the routes of the API."""

    state: str = "completed"
    rejected: int = 0
    worker: str = "ok"
    warnings: list[str] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    on_request: Callable[[httpx.Request], None] = lambda _request: None

    def __call__(self, request: httpx.Request) -> httpx.Response:  # noqa: PLR0911, C901 - a line for each route
        self.requests.append(request)
        self.on_request(request)
        match request.method, request.url.path:
            case "POST", "/v1/jobs":
                return httpx.Response(202, json=self.job())
            case "GET", "/v1/jobs":
                return httpx.Response(200, json={"jobs": [self.job()], "next": "more"})
            case "GET", "/v1/model":
                return httpx.Response(200, json=CARD.fields)
            case "GET", "/readyz":
                sound = self.worker == "ok"
                checks = {"redis": "ok", "worker": self.worker}
                return httpx.Response(200 if sound else 503, json={"ready": sound, "checks": checks})
            case "DELETE", path if path.endswith(JOB_ID):
                return httpx.Response(204)
            case "GET", path if path.endswith(JOB_ID):
                return httpx.Response(200, json=self.job())
            case "PUT", path if path.endswith("/items/12/correction"):
                label = json.loads(request.content)["label"]
                given = {"row": 12, "label": label, "corrected_by": "ada", "corrected_at": "2026-01-02T03:04:05+00:00"}
                return httpx.Response(200, json=given)
            case "DELETE", path if path.endswith("/items/12/correction"):
                return httpx.Response(204)
            case "GET", path if path.endswith("/results") and "follow" in request.url.params:
                return httpx.Response(200, content=json.dumps(ROW).encode() + b"\n")
            case "GET", path if path.endswith("/results"):
                if self.state == "running" and "partial" not in request.url.params:
                    return problem(409, "job-not-finished", "2 of 4 rows are done.")
                return httpx.Response(
                    200, content=TABLE, headers={"Glyphq-Complete": str(self.state != "running").lower()}
                )
            case "POST", path if path.endswith("/cancel"):
                return problem(409, "job-already-ended", "The job has already completed.")
        return problem(404, "job-not-found", "There is no such job.")

    def job(self) -> dict[str, Any]:
        ended = self.state != "running"
        pending = 0 if ended else 2
        return {
            "id": JOB_ID,
            "name": "scans.zip",
            "kind": "zip",
            "state": self.state,
            "created_at": "2026-01-02T03:04:05Z",
            "ended_at": "2026-01-02T03:04:07Z" if ended else None,
            "counts": {
                "total": 4,
                "pending": pending,
                "classified": 4 - pending - self.rejected,
                "blank": 0,
                "rejected": self.rejected,
                "cancelled": 0,
            },
            "ignored": 0,
            "progress": 1 - pending / 4,
            "rate": None if ended else 1234.5,
            "eta_seconds": None if ended else 2.0,
            "options": {},
            "models": [],
            "warnings": self.warnings,
            "links": {},
        }


def problem(status: int, code: str, detail: str) -> httpx.Response:
    return httpx.Response(
        status, json={"type": f"/problems/{code}", "title": code, "status": status, "detail": detail, "code": code}
    )


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    monkeypatch.delenv("GLYPHQ_SERVER", raising=False)
    monkeypatch.delenv("GLYPHQ_KEY", raising=False)
    return FakeService()


@pytest.fixture
def run(service: FakeService, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str | Path) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments], httpx.MockTransport(service))
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Outcome(ended.value.code, out, err)

    return run


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    (tmp_path / "scans.zip").write_bytes(b"PK\x03\x04")
    return tmp_path / "scans.zip"


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for glyphq.embedded, which needs everything installed."""
    module = ModuleType("glyphq.embedded")
    monkeypatch.setitem(sys.modules, "glyphq.embedded", module)
    return module


class TestClassify:
    def test_it_writes_the_results_and_sums_up_on_stderr(self, run: Run, scans: Path) -> None:
        output = scans.with_name("predictions.csv")
        done = run("classify", scans, "-o", output, "--server", "http://service")
        assert (done.code, done.out) == (0, "")
        assert output.read_bytes() == TABLE
        assert done.err.startswith("4 rows: 4 classified, 0 blank, 0 rejected; ")
        assert done.err.rstrip().endswith("images/s")

    def test_standard_output_has_the_results_and_nothing_else(self, run: Run, scans: Path) -> None:
        assert run("classify", scans, "--server", "http://service").out == TABLE.decode()

    def test_its_options_reach_the_service(self, run: Run, scans: Path, service: FakeService) -> None:
        run(
            *("classify", scans, "--server", "http://service", "--key", "secret", "--format", "ndjson"),
            *("--top-k", "5", "--charset", "digits", "--invert", "yes", "--filename-encoding", "cp866"),
        )
        submitted, *_, fetched = service.requests
        assert dict(submitted.url.params) == {
            "name": "scans.zip",
            "top_k": "5",
            "charset": "digits",
            "invert": "yes",
            "filename_encoding": "cp866",
        }
        assert submitted.headers["Authorization"] == "Bearer secret"
        assert fetched.url.params["format"] == "ndjson"

    @pytest.mark.parametrize("verb", ["classify", "submit"])
    def test_charsets_with_a_glob_are_rules_in_order_and_one_without_is_for_the_rest(
        self, run: Run, scans: Path, service: FakeService, verb: str
    ) -> None:
        given = ("--charset", "a=b/*=digits", "--charset", "ABC", "--charset", "*=letters")
        assert run(verb, scans, "--server", "http://service", *given).code == 0
        params = service.requests[0].url.params
        assert params.get_list("charset_rules") == ["a=b/*=digits", "*=letters"]
        assert params.get_list("charset") == ["ABC"]

    def test_rejected_rows_are_warned_of(self, run: Run, scans: Path, service: FakeService) -> None:
        service.rejected = 1
        done = run("classify", scans, "--server", "http://service")
        assert done.code == 0
        assert "warning: 1 of 4 scans could not be read" in done.err

    def test_a_failure_leaves_the_output_as_it_was(self, run: Run, scans: Path, service: FakeService) -> None:
        output = scans.with_name("predictions.csv")
        output.write_text("what was there before")
        service.state = "failed"
        assert run("classify", scans, "-o", output, "--server", "http://service").code == 1
        assert {path.name for path in scans.parent.iterdir()} == {"scans.zip", "predictions.csv"}
        assert output.read_text() == "what was there before"

    def test_a_missing_output_folder_is_told_before_anything_is_sent(
        self, run: Run, scans: Path, service: FakeService
    ) -> None:
        assert run("classify", scans, "-o", scans.parent / "no" / "x.csv", "--server", "http://service").code == 2
        assert service.requests == []

    def test_interrupted_it_leaves_the_job_and_says_how_to_go_on(
        self, run: Run, scans: Path, service: FakeService
    ) -> None:
        def interrupt(request: httpx.Request) -> None:
            if request.method == "GET":
                raise KeyboardInterrupt

        service.on_request = interrupt
        done = run("classify", scans, "--server", "http://service")
        assert done.code == 130
        assert f"glyphq wait {JOB_ID}" in done.err

    def test_a_cancelled_job_is_written_and_exits_1(self, run: Run, scans: Path, service: FakeService) -> None:
        service.state = "cancelled"
        done = run("classify", scans, "--server", "http://service")
        assert (done.code, done.out) == (1, TABLE.decode())

    def test_a_failed_job_exits_1(self, run: Run, scans: Path, service: FakeService) -> None:
        service.state = "failed"
        done = run("classify", scans, "--server", "http://service")
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"error: Job {JOB_ID} failed.")

    def test_without_a_server_it_runs_one_for_the_job(self, run: Run, scans: Path, embedded: ModuleType) -> None:
        lives: list[str] = []

        @contextmanager
        def embedded_service(workers: int) -> Iterator[SimpleNamespace]:
            lives.append(f"started with {workers}")
            yield SimpleNamespace(url="http://embedded")
            lives.append("stopped")

        vars(embedded)["embedded_service"] = embedded_service
        assert run("classify", scans, "--workers", "3").code == 0
        assert lives == ["started with 3", "stopped"]

    def test_from_a_wheel_alone_it_says_what_is_missing_and_exits_2(
        self, run: Run, scans: Path, embedded: ModuleType
    ) -> None:
        def embedded_service(workers: int) -> None:
            raise SetupError("The service needs the checkout.")

        vars(embedded)["embedded_service"] = embedded_service
        done = run("classify", scans)
        assert (done.code, done.err) == (2, "error: The service needs the checkout.\n")


class TestServe:
    def test_it_serves_what_it_is_told_and_exits_as_the_service_does(self, run: Run, embedded: ModuleType) -> None:
        calls: list[tuple[object, ...]] = []

        def serve(*arguments: object) -> int:
            calls.append(arguments)
            return 1

        vars(embedded)["serve"] = serve
        assert run("serve", "--port", "9000", "--workers", "2", "--store", "jobs").code == 1
        assert calls == [("127.0.0.1", 9000, 2, Path("jobs"))]


class TestJobs:
    def test_submit_prints_the_id_alone(self, run: Run, scans: Path, service: FakeService) -> None:
        service.state = "running"
        assert run("submit", scans) == Outcome(0, f"{JOB_ID}\n", "")
        assert service.requests[0].url.params["name"] == "scans.zip"

    def test_submit_can_wait_and_print_json(self, run: Run, scans: Path) -> None:
        done = run("submit", scans, "--wait", "--json", "--name", "page 7")
        assert done.code == 0
        assert json.loads(done.out)["state"] == "completed"

    def test_the_server_and_key_come_from_the_environment(
        self, run: Run, service: FakeService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GLYPHQ_SERVER", "http://elsewhere:81/")
        monkeypatch.setenv("GLYPHQ_KEY", "secret")
        run("status", JOB_ID)
        assert str(service.requests[0].url) == f"http://elsewhere:81/v1/jobs/{JOB_ID}"
        assert service.requests[0].headers["Authorization"] == "Bearer secret"

    def test_status_says_the_state_and_the_rows(self, run: Run, service: FakeService) -> None:
        service.state = "running"
        done = run("status", JOB_ID)
        assert done.code == 0
        assert done.out.splitlines() == [
            "running: Some images have their row; the rest will follow.",
            "4 rows: 2 classified, 0 blank, 0 rejected, 2 pending",
            "2/4, 1,234 images/s, 2 s left",
        ]

    def test_status_can_print_json(self, run: Run) -> None:
        assert json.loads(run("status", JOB_ID, "--json").out)["id"] == JOB_ID

    def test_an_unknown_job_is_one_line_and_exit_1(self, run: Run) -> None:
        assert run("status", "unknown") == Outcome(1, "", "error: There is no such job. `glyphq jobs` lists them.\n")

    @pytest.mark.parametrize(("state", "code"), [("completed", 0), ("cancelled", 1), ("failed", 1)])
    def test_wait_exits_as_the_job_ended(self, run: Run, service: FakeService, state: str, code: int) -> None:
        service.state = state
        assert run("wait", JOB_ID).code == code

    def test_wait_that_runs_out_of_time_exits_3(self, run: Run, service: FakeService) -> None:
        service.state = "running"
        done = run("wait", JOB_ID, "--timeout", "0")
        assert (done.code, done.err) == (3, f"error: Job {JOB_ID} has not finished: 2 of 4 rows.\n")

    def test_where_nothing_can_be_drawn_progress_is_a_line_now_and_then(
        self, run: Run, service: FakeService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("glyphq.client.bars.LINE_SECONDS", 0)
        service.state = "running"
        done = run("wait", JOB_ID, "--timeout", "0")
        assert done.err.splitlines()[0] == "Classifying 2/4, 1,234 images/s, 2 s left"

    def test_results_of_a_running_job_exit_3_and_leave_no_file(
        self, run: Run, service: FakeService, tmp_path: Path
    ) -> None:
        service.state = "running"
        done = run("results", JOB_ID, "-o", tmp_path / "x.csv")
        assert (done.code, done.err) == (
            3,
            "error: The job still runs. `glyphq wait JOB` waits for it; --partial takes the rows there are.\n",
        )
        assert list(tmp_path.iterdir()) == []

    def test_partial_results_are_written_with_a_warning(self, run: Run, service: FakeService) -> None:
        service.state = "running"
        done = run("results", JOB_ID, "--partial")
        assert (done.code, done.out) == (0, TABLE.decode())
        assert "still runs" in done.err

    def test_results_can_go_to_a_device(self, run: Run) -> None:
        assert run("results", JOB_ID, "-o", "/dev/null").code == 0
        assert Path("/dev/null").is_char_device()

    def test_a_cancel_too_late_exits_1(self, run: Run) -> None:
        assert run("cancel", JOB_ID) == Outcome(1, "", "error: The job has already completed.\n")

    def test_delete_says_nothing(self, run: Run) -> None:
        assert run("delete", JOB_ID) == Outcome(0, "", "")

    def test_doctor_says_what_is_wrong_and_what_to_do(self, run: Run, service: FakeService) -> None:
        assert run("doctor") == Outcome(0, "redis: ok\nworker: ok\n", "")
        service.worker = "No worker has been heard from. Start one."
        assert run("doctor") == Outcome(1, f"redis: ok\nworker: {service.worker}\n", "")
        assert json.loads(run("doctor", "--json").out) == {"redis": "ok", "worker": service.worker}

    def test_jobs_are_a_line_each_up_to_the_limit(self, run: Run, service: FakeService) -> None:
        done = run("jobs", "--limit", "2", "--state", "completed")
        assert [line.split()[0] for line in done.out.splitlines()] == [JOB_ID, JOB_ID]
        assert "4/4  scans.zip" in done.out
        assert dict(service.requests[0].url.params) == {"limit": "2", "state": "completed"}

    def test_jobs_can_be_json(self, run: Run) -> None:
        assert [job["id"] for job in json.loads(run("jobs", "--limit", "3", "--json").out)] == [JOB_ID] * 3

    def test_of_the_model_a_person_reads_what_it_is_and_how_well_it_does(self, run: Run) -> None:
        lines = run("model").out.splitlines()
        assert lines[0] == f"glyphq best ({CARD.digest})"
        assert "accuracy: 90.53% of 4,700 scans, emnist-balanced-test (95 % interval: 89.66% to 91.34%)" in lines
        assert json.loads(run("model", "--json").out) == CARD.fields


class TestRows:
    def test_followed_they_are_a_line_each_or_json(self, run: Run, service: FakeService) -> None:
        assert run("follow", JOB_ID) == Outcome(0, "0  a.png  7  0.9876\n", "")
        assert json.loads(run("follow", JOB_ID, "--json", "--first-row", "3").out) == ROW
        assert service.requests[-1].url.params["first_row"] == "3"

    def test_interrupted_while_following_it_says_how_to_go_on(self, run: Run, service: FakeService) -> None:
        def interrupt(_request: httpx.Request) -> None:
            raise KeyboardInterrupt

        service.on_request = interrupt
        assert run("follow", JOB_ID) == Outcome(130, "", f"Interrupted. The job goes on: glyphq follow {JOB_ID}\n")

    def test_a_correction_is_made_and_taken_back(self, run: Run, service: FakeService) -> None:
        assert run("correct", JOB_ID, "12", "7") == Outcome(0, "", "")
        assert json.loads(run("correct", JOB_ID, "12", "7", "--json").out) == {
            "row": 12, "label": "7", "corrected_by": "ada", "corrected_at": "2026-01-02T03:04:05+00:00",
        }  # fmt: skip
        assert run("uncorrect", JOB_ID, "12") == Outcome(0, "", "")
        assert [request.method for request in service.requests] == ["PUT", "PUT", "DELETE"]

    def test_some_of_them_can_be_fetched_in_the_form_that_the_name_says(
        self, run: Run, service: FakeService, tmp_path: Path
    ) -> None:
        given = ("--sort", "confidence", "--max-confidence", "0.5", "--label", "7", "--label", "1", "--corrected")
        assert run("results", JOB_ID, "-o", tmp_path / "x.ndjson", *given).code == 0
        assert service.requests[0].url.params.multi_items() == [
            ("format", "ndjson"), ("sort", "confidence"), ("max_confidence", "0.5"), ("label", "7"), ("label", "1"),
            ("corrected", "true"),
        ]  # fmt: skip


class TestReview:
    @pytest.fixture
    def opened(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        addresses: list[str] = []
        monkeypatch.setattr("webbrowser.open", lambda address: bool(addresses.append(address)) or True)
        return addresses

    def test_it_opens_the_page_at_the_job_and_prints_the_address(self, run: Run, opened: list[str]) -> None:
        done = run("review", JOB_ID, "--server", "http://service/")
        assert done == Outcome(0, f"http://service/#/jobs/{JOB_ID}/look\n", "")
        assert opened == [done.out.strip()]

    def test_the_key_is_behind_the_hash_where_no_server_sees_it(self, run: Run, opened: list[str]) -> None:
        done = run("review", JOB_ID, "--server", "http://service", "--key", "secret", "--no-open", "--json")
        assert json.loads(done.out) == {"url": f"http://service/#key=secret&at=/jobs/{JOB_ID}/look"}
        assert opened == []

    def test_a_job_that_there_is_not_is_told_and_nothing_opened(self, run: Run, opened: list[str]) -> None:
        assert run("review", "unknown").code == 1
        assert opened == []

    def test_without_a_browser_it_says_so(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("webbrowser.open", lambda _address: False)
        assert "can be opened in any" in run("review", JOB_ID).err


class TestMachines:
    """`--json` is one document on standard output, and nothing else."""

    @pytest.mark.parametrize(
        "arguments",
        [
            ("status", JOB_ID),
            ("wait", JOB_ID),
            ("delete", JOB_ID),
            ("jobs",),
            ("model",),
            ("doctor",),
            ("correct", JOB_ID, "12", "7"),
            ("follow", JOB_ID),
        ],
    )
    def test_of_every_verb(self, run: Run, service: FakeService, arguments: tuple[str, ...]) -> None:
        service.warnings = ["They look inverted."]
        done = run(*arguments, "--json")
        assert json.loads(done.out)
        assert (done.code, done.err) == (0, "")

    def test_of_classify_it_is_the_job_and_the_rows_are_in_the_file(self, run: Run, scans: Path) -> None:
        output = scans.with_name("predictions.csv")
        done = run("classify", scans, "--server", "http://service", "-o", output, "--json")
        assert json.loads(done.out)["id"] == JOB_ID
        assert output.read_bytes() == TABLE

    def test_of_classify_without_a_file_for_the_rows_it_is_misuse(self, run: Run, scans: Path) -> None:
        assert run("classify", scans, "--server", "http://service", "--json").code == 2

    def test_of_sample(self, run: Run, tmp_path: Path) -> None:
        drawn = tmp_path / "drawn.zip"
        assert json.loads(run("sample", "3", "-o", drawn, "--json").out) == {
            "scans": str(drawn), "truth": str(tmp_path / "drawn.csv"), "count": 3,
        }  # fmt: skip

    def test_of_sample_nothing_that_is_there_is_replaced_unasked(self, run: Run, tmp_path: Path) -> None:
        drawn = tmp_path / "drawn.zip"
        drawn.write_text("precious")
        assert run("sample", "3", "-o", drawn).code == 2
        assert drawn.read_text() == "precious"
        assert run("sample", "3", "-o", drawn, "--force").code == 0
        assert drawn.read_bytes().startswith(b"PK")


class TestCompletion:
    """What a shell that has `glyphq --install-completion` is told."""

    @pytest.fixture
    def offered(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
        def offered(line: str) -> list[str]:
            monkeypatch.setenv("_GLYPHQ_COMPLETE", "complete_bash")
            monkeypatch.setenv("COMP_WORDS", line)
            monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
            return run().out.split()

        return offered

    def test_verbs(self, offered: Callable[[str], list[str]]) -> None:
        assert set(offered("glyphq re")) == {"results", "review"}

    def test_jobs(self, offered: Callable[[str], list[str]], service: FakeService) -> None:
        assert set(offered("glyphq status --server http://elsewhere --key secret ")) == {JOB_ID}
        assert service.requests[0].url.host == "elsewhere"
        assert service.requests[0].headers["Authorization"] == "Bearer secret"

    def test_jobs_without_names_which_a_shell_would_evaluate(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("_GLYPHQ_COMPLETE", "complete_zsh")
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "glyphq status ")
        said = run().out
        assert JOB_ID in said
        assert "scans.zip" not in said

    def test_no_jobs_where_the_service_does_not_answer(
        self, offered: Callable[[str], list[str]], service: FakeService
    ) -> None:
        def refuse(_request: httpx.Request) -> None:
            raise httpx.ConnectError("Connection refused")

        service.on_request = refuse
        assert offered("glyphq status ") == []
        assert len(service.requests) == 1

    def test_charsets_also_behind_a_glob(self, offered: Callable[[str], list[str]]) -> None:
        assert offered("glyphq submit x.zip --charset d") == ["digits"]
        assert offered("glyphq submit x.zip --charset dates/*=l") == ["dates/*=letters"]

    def test_encodings(self, offered: Callable[[str], list[str]]) -> None:
        assert offered("glyphq submit x.zip --filename-encoding cp8") == ["cp866"]


class TestSample:
    def test_it_writes_the_zip_and_the_truth_beside_it(self, run: Run, tmp_path: Path) -> None:
        assert run("sample", "3", "-o", tmp_path / "drawn.zip", "--seed", "4").code == 0
        with (tmp_path / "drawn.csv").open(newline="") as table:
            assert [row["filename"] for row in csv.DictReader(table)] == [f"scan-0000{n}.png" for n in range(3)]
        assert (tmp_path / "drawn.zip").exists()

    def test_a_name_that_is_no_zip_is_misuse(self, run: Run, tmp_path: Path) -> None:
        assert run("sample", "3", "-o", tmp_path / "drawn.csv").code == 2
        assert list(tmp_path.iterdir()) == []


class TestMisuse:
    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("clasify",),
            ("classify",),
            ("classify", "nowhere.zip"),
            ("results",),
            ("sample", "0"),
            ("jobs", "--state", "dreaming"),
            ("status", JOB_ID, "--server", "nonsense"),
        ],
    )
    def test_it_exits_2(self, run: Run, arguments: tuple[str, ...]) -> None:
        assert run(*arguments).code == 2

    @pytest.mark.parametrize("verb", ["submit", "classify", "inspect"])
    def test_an_empty_name_is_not_the_working_folder(
        self, run: Run, scans: Path, service: FakeService, monkeypatch: pytest.MonkeyPatch, verb: str
    ) -> None:
        monkeypatch.chdir(scans.parent)
        done = run(verb, "")
        assert done.code == 2
        assert "there is no file or folder ''" in done.err
        assert service.requests == []

    def test_an_option_the_service_would_refuse_exits_2(self, run: Run, scans: Path) -> None:
        done = run("submit", scans, "--charset", "?")
        assert done.code == 2
        assert done.err.startswith("error: The charset has characters that are no class")

    def test_two_charsets_for_all_scans_are_refused_with_what_to_write(
        self, run: Run, scans: Path, service: FakeService
    ) -> None:
        done = run("classify", scans, "--charset", "digits", "--charset", "letters")
        assert done.code == 2
        assert done.err.startswith("error: --charset is given 2 times without a glob (digits, letters). Keep one")
        assert "--charset 'dates/*=digits'" in done.err
        assert service.requests == []

    def test_what_nobody_foresaw_is_one_line_as_well(self, run: Run, service: FakeService) -> None:
        def fail(_request: httpx.Request) -> None:
            raise ZeroDivisionError("a fault")

        service.on_request = fail
        done = run("status", JOB_ID)
        assert done.code == 1
        assert done.err.startswith("error: This is a bug in glyphq (ZeroDivisionError('a fault')).")
        assert done.err.count("\n") == 1

    def test_ctrl_c_is_130_and_silent(self, run: Run, service: FakeService) -> None:
        def interrupt(_request: httpx.Request) -> None:
            raise KeyboardInterrupt

        service.on_request = interrupt
        assert run("status", JOB_ID) == Outcome(130, "", "")

    def test_a_file_that_cannot_be_read_is_one_line(self, run: Run, scans: Path, service: FakeService) -> None:
        def vanish(_request: httpx.Request) -> None:
            raise PermissionError(13, "Permission denied", "scans.zip")

        service.on_request = vanish
        assert run("submit", scans) == Outcome(1, "", "error: scans.zip: Permission denied\n")


class TestHelp:
    def test_it_lists_every_verb(self, run: Run) -> None:
        done = run("--help")
        assert done.code == 0
        assert all(verb.split()[0] in done.out for verb in VERBS)
        assert "130 interrupted" in done.out

    @pytest.mark.parametrize("verb", VERBS)
    def test_each_verb_has_an_example(self, run: Run, verb: str) -> None:
        assert f"Example: glyphq {verb}" in run(*verb.split(), "--help").out

    def test_the_version_is_printed(self, run: Run) -> None:
        assert run("--version").out == f"{__version__}\n"


@pytest.mark.parametrize("name", ["scan.png", "rows.csv"])
def test_an_output_is_not_put_among_the_scans(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "scan.png").write_bytes(b"precious")
    done = run("classify", tmp_path, "-o", tmp_path / name, "--server", "http://service")
    assert done.code == 2
    assert (tmp_path / "scan.png").read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["scan.png"]
