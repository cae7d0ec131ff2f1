"""Zips that lie, swell, overlap and climb: each is refused or has its rows, and the service goes on."""

import csv
import io
import json
import re

import pytest

from tests.hostile.conftest import met, rows_of
from tests.hostile.corpus import ARCHIVES, HOSTILE_NAMES, Case, good, named
from tests.unit.forge import forge


@pytest.mark.parametrize("case", ARCHIVES, ids=lambda case: case.name)
def test_a_hostile_zip_is_refused_or_has_its_rows(case: Case, http, service):
    met(case, http, service, content=case.make())


def test_hostile_names_are_whole_in_ndjson_and_harmless_in_csv(http, service):
    job = http.post("/v1/jobs", content=named(*HOSTILE_NAMES)).json()
    rows_of(http, service, job)
    ndjson = http.get(job["links"]["results"], params={"format": "ndjson"}).content.decode()
    lines = ndjson.removesuffix("\n").split("\n")
    assert [json.loads(line)["filename"] for line in lines] == list(HOSTILE_NAMES)
    text = http.get(job["links"]["results"], params={"format": "csv"}).content.decode()
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", text)
    table = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert len(table) == 1 + len(HOSTILE_NAMES)
    assert {len(line) for line in table} == {len(table[0])}
    for field in (field for line in table for field in line):
        for start in re.split(r"[;\t\r\n]", field):  # wherever a spreadsheet may see a field begin
            assert not re.match(r"[\s\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]", start), field


@pytest.mark.parametrize("glob", ["*" + "a?" * 240 + "b", "*" + "[!b]" * 120 + "b", "*a" * 240 + "b"])
def test_bad_globs_do_not_hold_a_worker_up_over_long_names(http, service, glob):
    names = [b"%02d" % number + b"a" * 65_000 for number in range(40)] + [b"a" * 4000 + b"0", b"short"]
    archive = forge(*[good(name) for name in names])
    rules = [*[f"{glob}=letters"] * 98, "short=digits", "*0=digits"]
    answer = http.post("/v1/jobs", files={"file": ("a.zip", archive)}, data={"charset_rules": rules})
    labels = [row["label"] for row in rows_of(http, service, answer.json())]
    assert set(labels[:40]) <= {labels[0]}
    assert all(label.isdigit() for label in labels[40:])
