"""valuecast: from a shop's raw event log to honest predictions of what each user is worth.

import valuecast as vc

log = vc.EventLog.read("log/")
churn = vc.tasks.churn(days=90, active=180)
model = vc.fit("lightgbm", churn, log.before("2011-09-10"))
scores = model.predict(log, at="2011-09-10")
print(vc.evaluate(model, log, at="2011-09-10"))
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from valuecast import tasks as tasks
    from valuecast.errors import ValuecastError as ValuecastError
    from valuecast.evaluation.evaluate import evaluate as evaluate
    from valuecast.evaluation.ladder import climb as climb
    from valuecast.evaluation.readiness.check import check as check
    from valuecast.events.ingest import ingest as ingest
    from valuecast.events.log import EventLog as EventLog
    from valuecast.events.source import Mapping as Mapping
    from valuecast.models.predictor import Predictor as Predictor
    from valuecast.report.blocks import Report as Report
    from valuecast.tasks import Task as Task
    from valuecast.tasks.splits import TimeSplit as TimeSplit
    from valuecast.tasks.splits import UserSplit as UserSplit
    from valuecast.training.fit import fit as fit

# The root loads nothing until it is asked for, so that `valuecast --help` answers at once.
_HOME = {
    "EventLog": "valuecast.events.log",
    "Mapping": "valuecast.events.source",
    "Predictor": "valuecast.models.predictor",
    "Report": "valuecast.report.blocks",
    "Task": "valuecast.tasks",
    "TimeSplit": "valuecast.tasks.splits",
    "UserSplit": "valuecast.tasks.splits",
    "ValuecastError": "valuecast.errors",
    "check": "valuecast.evaluation.readiness.check",
    "climb": "valuecast.evaluation.ladder",
    "evaluate": "valuecast.evaluation.evaluate",
    "fit": "valuecast.training.fit",
    "ingest": "valuecast.events.ingest",
}

__all__ = [*_HOME, "tasks"]  # noqa: PLE0604 - the names are texts
__version__ = version("valuecast")


def __getattr__(name: str) -> Any:
    if name == "tasks":
        return import_module("valuecast.tasks")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'valuecast' has no attribute '{name}'")
