# %% [markdown]
# # 6. A backbone, and what it is good for
#
# A sequence model reads events one after the other. It can learn how people shop from events alone, without any label,
# and be fine-tuned for a question afterwards, wholly or in a small part. The shop is simulated and small, so that this
# runs in a minute; everything is the same on a real one, and on a GPU.

# %%
from __future__ import annotations

import polars as pl

import valuecast as vc
from valuecast.config.learning import Architecture, Finetuning, Optimisation, Pretraining
from valuecast.evaluation.outcomes import outcomes
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import simulate
from valuecast.metrics.registry import measured

shop = simulate(Settings(users=600, days=540, seed=6, seasonality=0, campaigns=0, views=1))
log, AT = shop.log, "2024-03-24"
known = log.before(AT)  # three months before the end: everything after it is the test
churn = vc.tasks.churn(days=60, active=180)
split = vc.TimeSplit(every=30, rounds=1)
print(f"{log.count_users():,} users, {log.span}")

# %% [markdown]
# ## Pre-training: what comes next?
# The network is asked what each user does next, what for, how much and when. It is validated on the latest tenth of the
# time, beside a baseline that knows nothing but frequencies. It must not have seen the validation horizon of what is
# fine-tuned later, so it is told to stop earlier.

# %%
small = Pretraining(Architecture(size="tiny", length=64), optimisation=Optimisation(learning_rate=3e-3, tracker="none"))
first = split.choices(churn, known)[0].known  # the first validation cutoff
base = vc.pretrain(known.before(first), settings=small)
foreseen = pl.DataFrame([{"question": name, **found} for name, found in base.facts["validation"].items()])
foreseen

# %% [markdown]
# ## Embeddings
# The state that a user's history leaves in the network is a vector, for whatever you like: look-alikes, clusters, your
# own model.

# %%
base.embed(known, at=AT).head(3)

# %% [markdown]
# ## Fine-tuning
# `frozen` trains a head on those states; `lora` also small additions to the network. Unless a method is named, what
# comes out is `fused`: the best mix of a network whose heads read features too, boosted trees, and customer-base
# models. What counts how much is chosen on validation cutoffs; a small log may well be left to one of them.

# %%
settings = Finetuning(Optimisation(tracker="none"))
models = {
    name: vc.finetune(base, churn, known, method=name, settings=settings, split=split) for name in ("frozen", "lora")
}
models["lightgbm"] = vc.fit("lightgbm", churn, known, split=split)
models["fused"] = vc.finetune(base, churn, known, split=split)
made_of = models["fused"].heads["churn_60d"].facts
print(made_of["settings"]["parts"], {tried["blend"]: round(tried["loss"], 4) for tried in made_of["trials"]})


def tested(model: vc.Predictor) -> dict[str, float]:
    """AUC and log-loss on what happened from AT on."""
    found = outcomes(model, log, AT)
    truth, raw, score = (found[name].to_numpy() for name in ("truth", "raw", "score"))
    return measured("binary", truth, raw=raw, score=score)


rows = [{"model": name, **tested(model)} for name, model in models.items()]
pl.DataFrame(rows).select("model", "auc", "log_loss", "calibration_error")

# %% [markdown]
# With a few hundred users nobody should expect a network alone to win, and what it says is printed all the same.
#
# ## When will they order next?
# Its head is a hazard: one fit gives the chance of silence up to any day, and the date by which half of such users have
# ordered.

# %%
vc.survival(models["lora"], log, at=AT, days=(14, 30, 60)).head(5)
