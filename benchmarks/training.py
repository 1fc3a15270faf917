"""How fast pre-training is: against the bare trunk, and against pytorch-lifestream's GRU CoLES at equal parameters.

**Overhead.** ``train`` runs over batches of a log as ``valuecast pretrain`` does: windows, collation, event encoder,
trunk, objectives, clipping, optimiser, logging to TensorBoard, a checkpoint. Beside it the trunk alone goes forward and
backward on random vectors of the same shapes. Both run in turns, in one process. Aim: at most 15% more time.

    OMP_NUM_THREADS=1 python benchmarks/training.py overhead

**pytorch-lifestream** (0.7) wants older libraries, so it lives in an environment of its own:

    python -m venv lifestream
    lifestream/bin/pip install torch==2.13.0
    lifestream/bin/pip install pytorch-lifestream==0.7.0 "pyarrow<20" "pandas<3"
    OMP_NUM_THREADS=1 python benchmarks/training.py coles --ptls lifestream/bin/python

Both train a GRU by CoLES on the same log with the same fields (type of event, item, amount, days since the event
before), the same loss, the same four slices of each user drawn from the same distribution, batches of about the same
size, as many parameters to within 5%, Adam and the same number of threads. Aim: at least twice the events per second.

Without ``--log`` the log is a simulated shop of about 300,000 events. ``wall`` is the clock's time, ``cpu`` that of
all threads: on a machine that is shared the second is the steadier.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from valuecast.config.learning import Architecture, Objectives, Optimisation, Pretraining, Size
from valuecast.events.log import EventLog
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import simulate
from valuecast.models.network import Network
from valuecast.sequences.encoding import Encoding
from valuecast.sequences.learning import learn
from valuecast.sequences.sequences import Sequences, encode
from valuecast.sequences.windows import Windows
from valuecast.training.asking import Asked
from valuecast.training.histories import SLICES, Histories
from valuecast.training.loop import train
from valuecast.training.objectives import Learner
from valuecast.training.pool import Pool

USERS = 2_700  # of the simulated shop: 300,000 events
FIELDS = ("event", "item", "amount", "gap_days")  # that pytorch-lifestream is given too


@dataclass(frozen=True)
class Spent:
    """Seconds of the clock, and of all threads."""

    wall: float
    cpu: float


def parameters(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def timed(work: Callable[[], Any]) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


@dataclass(frozen=True)
class Some:
    """A few batches of a feed."""

    feed: Histories
    items: Sequence[Windows]

    def plan(self, epoch: int) -> Sequence[Windows]:
        return self.items

    def load(self, item: Windows) -> Asked:
        return self.feed.load(item)

    @property
    def padded(self) -> int:
        return sum(len(item) * int((item.end - item.start).max()) for item in self.items)

    @property
    def events(self) -> int:
        return sum(int((item.end - item.start).sum()) for item in self.items)


def first(feed: Histories, padded: int, *, epoch: int) -> Some:
    """Return as many batches as hold so many vectors, with padding."""
    items = feed.plan(epoch)
    sizes = list(accumulate(Some(feed, [item]).padded for item in items))
    return Some(feed, items[: 1 + int(np.searchsorted(sizes, padded))])


def learned(learner: Learner, some: Some, settings: Optimisation) -> Spent:
    """Train on some batches with all that the loop does, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return timed(lambda: train(learner, some, settings=replace(settings, epochs=1), folder=Path(folder)))


def repeated(module: nn.Module, loss: Callable[[Any], Tensor], batches: Sequence[Any]) -> Spent:
    """Go forward and backward over batches."""

    def work() -> None:
        for batch in batches:
            module.zero_grad()
            loss(batch).backward()

    return timed(work)


def overhead(log: EventLog, settings: Pretraining, *, rounds: int, padded: int) -> dict[str, Any]:
    """Compare the loop with its trunk, and show how the rest adds up: event encoder, objectives, loop."""
    pool = Pool.of((log,), settings, common=False, seed=0, folder=None)
    learner, feed = pool.learner(), pool.shares[0].feed
    network, trunk = learner.network, learner.network.trunk
    found = []
    for number in range(rounds + 1):
        some = first(feed, padded, epoch=number)
        loop = learned(learner, some, settings.optimisation)
        learner.train()
        batches = [feed.load(item) for item in some.items]
        vectors = [(torch.randn(*each.tensors.mask.shape, network.hidden), each.tensors) for each in batches]
        spent = {
            "trunk": repeated(
                trunk, lambda x: trunk(x[0].clone().requires_grad_(), x[1].mask, x[1].days).square().mean(), vectors
            ),
            "encoder": repeated(network, lambda asked: network(asked.tensors).square().mean(), batches),
            "objectives": repeated(learner, lambda asked: torch.stack([*learner(asked).values()]).sum(), batches),
            "loop": loop,
        }
        found.append((some, spent))
    found = found[1:]  # the first warmed up
    return {
        "trunk": settings.architecture.trunk,
        "size": settings.architecture.size,
        "objectives": {name: weight for name, weight in asdict(settings.objectives).items() if weight},
        "parameters": parameters(learner),
        "of the trunk": parameters(trunk),
        "padding": round(1 - sum(some.events for some, _ in found) / sum(some.padded for some, _ in found), 3),
        "events/s": round(median(some.events / spent["loop"].wall for some, spent in found)),
        **{
            f"{kind}, times the trunk's": {
                name: round(median(getattr(spent[name], kind) / getattr(spent["trunk"], kind) for _, spent in found), 3)
                for name in ("encoder", "objectives", "loop")
            }
            for kind in ("wall", "cpu")
        },
    }


# pytorch-lifestream ---------------------------------------------------------------------------------------------------

DRIVER = """
import json, sys, time
from functools import partial

import numpy as np, pytorch_lightning as pl, torch
from ptls.frames import PtlsDataModule
from ptls.frames.coles import CoLESModule, ColesDataset
from ptls.frames.coles.split_strategy import AbsSplit
from ptls.nn import RnnSeqEncoder, TrxEncoder

asked = json.loads(sys.argv[1])
torch.set_num_threads(asked["threads"]); pl.seed_everything(asked["seed"])
arrays = {name: torch.from_numpy(value) for name, value in np.load(asked["arrays"]).items()}
bounds = arrays.pop("starts").tolist()
histories = [
    {name: value[start:end] for name, value in arrays.items()}
    for start, end in zip(bounds, bounds[1:]) if end - start >= 2
    for _ in range(-(-(end - start) // asked["length"]))
]

class Slices(AbsSplit):
    def split(self, dates):
        longest = min(len(dates), asked["length"])
        sizes = np.random.randint(-(-longest // 4), longest + 1, asked["slices"])
        starts = (np.random.rand(len(sizes)) * (len(dates) - sizes + 1)).astype(int)
        return [np.arange(start, start + size) for start, size in zip(starts, sizes)]

class Clock(pl.Callback):
    events = padded = steps = 0
    def on_train_epoch_start(self, *_):
        self.wall, self.cpu = time.perf_counter(), time.process_time()
    def on_train_batch_end(self, trainer, module, outputs, batch, number):
        lengths = batch[0].seq_lens
        self.events += int(lengths.sum()); self.padded += len(lengths) * int(lengths.max()); self.steps += 1
    def on_train_end(self, *_):
        self.wall, self.cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu

encoder = RnnSeqEncoder(
    trx_encoder=TrxEncoder(
        embeddings={name: {"in": size, "out": asked["embedding"]} for name, size in asked["codes"].items()},
        numeric_values={name: "log" for name in asked["numbers"]},
        linear_projection_size=asked["input"],
    ),
    hidden_size=asked["hidden"], type="gru",
)
model = CoLESModule(
    seq_encoder=encoder,
    optimizer_partial=partial(torch.optim.Adam, lr=1e-3),
    lr_scheduler_partial=partial(torch.optim.lr_scheduler.StepLR, step_size=1),
)
clock = Clock()
data = PtlsDataModule(
    train_data=ColesDataset(histories, Slices()), train_batch_size=asked["users"], train_num_workers=asked["workers"]
)
pl.Trainer(
    accelerator="cpu", max_epochs=1, max_steps=asked["steps"], logger=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False, callbacks=[clock],
).fit(model, data)
print(json.dumps({
    "parameters": sum(each.numel() for each in model.parameters()), "steps": clock.steps,
    "events": clock.events, "padded": clock.padded, "wall": clock.wall, "cpu": clock.cpu,
}))
"""


def coles(log: EventLog, size: Size, *, python: Path, rounds: int, padded: int, workers: int) -> dict[str, Any]:
    """Train a GRU by CoLES here and by pytorch-lifestream, in turns."""
    everything = learn(log)
    encoding = replace(
        everything,
        vocabularies=tuple(each for each in everything.vocabularies if each.column in FIELDS),
        numbers=tuple(each for each in everything.numbers if each.name in FIELDS),
        clock=False,
        seasons=False,
    )
    sequences = encode(encoding, log)
    settings = Optimisation(optimiser="adam", weight_decay=0.0)
    learner = Learner(Network(Architecture(trunk="gru", size=size), encoding), {}, contrastive=1.0)
    feed = Histories(
        sequences,
        None,
        since=int(sequences.time.min()),
        until=int(sequences.time.max()) + 1,
        length=learner.network.length,
        events=settings.batch_events,
        seed=0,
        sliced=True,
    )
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        driver, arrays = Path(folder, "driver.py"), Path(folder, "events.npz")
        driver.write_text(DRIVER, encoding="utf-8")
        np.savez(arrays, allow_pickle=False, **columns(sequences))
        users = settings.batch_events // (SLICES * feed.length)
        asked = {
            "arrays": str(arrays),
            "threads": torch.get_num_threads(),
            "workers": workers,
            "slices": SLICES,
            "length": feed.length,
            "users": users,
            "steps": padded // settings.batch_events,
            **alike(learner.network, encoding),
        }
        for number in range(rounds + 1):
            some = first(feed, padded, epoch=number)
            spent = learned(learner, some, settings)
            ours.append({"events": some.events, "padded": some.padded, "wall": spent.wall, "cpu": spent.cpu})
            command = [str(python), str(driver), json.dumps({**asked, "seed": number})]
            said = subprocess.run(command, check=False, capture_output=True, text=True)
            if said.returncode:
                raise SystemExit(said.stderr)
            theirs.append(json.loads(said.stdout.splitlines()[-1]))
    found = list(zip(ours, theirs, strict=True))[1:]  # the first warmed up
    counts = parameters(learner), theirs[0]["parameters"]
    assert max(counts) <= 1.05 * min(counts), counts
    return {
        "size": size,
        "parameters": counts,
        "their hidden units": asked["hidden"],
        **{
            f"{what}/s of {kind} time": {
                "ours": round(median(a[what] / a[kind] for a, _ in found)),
                "theirs": round(median(b[what] / b[kind] for _, b in found)),
                "ratio": round(median(a[what] / a[kind] * b[kind] / b[what] for a, b in found), 2),
            }
            for what in ("events", "padded")
            for kind in ("wall", "cpu")
        },
    }


def columns(sequences: Sequences) -> dict[str, NDArray[Any]]:
    """Return one value for each event and field, as pytorch-lifestream reads them: 0 is a missing code."""
    encoding = sequences.encoding
    owner = np.repeat(np.arange(sequences.count), np.diff(sequences.edges))
    found = {"starts": sequences.starts, "event_time": sequences.time // 1_000_000}
    for column, (start, stop) in spans(encoding).items():
        ours = (sequences.codes >= start) & (sequences.codes < stop)
        found[column] = np.zeros(sequences.count, np.int64)
        found[column][owner[ours]] = sequences.codes[ours] - start + 1
    for number, values in zip(encoding.numbers, sequences.numbers.T, strict=True):
        found[number.name] = np.nan_to_num(values)
    return found


def spans(encoding: Encoding) -> dict[str, tuple[int, int]]:
    return {each.column: span for each in encoding.vocabularies if (span := encoding.span(each.column))}


def alike(network: Network, encoding: Encoding) -> dict[str, Any]:
    """Return sizes of a network of theirs: embeddings as wide as ours, and one GRU with our number of parameters."""
    codes = {column: 1 + stop - start for column, (start, stop) in spans(encoding).items()}
    embedding, hidden = network.encoder.codes.embedding_dim, network.hidden
    left = parameters(network) - sum(codes.values()) * embedding
    left -= (len(codes) * embedding + len(encoding.numbers) + 1) * hidden
    # a GRU of h units has 3 h (hidden + h + 2) parameters, and its start h: the positive root
    linear = 3 * (hidden + 2) + 1
    units = round((-linear + (linear**2 + 12 * left) ** 0.5) / 6)
    numbers = [each.name for each in encoding.numbers]
    return {"codes": codes, "numbers": numbers, "embedding": embedding, "input": hidden, "hidden": units}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["overhead", "coles"])
    parser.add_argument("--log", type=Path, help="a log folder, instead of a simulated shop")
    parser.add_argument("--trunks", nargs="+", default=["llama", "gru"], help="of 'overhead'")
    parser.add_argument("--sizes", nargs="+", default=["tiny", "small"])
    parser.add_argument(
        "--contrastive", action="store_true", help="'overhead' of CoLES instead of the usual objectives"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--padded", type=int, default=100_000, help="vectors in a round, with padding")
    parser.add_argument("--ptls", type=Path, help="Python of an environment with pytorch-lifestream")
    parser.add_argument("--workers", type=int, default=0, help="processes that make pytorch-lifestream's batches")
    asked = parser.parse_args()
    if asked.what == "coles" and asked.ptls is None:
        parser.error("coles needs --ptls PYTHON")

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    log = EventLog.read(asked.log) if asked.log else simulate(Settings(users=USERS)).log
    sizes = {"rounds": asked.rounds, "padded": asked.padded}
    objectives = Objectives(next_event=0, masked=0, counts=0, contrastive=1) if asked.contrastive else Objectives()
    for size in asked.sizes:
        if asked.what == "coles":
            print(json.dumps(coles(log, size, python=asked.ptls, workers=asked.workers, **sizes)), flush=True)
            continue
        for trunk in asked.trunks:
            settings = Pretraining(Architecture(trunk=trunk, size=size), objectives)
            print(json.dumps(overhead(log, settings, **sizes)), flush=True)


if __name__ == "__main__":
    main()
