"""``valuecast pretrain`` of several shops, and ``finetune`` on another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands import END, done, ingested, lines, refused, write_csv

TASK = "churn(days=20, active=60)"
QUICK = "[optimisation]\nepochs = 1\ntracker = 'none'\n"

pytestmark = pytest.mark.usefixtures("one_thread", "few_resamples")


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three logs: the lines of the second and the third one have a field of their own."""
    folder = tmp_path_factory.mktemp("shops")
    for number, field in enumerate(("", "colour", "size")):
        sold = enumerate(lines(30, seed=number))
        rows: list[tuple[str, ...]] = [(*row, ("red", "blue")[line % 2]) if field else row for line, row in sold]
        header = ",".join(["customer", "date", "amount", *([field] if field else [])])
        file = write_csv(folder / f"sales{number}.csv", rows, header)
        more = ("--field", field) if field else ()
        ingested(file, folder / f"log{number}", "--amount", "amount", "--since", "2024-01-01", "--until", END, *more)
    (folder / "quick.toml").write_text(QUICK)
    return folder


def pretrain(shops: Path, out: Path, *logs: str, before: tuple[str, ...] = ("2024-05-01",)) -> tuple[str | Path, ...]:
    moments = [part for moment in before for part in ("--before", moment)]
    return (
        *("pretrain", *(shops / log for log in logs), *moments, "--out", out),
        *("--size", "tiny", "--trunk", "gru", "--settings", shops / "quick.toml"),
    )


def finetune(shops: Path, base: Path, log: str, out: Path, *, before: str = "2024-09-01") -> tuple[str | Path, ...]:
    asked = ("finetune", base, shops / log, "--task", TASK, "--before", before, "--every", "30", "--method", "frozen")
    return (*asked, "--settings", shops / "quick.toml", "--out", out)


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())["facts"]
    return found


def test_several_shops_pretrain_for_another(shops: Path, tmp_path: Path) -> None:
    asked = pretrain(shops, tmp_path / "base", "log0", "log1", before=("2024-05-01", "2024-04-01"))
    ran = done(*asked)
    assert ran.out.endswith(f"wrote {tmp_path / 'base'}, pre-trained on what happened before 2024-05-01, 2024-04-01\n")
    told = facts(tmp_path / "base")["shops"]
    assert [each["span"] for each in told] == ["2024-01-01 to 2024-05-01", "2024-01-01 to 2024-04-01"]
    assert [each["left_out"] for each in told] == [[], ["colour"]]
    assert "epoch 1 of 1 done" not in done(*asked).err  # a run that is over is not repeated
    done(*finetune(shops, tmp_path / "base", "log2", tmp_path / "model"))
    assert facts(tmp_path / "model")["backbone"]["before"] is None
    scored = done("predict", tmp_path / "model", shops / "log2", "--at", "2024-09-01", "--out", tmp_path / "scores.csv")
    assert "wrote" in scored.out
    message = refused(*finetune(shops, tmp_path / "base", "log0", tmp_path / "late", before="2024-06-01"))
    assert "the backbone was pre-trained on what happened before 2024-05-01" in message


def test_one_moment_is_for_all_and_their_number_is_checked(shops: Path, tmp_path: Path) -> None:
    done(*pretrain(shops, tmp_path / "base", "log0", "log1"))
    spans = [each["span"] for each in facts(tmp_path / "base")["shops"]]
    assert spans == ["2024-01-01 to 2024-05-01"] * 2
    wrong = pretrain(shops, tmp_path / "other", "log0", "log1", before=("2024-05-01",) * 3)
    assert "--before: 3 moments for 2 logs" in refused(*wrong)
    assert "--before: the log is known only until" in refused(
        *pretrain(shops, tmp_path / "other", "log0", "log1", before=("2024-05-01", "2025-05-01"))
    )
    assert "a log is given twice" in refused(*pretrain(shops, tmp_path / "other", "log0", "log0"))
    assert not (tmp_path / "other").exists()


def test_one_shop_is_read_in_common_where_asked(shops: Path, tmp_path: Path) -> None:
    done(*pretrain(shops, tmp_path / "own", "log1"))
    message = refused(*finetune(shops, tmp_path / "own", "log2", tmp_path / "model"))
    assert "no column 'colour'" in message
    assert "with --common" in message
    done(*pretrain(shops, tmp_path / "base", "log1"), "--common")
    done(*finetune(shops, tmp_path / "base", "log2", tmp_path / "model"))
