"""The examples run, and what the README promises is so: commands, code, mapping, tasks, files and links."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import numpy as np
import pytest
import typer

from tests.commands import done, quick_trees, write_csv
from valuecast import tasks
from valuecast.cli.main import app
from valuecast.events.source import Mapping
from valuecast.models.registry import ADAPTATIONS, BASELINES, FUSIONS, TEXTS

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
READMES = [ENGLISH, CHINESE]
PAGES = sorted(ROOT.glob("*.md"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NOTEBOOKS = ROOT / "examples" / "notebooks"
NUMBERED = [path for path in EXAMPLES if path.name[0].isdigit()]
LONG = {"06_sequence_model", "07_user_churn", "08_why"}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE_PATH = re.compile(r"`((?:[\w.-]+/)*[\w.-]+\.(?:py|md|lark|txt)|[\w./-]+/[\w.-]+\.toml)`")
COMMANDS = typer.main.get_command(app)
NUMBER = re.compile(r"[-+]?\d[\d.,]*")
ABSOLUTE = re.compile(r"(?<![\w.<])/(?:home|mnt|opt|private|root|tmp|usr|Users|var|work)/|\b[A-Z]:\\")


def named(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.name)


def blocks(path: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(path.read_text(encoding="utf-8")) if kind == language]


def commands(path: Path) -> list[list[str]]:
    """Every command of a page, from its shell blocks and from code inside its text, as a shell splits it."""
    text = path.read_text(encoding="utf-8")
    shell = "\n".join(blocks(path, "bash")).replace("\\\n", " ").splitlines()
    prose = re.findall(r"`((?:valuecast|python|make) [^`]+)`", BLOCK.sub("", text))
    words = [shlex.split(line, comments=True) for line in [*shell, *prose]]
    return [each for each in words if each]


def valuecast_commands(path: Path) -> list[list[str]]:
    return [words[1:] for words in commands(path) if words[0] == "valuecast" and not words[1].startswith("-")]


def walkthrough(path: Path, *, start: str = "ingest") -> list[list[str]]:
    """The commands from a file of three columns to scores: the shell block that starts with a command."""
    block = next(text for text in blocks(path, "bash") if text.startswith(f"valuecast {start}"))
    return [shlex.split(line)[1:] for line in block.replace("\\\n", " ").splitlines()]


def without_language(words: list[str]) -> list[str]:
    return words[: words.index("--lang")] if "--lang" in words else words


def sales(path: Path) -> Path:
    """The file that the README speaks of: a year and a half until the end of June 2024."""
    draw = np.random.default_rng(0)
    first, days = np.datetime64("2023-01-01"), 547
    found = []
    for customer in range(150):
        day, gap, leaving = draw.uniform(0, days * 0.7), 10 / draw.gamma(1), draw.beta(0.8, 4)
        while day < days:
            year, month, of_month = str(first + np.timedelta64(int(day), "D")).split("-")
            found.append((f"c{customer}", f"{of_month}/{month}/{year}", f"{draw.gamma(2, 10):.2f}"))
            day += draw.exponential(gap) if draw.uniform() > leaving else days
    return write_csv(path, found)


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", path.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


# ---- examples


def notebook(script: Path) -> Any:
    return nbformat.read(NOTEBOOKS / f"{script.stem}.ipynb", as_version=4)


def outputs(found: Any) -> list[Any]:
    return [output for cell in found.cells for output in cell.get("outputs", ())]


def printed(found: Any) -> str:
    return "".join(output.text for output in outputs(found) if output.output_type == "stream")


def without_numbers(text: str) -> list[str]:
    """The words of a text: another processor may round a last digit otherwise."""
    return NUMBER.sub("#", text).split()


@named(sorted((ROOT / "benchmarks").glob("*.py")))
def test_what_a_benchmark_uses_of_the_package_is_there(path: Path) -> None:
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("valuecast"):
            module = importlib.import_module(statement.module or "")
            absent = [each.name for each in statement.names if not hasattr(module, each.name)]
            assert not [name for name in absent if not importlib.util.find_spec(f"{module.__name__}.{name}")]


def test_every_numbered_example_has_a_notebook() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {path.stem for path in NUMBERED}
    assert [path.name[:2] for path in NUMBERED] == [f"{number:02}" for number in range(1, len(NUMBERED) + 1)]


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.name, marks=[pytest.mark.slow] * (path.stem in LONG)) for path in EXAMPLES]
)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, path], cwd=tmp_path, capture_output=True, text=True, check=False)
    if ran.returncode == 2 and "is not installed" in ran.stderr:
        pytest.skip(ran.stderr.strip())
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr
    assert ran.stdout
    assert not list(tmp_path.iterdir())  # an example leaves nothing behind
    if path in NUMBERED:  # else `make notebooks` was forgotten
        assert without_numbers(ran.stdout) == without_numbers(printed(notebook(path)))


@named(NUMBERED)
def test_a_notebook_has_the_code_and_the_text_of_its_script(path: Path) -> None:
    cells = [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]
    assert [(cell.cell_type, cell.source) for cell in notebook(path).cells] == cells


@named(NUMBERED)
def test_a_notebook_was_executed_and_shows_no_error_and_no_path_of_a_machine(path: Path) -> None:
    found = notebook(path)
    code = [cell for cell in found.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert {output.output_type for output in outputs(found)} == {"stream", "execute_result"}
    assert not [output for output in outputs(found) if output.get("name") == "stderr"]
    shown = [printed(found), *(text for output in outputs(found) for text in output.get("data", {}).values())]
    assert not [match for text in shown for match in ABSOLUTE.findall(text)]
    assert (NOTEBOOKS / f"{path.stem}.ipynb").stat().st_size < 300_000


@pytest.mark.slow
def test_a_notebook_can_be_rendered_again() -> None:
    path = NUMBERED[1]  # what the others print is compared when they run
    spec = importlib.util.spec_from_file_location("render", NOTEBOOKS / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    again, kept = module.render(path), notebook(path)
    assert without_numbers(printed(again)) == without_numbers(printed(kept))
    assert [list(each.get("data", {})) for each in outputs(again)] == [
        list(each.get("data", {})) for each in outputs(kept)
    ]


# ---- what can be run as it stands


def test_the_walkthrough_of_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sales(tmp_path / "sales.csv")
    python, _ = blocks(ENGLISH, "python")  # the other is about Spark: tests/test_engines.py
    with quick_trees():
        for words in walkthrough(ENGLISH):
            done(*words)
        exec(compile(python, str(ENGLISH), "exec"), {})
    header = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "user,at,target,score,low,high,tier"
    for words in walkthrough(ENGLISH, start="explain"):
        done(*words)
    assert "reason_3_zh" in (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "In short" in (tmp_path / "why.html").read_text(encoding="utf-8")
    for path in READMES:
        assert f"`{header.replace(',', ', ')}`" in path.read_text(encoding="utf-8")
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")
    with quick_trees():
        done("run", shutil.copy(ROOT / "recipes" / "your_log.toml", tmp_path))
    made = tmp_path / "runs" / "your_log"
    assert {path.name for path in made.iterdir()} >= {"report.html", "report.zh.html", "first.csv", "scores.csv"}


@pytest.mark.slow
def test_the_sequence_models_of_the_readme_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.chdir(tmp_path)
    sales(tmp_path / "sales.csv")
    done(*walkthrough(ENGLISH)[0])
    for words in walkthrough(ENGLISH, start="pretrain"):
        quick = {"10": "2"} if words[0] == "search" else {}
        done(*(quick.get(word, word) for word in words))
    header = (tmp_path / "when.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "user,at,none_by_14d,none_by_30d,median_date,expected_days"


@named(READMES)
def test_the_mapping_of_the_readme_is_understood(path: Path, tmp_path: Path) -> None:
    (text,) = blocks(path, "toml")
    mapping = Mapping.parse(tomllib.loads(text), base=tmp_path, where=path.name)
    assert len(mapping.sources) == 2
    assert mapping.items is not None
    assert mapping.users is not None


@named(READMES)
def test_the_tasks_of_the_readme_parse(path: Path) -> None:
    (text,) = blocks(path, "text")
    asked = [re.split(r"\s{3,}", line)[0] for line in text.splitlines()]
    assert len({str(tasks.parse(each)) for each in asked}) == len(asked) > 3


# ---- commands


def test_there_are_commands() -> None:
    told = {words[0] for path in READMES for words in valuecast_commands(path)}
    assert told == set(COMMANDS.commands)  # type: ignore[attr-defined]


@named([path for path in PAGES if valuecast_commands(path)])
def test_every_command_is_known_to_the_command_line(path: Path) -> None:
    for name, *words in valuecast_commands(path):
        command = COMMANDS.commands[name]  # type: ignore[attr-defined]
        if any(not word.isupper() for word in words):  # prose may name a command, or stand in for what it takes
            command.make_context(name, list(words))


@named(PAGES)
def test_files_that_commands_name_exist(path: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for program, *words in commands(path):
        if program == "make":
            assert words[0] in targets
        for word in words:
            if word.startswith(("recipes/", "examples/", "benchmarks/")):
                assert (ROOT / word).is_file(), word


def test_both_readmes_say_the_same() -> None:
    english, chinese = (commands(path) for path in READMES)
    assert [without_language(words) for words in english] == [without_language(words) for words in chinese]
    assert figures(ENGLISH) == figures(CHINESE)
    assert tomllib.loads(blocks(ENGLISH, "toml")[0]) == tomllib.loads(blocks(CHINESE, "toml")[0])
    tasks_told = [re.findall(r"^\S.*?(?=\s{3}|$)", blocks(path, "text")[0], flags=re.MULTILINE) for path in READMES]
    assert tasks_told[0] == tasks_told[1]


def figures(path: Path) -> list[str]:
    """The numbers in the tables of a page, in order."""
    rows = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return [number for row in rows for number in re.findall(r"-?[\d,]*\.?\d+%?", row)]


@named(READMES)
def test_the_readme_lists_the_methods(path: Path) -> None:
    told = re.findall(r"^\| `([\w-]+)` \|", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    every = [*BASELINES, *ADAPTATIONS, *FUSIONS]
    assert told[: len(every)] == every  # what they are
    assert {*BASELINES, *ADAPTATIONS} <= set(told[len(every) :]) <= {*every, *TEXTS}  # how they did


# ---- files and links


@named([*PAGES, ROOT / "benchmarks" / "README.md"])
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        page = (path.parent / target) if target else path
        assert page.exists(), link
        assert not anchor or anchor in anchors(page), link


def paths_told() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        yield from ((page.name, found) for found in CODE_PATH.findall(page.read_text(encoding="utf-8")))


def test_files_that_the_pages_name_exist() -> None:
    told = list(paths_told())
    assert len(told) > 10
    roots = (ROOT, ROOT / "src" / "valuecast")
    missing = [(page, path) for page, path in told if not any((root / path).is_file() for root in roots)]
    assert not missing
