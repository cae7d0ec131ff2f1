"""Pixel rows that swell when they are read: refused, and the API stays small."""

import pytest

from tests.hostile.conftest import met
from tests.hostile.corpus import JSON, Case


@pytest.mark.parametrize("case", JSON, ids=lambda case: case.name)
def test_hostile_json_is_refused_or_has_its_rows(case: Case, http, service):
    met(case, http, service, content=case.make(), headers={"Content-Type": "application/json"})
