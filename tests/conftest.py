"""What every test may ask for: the real data beside the checkout, and a service with real processes."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("no deadline", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("no deadline")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real handwriting beside the checkout; what needs it is skipped without, unless GLYPHQ_REQUIRE_DATA is set."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        if os.environ.get("GLYPHQ_REQUIRE_DATA"):
            pytest.fail(f"GLYPHQ_REQUIRE_DATA is set and there is no {folder}")
        pytest.skip(f"there is no {folder}")
    return folder
