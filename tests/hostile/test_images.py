"""Images that are bombs, giants or something else: each is one row, alone and among good scans, and never decoded by
the API.
"""

from pathlib import Path

import pytest

from tests.hostile.conftest import met, processes, rows_of
from tests.hostile.corpus import IMAGES, UNSUPPORTED, Case, scan
from tests.integration.conftest import zip_of


@pytest.mark.parametrize("case", IMAGES, ids=lambda case: case.name)
def test_a_hostile_image_is_one_row_among_good_ones(case: Case, http, service):
    archive = zip_of({"before.png": scan(1), "hostile.png": case.make(), "after.png": scan(2)})
    among = Case(case.name, case.make, ("classified", *case.rows, "classified"))
    met(among, http, service, content=archive)


@pytest.mark.parametrize("case", IMAGES, ids=lambda case: case.name)
def test_a_hostile_image_alone_is_one_row_too(case: Case, http, service):
    alone = case if case.rows != ("not_an_image",) else Case(case.name, case.make, refused=UNSUPPORTED)
    met(alone, http, service, content=case.make())


def test_what_the_network_saw_of_hostile_images_is_drawn_by_a_child_alone(http, service):
    job = http.post(
        "/v1/jobs", content=zip_of({case.name: case.make() for case in IMAGES if "8,000,000" not in case.name})
    )
    rows = rows_of(http, service, job.json())
    for row in rows:
        url = job.json()["links"]["image"].replace("{row}", str(row["row"]))
        shown = http.get(url, params={"view": "model"})
        if row["status"] == "classified":
            assert shown.headers["content-type"] == "image/png"
        else:
            assert shown.status_code == 404
            assert shown.json()["reason"] == (row["reason"] or row["status"])
    api = service.children["api"].pid
    loaded = {pid: Path(f"/proc/{pid}/maps").read_text() for pid, name in processes(service).items() if name == "api"}
    assert not any(library in loaded[api] for library in ("cv2", "PIL", "_imaging", "torch"))
    assert any("cv2" in maps for pid, maps in loaded.items() if pid != api)
