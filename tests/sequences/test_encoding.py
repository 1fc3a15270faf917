"""The definition of an event: saved, read back, and held against another log."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from tests.logs import START
from valuecast.errors import ModelError
from valuecast.events.log import EventLog
from valuecast.sequences.encoding import Encoding, Number, Vocabulary

ENCODING = Encoding(
    grouped=True,
    vocabularies=(Vocabulary("event", ("purchase", "view")), Vocabulary("item", ("i1",)), Vocabulary("shop", ("a",))),
    numbers=(Number("amount", (0.5, 1.25, 3.0)), Number("gap_days", (0.1, 7.0))),
    clock=True,
    seasons=False,
    requires={"shop": "string"},
)


def test_a_vocabulary_has_a_slice_of_the_codes_that_begins_with_the_unknown() -> None:
    assert ENCODING.codes == 7
    assert ENCODING.columns_of_codes().tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert [ENCODING.span(name) for name in ("event", "item", "shop", "colour")] == [(0, 3), (3, 5), (5, 7), None]
    column = ENCODING.columns_of_codes()
    assert all(set(column[slice(*ENCODING.span(v.column) or ())]) == {i} for i, v in enumerate(ENCODING.vocabularies))


def test_it_passes_through_json_unchanged() -> None:
    assert Encoding.from_dict(ENCODING.to_dict()) == ENCODING
    assert Encoding.from_dict(json.loads(json.dumps(ENCODING.to_dict()))) == ENCODING


@pytest.mark.parametrize("damage", [{"numbers": [{"name": "amount"}]}, {"vocabularies": 3}, {"colour": 1}])
def test_what_is_no_definition_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="not understood"):
        Encoding.from_dict({**ENCODING.to_dict(), **damage})


def _log(**columns: object) -> EventLog:
    return EventLog.from_frame(pl.DataFrame({"user": ["u"], "time": [START], **columns}))


def test_a_log_must_have_the_columns_of_training_with_their_types() -> None:
    ENCODING.check(_log(shop=["a"]))
    with pytest.raises(ModelError, match=r"no column 'shop'.*Did you mean 'shops'"):
        ENCODING.check(_log(shops=["a"]))
    with pytest.raises(ModelError, match=r"holds a number; .* as a string"):
        ENCODING.check(_log(shop=np.ones(1)))
