"""Makes the golden backbone anew: ``python -m tests.training.make_golden``, from the root of the project.

Do so only after a change that is meant to change what a saved backbone says, and say so in the changelog.
"""

from __future__ import annotations

from pathlib import Path

from tests.logs import shop
from valuecast.config.learning import Architecture, Optimisation, Pretraining
from valuecast.events.log import EventLog
from valuecast.training.pretrain import pretrain

GOLDEN = Path(__file__).parent / "golden"
AT = "2020-06-01"
SETTINGS = Pretraining(
    architecture=Architecture("llama", "tiny", 16),
    optimisation=Optimisation(learning_rate=0.005, epochs=3, batch_events=512, tracker="none"),
)


def log() -> EventLog:
    """The log it learns from, and is asked about."""
    return shop(60, 200, seed=1)


if __name__ == "__main__":
    backbone = pretrain(log().before(AT), settings=SETTINGS)
    backbone.save(GOLDEN / "backbone")
    backbone.embed(log(), at=AT).write_parquet(GOLDEN / "embeddings.parquet")
