"""The one training loop: pre-training, fine-tuning and text models, on one CPU, one GPU or under ``torchrun``.

A run with a folder can be killed at any moment and started again: on CPUs it ends in the same weights, bit by bit.
How many processes share a step changes nothing but the order in which the gradients of its batches are added: what a
batch draws is its own. So a run may go on with another number of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import gather_object, set_seed
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from valuecast import artifact
from valuecast.config.learning import Optimisation
from valuecast.errors import ConfigError, FitError
from valuecast.training import sharding
from valuecast.training.checkpoint import Checkpoint, copied, identity, random_state, set_random_state
from valuecast.training.feed import Feed, Loaded, ahead
from valuecast.training.history import Epoch, History, State
from valuecast.training.optimiser import Groups, optimiser, rate, set_rate
from valuecast.training.pace import Pace, Progress
from valuecast.training.trackers import tracker

__all__ = ["Epoch", "Feed", "History", "Loaded", "train"]

_EXPLODED = 1e6  # times the loss of the first step, or 1 if that is more: learning does not do that
_LOGS_EVERY = 10  # steps: a tracker takes a millisecond or more
_NAMED = 3  # users that a message names
_GONE = ("closed by peer", "reset by peer", "Broken pipe", "remote process exited")  # of gloo and NCCL


def train(
    learner: nn.Module,
    feed: Feed,
    *,
    settings: Optimisation,
    judge: Feed | None = None,
    halved: Collection[int] | None = None,
    seed: int = 0,
    groups: Groups | None = None,
    folder: Path | None = None,
    data: str = "",
    name: str = "training",
    progress: Progress | None = None,
    watch: Callable[[int], None] | None = None,
) -> History:
    """Train ``learner`` in place; on return it is in evaluation mode and has the weights of its best epoch.

    Under ``torchrun`` every process takes its share of the batches of each step (``settings.step_batches``), and the
    last step of an epoch is filled up from the plan's beginning. The caller's sources of chance are left as they were
    found.

    Args:
        learner: returns the losses of a batch, always by the same names, each of shape (); their sum is minimised. If
            it has a method ``stepped(step)``, that is called after each step (from 1), with the gradients still there.
            What ``get_extra_state`` returns must be plain data and tensors.
        feed: of the training data.
        settings: of the optimiser, the schedule, the precision and so on.
        judge: validation data, always ``plan(0)``: training stops after ``settings.patience`` epochs that did not
            lower the sum of its losses.
        halved: where there is no judge, the epochs after which ``plateau`` halves the learning rate: what a run with a
            judge found (``History.halved``), for one that is to go the same way.
        seed: of dropout, and of whatever else the learner draws.
        groups: parameters of each layer, and the number of layers above it, for ``settings.layer_decay``; parameters
            in no group are on top.
        folder: for checkpoints and TensorBoard; all processes must see it. If it holds a checkpoint of the same run,
            that is continued; a run that is over is not repeated.
        data: what tells the data of the run from others, such as a log's fingerprint: a checkpoint of other data is
            refused, not taken for this run.
        name: of the run, in file names and messages.
        progress: is told how it goes.
        watch: is told the number, from 1, of each epoch at its end, when the weights are those of that epoch; what it
            raises ends the run.

    Raises:
        ConfigError: settings that do not go together, the checkpoint in the folder is of another run, or there are more
            processes than batches in a step.
        FitError: a loss or its gradient is not finite, or exploded; the weights are as they were before that step. Or
            another process has gone.
        MissingExtraError: the tracker is not installed.
    """
    if settings.schedule == "plateau" and judge is None and halved is None:
        raise ConfigError("'plateau' needs validation data", where="schedule", remedy="Choose another schedule.")
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),  # not told so, accelerate takes no notice of torchrun on CPUs
        log_with=tracker(settings.tracker, folder),
        project_dir=folder,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    chance = random_state()
    used = ConfigError("another run is at work in this folder", where=str(folder), remedy="Wait, or give another one.")
    try:
        # The first process holds the folder for all of them.
        with artifact.locked(folder, used=used) if folder and accelerator.is_main_process else nullcontext():
            return _Run(
                learner,
                feed=feed,
                judge=judge,
                halved=halved,
                settings=settings,
                seed=seed,
                groups=groups,
                accelerator=accelerator,
                folder=folder,
                data=data,
                name=name,
                progress=progress,
                watch=watch,
            ).go()
    except RuntimeError as error:
        if accelerator.num_processes == 1 or not any(sign in str(error) for sign in _GONE):
            raise
        remedy = "Its own message comes first. The same command, with any number of processes, goes on from the last "
        raise FitError(
            f"another process of this run has gone, and process {accelerator.process_index} cannot go on alone",
            where=name,
            remedy=remedy + "checkpoint." if folder else "Start them all again.",
        ) from error
    finally:
        # Not accelerator.end_training(): it would take the group of processes from the runs that follow.
        for each in accelerator.trackers:
            each.finish()
        set_random_state(chance)


class _Precise(nn.Module):
    """The learner in the run's precision.

    Accelerate and DDP leave their marks on this module, not on the learner. The precision is not left to accelerate,
    where it is one for the whole process: that of its first run.
    """

    def __init__(self, learner: nn.Module, settings: Optimisation, device: torch.device) -> None:
        super().__init__()
        able = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
        if settings.precision == "bf16" and not able:
            raise ConfigError("this GPU has no bf16", where="precision", remedy="Give 'auto' or 'fp32'.")
        self.learner, self.kind = learner, device.type
        self.bf16 = settings.precision == "bf16" or (settings.precision == "auto" and device.type == "cuda" and able)

    def forward(self, batch: Loaded) -> dict[str, Tensor]:
        """Return the losses of a batch, in float32."""
        with torch.autocast(self.kind, torch.bfloat16, enabled=self.bf16):
            losses: dict[str, Tensor] = self.learner(batch)
        return {name: loss.float() for name, loss in losses.items()}


class _Run:
    """What a run works with, and where it is."""

    def __init__(
        self,
        learner: nn.Module,
        *,
        feed: Feed,
        judge: Feed | None,
        halved: Collection[int] | None,
        settings: Optimisation,
        seed: int,
        groups: Groups | None,
        accelerator: Accelerator,
        folder: Path | None,
        data: str,
        name: str,
        progress: Progress | None,
        watch: Callable[[int], None] | None,
    ) -> None:
        self.feed, self.judge, self.settings, self.seed = feed, judge, settings, seed
        self.halved, self.watch = halved, watch
        self.accelerator, self.name = accelerator, name
        self.device: torch.device = accelerator.device
        self.processes: int = accelerator.num_processes
        self.given = learner.to(self.device)
        self.spread = settings.sharding and self.processes > 1
        self.learner = sharding.sharded(learner, self.processes) if self.spread else learner
        own = sharding.moved(groups, learner, self.learner) if self.spread else groups
        self.optimizer = optimiser(self.learner, settings, groups=own)
        self.trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.alone = _Precise(self.learner, settings, self.device)
        self.model = self.alone if self.spread else accelerator.prepare_model(self.alone)
        self.state, self.best = State(), dict[str, Any]()
        self.together = settings.step_batches or self.processes
        batches = len(self.planned(feed, 0)), len(self.planned(judge, 0)) if judge else 0
        self.checkpoint = None
        if folder is not None:
            run = identity(learner, settings, data=data, seed=seed, batches=batches)
            self.checkpoint = Checkpoint(folder / f"{name}.checkpoint", run)
            if content := self.checkpoint.read():
                self.resume(content)
        if self.together < self.processes:
            raise ConfigError(
                f"{self.processes} processes share steps of {self.together} batches",
                where=name,
                remedy=f"Start {self.together} processes at most, or raise step_batches before the first step.",
            )
        self.before = self.state.seconds
        say = progress if progress and accelerator.is_main_process else (lambda _: None)
        self.pace = Pace(say, done=self.done(self.steps(batches[0])), events=self.state.events)

    def go(self) -> History:
        """Train until patience or the epochs run out, and return how it went."""
        state = self.state
        if not state.over:
            again = {"tensorboard": {"purge_step": state.steps}} if state.steps else {}
            self.accelerator.init_trackers(self.name, config=asdict(self.settings), init_kwargs=again)
        while not state.over:
            self.epoch()
        self.optimizer.zero_grad()
        self.given_back()
        self.given.eval()
        return state.history()

    def given_back(self) -> None:
        """Give the caller's learner the weights that it has by now, where a copy of it is spread over the processes."""
        if self.spread:
            self.given.load_state_dict(sharding.weights(self.learner))

    def epoch(self) -> None:
        """Learn from every batch once, or from those that are left of an epoch; then decide how to go on."""
        state, settings = self.state, self.settings
        number = len(state.epochs)
        plan = self.planned(self.feed, number)
        steps = self.steps(len(plan))
        self.learner.train()
        own = range(self.accelerator.process_index, self.together, self.processes)
        places = [step * self.together + place for step in range(state.position, steps) for place in own]
        with closing(ahead(self.feed, [plan[place % len(plan)] for place in places])) as batches:
            for first in range(0, len(places), len(own)):
                numbered = zip(places[first : first + len(own)], batches, strict=False)
                self.step([((number, place), batch) for place, batch in numbered], steps)
        validation = self.validate(self.judge) if self.judge else {}
        number, total = number + 1, sum(validation.values())
        if self.judge is None:
            state.best_epoch = number
            state.halvings += settings.schedule == "plateau" and number in (self.halved or ())
        elif total < state.best:
            state.best, state.best_epoch, self.best = total, number, copied(sharding.weights(self.learner))
        elif settings.schedule == "plateau":
            state.halvings += 1
        state.stopped_early = number - state.best_epoch >= settings.patience and number < settings.epochs
        state.over = state.stopped_early or number == settings.epochs
        top = self.optimizer.param_groups[0]
        epoch = state.close(validation, learning_rate=top["lr"] / top["share"])
        ends = {"clipped_steps": epoch.clipped, "halvings": epoch.halvings, "stopped_early": int(state.stopped_early)}
        self.log("validation", validation, **ends)
        self.tell(self.summary(epoch), done=number / settings.epochs)
        if self.watch:
            self.given_back()
            self.watch(number)
        if state.over:
            if self.best:
                sharding.set_weights(self.learner, self.best)
            self.save()

    def step(self, batches: Sequence[tuple[tuple[int, int], Loaded]], steps: int) -> None:
        """Learn from the batches of a step that are this process's.

        Args:
            batches: each with its epoch and its place in the plan.
            steps: of the epoch.
        """
        state, settings = self.state, self.settings
        # As of the middle of the step: neither the first nor the last one is made with a rate of zero.
        highest = rate(settings, done=self.done(steps, 0.5), halvings=state.halvings)
        set_rate(self.optimizer, highest)
        self.optimizer.zero_grad()
        means, names = torch.zeros((), device=self.device), list[str]()
        for left, (where, batch) in zip(reversed(range(len(batches))), batches, strict=True):
            # gradients of processes are averaged, and once a step, with those of the last batch
            with self.apart(left > 0):
                losses = self.drawing(self.model, batch, where)
                parts = torch.stack(list(losses.values())) / self.together
                torch.autograd.backward(parts.sum() * self.processes)
            means, names = means + parts.detach(), list(losses)
        norm = sharding.plain(nn.utils.clip_grad_norm_(self.trained, settings.max_norm))
        learned = sum(batch.events for _, batch in batches)
        facts = torch.cat([means, torch.stack([norm / self.processes, torch.full_like(norm, learned)])])
        # The one wait for the device in a step. Processes see the same means, so that all stop at a step or none does.
        *shared, length, events = self.accelerator.reduce(facts, "sum").tolist()
        found = dict(zip(names, shared, strict=True))
        self.check(found, length, [user for _, batch in batches for user in batch.users])
        self.optimizer.step()
        clipped = length > settings.max_norm
        state.count(found, norm=length, clipped=clipped, events=round(events))
        if stepped := getattr(self.learner, "stepped", None):
            stepped(state.steps)
        if state.steps % _LOGS_EVERY == 1:
            self.log("training", found, learning_rate=highest, gradient_norm=length, clipped=int(clipped))
        if state.steps % settings.checkpoint_steps == 0:
            self.save()
        if self.pace.due:
            place = f"epoch {len(state.epochs) + 1} of {settings.epochs}, step {state.position} of {steps}"
            self.tell(f"{place}: loss {sum(state.sums.values()) / state.position:.4g}", done=self.done(steps))

    def apart(self, apart: bool) -> AbstractContextManager[None]:
        """Whether gradients stay with each process for now."""
        if isinstance(self.learner, FSDPModule):
            self.learner.set_requires_gradient_sync(not apart)
            return nullcontext()
        return self.accelerator.no_sync(self.model) if apart else nullcontext()

    def drawing(self, model: nn.Module, batch: Loaded, place: tuple[int, int]) -> dict[str, Tensor]:
        """Return the losses of a batch, with draws that are its own wherever and whenever it is learned from."""
        set_seed(int(np.random.SeedSequence((self.seed, *place)).generate_state(1)[0]))
        losses: dict[str, Tensor] = model(batch.to(self.device))
        return losses

    def check(self, losses: dict[str, float], norm: float, asked: Sequence[str]) -> None:
        """Refuse a step that would spoil the weights."""
        total = sum(losses.values())
        if self.state.first is None and math.isfinite(total):
            self.state.first = total
        if math.isfinite(norm) and abs(total) < _EXPLODED * max(1.0, abs(self.state.first or 0.0)):
            return
        users = list(dict.fromkeys(gather_object(list(asked))))
        more = f" and {len(users) - _NAMED} more" if len(users) > _NAMED else ""
        raise FitError(
            f"training went astray in step {self.state.steps + 1}: {_listed(losses)}, norm of the gradient {norm:.4g}, "
            f"in the batch of {', '.join(users[:_NAMED])}{more}",
            where=self.name,
            remedy=f"Lower learning_rate, which is {self.settings.learning_rate:g}; if that does not help, look for "
            "amounts or times of these users that are far from all others.",
        )

    @torch.no_grad()
    def validate(self, judge: Feed) -> dict[str, float]:
        """Return the mean of each loss over the events, by the same draws every time."""
        plan = self.planned(judge, 0)
        places = range(self.accelerator.process_index, len(plan), self.processes)
        self.learner.eval()
        seen: list[tuple[int, dict[str, Tensor]]] = []
        with closing(ahead(judge, [plan[place] for place in places])) as batches:
            for place, batch in zip(places, batches, strict=True):
                seen.append((batch.events, self.drawing(self.alone, batch, (0, place))))
        shared = gather_object(
            [(events, {name: loss.item() for name, loss in losses.items()}) for events, losses in seen]
        )
        total = sum(events for events, _ in shared)
        means = {name: sum(events * losses[name] for events, losses in shared) / total for name in shared[0][1]}
        if not math.isfinite(sum(means.values())):
            remedy = f"Lower learning_rate, which is {self.settings.learning_rate:g}."
            raise FitError(f"validation went astray: {_listed(means)}", where=self.name, remedy=remedy)
        return means

    def planned(self, feed: Feed, epoch: int) -> Sequence[Any]:
        """Return a plan that holds something."""
        plan = feed.plan(epoch)
        if not plan:
            kind = "validation" if feed is self.judge else "training"
            raise FitError(f"there are no {kind} data", where=self.name, remedy="Choose a period that holds some.")
        return plan

    def save(self) -> None:
        """Write a checkpoint, where there is a folder; a run that is over needs only its weights and history."""
        self.state.seconds = self.before + self.pace.seconds
        if self.checkpoint is None:
            return
        content: dict[str, Any] = {"state": asdict(self.state), "learner": sharding.weights(self.learner)}
        if not self.state.over:
            kept = sharding.optimiser_state(self.learner, self.optimizer)
            content |= {"optimizer": kept, "best": self.best, "together": self.together}
        if self.accelerator.is_main_process:
            self.checkpoint.write(content)
        self.accelerator.wait_for_everyone()

    def resume(self, content: dict[str, Any]) -> None:
        """Go back to where a checkpoint was written."""
        self.state = State(**content["state"])
        sharding.set_weights(self.learner, content["learner"])
        if not self.state.over:
            sharding.set_optimiser_state(self.learner, self.optimizer, content["optimizer"])
            self.best, self.together = content["best"], content["together"]

    def steps(self, batches: int) -> int:
        """Return the number of steps of an epoch."""
        return math.ceil(batches / self.together)

    def done(self, steps: int, more: float = 0.0) -> float:
        """Return the share of the run that is done, with ``more`` steps of an epoch of ``steps``."""
        return (len(self.state.epochs) + (self.state.position + more) / steps) / self.settings.epochs

    def log(self, kind: str, losses: dict[str, float], **adjusted: float) -> None:
        """Log losses, and what the loop adjusts."""
        self.accelerator.log({f"{kind}/{name}": value for name, value in losses.items()} | adjusted, self.state.steps)

    def tell(self, what: str, *, done: float) -> None:
        """Say how it goes."""
        self.pace.tell(f"{self.name}: {what}", done=done, events=self.state.events)

    def summary(self, epoch: Epoch) -> str:
        """Return what is to be said at the end of an epoch."""
        state, number = self.state, len(self.state.epochs)
        text = f"epoch {number} of {self.settings.epochs} done: loss {sum(epoch.training.values()):.4g}"
        if epoch.validation:
            best = "the best so far" if state.best_epoch == number else f"best {state.best:.4g}"
            text += f", validation {sum(epoch.validation.values()):.4g} ({best})"
        return f"{text}, stopping early" if state.stopped_early else text


def _listed(losses: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
