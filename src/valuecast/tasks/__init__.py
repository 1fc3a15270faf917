"""Questions about a user at a moment: labels, eligibility, cutoffs and splits."""

from valuecast.tasks.task import Task, churn, parse, purchase, value

__all__ = ["Task", "churn", "parse", "purchase", "value"]
