"""Plugins of third parties: built to wheels, installed by pip, used by name, removed; and broken in every way we know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.host.environments import Environment, build_wheel, write_project

COLOURS = Path(__file__).parent.parent / "third_party" / "modelgraft-colours"
ENTRY = "from modelgraft import Entry, hookimpl\n"
GOOD_ENTRY = "Entry(name='{provider}/m', modality='image', tasks=('features',))"

BROKEN = {
    "import-error": (
        "import a_package_nobody_has\n",
        "needs the module 'a_package_nobody_has', which is not installed",
    ),
    "syntax-error": ("def broken(:\n    pass\n", "SyntaxError"),
    "hook-raises": (
        ENTRY + "@hookimpl\ndef modelgraft_entries():\n    raise RuntimeError('the shop is closed')\n",
        "RuntimeError: the shop is closed",
    ),
    "unknown-hook": (ENTRY + "@hookimpl\ndef modelgraft_wrong():\n    return []\n", "modelgraft_wrong"),
    "bad-signature": (ENTRY + "@hookimpl\ndef modelgraft_entries(wrong_argument):\n    return []\n", "wrong_argument"),
    "duplicate-model": (
        ENTRY
        + "@hookimpl\ndef modelgraft_entries():\n"
        + "    return [Entry(name='colours/mean:rgb', modality='image', tasks=('features',))]\n",
        "brings the model 'colours/mean:rgb', which modelgraft-colours 1.2.0 brings already",
    ),
    "too-new": (ENTRY + "MODELGRAFT_API = 99\n@hookimpl\ndef modelgraft_entries():\n    return []\n", "plugin API 99"),
    "exits": ("raise SystemExit(3)\n", "calls sys.exit(3)"),
    "dies": ("import os\nos._exit(7)\n", "crashes the interpreter while it loads (exit code 7)"),
    "segfaults": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "signal 11"),
    "bad-entry": (
        ENTRY
        + "@hookimpl\ndef modelgraft_entries():\n    return [Entry(name='noslash', modality='image', tasks=('features',))]\n",
        "'noslash' is not a full name",
    ),
    "no-hooks": ("x = 1\n", "marks no function with @modelgraft.hookimpl"),
}
PRINTS = (
    "print('noise on the line')\n"
    + ENTRY
    + f"@hookimpl\ndef modelgraft_entries():\n    print('more')\n    return [{GOOD_ENTRY.format(provider='loud')}]\n"
)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Wheels by plugin name, ``colours`` the good one."""
    folder = tmp_path_factory.mktemp("wheels")
    made = {"colours": build_wheel(COLOURS, folder / "out")}
    for name, (code, _) in {**BROKEN, "prints": (PRINTS, "")}.items():
        made[name] = build_wheel(write_project(folder / name, f"modelgraft-{name}", code), folder / "out")
    return made


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


@pytest.fixture
def red(tmp_path: Path) -> Path:
    path = tmp_path / "a red one.png"
    Image.new("RGB", (40, 30), (220, 20, 10)).save(path)
    return path


def _names(environment: Environment) -> set[str]:
    return {entry["name"] for entry in environment.json("list")}


@pytest.mark.full
def test_install_use_uninstall(environment: Environment, wheels: dict[str, Path], red: Path) -> None:
    before = _names(environment)
    environment.install(wheels["colours"])
    assert _names(environment) - before == {"colours/mean:rgb"}
    report = next(p for p in environment.json("plugins") if p["distribution"] == "modelgraft-colours")
    assert (report["name"], report["version"], report["status"], report["error"]) == ("colours", "1.2.0", "ok", None)

    rows = environment.json("classify", red, "--labels", "red,green,blue", "--model", "colours/mean")
    assert [row["label"] for row in rows] == ["red"]
    assert set(rows[0]["scores"]) == {"red", "green", "blue"}
    noted = environment.modelgraft("classify", red, "--labels", "red,ultraviolet", "--model", "colours/mean:rgb")
    assert "not a colour this model knows: ultraviolet" in noted.stderr

    environment.uninstall("modelgraft-colours")
    assert _names(environment) == before
    gone = environment.modelgraft("classify", red, "--labels", "red,green", "--model", "colours/mean:rgb")
    assert gone.returncode == 2 and "unknown model 'colours/mean:rgb'" in gone.stderr


@pytest.mark.full
def test_broken_plugins_leave_every_command_working(
    environment: Environment, wheels: dict[str, Path], red: Path
) -> None:
    before = _names(environment)
    environment.install(*wheels.values())
    reports = {p["distribution"].removeprefix("modelgraft-"): p for p in environment.json("plugins")}
    for name, (_, expected) in BROKEN.items():
        report = reports[name]
        assert report["status"] == "failed", report
        assert expected in report["error"], report
        assert "\n" not in report["error"]
    assert reports["prints"]["status"] == "warned" and "noise on the line" in reports["prints"]["error"]
    assert reports["colours"]["status"] == "ok"

    assert _names(environment) - before == {"colours/mean:rgb", "loud/m"}
    assert environment.json("info", "colours/mean")["embed_dim"] == 3
    assert environment.modelgraft("--help").returncode == 0
    assert environment.modelgraft("--version").stdout.startswith("modelgraft ")
    done = environment.modelgraft("classify", red, "--labels", "red,blue", "--model", "colours/mean", "-f", "jsonl")
    assert done.returncode == 0 and json.loads(done.stdout)["label"] == "red"

    verbose = environment.modelgraft("plugins", "--verbose")
    assert "Traceback" in verbose.stdout and "the shop is closed" in verbose.stdout
    # The line of the failure is named, in the plugin's own file.
    assert "modelgraft_hook_raises.py:4" in reports["hook-raises"]["error"]


@pytest.mark.full
def test_a_second_listing_runs_no_plugin(environment: Environment, wheels: dict[str, Path], tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    code = f"open({str(trace)!r}, 'a').write('x')\n" + PRINTS
    environment.install(build_wheel(write_project(tmp_path / "p", "modelgraft-traced", code), tmp_path / "out"))
    assert "loud/m" in _names(environment)
    assert "loud/m" in _names(environment)
    assert trace.read_text() == "x"
    # Anything installed beside it may have mended or broken it, so it is tried once more.
    environment.install(wheels["colours"])
    _names(environment)
    assert trace.read_text() == "xx"


@pytest.mark.full
def test_allowing_and_barring(environment: Environment, wheels: dict[str, Path]) -> None:
    environment.install(wheels["colours"], wheels["exits"])
    everything = _names(environment)
    barred = {"MODELGRAFT_PLUGINS": "-colours"}
    assert everything - {e["name"] for e in environment.json("list", env=barred)} == {"colours/mean:rgb"}
    status = {p["name"]: p["status"] for p in environment.json("plugins", env=barred)}
    assert status["colours"] == "barred" and status["exits"] == "failed" and status["embedded"] == "ok"
    allowed = {"MODELGRAFT_PLUGINS": "colours"}
    assert {e["name"] for e in environment.json("list", env=allowed)} == {"colours/mean:rgb"}
    status = {p["name"]: p["status"] for p in environment.json("plugins", env=allowed)}
    assert status["exits"] == status["timm"] == "barred" and status["adapters"] == "ok"


@pytest.mark.full
def test_two_distributions_with_one_entry_point_name_both_load(environment: Environment, tmp_path: Path) -> None:
    for name in ("one", "two"):
        code = ENTRY + f"@hookimpl\ndef modelgraft_entries():\n    return [{GOOD_ENTRY.format(provider=name)}]\n"
        project = write_project(tmp_path / name, f"modelgraft-{name}", code)
        file = project / "pyproject.toml"
        file.write_text(file.read_text().replace(f'{name} = "modelgraft_{name}"', f'same = "modelgraft_{name}"'))
        environment.install(build_wheel(project, tmp_path / "out"))
    assert {"one/m", "two/m"} <= _names(environment)


@pytest.mark.full
def test_a_plugin_that_hangs_is_given_up(environment: Environment, tmp_path: Path) -> None:
    code = "import time\ntime.sleep(600)\n"
    environment.install(build_wheel(write_project(tmp_path / "p", "modelgraft-hangs", code), tmp_path / "out"))
    reports = environment.json("plugins", env={"MODELGRAFT_PLUGIN_TIMEOUT": "20"})
    report = next(p for p in reports if p["name"] == "hangs")
    assert report["status"] == "failed" and "did not finish loading in 20 s" in report["error"]


@pytest.mark.full
def test_an_editable_plugin_is_read_again_when_its_files_change(environment: Environment, tmp_path: Path) -> None:
    code = ENTRY + f"@hookimpl\ndef modelgraft_entries():\n    return [{GOOD_ENTRY.format(provider='draft')}]\n"
    project = write_project(tmp_path / "p", "modelgraft-draft", code)
    environment.pip("install", "--no-index", "--no-deps", "--no-build-isolation", "-e", project)
    assert "draft/m" in _names(environment)
    (project / "modelgraft_draft.py").write_text(code.replace("draft/m", "draft/renamed"))
    assert "draft/renamed" in _names(environment)
