"""The lock file: written as read, read strictly, compared honestly, and in force only where asked for."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modelgraft.errors import LockError, UnknownModelError, WeightsUnavailableError
from modelgraft.project import comparing, lockfile
from modelgraft.project.files import project_file
from modelgraft.resolution import File, Part, Resolution

A, B = "a" * 64, "b" * 64
FILES = (File("config.json", 12, blob="c" * 40), File("model.safetensors", 100, A))
MODEL = Resolution("timm/x:y", (Part("hf:org/x", "1" * 40, FILES),), "apache-2.0", "modelgraft", "0.1.0")

hexadecimal = st.text("0123456789abcdef", min_size=1)
word = st.text("abcXYZ019._-", min_size=1, max_size=8).filter(lambda s: s[0].isalnum())
paths = st.lists(word, min_size=1, max_size=3).map("/".join)
texts = st.text(st.characters(exclude_categories=("C", "Z")), max_size=10)
files = st.builds(
    File,
    paths,
    st.none() | st.integers(0, 2**50),
    st.none() | st.text("0123456789abcdef", min_size=8, max_size=64),
    st.none() | st.text("0123456789abcdef", min_size=40, max_size=40),
)
parts = st.builds(
    Part,
    st.sampled_from(["hf:org/", "https://example.org/", "file:/home/me/", "s3:bucket/"]).flatmap(
        lambda scheme: word.map(lambda w: scheme + w)
    ),
    st.none() | word,
    st.lists(files, max_size=4, unique_by=lambda f: f.path).map(lambda fs: tuple(sorted(fs, key=lambda f: f.path))),
)
names = st.builds("{}/{}".format, word, word)
resolutions = st.builds(Resolution, names, st.lists(parts, max_size=3).map(tuple), st.none() | texts, texts, texts)
locks = st.lists(resolutions, max_size=4, unique_by=lambda r: r.name).map(lambda rs: {r.name: r for r in rs})

here = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "modelgraft.lock"


# Round trip


@here
@given(models=locks)
def test_what_is_written_is_read_and_writing_it_again_changes_nothing(
    path: Path, models: dict[str, Resolution]
) -> None:
    lockfile.write(path, models)
    first = path.read_bytes()
    again = lockfile.read(path)
    assert again == models
    path.unlink()
    lockfile.write(path, dict(reversed(again.items())))
    assert path.read_bytes() == first
    assert all(not comparing.compare(model, model) for model in models.values())


def test_it_has_a_line_per_file_and_is_sorted(path: Path) -> None:
    lockfile.write(path, {"timm/z": MODEL, "timm/x:y": MODEL})
    text = path.read_text()
    assert text.endswith("}\n") and text.index("timm/x:y") < text.index("timm/z")
    assert f'      "model.safetensors": {{"sha256": "{A}", "size": 100}}\n' in text
    assert '   "plugin": {"distribution": "modelgraft", "version": "0.1.0"},\n' in text
    assert json.loads(text)["modelgraft-lock"] == 1


def test_equal_content_leaves_the_file_alone(path: Path) -> None:
    lockfile.write(path, {"timm/x:y": MODEL})
    before = path.stat()
    lockfile.write(path, {"timm/x:y": MODEL})
    assert path.stat().st_ino == before.st_ino and path.stat().st_mtime_ns == before.st_mtime_ns


def test_a_key_may_have_a_revision(path: Path) -> None:
    lockfile.write(path, {"timm/x:y@v1": MODEL})
    assert lockfile.read(path) == {"timm/x:y@v1": MODEL}


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (MODEL.with_parts((Part("hf:org/x", None, (File("../evil"),)),)), "would leave its folder"),
        (MODEL.with_parts((Part("https://me:secret@example.org/x", None, ()),)), "password or token"),
        (MODEL.with_parts((Part("https://example.org/x?t=hf_abcdefghijklmnopqrst", None, ()),)), "password or token"),
        (MODEL.with_parts((Part("hf:org/x", None, (File("a", 1), File("a", 2))),)), "twice"),
        (MODEL.with_parts((Part("hf:org/x", None, (File("a", -1),)),)), "number of bytes"),
    ],
)
def test_what_could_not_be_read_is_not_written(path: Path, model: Resolution, said: str) -> None:
    with pytest.raises(LockError, match=said) as raised:
        lockfile.write(path, {"timm/x:y": model})
    assert not path.exists() and "secret" not in str(raised.value) and "hf_abc" not in str(raised.value)


# Damage


def _with(change: dict[str, Any] | None = None, **top: Any) -> str:
    record = {**MODEL.to_dict(), **(change or {})}
    return json.dumps({"modelgraft-lock": 1, "models": {"timm/x:y": record}, **top})


def _file(path: str = "model.safetensors", **about: Any) -> str:
    return _with({"weights": [{"location": "hf:org/x", "files": {path: about}}]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON (line 1"),
        ("[]", "[] is no JSON object"),
        ("{}", "'modelgraft-lock' is missing"),
        ('{"modelgraft-lock": 2, "models": {}}', "upgrade modelgraft"),
        ('{"modelgraft-lock": true, "models": {}}', "no format number"),
        ('{"modelgraft-lock": NaN, "models": {}}', "NaN"),
        ('{"modelgraft-lock": 1, "models": {}, "models": {}}', "'models' twice"),
        ('{"modelgraft-lock": 1, "models": []}', "at models: [] is no JSON object"),
        (_with(extra=1), "'extra' is not known here"),
        (_with({"weights": {}}), "at 'timm/x:y', weights: {} is no JSON array"),
        (_with({"weights": [3]}), "at 'timm/x:y', weights[0]: 3 is no JSON object"),
        (_with({"licence": 3}), "at 'timm/x:y', licence: 3"),
        (_with({"plugin": {"distribution": "x"}}), "at 'timm/x:y', plugin: 'version' is missing"),
        (_with({"weights": [{"location": "nowhere", "files": {}}]}), "not of the form scheme:place"),
        (_with({"weights": [{"location": "hf:x", "revision": 7, "files": {}}]}), "weights[0], revision: 7"),
        (_file(size="12"), "file 'model.safetensors': size '12' is no number of bytes"),
        (_file(size=True), "size True"),
        (_file(size=1.5), "size 1.5"),
        (_file(sha256="xyz"), "sha256 'xyz'"),
        (_file(sha256=A + "\n"), "sha256"),
        (_file(sha256=A.upper()), "sha256"),
        (_file(blob=A), "blob"),
        (_file(mode=1), "'mode' is not known here"),
        (_file("../../etc/passwd"), "'../../etc/passwd' would leave its folder"),
        (_file("/etc/passwd"), "would leave its folder"),
        (_file("a\\b"), "would leave its folder"),
        ("[" * 100_000, "nested too deeply"),
        ('{"modelgraft-lock": ' + "9" * 5000 + "}", "thousands of digits"),
        ("<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> x\n", "unresolved merge conflict (line 1)"),
        (_with()[:200], "no JSON (line 1"),
    ],
)
def test_damage_is_told_in_one_line_with_its_place(path: Path, text: str, said: str) -> None:
    path.write_text(text)
    with pytest.raises(LockError) as raised:
        lockfile.read(path)
    told = str(raised.value)
    assert said in told and str(path) in told and "\n" not in told and len(told) < 500


def test_a_folder_and_bytes_that_are_no_text(path: Path) -> None:
    with pytest.raises(LockError, match="there is no lock file"):
        lockfile.read(path)
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(LockError, match="not UTF-8"):
        lockfile.read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(LockError, match="Is a directory"):
        lockfile.read(path)


def _read_or_refuse(path: Path) -> None:
    """Whatever the bytes: either a lock file that is written back unchanged, or one line."""
    try:
        models = lockfile.read(path)
    except LockError as error:
        assert "\n" not in str(error) and str(error).isprintable()
    else:
        lockfile.write(path, models)
        assert lockfile.read(path) == models


@settings(here, max_examples=300)
@given(data=st.binary(max_size=200))
def test_any_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    _read_or_refuse(path)


@settings(here, max_examples=200)
@given(
    models=locks,
    cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 20), st.binary(max_size=8)), min_size=1, max_size=4),
)
def test_mutated_files(path: Path, models: dict[str, Resolution], cuts: list[tuple[float, int, bytes]]) -> None:
    lockfile.write(path, {**models, "timm/x:y": MODEL})
    data = path.read_bytes()
    for place, length, put in cuts:
        at = int(place * len(data))
        data = data[:at] + put + data[at + length :]
    path.write_bytes(data)
    _read_or_refuse(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(here, max_examples=200)
@given(where=st.lists(st.integers(0, 5), max_size=8), value=json_values)
def test_a_wrong_value_anywhere(path: Path, where: list[int], value: Any) -> None:
    """Any value put in the place of any other one in a valid file."""
    whole = {"modelgraft-lock": 1, "models": {"timm/x:y": MODEL.to_dict()}}
    place: Any = whole
    for n, step in enumerate(where):
        if not isinstance(place, (dict, list)) or not place:
            break
        key = list(place)[step % len(place)] if isinstance(place, dict) else step % len(place)
        if n == len(where) - 1 or not isinstance(place[key], (dict, list)):
            place[key] = value
            break
        place = place[key]
    path.write_text(json.dumps(whole))
    _read_or_refuse(path)


# Comparing


def _other(**changes: Any) -> Resolution:
    """MODEL with its weight file changed."""
    weights = File(**{"path": "model.safetensors", "size": 100, "sha256": A, **changes})
    return MODEL.with_parts((Part("hf:org/x", "1" * 40, (FILES[0], weights)),))


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (MODEL, []),
        (_other(sha256=B), [f"timm/x:y: hf:org/x: model.safetensors: sha256: locked {A}, now {B}"]),
        (_other(sha256=A[:8]), []),  # a digest cut short that agrees
        (_other(sha256=None), []),  # the source does not tell
        (_other(sha256=None, size=7), ["timm/x:y: hf:org/x: model.safetensors: size: locked 100, now 7"]),
        (
            MODEL.with_parts((Part("hf:org/x", "2" * 40, FILES),)),
            [f"timm/x:y: hf:org/x: revision: locked {'1' * 40}, now {'2' * 40}"],
        ),
        (
            MODEL.with_parts((Part("hf:org/x", "1" * 40, FILES[:1]),)),
            [f"timm/x:y: hf:org/x: model.safetensors: locked {A}, now missing"],
        ),
        (
            MODEL.with_parts((Part("hf:org/x", "1" * 40, (*FILES, File("new", 3))),)),
            ["timm/x:y: hf:org/x: new: not locked, now 3 bytes"],
        ),
        (
            MODEL.with_parts((Part("hf:evil/x", "1" * 40, FILES),)),
            ["timm/x:y: hf:org/x: locked, and not used any more", "timm/x:y: hf:evil/x: not locked, and used now"],
        ),
        (
            Resolution(MODEL.name, MODEL.parts, "mit", "modelgraft", "0.2.0"),
            [
                "timm/x:y: licence: locked apache-2.0, now mit",
                "timm/x:y: plugin: locked modelgraft 0.1.0, now modelgraft 0.2.0",
            ],
        ),
    ],
)
def test_compare(found: Resolution, lines: list[str]) -> None:
    assert comparing.compare(MODEL, found) == lines


@here
@given(locked=resolutions, found=resolutions)
def test_compare_never_fails_and_says_a_line_each(locked: Resolution, found: Resolution) -> None:
    for line in comparing.compare(locked, found):
        assert line.startswith(locked.name) and "\n" not in line


def test_check_tells_what_cannot_be_resolved() -> None:
    def resolve(name: str) -> Resolution:
        if name == "timm/gone":
            raise UnknownModelError(name)
        if name == "timm/down":
            raise WeightsUnavailableError("cannot reach the hub")
        return MODEL

    found = comparing.check({"timm/gone": MODEL, "timm/down": MODEL, "timm/x:y": MODEL}, resolve)
    assert found.keys() == {"timm/gone", "timm/down"}
    assert "unknown model" in found["timm/gone"][0] and "cannot reach the hub" in found["timm/down"][0]


# In force


def test_nothing_is_locked_unless_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lockfile.write(path, {})
    monkeypatch.chdir(path.parent)
    for value in (None, "", "0"):
        monkeypatch.delenv(lockfile.VARIABLE, raising=False)
        if value is not None:
            monkeypatch.setenv(lockfile.VARIABLE, value)
        assert lockfile.active() is None


def _installed(model: Resolution = MODEL) -> Resolution:
    version = lockfile.installed_version("modelgraft")
    assert version
    return Resolution(model.name, model.parts, model.licence, "modelgraft", version)


@pytest.mark.parametrize("value", ["1", "path"])
def test_a_lock_in_force_answers_and_refuses(path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    lockfile.write(path, {"timm/x:y": _installed(), "timm/p@v1": _installed()})
    monkeypatch.chdir(path.parent if value == "1" else "/")
    monkeypatch.setenv(lockfile.VARIABLE, "1" if value == "1" else str(path))
    locked = lockfile.active()
    assert locked and locked.resolution("timm/x:y") == _installed()
    assert lockfile.active() is locked
    assert locked.resolution("timm/x:y@" + "1" * 40) == _installed()
    assert locked.resolution("timm/p@v1").name == "timm/p"
    for name in ("timm/other", "timm/x:y@main", "timm/p", "timm/p@v2"):
        with pytest.raises(LockError, match=f"run 'modelgraft lock {name}'"):
            locked.resolution(name)
    lockfile.write(path, {})
    again = lockfile.active()
    assert again and again is not locked and not again.models
    with lockfile.unlocked():
        assert lockfile.active() is None
    assert lockfile.active() is again


def test_another_plugin_version_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Resolution(MODEL.name, MODEL.parts, None, "modelgraft", "99")
    gone = Resolution(MODEL.name, MODEL.parts, None, "modelgraft-gone", "1")
    lockfile.write(path, {"a/other": other, "a/gone": gone})
    monkeypatch.setenv(lockfile.VARIABLE, str(path))
    locked = lockfile.active()
    assert locked
    with pytest.raises(LockError, match="locked with modelgraft 99"):
        locked.resolution("a/other")
    with pytest.raises(LockError, match="modelgraft-gone is not installed"):
        locked.resolution("a/gone")


def test_a_missing_or_damaged_lock_is_never_no_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lockfile.VARIABLE, str(path))
    with pytest.raises(LockError, match="there is no lock file"):
        lockfile.active()
    path.write_text("{")
    with pytest.raises(LockError, match="no JSON"):
        lockfile.active()


# Where it is, and who writes it


def test_it_is_found_upwards_inside_a_checkout_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "checkout" / "src" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "modelgraft.lock").touch()
    assert project_file("modelgraft.lock", deep) == deep / "modelgraft.lock"
    (tmp_path / "checkout" / ".git").mkdir()
    assert project_file("modelgraft.lock", deep) == deep / "modelgraft.lock"  # the one outside is not this project's
    (tmp_path / "checkout" / "modelgraft.lock").touch()
    assert project_file("modelgraft.lock", deep) == tmp_path / "checkout" / "modelgraft.lock"
    (deep / "modelgraft.lock").touch()
    assert project_file("modelgraft.lock", deep) == deep / "modelgraft.lock"


def _add(path: str, who: int) -> None:
    for n in range(5):
        with lockfile.changing(Path(path)) as models:
            models[f"timm/m{who}-{n}"] = MODEL


def test_writers_at_once_lose_nothing(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_add, args=(str(path), who)) for who in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(lockfile.read(path)) == 20
    assert os.listdir(path.parent) == [path.name]


def test_an_exception_while_changing_writes_nothing(path: Path) -> None:
    lockfile.write(path, {"timm/x:y": MODEL})
    before = path.read_bytes()
    with pytest.raises(KeyError), lockfile.changing(path) as models:
        models.clear()
        raise KeyError
    assert path.read_bytes() == before
