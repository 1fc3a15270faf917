"""What tests of all packages share."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """The folder of real logs beside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"the real logs are not there: {SHARED}")
    return SHARED
