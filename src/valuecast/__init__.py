"""valuecast: from a shop's raw event log to honest predictions of what each user is worth.

import valuecast as vc

log = vc.EventLog.read("log/")
churn = vc.tasks.churn(days=90, active=180)
base = vc.pretrain(log.before("2011-03-29"), size="small")
model = vc.finetune(base, churn, log.before("2011-09-10"))  # fused with trees and customer-base models
scores = model.predict(log, at="2011-09-10")
print(vc.evaluate(model, log, at="2011-09-10"))
print(vc.explain(model, log, user="17850", at="2011-09-10"))
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from valuecast import tasks as tasks
    from valuecast.config.text import TextModel as TextModel
    from valuecast.errors import ValuecastError as ValuecastError
    from valuecast.evaluation.evaluate import evaluate as evaluate
    from valuecast.evaluation.ladder import climb as climb
    from valuecast.evaluation.readiness.check import check as check
    from valuecast.events.ingest import ingest as ingest
    from valuecast.events.log import EventLog as EventLog
    from valuecast.events.source import Mapping as Mapping
    from valuecast.explanation.explain import explain as explain
    from valuecast.models.backbone import Backbone as Backbone
    from valuecast.models.predictor import Predictor as Predictor
    from valuecast.models.survival import survival as survival
    from valuecast.models.text.backbone import TextBackbone as TextBackbone
    from valuecast.report.blocks import Report as Report
    from valuecast.tasks import Task as Task
    from valuecast.tasks.splits import TimeSplit as TimeSplit
    from valuecast.tasks.splits import UserSplit as UserSplit
    from valuecast.training.finetune import finetune as finetune
    from valuecast.training.finetune import finetune_together as finetune_together
    from valuecast.training.fit import fit as fit
    from valuecast.training.pretrain import pretrain as pretrain
    from valuecast.training.search import search as search

# The root loads nothing until it is asked for, so that `valuecast --help` answers at once.
_HOME = {
    "Backbone": "valuecast.models.backbone",
    "EventLog": "valuecast.events.log",
    "Mapping": "valuecast.events.source",
    "Predictor": "valuecast.models.predictor",
    "Report": "valuecast.report.blocks",
    "Task": "valuecast.tasks",
    "TextBackbone": "valuecast.models.text.backbone",
    "TextModel": "valuecast.config.text",
    "TimeSplit": "valuecast.tasks.splits",
    "UserSplit": "valuecast.tasks.splits",
    "ValuecastError": "valuecast.errors",
    "check": "valuecast.evaluation.readiness.check",
    "climb": "valuecast.evaluation.ladder",
    "evaluate": "valuecast.evaluation.evaluate",
    "explain": "valuecast.explanation.explain",
    "finetune": "valuecast.training.finetune",
    "finetune_together": "valuecast.training.finetune",
    "fit": "valuecast.training.fit",
    "ingest": "valuecast.events.ingest",
    "pretrain": "valuecast.training.pretrain",
    "search": "valuecast.training.search",
    "survival": "valuecast.models.survival",
}
_NEURAL = {"Backbone", "TextBackbone", "finetune", "finetune_together", "pretrain", "search"}
"""Names whose modules import the packages of the extra."""

__all__ = [*_HOME, "tasks"]  # noqa: PLE0604 - the names are texts
__version__ = version("valuecast")


def __getattr__(name: str) -> Any:
    if name == "tasks":
        return import_module("valuecast.tasks")
    if name in _NEURAL:
        import_module("valuecast.models.neural").require(f"valuecast.{name}")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'valuecast' has no attribute '{name}'")
