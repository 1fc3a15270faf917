"""Render the numbered examples as notebooks, executed: ``make notebooks``.

A notebook holds what its script holds, and what that printed and showed; nothing of it depends on when or where it was
made, so that rendering twice leaves no difference to commit.

    python examples/notebooks/render.py            # all
    python examples/notebooks/render.py 03 04      # those whose names begin so
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def render(script: Path) -> nbformat.NotebookNode:
    """Execute a script cell by cell, as a notebook."""
    notebook = jupytext.read(script)
    notebook.metadata = nbformat.from_dict(METADATA)
    # It tells of a widget that is not installed, and where its own file lies.
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=300, record_timing=False, coalesce_streams=True, resources=resources).execute()
    notebook.metadata = nbformat.from_dict(METADATA)  # without the version of Python
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number:02}", nbformat.from_dict({})
        for output in cell.get("outputs", ()):
            if "text/html" in output.get("data", {}):
                output.data.pop("text/plain", None)  # it says the same at length
    return notebook


def main(wanted: list[str]) -> None:
    """Render those whose names begin with one of ``wanted``, or all."""
    for script in sorted(HERE.parent.glob("[0-9][0-9]_*.py")):
        if not wanted or script.name.startswith(tuple(wanted)):
            path = HERE / f"{script.stem}.ipynb"
            nbformat.write(render(script), path)
            print(f"wrote {path.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main(sys.argv[1:])
