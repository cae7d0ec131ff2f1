"""Results as files and as rows, whole whatever the connection does."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from io import BytesIO
from pathlib import Path

import anyio
import httpx
import pytest

from glyphq.client import AsyncClient, Format
from glyphq.errors import (
    InvalidOption,
    JobFailed,
    JobNotFinished,
    JobNotFound,
    ServiceError,
    ServiceUnreachable,
    SetupError,
)
from glyphq.jobs import JobState, RowStatus
from glyphq.records import Rows
from tests.unit.client.service import JOB_ID, Broken, Service, accepted, job_json, line, problem


class TestResults:
    def test_they_are_written_to_an_open_file(self) -> None:
        service = Service(httpx.Response(200, content=b"row,filename\n", headers={"Glyphq-Complete": "true"}))
        file = BytesIO()
        assert service.client().download(JOB_ID, file)
        assert file.getvalue() == b"row,filename\n"
        assert dict(service.requests[0].url.params) == {"format": "csv"}

    def test_a_path_says_by_its_suffix_in_which_form(self, tmp_path: Path) -> None:
        service = Service(httpx.Response(200, content=b"PAR1"))
        assert service.client().download(JOB_ID, tmp_path / "rows.parquet")
        assert (tmp_path / "rows.parquet").read_bytes() == b"PAR1"
        assert dict(service.requests[0].url.params) == {"format": "parquet"}

    def test_a_file_appears_only_when_it_is_whole(self, tmp_path: Path) -> None:
        (tmp_path / "rows.csv").write_text("what was there before")
        with pytest.raises(ServiceUnreachable):
            Service(httpx.Response(200, stream=Broken(b"row,"))).client().download(JOB_ID, tmp_path / "rows.csv")
        assert [path.read_text() for path in tmp_path.iterdir()] == ["what was there before"]

    def test_some_of_the_rows_are_asked_for(self) -> None:
        service = Service(httpx.Response(200, content=b""))
        service.client().results(
            JOB_ID,
            sort="confidence",
            max_confidence=0.5,
            label=["7", "1"],
            reviewed=False,
            corrected=True,
            partial=False,
        )
        assert service.requests[0].url.params.multi_items() == [
            ("format", "csv"), ("sort", "confidence"), ("max_confidence", "0.5"), ("label", "7"), ("label", "1"),
            ("reviewed", "false"), ("corrected", "true"),
        ]  # fmt: skip

    def test_a_form_that_there_is_not_is_told_before_anything_is_sent(self) -> None:
        service = Service(httpx.Response(200))
        with pytest.raises(InvalidOption, match="parquet"):
            service.client().results(JOB_ID, "xlsx")
        assert service.requests == []

    def test_partial_results_are_told_from_complete_ones(self) -> None:
        service = Service(httpx.Response(200, content=b"{}\n", headers={"Glyphq-Complete": "false"}))
        assert not service.client().download(JOB_ID, BytesIO(), Format.NDJSON, partial=True)
        assert dict(service.requests[0].url.params) == {"format": "ndjson", "partial": "true"}

    def test_those_of_a_running_job_are_a_problem(self) -> None:
        still = problem(409, "job-not-finished", "2 of 4 rows are done.", {"Retry-After": "1"}, job={"id": JOB_ID})
        service = Service(still)
        with pytest.raises(JobNotFinished) as caught:
            service.client().results(JOB_ID)
        assert caught.value.job == {"id": JOB_ID}
        assert service.pauses == []

    def test_a_connection_that_breaks_within_them_goes_on_with_the_first_row_that_is_missing(self) -> None:
        service = Service(
            httpx.Response(200, stream=Broken(b"row,filename\n0,a\n1,")),
            httpx.Response(200, stream=Broken(b"1,b\n2,c\n3,")),
            httpx.Response(200, content=b"3,d\n"),
        )
        assert service.client().results(JOB_ID) == b"row,filename\n0,a\n1,b\n2,c\n3,d\n"
        assert [request.url.params.get("first_row") for request in service.requests] == [None, "1", "3"]

    @pytest.mark.parametrize("format", Format)
    def test_a_connection_that_breaks_again_at_the_same_place_is_told(self, format: Format) -> None:
        service = Service(*(httpx.Response(200, stream=Broken(b"row,")) for _ in range(3)))
        with pytest.raises(ServiceUnreachable, match="broke within the results"):
            service.client().results(JOB_ID, format)
        assert len(service.requests) == 2

    def test_what_a_proxy_cut_short_goes_on_as_well(self) -> None:
        service = Service(
            httpx.Response(200, content=b"row,filename\n0,a\n1,"),
            httpx.Response(200, content=b'1,b\n2,"c\n'),
            httpx.Response(200, content=b'2,"c\n"\n', headers={"Glyphq-Matching": "4"}),
            httpx.Response(200, content=b"3,d\n", headers={"Glyphq-Matching": "4"}),
        )
        assert service.client().results(JOB_ID) == b'row,filename\n0,a\n1,b\n2,"c\n"\n3,d\n'
        assert [request.url.params.get("first_row") for request in service.requests] == [None, "1", "2", "3"]

    def test_what_is_cut_short_again_at_the_same_place_is_told(self) -> None:
        cut = httpx.Response(200, content=b"row,filename\n0,a\n1,"), httpx.Response(200, content=b"1,")
        with pytest.raises(ServiceUnreachable, match="ended before the last row"):
            Service(*cut).client().results(JOB_ID)

    def test_some_of_them_that_were_cut_short_are_begun_anew(self, tmp_path: Path) -> None:
        three = {"Glyphq-Matching": "9"}
        service = Service(
            httpx.Response(200, content=b"row,filename\n7,a\n4,b\n", headers=three),
            httpx.Response(200, content=b"row,filename\n7,a\n4,b\n2,c\n", headers=three),
        )
        service.client().download(JOB_ID, tmp_path / "rows.csv", sort="confidence", offset=1, limit=3)
        assert (tmp_path / "rows.csv").read_bytes() == b"row,filename\n7,a\n4,b\n2,c\n"
        assert len(service.requests) == 2

    @pytest.mark.parametrize("format", Format)
    def test_an_answer_that_is_not_the_services_is_no_results(self, format: Format) -> None:
        portal = httpx.Response(200, json={"login": "first"}, headers={"Glyphq-Complete": ""})
        with pytest.raises(ServiceError, match="does not answer as a glyphq service does"):
            Service(portal).client().results(JOB_ID, format)

    def test_what_cannot_be_parted_is_begun_anew(self, tmp_path: Path) -> None:
        service = Service(
            httpx.Response(200, stream=Broken(b"PAR1 and more")), httpx.Response(200, content=b"PAR1 all")
        )
        service.client().download(JOB_ID, tmp_path / "rows.parquet")
        assert (tmp_path / "rows.parquet").read_bytes() == b"PAR1 all"

    def test_a_file_of_somebody_else_is_not_begun_anew(self) -> None:
        service = Service(httpx.Response(200, stream=Broken(b'{"results": [\n')))
        with pytest.raises(ServiceUnreachable):
            service.client().download(JOB_ID, BytesIO(), Format.JSON)
        assert len(service.requests) == 1


class TestRows:
    def test_they_are_records(self) -> None:
        later = {"final_label": "1", "corrected_by": "ada", "corrected_at": "2026-01-02T03:04:05Z"}
        service = Service(httpx.Response(200, content=line(0, **later) + line(1, None)))
        read, unread = service.client().rows(JOB_ID, corrected=True)
        assert (read.row, read.filename, read.status, read.label, read.confidence) == (
            0, "0.png", RowStatus.CLASSIFIED, "7", 0.9,
        )  # fmt: skip
        assert (read.top[0].label, read.final_label, read.corrected_by) == ("7", "1", "ada")
        assert (unread.label, unread.reason, unread.final_label) == (None, "not_an_image", None)
        assert [row.as_json() for row in (read, unread)] == [
            json.loads(text) for text in (line(0, **later), line(1, None))
        ]

    def test_a_connection_that_breaks_leaves_none_out_and_gives_none_twice(self) -> None:
        service = Service(
            httpx.Response(200, stream=Broken(line(0) + line(1) + b'{"row": 2')), httpx.Response(200, content=line(2))
        )
        assert [row.row for row in service.client().rows(JOB_ID)] == [0, 1, 2]
        assert [request.url.params.get("first_row") for request in service.requests] == [None, "2"]

    def test_an_answer_that_was_cut_short_goes_on_as_well(self) -> None:
        service = Service(
            httpx.Response(200, content=line(0) + line(1)[:9]),
            httpx.Response(200, content=line(1), headers={"Glyphq-Matching": "3"}),
            httpx.Response(200, content=line(2), headers={"Glyphq-Matching": "3"}),
        )
        assert [row.row for row in service.client().rows(JOB_ID)] == [0, 1, 2]
        service = Service(httpx.Response(200, content=line(0) + line(1)[:9]), httpx.Response(200, content=line(1)))
        assert [row.row for row in service.client().follow(JOB_ID)] == [0, 1]

    def test_left_early_and_closed_nothing_of_them_stays_open(self) -> None:
        class Unread(httpx.AsyncByteStream):
            is_ended = False

            async def __aiter__(self) -> AsyncIterator[bytes]:
                for number in range(3):
                    yield line(number)
                self.is_ended = True

        unread = Unread()
        answer = httpx.Response(200, headers={"Glyphq-Complete": "true"}, stream=unread)

        async def leave_early() -> None:
            async with AsyncClient("http://service", transport=httpx.MockTransport(lambda _: answer)) as client:
                async with aclosing(client.rows(JOB_ID)) as rows:
                    assert (await anext(rows)).row == 0
                assert unread.is_ended

        anyio.run(leave_early)

    def test_some_of_them_go_on_as_well(self) -> None:
        service = Service(httpx.Response(200, stream=Broken(line(9) + line(4))), httpx.Response(200, content=line(7)))
        found = service.client().rows(JOB_ID, sort="confidence", offset=5, limit=3)
        assert [row.row for row in found] == [9, 4, 7]
        params = service.requests[1].url.params
        assert (params["offset"], params["limit"], "first_row" in params) == ("7", "1", False)

    def test_what_is_none_is_as_if_it_were_not_given(self) -> None:
        service = Service(httpx.Response(200, stream=Broken(line(9))), httpx.Response(200, content=line(7)))
        found = service.client().rows(JOB_ID, sort="confidence", offset=None, limit=None)
        assert [row.row for row in found] == [9, 7]
        assert dict(service.requests[1].url.params) == {"format": "ndjson", "sort": "confidence", "offset": "1"}

    @pytest.mark.parametrize("wanted", [{"reviewed": False}, {"label": "7"}])
    def test_where_corrections_may_have_changed_which_they_are_a_break_is_an_error(self, wanted) -> None:
        service = Service(httpx.Response(200, stream=Broken(line(0) + line(1))), httpx.Response(200, content=line(3)))
        with pytest.raises(ServiceUnreachable, match="broke within the results"):
            list(service.client().rows(JOB_ID, **wanted))

    def test_a_connection_that_breaks_after_the_last_of_them_takes_none_away(self) -> None:
        service = Service(httpx.Response(200, stream=Broken(line(9) + line(4))))
        assert [row.row for row in service.client().rows(JOB_ID, sort="confidence", limit=2)] == [9, 4]
        assert len(service.requests) == 1

    def test_a_row_that_is_none_is_an_error_and_no_crash(self) -> None:
        for content in (b"<html>\n", b"{}\n"):
            with pytest.raises(ServiceError):
                list(Service(httpx.Response(200, content=content)).client().rows(JOB_ID))

    def test_followed_they_come_once_each_whatever_the_connection_does(self) -> None:
        service = Service(
            httpx.Response(200, stream=Broken(line(0) + b'{"ro')),
            httpx.Response(200, stream=Broken(b"", httpx.ReadTimeout("nothing new"))),
            httpx.ConnectError("Connection refused"),
            httpx.Response(200, stream=Broken(line(1))),
            httpx.Response(200, content=line(2)),
        )
        assert [row.row for row in service.client().follow(JOB_ID)] == [0, 1, 2]
        asked = [(request.url.params["first_row"], request.url.params["follow"]) for request in service.requests]
        assert asked == [("0", "true"), ("1", "true"), ("1", "true"), ("1", "true"), ("2", "true")]

    def test_followed_after_a_silence_as_much_may_break_as_before(self) -> None:
        reset, silence = httpx.ReadError("Connection reset"), httpx.ReadTimeout("[Errno 110] Connection timed out")
        broken = [httpx.Response(200, stream=Broken(b"", error)) for error in 20 * (reset, silence)]
        service = Service(
            httpx.Response(200, stream=Broken(line(0) + b'{"ro')), *broken, httpx.Response(200, content=line(1))
        )
        assert [row.row for row in service.client().follow(JOB_ID)] == [0, 1]
        assert len(service.pauses) == 21

    def test_followed_in_vain_it_gives_up(self) -> None:
        service = Service(httpx.Response(200, stream=Broken(b"")))
        with pytest.raises(ServiceUnreachable):
            list(service.client().follow(JOB_ID))
        assert 20 < sum(service.pauses) <= 30

    def test_followed_they_end_with_the_job(self) -> None:
        service = Service(problem(404, "job-not-found", "It was deleted."))
        with pytest.raises(JobNotFound):
            list(service.client().follow(JOB_ID))

    def test_classify_hands_in_waits_and_answers_with_all_of_them(self) -> None:
        service = Service(
            accepted(), httpx.Response(200, json=job_json()), httpx.Response(200, content=line(0) + line(1, None))
        )
        seen: list[JobState] = []
        rows = service.client().classify(b"an image", lambda job: seen.append(job.state), top_k=1)
        assert isinstance(rows, Rows)
        assert (len(rows), rows[1].reason, rows[:1], rows.job.state) == (2, "not_an_image", (rows[0],), "completed")
        assert seen == [JobState.COMPLETED]
        assert service.requests[0].url.params["top_k"] == "1"

    def test_classify_of_a_job_that_fails_is_told(self) -> None:
        with pytest.raises(JobFailed, match="cannot be read"):
            Service(accepted(), httpx.Response(200, json=job_json("failed"))).client().classify(b"an image")

    def test_shown_they_are_a_short_table(self) -> None:
        service = Service(
            accepted(),
            httpx.Response(200, json=job_json(warnings=["<b>They look inverted.</b>"])),
            httpx.Response(200, content=b"".join(map(line, range(11))) + line(11, None)),
        )
        rows = service.client().classify(b"an image")
        assert repr(rows).splitlines() == [
            "4 rows: 4 classified, 0 blank, 0 rejected", *(f"{n}  {n}.png  7  0.9000" for n in range(10)),
            "and 2 more", "warning: <b>They look inverted.</b>",
        ]  # fmt: skip
        html = rows._repr_html_()
        assert "<td>0</td><td>0.png</td><td>7</td><td>0.9000</td>" in html
        assert "<b>" not in html
        assert repr(rows[11]) == "<row 11 '11.png': rejected, not_an_image>"

    def test_shown_they_do_nothing_to_a_terminal(self) -> None:
        service = Service(
            accepted(),
            httpx.Response(200, json=job_json(warnings=["\x1b[2J"])),
            httpx.Response(200, content=line(0, filename="\x1b]0;a\nb\x85é.png")),
        )
        assert repr(service.client().classify(b"an image")).splitlines()[1:] == [
            r"0  \x1b]0;a\nb\x85é.png  7  0.9000",
            r"warning: \x1b[2J",
        ]

    def test_arrow_without_pyarrow_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
        with pytest.raises(SetupError, match="pip install pyarrow"):
            Service(httpx.Response(200)).client().arrow(JOB_ID)
