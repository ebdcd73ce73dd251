"""Folders that are written over: killed at any step, with a full disk, or by two at once, one of the two is there whole."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from modelgraft_adapters import FrozenAdapter
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.saved import folder_swap as placing
from modelgraft_adapters.saved.folder_swap import recover, replace_files
from modelgraft_adapters.saved.writing import OWN_FILES

TEXTS = ["a red rose", "a blue sky", "red wine", "blue sea", "red brick", "blue whale"]


def _adapter(first: str, second: str) -> FrozenAdapter:
    data = read_data(TEXTS, [first, second] * 3, modality="text", task="single-label")
    return FrozenAdapter("embedded/sprig", "prototype", modality="text", device="cpu", n_folds=2).fit(data)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The files of two adapters, as they are saved under one name."""
    found = []
    for names in (("red", "blue"), ("warm", "cold")):
        folder = _adapter(*names).save(tmp_path_factory.mktemp("made") / "colours")
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
    return found[0], found[1]


def _old_folder(at: Path, files: dict[str, bytes]) -> Path:
    """An adapter with things of others in its folder: a file, a link, a run in a folder of its own."""
    folder = at / "colours"
    (folder / "run").mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("mine")
    (folder / "link").symlink_to("nowhere")
    (folder / "run" / "steps.jsonl").write_text("{}\n")
    return folder


def _state(folder: Path) -> dict[str, bytes]:
    """Our files; that those of others are there is looked at here."""
    assert (folder / "notes.txt").read_text() == "mine" and (folder / "run" / "steps.jsonl").read_text() == "{}\n"
    assert os.readlink(folder / "link") == "nowhere"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name in OWN_FILES}


def _killed_at(step: int, work: Callable[[], None]) -> bool:
    """Do the work in a child that ends without a word before its ``step``-th call of the system; whether it came that far."""
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if event.split(".")[0] in ("os", "shutil", "open", "fcntl", "tempfile", "ctypes"):
                seen += 1
                if seen == step:
                    os._exit(9)

        sys.addaudithook(count)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.full
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills by forking")
@pytest.mark.parametrize("exchanges", [True, False], ids=["exchange", "two renames"])
def test_killed_at_any_step_one_of_the_two_is_there(
    exchanges: bool,
    both: tuple[dict[str, bytes], dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``two renames`` is what a disk that cannot exchange names leaves: there, without `recover`, some kill leaves no adapter."""
    old, new = both
    if not exchanges:
        monkeypatch.setattr(placing, "exchange", lambda one, other: False)
    step = gone = 0
    outcomes = []
    while True:
        step += 1
        folder = _old_folder(tmp_path / str(step), old)
        killed = _killed_at(step, lambda: replace_files(folder, new, OWN_FILES))  # noqa: B023
        if not folder.exists():
            gone += 1
            recover(folder)
        assert _state(folder) in (old, new), step
        outcomes.append(_state(folder) == new)
        if step % 20 == 0 or not killed:  # what the next save does: all that is left over is gone
            replace_files(folder, new, OWN_FILES)
            assert _state(folder) == new and os.listdir(folder.parent) == ["colours"]
            assert FrozenAdapter.load(folder, device="cpu").classes_.tolist() == ["cold", "warm"]
        if not killed:
            break
    assert step > 40 and outcomes == sorted(outcomes) and {False, True} == set(outcomes)
    assert gone == 0 if exchanges else gone > 0


def test_an_adapter_whose_writer_was_killed_is_found_by_its_name(
    both: tuple[dict[str, bytes], dict[str, bytes]], tmp_path: Path
) -> None:
    folder = _old_folder(tmp_path, both[0])
    os.rename(folder, tmp_path / ".colours.modelgraft-old")
    assert FrozenAdapter.load(folder, device="cpu").classes_.tolist() == ["blue", "red"]
    assert os.listdir(tmp_path) == ["colours"]


@pytest.mark.parametrize("call", ["fsync", "link", "rename", "chmod", "mkdir"])
def test_a_disk_that_is_full_at_any_step_changes_nothing(
    call: str, both: tuple[dict[str, bytes], dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = getattr(os, call)
    monkeypatch.setattr(placing, "exchange", lambda one, other: False)
    failed = 0
    for step in range(1, 20):
        folder = _old_folder(tmp_path / str(step), both[0])
        calls = 0

        def full(*arguments: object, **more: object) -> object:
            nonlocal calls
            calls += 1
            if calls == step:  # noqa: B023
                raise OSError(28, "No space left on device")
            return plain(*arguments, **more)

        with monkeypatch.context() as patched:
            patched.setattr(os, call, full)
            try:
                replace_files(folder, both[1], OWN_FILES)
            except OSError:
                failed += 1
                assert _state(folder) in both
            else:
                assert _state(folder) == both[1]
        if calls < step:
            break
    assert failed or call == "link"  # without links copies are made
    assert os.listdir(tmp_path / "1") == ["colours"]


def test_two_who_save_at_once_leave_one_whole(both: tuple[dict[str, bytes], dict[str, bytes]], tmp_path: Path) -> None:
    folder = _old_folder(tmp_path, both[0])
    for number, files in enumerate(both):
        (tmp_path / f"given{number}").mkdir()
        for name, content in files.items():
            (tmp_path / f"given{number}" / name).write_bytes(content)
    code = (
        "import sys; from pathlib import Path; from modelgraft_adapters.saved.folder_swap import replace_files\n"
        "files = {path.name: path.read_bytes() for path in Path(sys.argv[1]).iterdir()}\n"
        "for _ in range(25): replace_files(Path(sys.argv[2]), files, set(files))"
    )
    given = [str(tmp_path / f"given{number}") for number in (0, 1, 0)]
    running = [subprocess.Popen([sys.executable, "-c", code, which, str(folder)]) for which in given]
    seen = 0
    while any(process.poll() is None for process in running):
        card = (folder / "modelgraft_adapter.json").read_bytes()
        seen += card in [files["modelgraft_adapter.json"] for files in both]
    assert [process.returncode for process in running] == [0, 0, 0] and seen
    assert _state(folder) in both
    assert sorted(os.listdir(tmp_path)) == ["colours", "given0", "given1"]
