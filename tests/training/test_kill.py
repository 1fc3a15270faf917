"""A training that is killed again and again, in the middle of a step or of a checkpoint, ends as if it had not been."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

FORKS = """
import json, os, random, signal, sys
from pathlib import Path
from dataclasses import replace
import ibis.backends.duckdb, sklearn.linear_model  # in the parent, once
from tests import logs, networks
from valuecast.config.learning import Fusion
from valuecast.models import calibration
from valuecast.tasks import churn
from valuecast.tasks.splits import TimeSplit
from valuecast.training.finetune import finetune
from valuecast.training.pretrain import pretrain

calibration.REPLICATES = 5

def work(what, folder):
    trunk, method = what.split("-")
    log = logs.shop(30, 160)
    step = replace(networks.QUICK, learning_rate=3e-4, batch_events=128, checkpoint_steps=1, epochs=3, patience=3)
    if method == "pretrain":
        step = replace(step, batch_events=32, epochs=4)
        made = pretrain(log, settings=replace(networks.pretraining(trunk), optimisation=step), folder=folder)
    else:
        base = networks.untrained(log, trunk, before=logs.START + logs.timedelta(days=60))
        settings = replace(networks.FINETUNING, optimisation=step)
        joint = {"fusion": Fusion(members=2, joint=settings)}
        how = {"method": method, **(joint if method == "joint" else {"settings": settings})}
        made = finetune(base, churn(20), log, split=TimeSplit(every=40, rounds=1), folder=folder, **how)
    made.save(folder / "made")

def dying(folder, left):
    def watch(event, args):
        nonlocal left
        if event in ("open", "os.rename") and ".checkpoint.draft" in str(args[0]):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)

# Only the children work: a process that has is not to be forked.
def child(what, folder, left):
    folder.mkdir(exist_ok=True)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            dying(folder, left)
            work(what, folder)
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL), (what, left, status)
    return status == 0

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
for what in sys.argv[3:]:
    draw, died = random.Random(what), 0
    assert child(what, folder / f"{what}-whole", 10**9)
    for _ in range(kills):
        died += not child(what, folder / f"{what}-killed", draw.randrange(1, 26 // kills))
    assert child(what, folder / f"{what}-killed", 10**9)
    (folder / f"{what}.json").write_text(json.dumps(died))
"""


def timeless(found: Any) -> Any:
    """A manifest without how long it took, and without its own digest."""
    if isinstance(found, dict):
        return {name: timeless(value) for name, value in found.items() if name not in {"seconds", "seal"}}
    return [timeless(each) for each in found] if isinstance(found, list) else found


def check(folder: Path, kills: int, *cases: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FORKS, str(folder), str(kills), *cases]
    ran = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    for case in cases:
        assert json.loads((folder / f"{case}.json").read_text()) == kills  # else the run was over before a kill
        whole, killed = (folder / f"{case}-{end}" / "made" for end in ("whole", "killed"))
        files = {path.relative_to(whole) for path in whole.rglob("*") if path.is_file()}
        assert files == {path.relative_to(killed) for path in killed.rglob("*") if path.is_file()}
        assert any(path.suffix == ".safetensors" for path in files)
        for path in files:
            one, other = (whole / path).read_bytes(), (killed / path).read_bytes()
            if path.name == "manifest.json":
                one, other = (timeless(json.loads(each)) for each in (one, other))
            assert one == other, (case, path)


def test_killed_once(tmp_path: Path) -> None:
    check(tmp_path, 1, "llama-full", "llama-lora", "llama-adalora", "llama-joint", "llama-pretrain")


@pytest.mark.slow
def test_killed_often(tmp_path: Path) -> None:
    check(tmp_path, 6, "llama-full", "llama-lora", "llama-adalora", "llama-frozen", "llama-prompt", "llama-pretrain")
    check(tmp_path, 3, "gru-full", "gru-adalora", "gru-pretrain", "bert-full", "bert-lora", "bert-pretrain")
