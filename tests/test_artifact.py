"""An artifact is there whole or not at all, and damage is found when it is opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from valuecast import artifact
from valuecast.errors import LogError, ModelError

FACTS = {"name": "x", "numbers": (1, 2.5), "said": "好"}


def write(draft: Path) -> None:
    (draft / "part").mkdir()
    (draft / "part/one.txt").write_text("one")
    (draft / "two.txt").write_text("two")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    artifact.save(tmp_path / "deep/thing", kind="thing", facts=FACTS, write=write)
    return tmp_path / "deep/thing"


def test_what_is_saved_is_loaded(folder: Path) -> None:
    found = artifact.load(folder, kind="thing")
    assert (found["name"], found["numbers"], found["said"]) == ("x", [1, 2.5], "好")
    assert list(found["files"]) == ["part/one.txt", "two.txt"]
    assert found["versions"] == artifact.versions()
    assert found["versions"].keys() >= set(artifact.PACKAGES)
    assert [path.name for path in folder.parent.iterdir()] == ["thing"]


def test_saving_again_replaces_all_of_it(folder: Path) -> None:
    artifact.save(folder, kind="thing", facts={"name": "y"}, write=lambda draft: (draft / "b").touch())
    assert {path.name for path in folder.iterdir()} == {"b", "manifest.json"}
    assert artifact.load(folder, kind="thing")["name"] == "y"


def test_a_failure_while_writing_leaves_what_was_there(folder: Path) -> None:
    def fail(draft: Path) -> None:
        (draft / "two.txt").write_text("half")
        raise RuntimeError("out of breath")

    with pytest.raises(RuntimeError, match="out of breath"):
        artifact.save(folder, kind="thing", facts={}, write=fail)
    assert artifact.load(folder, kind="thing")["name"] == "x"
    assert (folder / "two.txt").read_text() == "two"
    with pytest.raises(ValueError, match="JSON compliant"):  # what is no number is not written as one
        artifact.save(folder, kind="thing", facts={"loss": float("nan")}, write=write)
    assert artifact.load(folder, kind="thing")["name"] == "x"
    with pytest.raises(RuntimeError):
        artifact.save(folder.parent / "new", kind="thing", facts={}, write=fail)
    assert [path.name for path in folder.parent.iterdir()] == ["thing"]


def test_something_else_is_never_overwritten(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("a file")
    for place, said in ((mine, "something else than a thing"), (tmp_path / "file", "this is a file")):
        with pytest.raises(ModelError, match=said):
            artifact.save(place, kind="thing", facts={}, write=write)
    with pytest.raises(ModelError, match="this folder holds a thing"):
        artifact.save(folder, kind="other thing", facts={}, write=write)
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert (tmp_path / "file").read_text() == "a file"
    assert artifact.load(folder, kind="thing")["name"] == "x"


def test_over_an_empty_folder_and_over_a_damaged_artifact(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (folder / "two.txt").unlink()
    for place in (tmp_path / "empty", folder):
        artifact.save(place, kind="thing", facts=FACTS, write=write)
        assert artifact.load(place, kind="thing")["name"] == "x"


def test_damage_is_found(folder: Path) -> None:
    file = folder / "part/one.txt"
    for text in ("on", "two", "one "):  # shorter, as long, longer
        file.write_text(text)
        with pytest.raises(ModelError, match=r"thing: the file part/one.txt is damaged or was changed. Make the thing"):
            artifact.load(folder, kind="thing")
    file.unlink()
    with pytest.raises(ModelError, match=r"the file part/one.txt is missing"):
        artifact.load(folder, kind="thing")


def test_a_file_too_large_to_digest_at_each_opening_is_known_by_its_size(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact, "_HASHED_UP_TO", 2)
    artifact.save(folder, kind="thing", facts={}, write=write)
    (folder / "two.txt").write_text("2wo")
    artifact.load(folder, kind="thing")
    (folder / "two.txt").write_text("tw")
    with pytest.raises(ModelError, match=r"two.txt is damaged"):
        artifact.load(folder, kind="thing")


def test_a_file_that_the_manifest_does_not_list_is_not_part_of_it(folder: Path) -> None:
    (folder / "note.txt").write_text("by me")
    assert "note.txt" not in artifact.load(folder, kind="thing")["files"]


@pytest.mark.parametrize("key", ["name", "numbers", "versions"])
def test_an_edited_manifest_is_found(folder: Path, key: str) -> None:
    manifest = folder / "manifest.json"
    found = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps(found))  # written another way, it says the same
    artifact.load(folder, kind="thing")
    found[key] = "edited"
    manifest.write_text(json.dumps(found))
    with pytest.raises(ModelError, match=r"thing: manifest.json was changed"):
        artifact.load(folder, kind="thing")
    del found["seal"]
    manifest.write_text(json.dumps(found))
    with pytest.raises(ModelError, match=r"manifest.json was changed"):
        artifact.load(folder, kind="thing")


def test_a_manifest_that_cannot_be_read(folder: Path) -> None:
    manifest = folder / "manifest.json"
    whole = manifest.read_text(encoding="utf-8")
    for text in ("", whole[:50], "[]", "{}", "\x00"):
        manifest.write_text(text)
        with pytest.raises(ModelError, match=r"manifest.json is damaged"):
            artifact.load(folder, kind="thing")
    manifest.write_text(whole.replace(f'"format": {artifact.FORMAT}', '"format": 0'))
    with pytest.raises(ModelError, match="format 0 is not understood"):
        artifact.load(folder, kind="thing")
    manifest.unlink()
    with pytest.raises(ModelError, match=r"not a thing: it has no manifest.json"):
        artifact.load(folder, kind="thing")


def test_the_wrong_folder_is_named_in_the_callers_kind_of_error(folder: Path) -> None:
    with pytest.raises(LogError, match=r"this folder holds a thing. Give the path of an event log"):
        artifact.load(folder, kind="event log", error=LogError)
    with pytest.raises(LogError, match="no such thing folder"):
        artifact.load(folder / "none", kind="thing", error=LogError)
    with pytest.raises(ModelError, match="this is a file, not the folder of a thing"):
        artifact.load(folder / "two.txt", kind="thing")


def test_the_digest_of_the_code_is_that_of_every_module() -> None:
    assert len(artifact.code_digest()) == 64
    assert artifact.code_digest() == artifact.code_digest()


def test_a_lock_makes_its_folder_and_leaves_none_that_is_empty(tmp_path: Path) -> None:
    folder, used = tmp_path / "runs/first", RuntimeError("in use")
    with artifact.locked(folder, used=used):
        assert folder.exists()
        with pytest.raises(RuntimeError, match="in use"), artifact.locked(folder, used=used):
            pass
    assert not (tmp_path / "runs").exists()
    with artifact.locked(folder, used=used):
        (folder / "kept").touch()
    with artifact.locked(folder, used=used):
        (folder / "kept").unlink()
    assert folder.exists()  # it was there before
