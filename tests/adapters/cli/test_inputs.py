"""What the user points at to items: every file, line and folder is an item or is told, and none is another's."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from modelgraft.errors import ModelgraftError, UnreadableItemError, UsageError
from modelgraft_adapters.cli.inputs import expand_paths, expand_texts, read_labels
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.media import walking
from modelgraft_adapters.media.files import Unread
from modelgraft_adapters.media.images import read_image
from modelgraft_adapters.media.texts import decoded, lines, reason_against
from modelgraft_adapters.media.walking import matching, walk
from PIL import Image

NONE = io.StringIO("")


def stdin(content: bytes) -> Any:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path, "PNG")
    return path


def without_rights(folder: Path, ask: Callable[[], Any]) -> Any:
    """What a function gives to a user who is not root, in a folder."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.chdir(folder)
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            said = ask()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, json.dumps(said).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        content = file.read()
    os.waitpid(child, 0)
    return json.loads(content)


def tried(path: str) -> str | None:
    try:
        read_image(path)
    except UnreadableItemError as error:
        return str(error)
    return None


STRANGE = "one\u2028still one\ntwo\x0cstill two\r\nthree\x85still\x0b three\rfour\x1cstill four"


def test_lines_end_where_files_say(tmp_path: Path) -> None:
    expected = ["one\u2028still one", "two\x0cstill two", "three\x85still\x0b three", "four\x1cstill four"]
    assert lines(STRANGE) == lines(STRANGE + "\n") == expected and len(STRANGE.splitlines()) == 9
    assert lines("") == [] and lines("\n\n") == ["", ""] and lines("a\r\n\r\nb") == ["a", "", "b"]
    (tmp_path / "x.txt").write_bytes(STRANGE.encode())
    path = str(tmp_path / "x.txt")
    assert list(expand_texts([path], NONE)) == [(f"{path}:{n}", text) for n, text in enumerate(expected, 1)]
    found = list(expand_texts(["-"], stdin(STRANGE.encode())))
    assert found == [(f"-:{n}", text) for n, text in enumerate(expected, 1)]
    assert read_labels([f"@{path}"]) == expected
    assert [name for name, _ in expand_texts(["-"], stdin(b"a\n\n  \nb\n"))] == [
        "-:1",
        "-:4",
    ]  # the lines they stand in


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_marks_of_unicode_are_no_text(tmp_path: Path, coding: str) -> None:
    content = "caf\u00e9\nzwei \U0001f408\n".encode(coding)
    (tmp_path / "x.txt").write_bytes(content)
    path = str(tmp_path / "x.txt")
    for found in (expand_texts([path], NONE), expand_texts(["-"], stdin(content))):
        assert [text for _, text in found] == ["caf\u00e9", "zwei \U0001f408"]
    assert read_labels([f"@{path}"]) == ["caf\u00e9", "zwei \U0001f408"]
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "1.txt").write_bytes(content)
    assert list(read_data(tmp_path / "d").items) == ["caf\u00e9\nzwei \U0001f408\n"]


def test_bytes_that_are_no_text_cost_their_line_alone(tmp_path: Path) -> None:
    content = b"good\ncaf\xe9\nzwei\n"
    (tmp_path / "x.txt").write_bytes(content)
    for found in (expand_texts([str(tmp_path / "x.txt")], NONE), expand_texts(["-"], stdin(content))):
        reasons = [reason_against(text) for _, text in found]
        assert reasons == [None, "the text is not UTF-8: byte 0xE9 at character 4", None]
    assert decoded("a\nb".encode("utf-16")[:-1])  # cut within a character: refused as a text, and no error
    with pytest.raises(UsageError, match=r"label 2 .* cannot be read: the text is not UTF-8"):
        read_labels([f"@{tmp_path / 'x.txt'}"])
    (tmp_path / "b.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    with pytest.raises(UsageError, match="is not text: it holds NUL bytes"):
        list(expand_texts([str(tmp_path / "b.txt")], NONE))
    rows = [{"text": "goal \ud83d", "label": "a"}, {"text": "good", "label": "b"}]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    bad, good = map(reason_against, read_data(tmp_path / "x.jsonl").items)
    assert bad == "the text is not Unicode: half of a surrogate pair, U+D83D, at character 6" and good is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the text is empty"),
        (" \t\u00a0\u2003", "the text is empty"),
        ("\ufeff\u200b", "the text is empty: nothing in it can be seen"),
        ("\u2800\u3164", "the text is empty: nothing in it can be seen"),
        ("a\0b", "the text holds a NUL at character 2"),
        (None, "not a text but NoneType"),
        (float("nan"), "not a text but float"),
        (b"bytes", "not a text but bytes"),
        ("\U0001f408\u200d\u2b1b", None),
        ("\ufeffa", None),
        ("x" * 10**6, None),
    ],
)
def test_what_is_no_text(text: Any, said: str | None) -> None:
    found = reason_against(text)
    assert found is None if said is None else found is not None and found.startswith(said)


def test_paths_in_a_list_are_no_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "photo1.jpg")
    picture(tmp_path / os.fsdecode(b"caf\xe9.jpg"))
    assert list(expand_paths(["photo[1].jpg"], NONE)) == ["photo1.jpg"]
    listed = list(expand_paths(["-"], stdin(b"photo[1].jpg\n*.jpg\r\n\ncaf\xe9.jpg\n-\n~\n")))
    assert listed == ["photo[1].jpg", "*.jpg", os.fsdecode(b"caf\xe9.jpg"), "-", "~"]
    assert [tried(path) for path in listed] == ["no such file", "no such file", None, "no such file", "no such file"]
    picture(tmp_path / "photo[1].jpg")
    assert list(expand_paths(["photo[1].jpg"], NONE)) == ["photo[1].jpg"]


def test_nothing_in_a_folder_vanishes(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    for name in ("a.jpg", "noname", "sub/b.png", ".hidden.jpg"):
        picture(folder / name)
    picture(tmp_path / "elsewhere" / "c.png")
    (folder / "d.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    (folder / "odd").write_bytes(b"\xff\x0a" + bytes(50))
    (folder / "notes.txt").write_text("no image")
    os.symlink("../elsewhere", folder / "linked")
    os.symlink(".", folder / "round")
    os.symlink("self", folder / "self")
    os.symlink("/nowhere/at/all", folder / "gone")
    os.symlink("/nowhere/x.jpg", folder / "gone.jpg")
    found = {os.path.relpath(path, folder): tried(path) for path in expand_paths([str(folder)], NONE)}
    assert found == {
        "a.jpg": None,
        "d.heic": "a HEIC image that is not read; save it as JPEG or PNG",
        "gone": "a link that leads nowhere",
        "gone.jpg": "no such file",
        "linked/c.png": None,
        "noname": None,
        "odd": "a JPEG XL image that is not read; save it as JPEG or PNG",
        "self": "a link that cannot be followed: Too many levels of symbolic links",
        "sub/b.png": None,
    }
    data = read_data(folder)
    assert sorted(os.path.basename(item) for item in data.items) == ["a.jpg", "b.png", "c.png", "d.heic", "gone.jpg"]
    assert any("2 links to nothing left out" in note for note in data.notes)
    assert any("2 files left out that begin as images but are not named so" in note for note in data.notes)


def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chmod(tmp_path, 0o755)
    picture(tmp_path / "all" / "cat" / "1.jpg")
    picture(tmp_path / "all" / "dog" / "2.jpg")
    os.chmod(tmp_path / "all" / "dog", 0)
    reason = "a folder that cannot be read: Permission denied"

    def rows(*arguments: str) -> Any:
        return without_rights(tmp_path, lambda: [[path, tried(path)] for path in expand_paths(arguments, NONE)])

    read = lambda source: without_rights(tmp_path, lambda: len(read_data(source)))  # noqa: E731
    try:
        assert (
            rows("all") == rows("all/*/*.jpg") == rows("all/**/*.jpg") == [["all/cat/1.jpg", None], ["all/dog", reason]]
        )
        assert rows("all/dog") == [["all/dog", reason]]
        assert rows("all/dog/2.jpg") == [["all/dog/2.jpg", "no permission to read it"]]
        said = f"ModelgraftError: 'all/dog' is {reason}"
        assert read("all").startswith(said) and read("all/*/*.jpg").startswith(said)
        # Without the look at what is closed the class is gone, and nothing says so.
        monkeypatch.setattr(walking.Walked, "check_open", lambda self: None)
        assert read("all") == 1
    finally:
        os.chmod(tmp_path / "all" / "dog", 0o755)


def test_a_path_that_is_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(20):
        os.mkdir("x" * 250)
        os.chdir("x" * 250)
    monkeypatch.chdir(tmp_path)
    (closed,) = walk(".").closed
    assert "File name too long" in closed[1]


def test_an_unread_path_goes_to_other_processes() -> None:
    import pickle

    found = pickle.loads(pickle.dumps(Unread("a", "why")))
    assert found == "a" and found.reason == "why" and tried(found) == "why"


def test_patterns_are_pythons_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import glob

    monkeypatch.chdir(tmp_path)
    for name in ("a/1.jpg", "a/b/2.jpg", "we[i]rd/3.jpg", ".h/4.jpg", "a/.5.jpg", "c.jpg"):
        picture(tmp_path / name)
    for pattern in (
        "*/",
        "*",
        ".*/*",
        "a/.*",
        "*/*.jpg",
        "a/[12].jpg",
        "we[[]i]rd/*",
        "*/1.jpg",
        "no/*",
        "c.jpg/*",
        "?/b/*",
    ):
        assert matching(pattern) == sorted(glob.glob(pattern)), pattern


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("reviews.txt", "no file 'reviews.txt'"),
        ("reviews.csv", "no file 'reviews.csv'"),
        ("d", "'d' is a folder"),
        ("t.csv", "is a table; here a file has a text per line"),
    ],
)
def test_what_is_meant_for_a_file_is_not_taken_for_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "t.csv").write_text("text,label\na,b\n")
    with pytest.raises(UsageError, match=said):
        list(expand_texts([argument], NONE))
    assert list(expand_texts(["see reviews.txt"], NONE)) == [("see reviews.txt",) * 2]


def test_labels_given_twice_are_refused_and_blank_ones_passed_over(tmp_path: Path) -> None:
    assert read_labels(["a, b,", "c"]) == ["a", "b", "c"]
    (tmp_path / "l.txt").write_text("crane\n\nbird\nmaillot\ncrane\nmaillot\n")
    with pytest.raises(UsageError, match=r"'crane' \(labels 1, 4\); 'maillot' \(labels 3, 5\); name each class once"):
        read_labels([f"@{tmp_path / 'l.txt'}"])


def test_only_pictures_that_are_not_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.heic").write_bytes(b"x")
    with pytest.raises(ModelgraftError, match=r"1 image in formats that are not read: '1\.heic'"):
        read_data(tmp_path)
