"""Tables, folders and saved data sets that would fill the memory, never end, or lead elsewhere are refused by name."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from modelgraft.errors import ModelgraftError, UnreadableItemError, UsageError
from modelgraft_adapters.cli.inputs import expand_paths, expand_texts, read_labels
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.media.files import MOST_PICTURE_BYTES, Given, open_regular, read_regular
from modelgraft_adapters.media.images import read_image
from modelgraft_adapters.media.walking import matching, walk

from tests.adapters.data.conftest import MakeTree, picture


def test_rows_that_share_no_names_make_no_square(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(f'{{"text": "a b", "k{n}": 1}}\n' for n in range(100_000)))
    with pytest.raises(UsageError, match=r"x.jsonl:16384: the objects have over 16,384 different names"):
        read_data(path)
    path.write_text("".join(f'{{"text": "a b", "k{n % 9000}": 1}}\n' for n in range(20_000)))
    with pytest.raises(UsageError, match=r"20,000 objects of 9,001 names, and only 40,000 values"):
        read_data(path)
    path.write_text("".join(json.dumps({"text": "a b", "label": n % 2}) + "\n" for n in range(1000)))
    assert len(read_data(path)) == 1000


@pytest.mark.full
def test_tables_of_a_million_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    for header in (",".join(f"c{n}" for n in range(1_000_000)), ",".join(f'"c{n}"' for n in range(20_000))):
        path.write_text(header + "\n1\n")
        with pytest.raises(UsageError, match=r"has (1,000,000|20,000) columns; at most 16,384 are read"):
            read_data(path)
    table = pyarrow.table({f"c{n}": [1] for n in range(17_000)})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="17,000 columns"):
        read_data(tmp_path / "x.parquet")


@pytest.mark.parametrize(
    "content", ["[" * 10**6, '{"a":' * 10**5, "1" * 10**6, '{"a": ' + "9" * 10**5 + "}", "\0" * 1000]
)
def test_json_without_measure_is_said(tmp_path: Path, content: str) -> None:
    for name in ("x.json", "x.jsonl"):
        (tmp_path / name).write_text(content)
        with pytest.raises(UsageError, match="is not JSON"):
            read_data(tmp_path / name)


@pytest.mark.full
def test_one_enormous_line_and_field(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label\n" + "w " * 10**7 + ",1\n")
    assert len(read_data(tmp_path / "x.csv").items[0]) == 2 * 10**7
    with open(tmp_path / "huge.csv", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelgraftError, match="larger than 2,048 MiB"):
        read_data(tmp_path / "huge.csv")


def test_rows_that_name_no_regular_file_are_error_rows(tmp_path: Path) -> None:
    """A table may name any file, as a user's own does; a pipe, a device or a folder is none."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "good.png").write_bytes(picture(1))
    (tmp_path / "x.csv").write_text(
        "path,label\ngood.png,a\npipe.jpg,b\n/dev/zero,a\n/proc/kmsg,b\n../,a\n/dev/stdin,b\n"
    )
    table = pyarrow.table({"image": [{"bytes": None, "path": name} for name in ("pipe.jpg", "/dev/zero", "x\0y", ".")]})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    found = [*read_data(tmp_path / "x.csv", item_column="path", modality="image").items]
    assert read_image(found[0])[0].size == (32, 24)
    for item in [*found[1:], *read_data(tmp_path / "x.parquet").items]:
        with pytest.raises(UnreadableItemError):
            read_image(item)


def test_pipes_that_are_typed_are_read_and_those_in_a_list_are_not(tmp_path: Path) -> None:
    def fed(content: bytes, name: str = "pipe") -> str:
        path = tmp_path / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        threading.Thread(target=path.write_bytes, args=(content,), daemon=True).start()
        return str(path)

    none = open(os.devnull, encoding="utf-8")
    assert read_labels(["@" + fed(b"cat\ndog\n")]) == ["cat", "dog"]
    assert [text for _, text in expand_texts([fed(b"one\ntwo\n")], none)] == ["one", "two"]
    assert list(read_data(fed(b"text,label\na b,1\n", "x.csv")).items) == ["a b"]
    assert list(read_data(fed(b'{"text": "a b", "label": 1}\n', "x.jsonl")).items) == ["a b"]
    (typed,) = expand_paths([fed(picture(1))], none)
    assert isinstance(typed, Given) and read_image(typed)[0].size == (32, 24)
    (listed,) = expand_paths(["-"], [f"{tmp_path / 'pipe'}\n"])  # type: ignore[arg-type]
    with pytest.raises(UnreadableItemError, match="not a regular file"):
        read_image(listed)
    for wrong in ("/dev/zero", str(tmp_path)):
        with pytest.raises(UsageError, match="cannot read labels"):
            read_labels([f"@{wrong}"])
    with pytest.raises(UsageError, match="cannot read texts from '/dev/zero': not a regular file"):
        list(expand_texts(["/dev/zero"], none))


def test_a_file_is_read_no_further_than_it_says(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"0123456789" * 300_000)
    assert read_regular(path, MOST_PICTURE_BYTES) == path.read_bytes()
    with pytest.raises(OSError, match="larger than 1 MiB"):
        read_regular(path, 1 << 20)
    assert read_regular("/proc/self/status", 1 << 20) == b""  # files of the system state no length
    with open_regular(path) as file:
        assert file.name == str(path) and not os.get_inheritable(file.fileno())
    with pytest.raises(OSError, match="not a regular file"):
        import socket

        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(tmp_path / "socket"))
            open_regular(tmp_path / "socket")


@pytest.mark.full
def test_links_that_lead_round_in_circles(tmp_path: Path) -> None:
    """Twelve folders that link each other have a billion paths."""
    for n in range(12):
        (tmp_path / f"d{n}").mkdir()
        (tmp_path / f"d{n}" / "1.jpg").write_bytes(picture(n))
        for other in range(12):
            os.symlink(f"../d{other}", tmp_path / f"d{n}" / f"l{other}")
    for read in (lambda: read_data(tmp_path), lambda: matching(f"{tmp_path}/**/*.jpg"), lambda: walk(str(tmp_path))):
        with pytest.raises(UsageError, match="lead to the same folders over and over"):
            read()


def test_links_to_one_folder_and_to_themselves_are_no_circle(tree: MakeTree) -> None:
    folder = tree("train/cat/1.jpg", "train/dog/2.jpg")
    os.symlink("train", folder / "test")
    os.symlink("self", folder / "train" / "self")
    os.symlink("../..", folder / "train" / "cat" / "up")
    data = read_data(folder)
    assert (len(data.train), len(data.test), data.classes) == (2, 2, ("cat", "dog"))


def test_patterns_name_what_pythons_own_do(tree: MakeTree, monkeypatch: pytest.MonkeyPatch) -> None:
    import glob

    folder = tree("a/b/c/1.jpg", "a/2.jpg", "3.jpg", "x/.h/4.jpg", ".q/5.jpg", "we[i]rd/6.jpg", "a/b/7.png")
    monkeypatch.chdir(folder)
    for pattern in (
        "**/*.jpg",
        f"{folder}/**/*.jpg",
        "a/**/*",
        "*/**/*.jpg",
        "a/**/b/**/*.jpg",
        "*.jpg",
        "**",
        "x**/*.jpg",
    ):
        assert matching(pattern) == sorted(glob.glob(pattern, recursive=True)), pattern


def test_names_of_any_bytes_are_items(tmp_path: Path) -> None:
    for name in ("a\n1.png", "a\x1b[31m.png", "a\udcff.png", "a\u202e.png", "=cmd|x.png"):
        (tmp_path / "cat").mkdir(exist_ok=True)
        (tmp_path / "cat" / name).write_bytes(picture(len(name)))
    data = read_data(tmp_path)
    assert len(data) == 5 and all(read_image(item)[0].size == (32, 24) for item in data.items)


VALUES = (
    *(
        None,
        True,
        0,
        -1,
        1.5,
        float("inf"),
        10**400,
        "",
        " ",
        "a",
        "a b",
        "--5",
        "nan",
        "null",
        "1e400",
        "a\0b",
        "x" * 5000,
    ),
    *("../x.jpg", "/dev/zero", "a.jpg", "http://x/y.jpg", [], {}, [1], ["a", None], [[1]], {"bytes": None, "path": 5}),
    *(
        {"bytes": "x"},
        {"a": {"b": [1]}},
        "=cmd|x",
        "\x1b[31m",
        "\u202e",
        "|",
        ";",
        "'",
        '"',
        "train",
        "test",
        "unlabelled",
    ),
)
NAMES = ("text", "label", "image", "split", "labels", "path", "tags", "a", "", "\x1b", "TEXT", "bytes", "_")


def test_whatever_stands_in_a_table_it_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    import csv
    import random

    rng = random.Random(0)
    read = refused = 0
    for number in range(720):
        columns = rng.sample(NAMES, rng.randint(1, 4))
        rows = [{name: rng.choice(VALUES) for name in columns if rng.random() < 0.95} for _ in range(rng.randint(1, 5))]
        path = tmp_path / ("x.json", "x.jsonl", "x.csv")[number % 3]
        with path.open("w", newline="", encoding="utf-8") as file:
            if path.suffix == ".json":
                json.dump(rows, file)
            elif path.suffix == ".jsonl":
                file.write("\n".join(map(json.dumps, rows)))
            else:
                csv.writer(file).writerows([columns, *([row.get(name) for name in columns] for row in rows)])
        options: dict[str, Any] = {}
        if rng.random() < 0.3:
            options["task"] = rng.choice(["single-label", "multi-label", "regression"])
        if rng.random() < 0.3:
            options["label_column"] = rng.choice(columns)
        if rng.random() < 0.3:
            options["modality"] = rng.choice(["text", "image"])
        try:
            data = read_data(path, **options)
            read += 1
        except ModelgraftError as error:
            refused += 1
            assert "\n" not in str(error) and "\x1b" not in str(error) and len(str(error)) < 2000
            continue
        for item in data.items if data.modality == "image" else ():
            with pytest.raises(UnreadableItemError):
                read_image(item)
    assert read > 50 and refused > 400
