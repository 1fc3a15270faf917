"""What tests of all packages share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from valuecast.models import calibration

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """The folder of real logs beside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"the real logs are not there: {SHARED}")
    return SHARED


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Networks as small as those of tests are slower on many threads, and far slower on a busy machine."""
    import torch  # not everything that is tested needs it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def few_resamples() -> Iterator[None]:
    """The band of a probability takes longer than a small network; for tests that are not about it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "REPLICATES", 5)
        yield
