"""A disk that is full, and folders that two processes write to: a clear message, and nothing half-written counts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import END, done, ingested, lines, refused, write_csv
from valuecast import artifact
from valuecast.errors import ConfigError, ModelError
from valuecast.pipeline import demo, run

pytestmark = pytest.mark.usefixtures("one_thread", "few_resamples")

TASK = "churn(days=20,active=60)"
BEFORE = "2024-09-01"
QUICK = '[optimisation]\nepochs = 1\ntracker = "none"\nbatch_events = 2048\n'


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    file = write_csv(folder / "sales.csv", lines(60))
    ingested(file, folder / "log", "--amount", "amount", "--since", "2024-01-01", "--until", END)
    (folder / "quick.toml").write_text(QUICK)
    done(*command("pretrain", shop=folder, disk=folder).split())
    (folder / "out").rename(folder / "base")
    done(*command("finetune", shop=folder, disk=folder).split())
    (folder / "out").rename(folder / "model")
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for 16 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", place]
    if os.geteuid() or subprocess.run(mounted, check=False, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


COMMANDS = {
    "ingest": "ingest SHOP/sales.csv --user customer --time date --out DISK/out",
    "fit": f"fit recency SHOP/log --task {TASK} --before {BEFORE} --out DISK/out",
    "pretrain": "pretrain SHOP/log --before 2024-05-01 --size tiny --settings SHOP/quick.toml --out DISK/out",
    "finetune": f"finetune SHOP/base SHOP/log --task {TASK} --before {BEFORE} --method frozen "
    "--settings SHOP/quick.toml --out DISK/out",
    "states": f"predict SHOP/model SHOP/log --at {BEFORE} --states DISK/out --out SHOP/scores.csv",
    "csv": f"predict SHOP/model SHOP/log --at {BEFORE} --out DISK/scores.csv",
    "parquet": f"predict SHOP/model SHOP/log --at {BEFORE} --out DISK/scores.parquet",
    "page": f"evaluate SHOP/model --log SHOP/log --at {BEFORE} --out DISK/report.html",
    "simulate": "simulate DISK/out --users 50",
}


def command(name: str, *, shop: Path, disk: Path) -> str:
    return COMMANDS[name].replace("SHOP", str(shop)).replace("DISK", str(disk))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_said_to_be_full(name: str, shop: Path, disk: Path) -> None:
    words = command(name, shop=shop, disk=disk).split()
    room = 8192 if (disk / "out").as_posix() in words else 0  # enough to begin with, not to end; a file has none
    (disk / "ballast").write_bytes(b"0" * (16_384 - room))
    assert "o space left" in refused(*words)
    assert not (disk / "out" / artifact.MANIFEST).exists()
    left = [path for path in disk.iterdir() if path.suffix in (".csv", ".parquet", ".html")]
    assert not [path for path in left if not path.name.startswith(".")]
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    done(*words)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    used = ConfigError("used")
    with (
        artifact.locked(tmp_path, used=used),
        pytest.raises(ConfigError, match="another run is at work in this folder"),
    ):
        run(demo(), out=tmp_path, base=tmp_path, command="", say=print)


def test_two_that_save_to_one_folder(tmp_path: Path) -> None:
    def write(draft: Path) -> None:
        (draft / "mine").write_text("mine")
        artifact.save(
            tmp_path / "out", kind="thing", facts={}, write=lambda other: (other / "x").write_text("x") and None
        )

    artifact.save(tmp_path / "out", kind="thing", facts={}, write=write)  # the last one counts
    assert (tmp_path / "out" / "mine").exists()


def test_an_artifact_that_appears_in_between_is_left_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def late(path: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        artifact.save(tmp_path / "out", kind="thing", facts={"whose": "other"}, write=lambda _: None)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(ModelError, match="another process has written to this folder"):
        artifact.save(tmp_path / "out", kind="thing", facts={"whose": "ours"}, write=lambda _: None)
    assert artifact.load(tmp_path / "out", kind="thing")["whose"] == "other"
