"""What a fine-tuned network says of a few users: the same, though only their events are read."""

from __future__ import annotations

import numpy as np
import pytest

from tests.logs import shop
from tests.networks import FINETUNING, untrained
from valuecast import columns as c
from valuecast.events.log import EventLog
from valuecast.models.reading import EventBody, EventHistories
from valuecast.tasks import purchase
from valuecast.tasks.splits import TimeSplit
from valuecast.training.finetune import finetune


def test_one_user_is_answered_as_among_all_and_others_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    log = shop()
    split = TimeSplit(every=30, rounds=1)
    task = purchase(days=20)
    base = untrained(log, before=split.choices(task, log)[-1].known)
    predictor = finetune(base, task, log, method="frozen", settings=FINETUNING, split=split)
    read = []

    histories = EventBody.histories

    def watched(body: EventBody, given: EventLog) -> EventHistories:
        read.append(given.count_users())
        return histories(body, given)

    monkeypatch.setattr(EventBody, "histories", watched)
    everyone = predictor.raw(log, at=log.span.until)
    users = everyone[c.USER].to_list()
    few = predictor.raw(log, at=log.span.until, users=users[3:5])
    assert read == [len(users), 2]
    np.testing.assert_allclose(few["raw"], everyone["raw"][3:5], rtol=1e-4, atol=1e-5)
