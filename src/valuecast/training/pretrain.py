"""Pre-trains a backbone on the events of one shop or of several, without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from valuecast.config.learning import Pretraining, Size, Trunk
from valuecast.errors import FitError
from valuecast.events.log import EventLog
from valuecast.models.backbone import Backbone
from valuecast.models.network import Network, layers
from valuecast.models.seen import Seen
from valuecast.training.loop import train
from valuecast.training.pool import NAME, Pool, judged_from, learned
from valuecast.training.processes import processes

Progress = Callable[[str], None]


def pretrain(
    log: EventLog | Sequence[EventLog],
    *,
    common: bool = False,
    size: Size | None = None,
    trunk: Trunk | None = None,
    settings: Pretraining = Pretraining(),
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Backbone:
    """Pre-train a backbone on the log of a shop, or on those of several; cut each first: all of it is read.

    It learns from events before the last ``settings.validation`` of the log's time, and so does the encoding of
    events. What comes after decides when to stop, and shows how well later events are foreseen, beside what their
    frequencies before would say.

    Several shops are read in one common encoding: fields are matched by kind, items by the words that describe them
    (see ``valuecast.sequences.common``). Batches are of one shop each, and mixed. Such a backbone may be fine-tuned on
    any shop's log; it knows the shops that it was pre-trained on, and what it has seen of them.

    With ``settings.text`` a language model that does not learn reads the texts of events, such as titles: items that
    the backbone has never seen then say what they are. The backbone remembers which one, not its weights.

    Args:
        log: everything that may be known (``log.before(...)``), of one shop or of each.
        common: whether one shop alone is read in the common encoding too, so that others can use the backbone.
        size: instead of that in ``settings``.
        trunk: instead of that in ``settings``.
        settings: what is asked, of what network, and how it learns.
        seed: of the weights, and of all that is drawn.
        folder: for encoded histories, checkpoints and TensorBoard; a run that was killed goes on where it was.
        progress: is told what is being done.

    Returns:
        A backbone whose ``facts`` hold, for each thing that was asked, the mean loss on validation in nats, the loss of
        the baseline, and the improvement; of several shops together, and in ``shops`` of each.

    Raises:
        FitError: there is nothing to learn, nothing to validate on, or training went astray.
        LogError: the log has no events to learn from.
        ConfigError: the folder holds a checkpoint of another run, or a log has no such column of texts.
        MissingExtraError: the package that carries the language model is not installed.
        ModelError: there is no such language model, or it cannot be used.
    """
    logs = (log,) if isinstance(log, EventLog) else tuple(log)
    if not logs or len({each.digest for each in logs}) < len(logs):
        what = "a log is given twice" if logs else "there is no log"
        raise FitError(what, where=NAME, remedy="Give one log of each shop.")
    if settings.before is not None:
        logs = tuple(each.before(settings.before) for each in logs)
    chosen = {name: value for name, value in {"size": size, "trunk": trunk}.items() if value is not None}
    settings = replace(settings, architecture=replace(settings.architecture, **chosen))  # type: ignore[arg-type]
    say = progress if progress and processes().is_main_process else (lambda _: None)
    say(f"{NAME}: reading histories")
    pool = Pool.of(logs, settings, common=common or len(logs) > 1, seed=seed, folder=folder, progress=say)
    say(f"{NAME}: counting what is asked")
    learner = pool.learner()
    depth = layers(learner.network)
    history = train(
        learner,
        pool.feed,
        settings=settings.optimisation,
        judge=pool.judge,
        seed=seed,
        groups=[(parameters, len(depth) - 1 - number) for number, parameters in enumerate(depth)],
        folder=folder,
        data=" ".join([*(each.fingerprint for each in logs), *pool.read]),
        name=NAME,
        progress=progress,
    )
    facts = pool.facts(learner, history)
    seen = tuple(map(Seen.of, logs)) if pool.encoding.common else ()
    before = max(each.span.until for each in logs)
    return Backbone(before, settings.architecture, pool.encoding, learner.network, facts, seen)


def untrained(log: EventLog, *, settings: Pretraining = Pretraining(), seed: int = 0) -> Backbone:
    """Return what ``pretrain`` would start from, which is all that ``scratch`` takes of a backbone."""
    (encoding,) = learned([log.before(judged_from(log, settings))], settings, common=False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Network(settings.architecture, encoding).eval()
    return Backbone(
        log.span.until, settings.architecture, encoding, network, {"log": log.fingerprint, "untrained": True}
    )
