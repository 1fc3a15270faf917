"""What fine-tuning stands on: one way to read back either kind."""

from __future__ import annotations

import pytest

from valuecast.errors import ModelError
from valuecast.models.foundation import load


def test_a_language_model_is_adopted_first() -> None:
    with pytest.raises(ModelError, match=r"a language model, not a backbone.*valuecast adopt package:mini --out"):
        load("package:mini")
