"""Arrow's files (Parquet, saved data sets): what stands in them once and is meant often, leads elsewhere, or brings code."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft_adapters.data import huggingface
from modelgraft_adapters.data.parquet_files import column_of
from modelgraft_adapters.data.reading import read_data

READ = """
import resource, sys
import pyarrow.parquet
from modelgraft.errors import ModelgraftError
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.data import huggingface, parquet_files
parquet_files.ALWAYS_ALLOWED = huggingface.ALWAYS_ALLOWED = 1 << 26  # an eighth, so that the test need not write the whole
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    said = len(read_data(sys.argv[1]))
except ModelgraftError as error:
    said = error
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10, said)
"""


def _memory(path: Path) -> tuple[int, str]:
    """MiB that reading a table took at most, and its rows or the reason why it was refused."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    most, _, said = done.stdout.strip().partition(" ")
    return int(most), said


LONG = "x y" * 100_000


@pytest.mark.full
def test_a_value_that_stands_once_is_held_once(tmp_path: Path) -> None:
    """A file of 30 KB that means 240 MB, and could mean any number, in a column of texts, of lists and of files."""
    path = tmp_path / "x.parquet"
    for table, most in (
        ({"text": [LONG] * 800, "label": [1] * 800}, 150),
        ({"text": ["a b"] * 800, "labels": [[LONG]] * 800}, 150),
        ({"image": [{"bytes": LONG.encode(), "path": "1.jpg"}] * 800, "label": [1] * 800}, 150),
    ):
        pyarrow.parquet.write_table(pyarrow.table(table), path, dictionary_pagesize_limit=1 << 24)
        assert path.stat().st_size < 100_000
        taken, said = _memory(path)
        assert said == "800" and taken < most, (list(table), taken, said)


def test_a_small_parquet_is_not_unpacked_without_end(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    texts = pyarrow.table({"text": [LONG] * 800, "label": [1] * 800})
    rows = pyarrow.table({"text": pyarrow.array(["a b"]).take(pyarrow.array(np.zeros(3_000_000, np.int8)))})
    for table, options in (
        (texts, {"use_dictionary": False, "compression": "zstd"}),
        (texts, {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}}),
        (rows, {}),
    ):
        pyarrow.parquet.write_table(table, path, **options)
        assert path.stat().st_size < 1 << 20
        taken, said = _memory(path)
        assert "would take more than 64 MiB of memory, maybe a decompression bomb" in said and taken < 300, (
            taken,
            said,
        )
    lists = pyarrow.table({"text": ["a"], "label": [["b", "c"]]})
    options = {"use_dictionary": False, "column_encoding": {"label.list.element": "DELTA_BYTE_ARRAY"}}
    pyarrow.parquet.write_table(lists, path, **options)
    with pytest.raises(UsageError, match="lists in the encoding DELTA_BYTE_ARRAY"):
        read_data(path)


def test_columns_are_what_arrow_says_they_are() -> None:
    for array in (
        pyarrow.array([[1, None], None, [], [2, 3]]),
        pyarrow.array([[1, None], None, [], [2, 3]]).slice(1, 3),
        pyarrow.array(
            [["a", "b"], None, ["a"]], pyarrow.large_list(pyarrow.dictionary(pyarrow.int8(), pyarrow.string()))
        ),
        pyarrow.array(["a", None, "b", "a"]).dictionary_encode(),
        pyarrow.array([{"x": 1, "y": "a"}, None, {"x": None, "y": None}]),
        pyarrow.array([{"a": [1, 2]}, {"a": None}]).slice(1),
        pyarrow.array([[1, 2], None], pyarrow.list_(pyarrow.int32(), 2)),
        pyarrow.array([b"1", None]).dictionary_encode(),
        pyarrow.array([], pyarrow.list_(pyarrow.string())),
    ):
        column = pyarrow.chunked_array([array, array])
        assert list(column_of(column)) == column.to_pylist()
    assert list(column_of(pyarrow.chunked_array([], pyarrow.string()))) == []


def test_types_that_bring_a_pickle_are_not_opened(tmp_path: Path) -> None:
    """Arrow's extension types once did (CVE-2023-47248)."""

    class Runs:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "trap"),)

    about = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(Runs())}
    schema = pyarrow.schema([pyarrow.field("text", pyarrow.string(), metadata=about), ("label", pyarrow.int64())])
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a b"], "label": [1]}, schema=schema), tmp_path / "x.parquet")
    assert list(read_data(tmp_path / "x.parquet").items) == ["a b"]
    assert not (tmp_path / "trap").exists()


def _saved(folder: Path, **changes: Any) -> Path:
    rows = datasets.Dataset.from_dict({"text": ["a b", "c d"], "label": [0, 1]})
    rows.save_to_disk(folder)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | changes))
    return folder


def test_a_saved_data_set_names_nothing_outside(tmp_path: Path) -> None:
    assert list(read_data(_saved(tmp_path / "good")).items) == ["a b", "c d"]
    elsewhere = "../good/data-00000-of-00001.arrow"
    for files in ([elsewhere], [str(tmp_path / "good" / "data-00000-of-00001.arrow")], ["/dev/zero"], [".."], [5]):
        evil = _saved(tmp_path / "evil", _data_files=[{"filename": name} for name in files])
        with pytest.raises(ModelgraftError, match="is no name of a file in the folder"):
            read_data(evil)
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "dataset_dict.json").write_text(json.dumps({"splits": ["../good"]}))
    with pytest.raises(ModelgraftError, match="is no name of a file in the folder"):
        read_data(tmp_path / "both")
    assert list(datasets.load_from_disk(_saved(tmp_path / "evil", _data_files=[{"filename": elsewhere}]))["text"])


def test_a_saved_data_set_chooses_no_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets.formatting import formatting

    made = []
    monkeypatch.setattr(formatting.NumpyArrowExtractor, "__init__", lambda self, **given: made.append(given))
    evil = _saved(tmp_path / "evil", _format_type="numpy", _format_kwargs={"dtype": "object"})
    read_data(evil)
    assert not made
    info = json.loads((evil / "dataset_info.json").read_text())
    for kind in ("ArrowReader", "os", "copy", "Features", "_ArrayXD"):
        info["features"]["label"] = {"_type": kind, "dtype": "int64"}
        (evil / "dataset_info.json").write_text(json.dumps(info))
        with pytest.raises(ModelgraftError, match="is no data set that can be read"):
            read_data(evil)


def test_offsets_that_lead_out_of_an_arrow_file_are_seen(tmp_path: Path) -> None:
    folder = _saved(tmp_path / "x")
    (path,) = folder.glob("*.arrow")
    content = path.read_bytes()
    offsets = np.array([0, 3, 6], np.int32).tobytes()
    assert content.count(offsets) == 1
    path.write_bytes(content.replace(offsets, np.array([0, 3, 1 << 30], np.int32).tobytes()))
    with pytest.raises(ModelgraftError, match="is no data set that can be read"):
        read_data(folder)


@pytest.mark.full
def test_a_saved_data_set_is_not_unpacked_without_end(tmp_path: Path) -> None:
    folder = _saved(tmp_path / "x")
    (path,) = folder.glob("*.arrow")
    label = pyarrow.array([0] * 800, pyarrow.int64())
    once = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 800, pyarrow.int32()), pyarrow.array([LONG]))
    for text, codec, reason in (
        (once, None, "dictionaries, which datasets never writes"),
        (pyarrow.array([LONG] * 800), "zstd", "would take more than 64 MiB"),
    ):
        table = pyarrow.table({"text": text, "label": label})
        options = pyarrow.ipc.IpcWriteOptions(compression=codec)
        with pyarrow.ipc.new_stream(str(path), table.schema, options=options) as out:
            out.write_table(table, max_chunksize=200)
        taken, said = _memory(folder)
        assert reason in said and taken < 400, (taken, said)


def test_splits_whose_class_numbers_mean_other_classes_are_not_read_as_one() -> None:
    def rows(names: list[str]) -> datasets.Dataset:
        features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
        return datasets.Dataset.from_dict({"text": ["a b", "c d"], "label": [0, 1]}, features=features)

    parts = datasets.DatasetDict({"train": rows(["cat", "dog"]), "test": rows(["dog", "cat"])})
    with pytest.raises(UsageError, match=r"column 'label' is ClassLabel.* in the split 'test' and not in others"):
        read_data(parts)
    with pytest.MonkeyPatch.context() as guard:
        guard.setattr(huggingface, "_check_alike", lambda *_: None)
        data = read_data(parts)
        assert data.test.targets.tolist() == [0, 1] and data.classes == ("cat", "dog")  # dog is called cat
    assert read_data(datasets.DatasetDict({"train": rows(["a", "b"]), "test": rows(["a", "b"])})).classes == ("a", "b")
