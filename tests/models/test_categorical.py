"""The head of a label that is one of several classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from valuecast.models import heads
from valuecast.models.head_spec import HeadSpec, classes_of
from valuecast.models.heads import Categorical

LABELS = np.array([0.0, 0, 1, 2, 2, 2])
NAMES = ("low", "middle", "high")


def head(**how: int) -> heads.Head:
    torch.manual_seed(0)
    return heads.build(classes_of(LABELS, NAMES), 8, dropout=0.0, **how)


def test_it_begins_with_the_shares_of_the_classes() -> None:
    spec = classes_of(LABELS, NAMES)
    assert (spec.kind, spec.targets, spec.days) == ("categorical", NAMES, ())
    assert np.exp(spec.start) == pytest.approx(np.array([2.5, 1.5, 3.5]) / 7.5)
    made = head()
    assert isinstance(made, Categorical)
    said = made.raw(made(torch.zeros(4, 8))).exp()
    assert said.sum(dim=1).tolist() == pytest.approx([1.0] * 4)
    assert said[0].tolist() == pytest.approx(np.exp(spec.start).tolist(), abs=0.02)


def test_a_class_that_never_occurs_has_a_chance_all_the_same() -> None:
    assert min(np.exp(classes_of(np.zeros(10), NAMES).start)) > 0


def test_the_loss_is_cross_entropy() -> None:
    params, labels = torch.randn(6, 3), torch.from_numpy(LABELS).float()
    expected = functional.cross_entropy(params, labels.long())
    for given in (labels, labels[:, None]):
        assert head().loss(params, given) == expected
    assert head().raw(params).exp().sum(dim=1).tolist() == pytest.approx([1.0] * 6)


def test_it_survives_a_manifest_and_members_are_averaged() -> None:
    spec = classes_of(LABELS, NAMES)
    assert HeadSpec.from_dict({**spec.to_dict(), "targets": list(NAMES), "start": list(spec.start)}) == spec
    made = head(members=3)
    params = made(torch.randn(5, 8))
    assert made.raw(params).shape == (5, 3)
    assert made.loss(params, torch.zeros(5)).ndim == 0
