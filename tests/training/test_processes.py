"""Several processes under ``torchrun``: what they learn together is what one learns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.logs import shop
from tests.networks import QUICK, architecture
from valuecast.config.learning import Finetuning, Pretraining
from valuecast.models.backbone import Backbone
from valuecast.tasks import churn
from valuecast.tasks.splits import TimeSplit
from valuecast.training.finetune import finetune
from valuecast.training.pretrain import pretrain

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STEPS = replace(QUICK, step_batches=2, sharding="SHARDED" in os.environ)
TASK, SPLIT = churn(days=20), TimeSplit(every=30, rounds=1)


def curves(folder: Path) -> dict[str, Any]:
    """Pre-train, fine-tune, and return the losses of every epoch and the scores."""
    log = shop(120, 300)
    known = log.before(SPLIT.choices(TASK, log)[-1].known)
    base = pretrain(known, settings=Pretraining(architecture(), optimisation=STEPS), folder=folder / "base")
    model = finetune(base, TASK, log, method="lora", settings=Finetuning(STEPS), split=SPLIT, folder=folder / "model")
    return {"pretraining": losses(base), "scores": model.predict(log, at=log.span.until)["score"].to_list()}


def losses(base: Backbone) -> list[float]:
    """Of every field that pre-training asks about, on validation."""
    return [field["loss"] for _, field in sorted(base.facts["validation"].items())]


def share() -> None:
    folder = Path(os.environ["FOLDER"])
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(curves(folder)))


@pytest.mark.parametrize("sharded", [{}, {"SHARDED": "1"}], ids=["whole", "sharded"])
def test_two_processes_learn_what_one_does(tmp_path: Path, sharded: dict[str, str]) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    script = tmp_path / "script.py"
    script.write_text(f"from {__name__} import share; share()")
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script))
    path = os.pathsep.join([str(ROOT), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "FOLDER": str(folder), "OMP_NUM_THREADS": "1", **sharded}
    done = subprocess.run([sys.executable, *launch], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1))
    alone = curves(tmp_path / "one")
    assert first == second
    np.testing.assert_allclose(first["pretraining"], alone["pretraining"], atol=1e-4)
    np.testing.assert_allclose(first["scores"], alone["scores"], atol=1e-3)
    assert not list(folder.rglob("sequences-*"))  # histories were read once, for both
