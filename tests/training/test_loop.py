from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from valuecast.config.learning import Optimisation
from valuecast.errors import ConfigError, FitError, MissingExtraError
from valuecast.training import pace, trackers
from valuecast.training.loop import History, train
from valuecast.training.optimiser import optimiser, rate, set_rate

ROOT = Path(__file__).parents[2]
PLAIN = Optimisation(epochs=3, learning_rate=0.01, tracker="none", checkpoint_steps=4)


@dataclass(frozen=True)
class Rows:
    x: Tensor
    users: tuple[str, ...]

    @property
    def events(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> Rows:
        return replace(self, x=self.x.to(device))


@dataclass
class Toys:
    """Batches of 3 numbers and their sum, some longer than others."""

    batches: int = 5
    seed: int = 0
    loaded: list[Any] = field(default_factory=list)

    def plan(self, epoch: int) -> list[tuple[int, int]]:
        return [(epoch, batch) for batch in range(self.batches)]

    def load(self, item: tuple[int, int]) -> Rows:
        self.loaded.append(item)
        draw = np.random.default_rng([self.seed, *item])
        rows = 3 + item[1] % 2
        return Rows(torch.tensor(draw.normal(size=(rows, 3)), dtype=torch.float32), tuple(f"u{n}" for n in range(rows)))


class Toy(nn.Module):
    """Learns the sum of three numbers; draws from every source of chance, and keeps something beside its weights."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.net = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.calls = 0

    def forward(self, batch: Rows) -> dict[str, Tensor]:
        noise = random.random() + float(np.random.uniform())
        said = self.net(batch.x)[:, 0] + 0.01 * noise
        return {"square": ((said - batch.x.sum(1)) ** 2).mean(), "size": 0.01 * (said**2).mean()}

    def stepped(self, step: int) -> None:
        self.calls += 1
        assert step == self.calls
        assert all(parameter.grad is not None for parameter in self.parameters())

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": self.calls}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.calls = state["calls"]


class Pull(nn.Module):
    """One weight, pulled to the mean of the numbers."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[start]]))
        self.seen: list[float] = []

    def forward(self, batch: Rows) -> dict[str, Tensor]:
        self.seen.append(self.weight.item())
        return {"loss": ((self.weight - batch.x) ** 2).mean()}


@dataclass
class Same:
    """Batches of one number each."""

    values: tuple[float, ...]

    def plan(self, epoch: int) -> tuple[float, ...]:
        return self.values

    def load(self, item: float) -> Rows:
        return Rows(torch.full((5, 1), item), ("a", "b", "c", "d", "e"))


def outcome(learner: nn.Module, history: History) -> tuple[dict[str, Any], History]:
    """All that must be the same, bit by bit."""
    weights = {
        name: value.tolist() if isinstance(value, Tensor) else value for name, value in learner.state_dict().items()
    }
    return weights, replace(history, seconds=0.0)


def whole(plan: Optimisation, folder: Path | None = None) -> tuple[dict[str, Any], History]:
    learner = Toy()
    return outcome(learner, train(learner, Toys(), settings=plan, judge=Toys(2, seed=1), seed=7, folder=folder))


class CutError(Exception):
    pass


class Cut(Toy):
    """Does not get through its n-th batch."""

    def __init__(self, batch: int, *, killed: bool = False) -> None:
        super().__init__()
        self.left, self.killed = batch, killed

    def forward(self, batch: Rows) -> dict[str, Tensor]:
        self.left -= 1
        if self.left == 0:
            if self.killed:
                os.kill(os.getpid(), signal.SIGKILL)
            raise CutError
        return super().forward(batch)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """More would wait for one another longer than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_it_learns_and_says_how_it_went() -> None:
    learner, feed = Toy(), Toys()
    history = train(learner, feed, settings=replace(PLAIN, epochs=60), judge=Toys(2, seed=1))
    first, last = history.epochs[0], history.epochs[history.best_epoch - 1]
    assert sum(last.validation.values()) < 0.5 * sum(first.validation.values())
    assert last.validation == min((epoch.validation for epoch in history.epochs), key=lambda each: sum(each.values()))
    assert set(first.training) == {"square", "size"}
    assert history.steps == 5 * len(history.epochs)
    assert learner.calls == 5 * history.best_epoch
    assert history.events == sum(len(Toys().load(item).x) for item in feed.loaded)
    assert first.norm > 0
    assert 0 <= first.clipped <= 5
    assert not learner.training


@given(
    optimiser=st.sampled_from(["adamw", "adam", "sgd"]),
    schedule=st.sampled_from(["constant", "linear", "cosine", "plateau"]),
    checkpoint_steps=st.integers(1, 6),
    stop=st.lists(st.integers(1, 21), min_size=1, max_size=3),
)
@settings(deadline=None, max_examples=12)
def test_what_is_interrupted_ends_as_if_it_had_not_been(tmp_path_factory: pytest.TempPathFactory, **drawn: Any) -> None:
    stops = drawn.pop("stop")
    plan = replace(PLAIN, **drawn)
    folder = tmp_path_factory.mktemp("run")

    for stop in stops:
        try:
            train(Cut(stop), Toys(), settings=plan, judge=Toys(2, seed=1), seed=7, folder=folder)
        except CutError:
            continue
    assert whole(plan, folder) == whole(plan)


def forked(act: Callable[[], None]) -> int:
    """Run something in a copy of this process; return the copy's id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        act()
        code = 0
    except BaseException:  # noqa: BLE001  # whatever it is, the copy must not go on with the tests
        traceback.print_exc()
    os._exit(code)


def kill_and_resume(folder: Path) -> None:
    """Kill -9 at steps, at changes of the folder, and at random times; each time, and after many, resume and compare.

    Runs in a process that does nothing else: copies of it are killed, which spares each the imports.
    """
    torch.set_num_threads(1)
    train(Pull(), Same((1.0,)), settings=PLAIN)  # imports what is imported late
    draw = random.Random(5)
    plan = replace(PLAIN, checkpoint_steps=2)
    expected = folder / "expected.json"

    def run(out: Path) -> str:
        weights, history = whole(plan, out)
        return json.dumps([weights, str(history)])

    def killed_at(moment: int, out: Path) -> Callable[[], None]:
        left = moment

        def count() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def watch(event: str, args: tuple[Any, ...]) -> None:
            if event == "os.rename" or (event == "open" and str(args[0]).endswith(".draft")):
                count()

        def act() -> None:
            sys.addaudithook(watch)
            forward = Toy.forward
            Toy.forward = lambda self, batch: (count(), forward(self, batch))[1]  # type: ignore[method-assign]
            run(out)

        return act

    def code(process: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def check(out: Path) -> None:
        def act() -> None:
            assert run(out) == expected.read_text()

        assert code(forked(act)) == 0

    since = time.monotonic()
    assert code(forked(lambda: expected.write_text(run(folder / "whole")) and None)) == 0
    lasts = time.monotonic() - since
    for case in range(8):
        out = folder / f"moment {case}"
        assert code(forked(killed_at(draw.randint(4 * case + 1, 4 * case + 4), out))) == -signal.SIGKILL
        check(out)
    for case in range(6):
        out = folder / f"time {case}"
        process = forked(lambda out=out: run(out) and None)
        time.sleep(lasts * draw.uniform(0.2, 1.0))
        os.kill(process, signal.SIGKILL)
        code(process)
        check(out)
    out, sessions = folder / "often", 0
    while code(forked(killed_at(draw.randint(7, 12), out))) == -signal.SIGKILL:
        sessions += 1
    assert sessions > 2
    check(out)
    assert not list(out.glob(".*"))  # the drafts of those that were killed are gone


def python(code: str, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(args or ("-c", code))]
    path = os.pathsep.join([str(ROOT), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_kill_9_at_any_moment_loses_nothing(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from {__name__} import kill_and_resume as run; run(Path({str(tmp_path)!r}))"
    done = python(code)
    assert done.returncode == 0, done.stderr


STEPS = replace(PLAIN, step_batches=2)


def shared(folder: Path, *, processes: int = 2, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``share`` in several processes."""
    script = folder.with_suffix(".py")
    script.write_text(f"from {__name__} import share; share()")
    launch = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", str(script))
    return python("", *launch, FOLDER=str(folder), **environment)


def share() -> None:
    """Train, and write down what came out; one process may be killed before its n-th batch."""
    rank, folder, told, feed = int(os.environ["RANK"]), Path(os.environ["FOLDER"]), list[str](), Toys()
    learner = Cut(int(os.environ.get(f"CUT_{rank}", "0")), killed="KILL" in os.environ)
    if rank == 1:
        nn.init.zeros_(learner.net[0].weight)  # type: ignore[arg-type]  # they start from the weights of the first
    settings = replace(STEPS, sharding="SHARDED" in os.environ)
    history = train(learner, feed, settings=settings, judge=Toys(2, seed=1), folder=folder, progress=told.append)
    said = {**numbers(learner, history), "told": len(told), "loaded": feed.loaded}
    (folder / f"{rank}.json").write_text(json.dumps(said))


def numbers(learner: Toy, history: History) -> dict[str, Any]:
    """The loss curve and the weights."""
    curve = [[*epoch.training.values(), *epoch.validation.values()] for epoch in history.epochs]
    return {"curve": curve, "weights": [weight.tolist() for weight in learner.parameters()]}


def said_by(folder: Path, rank: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{rank}.json").read_text())
    return found


@pytest.mark.slow
def test_processes_share_the_work_and_change_nothing(tmp_path: Path) -> None:
    done = shared(tmp_path / "two")
    assert done.returncode == 0, done.stderr
    first, second = (said_by(tmp_path / "two", rank) for rank in (0, 1))
    assert (first["curve"], first["weights"]) == (second["curve"], second["weights"])
    assert (first["told"], second["told"]) == (PLAIN.epochs, 0)
    both = [item for item in first["loaded"] if item in second["loaded"]]
    assert both == [[0, 0], [1, 0], [2, 0]]  # three steps have six batches, of which there are five
    learner = Toy()
    alone = numbers(learner, train(learner, Toys(), settings=STEPS, judge=Toys(2, seed=1)))
    np.testing.assert_allclose(first["curve"], alone["curve"], rtol=1e-5)
    for one, other in zip(first["weights"], alone["weights"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.slow
def test_a_network_that_is_spread_over_processes_learns_the_same(tmp_path: Path) -> None:
    learner = Toy()
    alone = numbers(learner, train(learner, Toys(), settings=STEPS, judge=Toys(2, seed=1)))
    cut = shared(tmp_path / "spread", SHARDED="1", CUT_0="7")
    assert "CutError" in cut.stderr
    done = shared(tmp_path / "spread", SHARDED="1")
    assert done.returncode == 0, done.stderr
    first, second = (said_by(tmp_path / "spread", rank) for rank in (0, 1))
    assert (first["curve"], first["weights"]) == (second["curve"], second["weights"])
    np.testing.assert_allclose(first["curve"], alone["curve"], rtol=1e-5)
    for one, other in zip(first["weights"], alone["weights"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path, processes: int) -> None:
    learner = Toy()
    alone = numbers(learner, train(learner, Toys(), settings=STEPS, judge=Toys(2, seed=1)))
    folder = tmp_path / "cut"
    cut = shared(folder, processes=processes, CUT_0=str(7 * 2 // processes))
    assert "CutError" in cut.stderr
    done = shared(folder, processes=3 - processes)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(said_by(folder, 0)["curve"], alone["curve"], rtol=1e-5)


@pytest.mark.slow
def test_a_process_that_is_killed_is_missed_in_words(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    done = shared(folder, CUT_1="6", KILL="1")
    assert done.returncode != 0
    assert "another process of this run has gone" in done.stderr, done.stderr
    assert shared(folder).returncode == 0  # it goes on from the last checkpoint


@pytest.mark.slow
def test_a_step_has_a_batch_for_every_process(tmp_path: Path) -> None:
    done = shared(tmp_path / "three", processes=3)
    assert "3 processes share steps of 2 batches. Start 2 processes at most" in done.stderr, done.stderr


def test_a_step_learns_from_the_mean_of_its_batches() -> None:
    class Slope(nn.Module):
        """Its gradient is the batch's number."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, batch: Rows) -> dict[str, Tensor]:
            return {"loss": self.weight * batch.x.sum()}

    class Numbers(Toys):
        def load(self, item: tuple[int, int]) -> Rows:
            return Rows(torch.full((1, 1), float(item[1])), ("u",))

    settings = Optimisation(
        "sgd",
        learning_rate=1.0,
        momentum=0.0,
        weight_decay=0.0,
        schedule="constant",
        warmup=0.0,
        epochs=1,
        max_norm=100.0,
        step_batches=3,
        tracker="none",
    )
    learner = Slope()
    history = train(learner, Numbers(batches=6), settings=settings)
    assert (history.steps, learner.weight.item()) == (2, -(0 + 1 + 2) / 3 - (3 + 4 + 5) / 3)


def test_a_run_that_is_over_is_not_repeated(tmp_path: Path) -> None:
    before = whole(PLAIN, tmp_path)
    learner, feed = Toy(), Toys()
    history = train(learner, feed, settings=PLAIN, judge=Toys(2, seed=1), seed=7, folder=tmp_path)
    assert outcome(learner, history) == before
    assert not feed.loaded
    assert history.seconds > 0
    assert [path.name for path in tmp_path.iterdir()] == ["training.checkpoint"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": replace(PLAIN, learning_rate=0.02)}, "learning_rate: 0.01 there, 0.02 here"),
        ({"settings": replace(PLAIN, epochs=4, patience=9)}, "epochs: 3 there, 4 here; patience: 2 there, 9 here"),
        ({"seed": 8}, "seed: 7 there, 8 here"),
        ({"data": "newer"}, "data:  there, newer here"),
        ({"feed": Toys(6)}, "batches: 5 there, 6 here"),
        ({"judge": None}, "validation batches: 2 there, 0 here"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    whole(PLAIN, tmp_path)
    same = {"feed": Toys(), "settings": PLAIN, "judge": Toys(2, seed=1), "seed": 7, "folder": tmp_path} | change
    with pytest.raises(ConfigError) as refusal:
        train(Toy(), same.pop("feed"), **same)
    assert said in str(refusal.value)
    assert "Delete it" in str(refusal.value)
    assert str(tmp_path / "training.checkpoint") in str(refusal.value)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    whole(PLAIN, tmp_path)
    wider, frozen, other = Toy(), Toy(), Toy()
    wider.net[3] = nn.Linear(8, 2)
    frozen.net[0].requires_grad_(False)
    nn.init.zeros_(other.net[0].bias)  # type: ignore[arg-type]
    for learner, said in (
        (wider, "shape of net.3.weight: [1, 8] trained there, [2, 8] trained here"),
        (frozen, "shape of net.0.weight: [8, 3] trained there, [8, 3] here"),
        (other, "weights at the start: "),
    ):
        with pytest.raises(ConfigError) as refusal:
            train(learner, Toys(), settings=PLAIN, judge=Toys(2, seed=1), seed=7, folder=tmp_path)
        assert said in str(refusal.value)


def test_what_changes_nothing_that_is_learned_may_change(tmp_path: Path) -> None:
    assert whole(PLAIN, tmp_path) == whole(replace(PLAIN, checkpoint_steps=3), tmp_path)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    whole(PLAIN, tmp_path)
    path = tmp_path / "training.checkpoint"
    path.write_bytes(path.read_bytes()[:-2_000])
    with pytest.raises(FitError, match="damaged"):
        whole(PLAIN, tmp_path)
    path.write_bytes(b"")
    with pytest.raises(FitError, match="damaged"):
        whole(PLAIN, tmp_path)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"run": threading.Event}, tmp_path / "training.checkpoint")
    with pytest.raises(FitError, match="damaged"):
        whole(PLAIN, tmp_path)


def test_patience_ends_a_run_and_the_best_weights_are_kept() -> None:
    plan = replace(
        PLAIN, epochs=30, patience=2, schedule="constant", warmup=0.0, optimiser="sgd", momentum=0.0, learning_rate=0.05
    )
    learner = Pull()
    history = train(learner, Same((1.0,)), settings=plan, judge=Same((0.3,)))
    assert history.stopped_early
    assert len(history.epochs) == history.best_epoch + 2 < 30
    shorter = Pull()
    train(shorter, Same((1.0,)), settings=replace(plan, epochs=history.best_epoch))
    assert learner.weight.item() == shorter.weight.item()
    assert [each.validation["loss"] for each in history.epochs][-3:] == sorted(
        each.validation["loss"] for each in history.epochs[-3:]
    )


def test_each_epoch_can_be_watched_with_its_own_weights_and_ended() -> None:
    seen: list[tuple[int, float]] = []
    learner = Pull()
    plan = replace(PLAIN, epochs=4, patience=1)

    def watch(number: int) -> None:
        seen.append((number, learner.weight.item()))
        if number == 3:
            raise StopIteration("enough")

    with pytest.raises(StopIteration, match="enough"):
        train(learner, Same((1.0,)), settings=plan, watch=watch)
    assert [number for number, _ in seen] == [1, 2, 3]
    assert 0 < seen[0][1] < seen[1][1] < seen[2][1] == learner.weight.item()


def test_the_best_weights_survive_an_interruption(tmp_path: Path) -> None:
    class Stopping(Pull):
        left = 0

        def forward(self, batch: Rows) -> dict[str, Tensor]:
            self.left -= 1
            if self.left == 0:
                raise CutError
            return super().forward(batch)

    plan = replace(PLAIN, checkpoint_steps=1)
    expected, cut, resumed = Pull(), Stopping(), Pull()
    best = train(expected, Same((1.0,)), settings=plan, judge=Same((-1.0,))).best_epoch
    assert best == 1
    cut.left = 5  # after the second epoch
    with pytest.raises(CutError):
        train(cut, Same((1.0,)), settings=plan, judge=Same((-1.0,)), folder=tmp_path)
    train(resumed, Same((1.0,)), settings=plan, judge=Same((-1.0,)), folder=tmp_path)
    assert resumed.weight.item() == expected.weight.item() > 0


def test_validation_is_by_the_same_draws_every_time_and_changes_none() -> None:
    class Noting(Toy):
        def __init__(self) -> None:
            super().__init__()
            self.modes: list[bool] = []

        def forward(self, batch: Rows) -> dict[str, Tensor]:
            self.modes.append(self.training)
            return super().forward(batch)

    learner, alone, plan = Noting(), Toy(), replace(PLAIN, learning_rate=1e-30, weight_decay=0.0)
    history = train(learner, Toys(), settings=plan, judge=Toys(2, seed=1))
    assert history.epochs[0].validation == history.epochs[1].validation
    assert learner.modes == [*[True] * 5, *[False] * 2] * 3
    assert [each.training for each in history.epochs] == [
        each.training for each in train(alone, Toys(), settings=plan).epochs
    ]


def test_plateau_halves_the_learning_rate_after_each_epoch_that_does_not_help() -> None:
    plan = replace(PLAIN, epochs=5, patience=4, schedule="plateau", warmup=0.0)
    history = train(Pull(), Same((1.0,)), settings=plan, judge=Same((-1.0,)))
    assert [epoch.learning_rate for epoch in history.epochs] == pytest.approx([0.01, 0.01, 0.005, 0.0025, 0.00125])
    assert [epoch.halvings for epoch in history.epochs] == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match="plateau"):
        train(Pull(), Same((1.0,)), settings=plan)


@given(
    schedule=st.sampled_from(["constant", "linear", "cosine", "plateau"]),
    warmup=st.sampled_from([0.0, 0.1, 0.5]),
    done=st.floats(0, 1),
)
def test_the_learning_rate_rises_and_then_falls(schedule: Any, warmup: float, done: float) -> None:
    plan = Optimisation(schedule=schedule, warmup=warmup, learning_rate=2.0)
    now, later = rate(plan, done=done), rate(plan, done=min(1.0, done + 0.01))
    assert 0 <= now <= 2.0
    if done + 0.01 <= warmup:
        assert now < later
    elif done >= warmup:
        assert later <= now
    assert rate(plan, done=warmup) == pytest.approx(2.0)


def test_the_first_and_the_last_step_count() -> None:
    plan = replace(PLAIN, epochs=1, warmup=0.5)
    learner = Pull()
    train(learner, Same((1.0,) * 10), settings=plan)
    moves = np.diff([*learner.seen, learner.weight.item()])
    assert (moves > 0).all()
    assert moves[0] < moves[1] < moves[4]
    assert moves[-1] < moves[-2] < moves[5]


def test_lower_layers_learn_more_slowly() -> None:
    learner = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    groups = [(list(learner[0].parameters()), 2), (list(learner[1].parameters()), 1)]
    made = optimiser(learner, replace(PLAIN, layer_decay=0.5), groups=groups)
    set_rate(made, 0.8)
    rates = {id(parameter): group["lr"] for group in made.param_groups for parameter in group["params"]}
    found = [[rates[id(parameter)] for parameter in layer.parameters()] for layer in learner]
    assert found == [[0.2, 0.2], [0.4, 0.4], [0.8, 0.8]]


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_weights_decay_as_the_optimiser_says_and_biases_norms_and_embeddings_do_not(kind: Any) -> None:
    class Idle(nn.Module):
        """Its gradient is zero: what moves is decay."""

        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([nn.Linear(2, 2), nn.LayerNorm(2), nn.Embedding(3, 2), nn.EmbeddingBag(3, 2)])
            for parameter in self.parameters():
                nn.init.constant_(parameter, 3.0)

        def forward(self, batch: Rows) -> dict[str, Tensor]:
            return {"nothing": sum(parameter.sum() * 0 for parameter in self.parameters())}

    learner = Idle()
    plan = replace(PLAIN, optimiser=kind, weight_decay=0.1, epochs=1, schedule="constant", warmup=0.0)
    train(learner, Same((1.0,)), settings=plan)
    after = {"adamw": 3 * (1 - 0.01 * 0.1), "adam": 3 - 0.01, "sgd": 3 - 0.01 * 0.1 * 3}[kind]
    for name, parameter in learner.named_parameters():
        assert parameter.flatten()[0].item() == pytest.approx(after if name == "parts.0.weight" else 3.0, abs=1e-6)


def test_gradients_are_clipped() -> None:
    plan = replace(PLAIN, optimiser="sgd", momentum=0.0, weight_decay=0.0, epochs=1, schedule="constant", warmup=0.0)
    learner = Pull()
    history = train(learner, Same((100.0, 0.01)), settings=plan)
    assert learner.seen[1] == pytest.approx(0.01)  # the norm was 200, and is 1
    assert (history.epochs[0].clipped, history.epochs[0].norm) == (1, pytest.approx(100, abs=0.1))


@pytest.mark.parametrize(
    ("values", "start", "said"),
    [
        ((1.0, math.nan, 1.0), 0.0, "step 2: loss nan"),
        ((1.0, math.inf, 1.0), 0.0, "step 2: loss inf"),
        ((1.0, 1e5, 1.0), 0.0, "step 2: loss 1e\\+10"),
        ((1.0, 1.0), math.nan, "step 1: loss nan"),
    ],
)
def test_a_batch_that_would_spoil_the_weights_is_refused(values: Any, start: float, said: str) -> None:
    learner = Pull(start)
    with pytest.raises(FitError, match=f"run: .*{said}.* batch of a, b, c and 2 more") as refusal:
        train(learner, Same(values), settings=PLAIN, name="run")
    assert "learning_rate, which is 0.01" in str(refusal.value)
    assert "amounts" in str(refusal.value)
    assert learner.weight.item() == learner.seen[-1] or math.isnan(start)


def test_a_gradient_that_is_not_finite_is_refused() -> None:
    class Root(Pull):
        def forward(self, batch: Rows) -> dict[str, Tensor]:
            return {"loss": super().forward(batch)["loss"] + (self.weight * 0 * batch.x).sum().sqrt()}

    learner = Root(2.0)
    with pytest.raises(FitError, match="norm of the gradient nan"):
        train(learner, Same((1.0,)), settings=PLAIN)
    assert learner.weight.item() == 2.0


def test_validation_that_is_not_finite_is_refused() -> None:
    with pytest.raises(FitError, match="validation went astray: loss nan"):
        train(Pull(), Same((1.0,)), settings=PLAIN, judge=Same((math.nan,)))


def test_there_must_be_something_to_learn_from() -> None:
    for feed, judge in ((Same(()), None), (Same((1.0,)), Same(()))):
        with pytest.raises(FitError, match=r"no (training|validation) data"):
            train(Pull(), feed, settings=PLAIN, judge=judge)
    with pytest.raises(FitError, match="nothing is to be trained"):
        train(Pull().requires_grad_(False), Same((1.0,)), settings=PLAIN)


def test_progress_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = list[str]()
    train(Toy(), Toys(), settings=PLAIN, judge=Toys(2, seed=1), progress=lines.append, name="churn")
    assert len(lines) == PLAIN.epochs
    assert lines[0].startswith("churn: epoch 1 of 3 done: loss ")
    assert "validation" in lines[0]
    assert "events/s, " in lines[0]
    assert lines[0].endswith(" left")
    assert lines[-1].endswith("events/s")
    lines.clear()
    monkeypatch.setattr(pace, "_EVERY", 0.0)
    train(Toy(), Toys(), settings=PLAIN, progress=lines.append)
    assert len(lines) == PLAIN.epochs * (5 + 1)
    assert lines[1].startswith("training: epoch 1 of 3, step 2 of 5: loss ")


def test_lengths_of_time_are_told_as_one_says_them() -> None:
    assert [pace.lasting(seconds) for seconds in (0, 89, 90, 3_000, 7_500)] == [
        "0 s",
        "89 s",
        "2 min",
        "50 min",
        "2 h 05 min",
    ]


def test_each_batch_is_made_while_the_one_before_is_learned_from() -> None:
    feed = Toys()

    class Waiting(Toy):
        ahead: list[int] = []  # noqa: RUF012

        def forward(self, batch: Rows) -> dict[str, Tensor]:
            since = time.monotonic()
            while len(feed.loaded) < min(5, len(self.ahead) + 2) and time.monotonic() - since < 10:
                time.sleep(0.001)
            self.ahead.append(len(feed.loaded))
            return super().forward(batch)

    learner = Waiting()
    train(learner, feed, settings=replace(PLAIN, epochs=1))
    assert learner.ahead == [2, 3, 4, 5, 5]


def test_an_error_of_the_feed_comes_through() -> None:
    class Broken(Same):
        def load(self, item: float) -> Rows:
            raise CutError

    with pytest.raises(CutError):
        train(Pull(), Broken((1.0,)), settings=PLAIN)


def test_the_callers_chance_and_the_learner_are_left_as_they_were() -> None:
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    expected = torch.rand(1).item(), random.random(), np.random.uniform()
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    learner = Toy()
    train(learner, Toys(), settings=PLAIN)
    assert (torch.rand(1).item(), random.random(), np.random.uniform()) == expected
    assert not {"forward", "_is_accelerate_prepared"} & set(vars(learner))
    assert all(parameter.grad is None for parameter in learner.parameters())


def test_precision_is_that_of_each_run() -> None:
    class Precise(Pull):
        def forward(self, batch: Rows) -> dict[str, Tensor]:
            self.bf16 = torch.is_autocast_enabled("cpu")
            return super().forward(batch)

    for precision, expected in (("auto", False), ("bf16", True), ("fp32", False)):
        learner = Precise()
        train(learner, Same((1.0,)), settings=replace(PLAIN, precision=precision), judge=Same((1.0,)))  # type: ignore[arg-type]
        assert learner.bf16 is expected


def test_what_the_loop_adjusts_is_logged(tmp_path: Path) -> None:
    plan = replace(PLAIN, tracker="tensorboard", schedule="plateau")
    train(Toy(), Toys(), settings=plan, judge=Toys(2, seed=1), folder=tmp_path, name="run")
    logged = b"".join(path.read_bytes() for path in (tmp_path / "run").glob("events*"))
    for tag in (
        "training/square",
        "validation/size",
        "learning_rate",
        "gradient_norm",
        "clipped",
        "halvings",
        "stopped_early",
    ):
        assert tag.encode() in logged


def test_tensorboard_needs_a_folder_and_does_without() -> None:
    assert trackers.tracker("tensorboard", None) is None
    assert trackers.tracker("none", Path()) is None
    assert trackers.tracker("tensorboard", Path()) == "tensorboard"


def test_trackers_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "get_available_trackers", lambda: ["aim"])
    with pytest.raises(MissingExtraError, match="package 'wandb', which is not installed") as missing:
        train(Pull(), Same((1.0,)), settings=replace(PLAIN, tracker="wandb"))
    assert "pip install wandb" in str(missing.value)
    with pytest.raises(ConfigError, match="unknown tracker 'wandbb'") as unknown:
        train(Pull(), Same((1.0,)), settings=replace(PLAIN, tracker="wandbb"))
    assert "Did you mean 'wandb'?" in str(unknown.value)
    with pytest.raises(ConfigError, match="'aim' writes to a folder"):
        train(Pull(), Same((1.0,)), settings=replace(PLAIN, tracker="aim"))
