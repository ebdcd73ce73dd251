"""``modelgraft doctor``: what it finds wrong is really wrong here, in environments broken on purpose."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modelgraft import doctor
from modelgraft.doctor import child, hub, project, storage, torch_checks, versions
from modelgraft.doctor.row import Row, clean, size
from modelgraft.project import lockfile
from modelgraft.resolution import Resolution
from packaging.requirements import Requirement

from tests.conftest import ROOT, Run
from tests.hub_standin import HubStandIn

Rows = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubStandIn]:
    root = tmp_path_factory.mktemp("hub")
    (root / hub.REPO).mkdir(parents=True)
    (root / hub.REPO / "config.json").write_text("{}")
    with HubStandIn(root) as server:
        yield server


def _by_check(text: str) -> Rows:
    return {row["check"]: row for row in json.loads(text)}


# The whole


@pytest.mark.full
def test_json_is_the_contract_and_the_table_says_the_same(run: Run, standin: HubStandIn, tmp_path: Path) -> None:
    environment = {**standin.environment(tmp_path / "home"), "HF_TOKEN": "hf_verysecretverysecret"}
    started = time.monotonic()
    done = run("doctor", "--format", "json", env=environment, cwd=tmp_path)
    assert time.monotonic() - started < 60
    assert done.returncode == 0 and done.stderr == "", done
    listed = json.loads(done.stdout)
    assert all(row.keys() == {"check", "status", "detail", "cure"} for row in listed)
    assert {row["status"] for row in listed} <= {"ok", "warn", "skip"}
    rows = _by_check(done.stdout)
    wanted = {
        "python",
        "modelgraft",
        *versions.NEEDED,
        "torch import",
        "device",
        "torchvision match",
        "hub",
        "hub token",
    }
    wanted |= {
        "hub cache",
        "hub cache writable",
        "hub cache disk",
        "modelgraft cache",
        "plugins",
        "lock file",
        "aliases",
    }
    assert rows.keys() >= wanted
    assert rows["hub"]["status"] == "ok" and standin.endpoint in rows["hub"]["detail"]
    assert "HF_TOKEN" in rows["hub token"]["detail"] and "secret" not in done.stdout
    assert rows["lock file"]["status"] == rows["aliases"]["status"] == "skip"
    table = run("doctor", env=environment, cwd=tmp_path)
    assert table.returncode == 0 and "secret" not in table.stdout + table.stderr
    assert [line.split()[1] for line in table.stdout.splitlines() if not line.startswith("    ")] == [
        row["check"].split()[0] for row in listed
    ]


@pytest.mark.full
def test_a_failing_check_is_exit_code_1_and_the_rest_still_runs(run: Run, tmp_path: Path) -> None:
    (tmp_path / "modelgraft.lock").write_text("{")
    done = run("doctor", "--format", "json", env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}, cwd=tmp_path)
    rows = _by_check(done.stdout)
    assert done.returncode == 1 and rows["lock file"]["status"] == "fail" and rows["lock file"]["cure"]
    assert rows["hub"]["status"] == "skip" and "HF_HUB_OFFLINE" in rows["hub"]["detail"]
    assert rows["torch import"]["status"] == "ok"
    assert run("doctor", "--format", "xml").returncode == 2


def test_a_check_that_breaks_is_a_row() -> None:
    def exits() -> list[Row]:
        sys.exit(3)

    def breaks() -> Iterator[Row]:
        yield Row("a", "ok", "fine")
        raise RuntimeError("with https://me:password@example.org\nand hf_abcdefghijklmnop")

    rows = doctor.examine({"exits": exits, "breaks": breaks, "works": lambda: [Row("works", "ok", "")]})
    assert [(row.check, row.status) for row in rows] == [("exits", "fail"), ("breaks", "fail"), ("works", "ok")]
    assert "password" not in rows[1].detail and "hf_abc" not in rows[1].detail and "\n" not in rows[1].detail


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from modelgraft import doctor; doctor.checks()\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & {'torch', 'numpy', 'huggingface_hub', 'timm'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_small_helpers() -> None:
    assert clean("a\nb https://u:p@h/x hf_1234567890") == "a b https://***@h/x hf_***"
    assert [size(n) for n in (0, 999, 21_788_880, 5e12, 3e16)] == ["0 B", "999 B", "21.8 MB", "5.0 TB", "30000.0 TB"]
    with pytest.raises(ValueError, match="status"):
        Row("x", "good", "")


# Child processes


def test_a_child_that_hangs_crashes_or_prints() -> None:
    started = time.monotonic()
    hanging = child.run("say(a=1)\nimport time; time.sleep(60)", 1.5)
    assert hanging.facts == {"a": 1} and hanging.died == "no answer in 1.5 s" and time.monotonic() - started < 10
    assert child.run("say(a=1)\nimport os; os.kill(os.getpid(), 11)", 20).died == "killed by signal 11"
    failed = child.run("print('noise')\nraise ValueError('why')", 20)
    assert failed.facts == {} and failed.died == "ValueError: why"
    assert child.run("say(a='é')", 20) == child.Answer({"a": "é"}, None, "")


# torch and torchvision


def _on_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.syspath_prepend(str(folder))  # children get this process's sys.path


def _rows(found: Iterator[Row]) -> dict[str, Row]:
    return {row.check: row for row in found}


@pytest.mark.full
def test_torch_works_here() -> None:
    rows = _rows(torch_checks.rows())
    assert {row.status for row in rows.values()} <= {"ok", "warn"}
    assert rows["torchvision match"].status == "ok"


BROKEN_TORCHVISION = """\
import torch
__version__ = "0.1.0"
# What the real one does while it is imported: a fake kernel for an operator that its C++ library should have defined.
@torch.library.register_fake("torchvision::nms")
def meta_nms(dets, scores, threshold): ...
"""


def test_torchvision_made_for_another_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(BROKEN_TORCHVISION)
    _on_path(monkeypatch, tmp_path)
    rows = _rows(torch_checks.rows())
    assert rows["torch import"].status == "ok"
    row = rows["torchvision match"]
    assert row.status == "fail" and "operator torchvision::nms does not exist" in row.detail
    assert "do not belong together" in row.detail and row.cure == "pip install --force-reinstall torch torchvision"


def test_torchvision_without_its_compiled_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real torchvision with its C++ library taken out: what a half-finished upgrade leaves."""
    import torchvision

    source = Path(str(torchvision.__file__)).parent
    copy = tmp_path / "torchvision"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    _on_path(monkeypatch, tmp_path)
    row = _rows(torch_checks.rows())["torchvision match"]
    assert row.status == "fail" and "do not belong together" in row.detail and row.cure == torch_checks.CURE


def test_torchvision_that_crashes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text("import os; os.kill(os.getpid(), 11)")
    _on_path(monkeypatch, tmp_path)
    rows = _rows(torch_checks.rows())
    assert rows["torch import"].status == "ok" and rows["device"].status in ("ok", "warn")
    assert rows["torchvision match"].status == "fail" and "signal 11" in rows["torchvision match"].detail


def test_torch_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')")
    _on_path(monkeypatch, tmp_path)
    (row,) = torch_checks.rows()
    assert row.status == "fail" and "libcudart.so.13" in row.detail and row.cure


def test_device_rows() -> None:
    facts: dict[str, Any] = {"torch": "2", "cuda_build": "13.0", "memory": 16e9, "nvidia": False, "computed": 512.0}
    gpu = ["cuda:0", "NVIDIA H100", 70e9, 80e9]
    assert torch_checks.device_row({**facts, "devices": []}).status == "ok"
    assert "70.0 GB of 80.0 GB free" in torch_checks.device_row({**facts, "devices": [gpu]}).detail
    hidden = torch_checks.device_row({**facts, "devices": [], "nvidia": True})
    assert hidden.status == "warn" and "driver" in hidden.detail
    del facts["computed"]
    broken = torch_checks.device_row({**facts, "devices": [gpu]}, "RuntimeError: no kernel image")
    assert broken.status == "fail" and "no kernel image" in broken.detail
    assert torch_checks.device_row({"torch": "2", "cuda_build": None}, "killed").status == "fail"


# Versions


def _distribution(folder: Path, name: str, version: str, module: str | None) -> None:
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if module:
        (folder / f"{module}.py").touch()


@pytest.mark.parametrize(
    ("version", "module", "status", "said"),
    [
        ("2.0", "mg_fake", "ok", "2.0"),
        ("1.0", "mg_fake", "fail", "modelgraft needs mg-fake>=1.5"),
        ("2.0", None, "fail", "its module mg_fake is gone"),
        ("rubbish", "mg_fake", "warn", "is no version"),
        (None, None, "fail", "not installed"),
    ],
)
def test_versions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str | None, module: str | None, status: str, said: str
) -> None:
    if version:
        _distribution(tmp_path, "mg-fake", version, module)
    _on_path(monkeypatch, tmp_path)
    row = versions.library("mg-fake", "mg_fake", Requirement("mg-fake>=1.5"))
    assert row.status == status and said in row.detail and (row.cure is None) == (status == "ok")


def test_the_installed_requirements_are_read() -> None:
    bounds = versions.requirements()
    assert {"torch", "timm", "huggingface-hub"} <= bounds.keys() and "pytest" not in bounds


# The hub


@pytest.fixture
def at(standin: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubStandIn:
    for name, value in standin.environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    return standin


def test_a_hub_that_answers(at: HubStandIn) -> None:
    before = len(at.requests)
    rows = _rows(hub.rows())
    assert rows["hub"].status == "ok" and rows["hub token"].detail.startswith("none")
    assert len(at.requests) == before + 1


def test_a_mirror_without_that_model(at: HubStandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with HubStandIn(tmp_path / "empty") as empty:
        monkeypatch.setenv("HF_ENDPOINT", empty.endpoint)
        assert _rows(hub.rows())["hub"].status == "ok"


def test_a_hub_that_is_down(at: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://me:password@127.0.0.1:{port}")
    monkeypatch.setenv("HF_TOKEN", "hf_verysecretverysecret")
    rows = _rows(hub.rows())
    row = rows["hub"]
    assert row.status == "fail" and "cannot be reached" in row.detail and "HF_HUB_OFFLINE" in str(row.cure)
    assert "password" not in str(rows) and "secret" not in str(rows)


@pytest.mark.full
def test_a_hub_that_never_answers(at: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        row = _rows(hub.rows())["hub"]
    assert row.status == "fail" and "does not answer in 5 s" in row.detail


@pytest.mark.parametrize(
    ("kind", "token", "status", "said"),
    [
        ("401", "hf_verysecretverysecret", "fail", "refuses the token from HF_TOKEN"),
        ("401", "", "ok", "answers"),
        ("gated", "hf_verysecretverysecret", "ok", "answers"),
        ("throttled", "", "warn", "too many requests (429)"),
        ("503", "", "fail", "answers with an error (503)"),
        ("redirect", "", "fail", "gave no usable answer"),
    ],
)
def test_what_a_hub_can_answer(
    at: HubStandIn, monkeypatch: pytest.MonkeyPatch, kind: str, token: str, status: str, said: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    at.fault("*", kind)
    try:
        rows = _rows(hub.rows())
    finally:
        at.mend()
    row = rows["hub"]
    assert row.status == status and said in row.detail and (row.cure is None) == (status == "ok"), row
    assert "secret" not in str(rows)


def test_a_hub_client_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "huggingface_hub.py").write_text("raise ImportError('half an upgrade')")
    _on_path(monkeypatch, tmp_path)
    (row,) = hub.rows()
    assert row.status == "fail" and "half an upgrade" in row.detail and "force-reinstall" in str(row.cure)
    assert [r.status for r in storage.hub_cache_rows()] == ["skip"]


# Caches


def test_what_lies_in_a_cache(tmp_path: Path) -> None:
    repo = tmp_path / "models--org--name"
    (repo / "blobs").mkdir(parents=True)
    (repo / "snapshots" / "1").mkdir(parents=True)
    (repo / "blobs" / "a").write_bytes(b"x" * 1000)
    (repo / "snapshots" / "1" / "good").symlink_to("../../blobs/a")
    fresh = repo / "blobs" / "b.incomplete"
    fresh.write_bytes(b"x" * 10)
    row = storage.content_row("hub cache", tmp_path)
    assert row.status == "ok" and row.detail.startswith("1.0 kB in 2 files")
    os.utime(fresh, (0, 0))
    (repo / "snapshots" / "1" / "bad").symlink_to("../../blobs/gone")
    row = storage.content_row("hub cache", tmp_path)
    assert row.status == "warn" and "1 links lead nowhere (org/name)" in row.detail
    assert "1 download left incomplete (10 B)" in row.detail and "hf download org/name --force-download" in str(
        row.cure
    )
    os.utime(fresh, (time.time() + 10 * 86400,) * 2)
    assert len(storage.scan(tmp_path).incomplete) == 1
    assert storage.scan(tmp_path, seconds=-1).cut
    assert storage.content_row("hub cache", tmp_path / "nowhere").status == "ok"
    assert storage.content_row("hub cache", repo / "blobs" / "a").status == "fail"


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert storage.writable_row("c", tmp_path / "file" / "cache", "X").status == "fail"
    assert storage.writable_row("c", tmp_path / "a" / "b", "X").status == "ok" and not (tmp_path / "a").exists()
    # A file system that takes no files, even from root.
    if Path("/proc/self").exists():
        row = storage.writable_row("c", Path("/proc/self/cache"), "X")
        assert row.status == "fail" and "set X" in str(row.cure)


def test_disk_rows(tmp_path: Path) -> None:
    found = storage.disk_row("d", tmp_path / "not" / "there", "X")
    assert "free at" in found.detail
    assert [storage.free_row("d", n, 10**12, tmp_path, "X").status for n in (10**8, 10**9, 10**11)] == [
        "fail",
        "warn",
        "ok",
    ]


# Plugins, lock, aliases


def test_broken_plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, code in (("broken", "import no_such_module"), ("leaving", "import os; os._exit(4)")):
        _distribution(tmp_path, f"modelgraft-{name}", "1.0", None)
        about = tmp_path / f"modelgraft_{name}-1.0.dist-info" / "entry_points.txt"
        about.write_text(f"[modelgraft]\n{name} = modelgraft_{name}_plugin\n")
        (tmp_path / f"modelgraft_{name}_plugin.py").write_text(code)
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path / "cache"))
    _on_path(monkeypatch, tmp_path)
    rows = _rows(project.plugin_rows())
    assert rows["plugins"].status == "ok", rows
    broken, leaving = rows["plugin broken"], rows["plugin leaving"]
    assert (
        broken.status == "fail"
        and "no_such_module" in broken.detail
        and "MODELGRAFT_PLUGINS=-broken" in str(broken.cure)
    )
    assert leaving.status == "fail" and "crashes the interpreter" in leaving.detail
    monkeypatch.setenv("MODELGRAFT_PLUGINS", "-broken,-leaving")
    (row,) = project.plugin_rows()
    assert "kept out by MODELGRAFT_PLUGINS: broken, leaving" in row.detail


def test_lock_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    def row() -> Row:
        (found,) = project.lock_rows()
        return found

    assert row().status == "skip"
    monkeypatch.setenv(lockfile.VARIABLE, "1")
    assert row().status == "fail" and "is not there" in row().detail
    version = lockfile.installed_version("modelgraft") or ""
    models = {"a/b": Resolution("a/b", (), None, "modelgraft", version)}
    lockfile.write(Path("modelgraft.lock"), models)
    assert row().status == "ok" and "1 model locked" in row().detail and "in force" in row().detail
    lockfile.write(Path("modelgraft.lock"), {**models, "a/c": Resolution("a/c", (), None, "modelgraft", "0")})
    assert row().status == "warn" and f"a/c (modelgraft 0, now {version})" in row().detail
    Path("modelgraft.lock").write_text("<<<<<<< HEAD\n")
    assert row().status == "fail" and "merge conflict" in row().detail


def test_alias_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("modelgraft.json").write_text('{"modelgraft": 1, "aliases": {"a": "hub:user/repo", "b": "./gone"}}')
    (row,) = project.alias_rows()
    assert row.status == "warn" and f"b ({tmp_path.resolve()}/gone)" in row.detail
    Path("gone").mkdir()
    (row,) = project.alias_rows()
    assert row.status == "ok"
    Path("modelgraft.json").write_text("{")
    (row,) = project.alias_rows()
    assert row.status == "fail"


def test_the_page_names_every_check() -> None:
    page = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    for name in (
        "torch import",
        "device",
        "torchvision match",
        "hub",
        "hub token",
        "hub cache",
        "plugins",
        "lock file",
    ):
        assert f"`{name}`" in page
