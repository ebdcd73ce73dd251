"""Metadata of installed distributions, whatever state it is in: one that is bad is named, and every other one works."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from modelgraft.host import discovery

from tests.host.environments import Site, good


def _write(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda info: (info / name).write_bytes(data) and None


def _section(line: str) -> Callable[[Path], None]:
    return _write("entry_points.txt", f"[modelgraft]\n{line}\n".encode())


# Name -> what is done to its folder of metadata, what is said of it.
BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "latin": (_write("METADATA", b"Name: modelgraft-latin\nVersion: 1\nAuthor: M\xfcller\n"), "its METADATA is missing or damaged"),
    "none": (lambda info: (info / "METADATA").unlink(), "its METADATA is missing or damaged"),
    "empty": (_write("METADATA", b""), "its METADATA is missing or damaged"),
    "nameless": (_write("METADATA", b"Version: 1.0\n"), "its METADATA is missing or damaged"),
    "impostor": (
        _write("METADATA", b"Name: modelgraft\nVersion: 9.9\n"),
        "the name 'modelgraft' in the folder modelgraft_impostor-1.0.dist-info",
    ),
    "no-version": (_write("METADATA", b"Name: modelgraft-no-version\n"), "its METADATA is missing or damaged"),
    "escaped": (_write("METADATA", b"Name: \x1b[2Jx\nVersion: 1.0\n"), "its METADATA is missing or damaged"),
    "not-utf8": (_write("entry_points.txt", b"[modelgraft]\nx = m\xfc\n"), "its entry_points.txt cannot be read"),
    "no-plugin": (_write("entry_points.txt", b"[console_scripts]\nx = \xff\n"), "its entry_points.txt cannot be read"),
    "no-equals": (_section("just words"), "its entry_points.txt cannot be read"),
    "spaces": (_section("x = a module"), "its entry point is 'a module', and not package.module[:name]"),
    "nothing": (_section("x ="), "its entry point is ''"),
    "path": (_section("x = ../../etc/passwd"), "and not package.module[:name]"),
    "control": (_section("x\x1b[2J = m"), "the name of its entry point is not a printable one"),
    "twice": (_section("x = modelgraft_twice\nx = modelgraft_other"), "names its entry point 'x' twice"),
    "binary": (_write("entry_points.txt", bytes(range(256)) * 9), "its entry_points.txt cannot be read"),
}  # fmt: skip


@pytest.mark.full
def test_bad_metadata_of_any_distribution_is_told_of_it_alone(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for name, (spoil, _) in BAD.items():
        spoil(site.add(name))
    site.add("works")
    site.add("extra", entry_points="[modelgraft]\nextra = modelgraft_extra [fast,gpu]\n")
    site.add(
        "object",
        good("object", "class plugin: pass"),
        entry_points="[modelgraft]\nobject = modelgraft_object : plugin [x]\n",
    )
    # An interrupted pip has left the old metadata of a plugin, and of modelgraft itself.
    left = site.folder / "~odelgraft-0.0.1.dist-info"
    shutil.copytree(site.add("works"), left)
    left.joinpath("entry_points.txt").write_text("[modelgraft]\nadapters = modelgraft_adapters.plugin\n")
    # Folders named as old tools did, with hyphens: not to be taken for a version of modelgraft.
    for name in ("hyphen-1.0.dist-info", "hyphens-2.0-py3.11.egg-info", "bare.egg-info"):
        distribution = name.partition(".")[0].partition("-")[0]
        info = site.add(distribution, entry_points=f"[modelgraft]\nold = modelgraft_{distribution}\n")
        if name.endswith(".egg-info"):
            (info / "METADATA").rename(info / "PKG-INFO")
        info.rename(site.folder / f"modelgraft-{name}")
    # Two versions of one distribution: the older is what an upgrade failed to remove.
    old = site.add("doubled", version="0.9")
    os.utime(old, (1, 1))
    site.add("doubled", version="1.1")
    done = site.run("plugins", "--format", "json")
    reports = json.loads(done.stdout)
    named = {(r["distribution"].removeprefix("modelgraft-"), r["status"]): r["error"] for r in reports}
    for name, (_, expected) in BAD.items():
        assert expected in named[name, "failed"], (name, named)
    assert named["hyphen", "ok"] is named["hyphens", "ok"] is named["bare", "ok"] is None
    assert named["works", "ok"] is None and named["extra", "ok"] is None
    assert "marks no function" in named["object", "failed"]
    assert "left over from an interrupted pip" in named["~odelgraft", "failed"]
    assert named["doubled", "ok"] is None
    assert "lies beside modelgraft_doubled-1.1.dist-info, a later one" in named["doubled", "failed"]
    assert sum(r["distribution"] == "modelgraft" and r["status"] == "ok" for r in reports) == 8
    assert all(part.isprintable() for r in reports for part in (r["name"], r["distribution"], r["version"]))
    listed = site.run("list", "--format", "json")
    assert {"works/m", "extra/m", "doubled/m"} <= {e["name"] for e in json.loads(listed.stdout)}
    doctor = json.loads(site.run("doctor", "--format", "json").stdout)
    told = {row["check"]: row["detail"] for row in doctor}
    assert "modelgraft-latin" in told["plugin modelgraft_latin-1.0.dist-info"]
    assert site.run("--help").returncode == 0


def test_without_the_guard_one_of_them_takes_all_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path)
    BAD["not-utf8"][0](site.add("bad"))
    monkeypatch.syspath_prepend(str(site.folder))
    assert [f.fault is None for f in discovery.discover() if f.distribution == "modelgraft-bad"] == [False]
    monkeypatch.setattr(discovery, "_plugins_of", lambda dist, leftover: list(dist.entry_points))
    with pytest.raises(UnicodeDecodeError):
        discovery.discover()


def test_two_distributions_with_one_entry_point_name(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for name in ("one", "two"):
        site.add(name, entry_points=f"[modelgraft]\nsame = modelgraft_{name}\n")
    assert {site.reports()[name]["status"] for name in ("one", "two")} == {"ok"}


def _listed(site: Site) -> set[str]:
    return {entry["name"] for entry in json.loads(site.run("list", "--format", "json").stdout)}


@pytest.mark.full
def test_other_code_is_seen_whatever_the_times_say(tmp_path: Path) -> None:
    """A reinstall at the same version, an upgrade in place, times put back: the record of the files' digests tells."""
    site = Site(tmp_path)
    info = site.add("shop", good("shop"))
    files = [site.folder, info, *info.iterdir()]
    times = {path: path.stat().st_mtime_ns for path in files}
    assert "shop/m" in _listed(site)
    site.add("shop", good("shed"))
    for path, time in times.items():
        os.utime(path, ns=(time, time))
    assert "shed/m" in _listed(site)
    # Times that agree were no identity at all once: their exclusive or is 0.
    for path in files:
        os.utime(path, ns=(10**18, 10**18))
    assert "shed/m" in _listed(site)
    site.add("shop", good("shot"))
    for path in files:
        os.utime(path, ns=(10**18, 10**18))
    assert "shot/m" in _listed(site)
    shutil.rmtree(info)
    site.add("shop", good("ship"), version="1.1")
    assert "ship/m" in _listed(site) and "shot/m" not in _listed(site)


def test_without_the_record_the_old_answer_would_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path)
    info = site.add("shop", good("shop"))
    paths = [site.folder, info, *info.iterdir()]

    def stamp(code: str) -> str:
        site.add("shop", code)
        for path in paths:
            os.utime(path, ns=(10**18, 10**18))
        return discovery._stamp(str(info))

    assert stamp(good("shop")) != stamp(good("shed"))
    monkeypatch.setattr(discovery, "_MOST_RECORD", 0)
    assert stamp(good("shop")) == stamp(good("shed"))


def test_an_editable_plugin_that_failed_is_tried_again_once_it_is_mended(tmp_path: Path) -> None:
    site = Site(tmp_path)
    info = site.add("draft", "def broken(:\n")
    info.joinpath("direct_url.json").write_text(json.dumps({"url": tmp_path.as_uri(), "dir_info": {"editable": True}}))
    assert site.reports()["draft"]["status"] == "failed"
    site.folder.joinpath("modelgraft_draft.py").write_text(good("draft"))
    assert site.reports()["draft"]["status"] == "ok"
