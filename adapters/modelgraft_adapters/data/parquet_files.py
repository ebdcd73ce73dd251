"""Parquet files to columns, within a budget: a value or a run is written once there and may stand for millions of rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelgraft.errors import ModelgraftError, UsageError

from modelgraft_adapters.media.files import regular_state

LARGEST_RATIO: Final = 20
"""A table takes at most this many times the bytes of its file."""
ALWAYS_ALLOWED: Final = 1 << 29
"""Up to this many bytes any ratio is allowed."""
_ROW_BYTES: Final = 150
"""What a row takes whatever is in it: its name and its places in lists."""
_CELL_BYTES: Final = 16
_BATCH_ROWS: Final = 1 << 16
_BATCH_BYTES: Final = 1 << 26


@dataclass(frozen=True, slots=True, eq=False)
class BytesColumn(Sequence[Any]):
    """A column of files, made Python objects one at a time: a table of images is never held twice."""

    column: Any
    """pyarrow.ChunkedArray of binary, or of struct<bytes, path>."""

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, index: Any) -> Any:
        return self.column[index].as_py()


def read_parquet(path: str) -> tuple[list[str], list[Sequence[Any]], int]:
    """Names, columns and the number of rows of a Parquet file.

    A value that stands in a file once and is meant in many rows (a dictionary's) is held once here too.

    Raises:
        UsageError: it is no Parquet file, or would take more than `LARGEST_RATIO` times its size.
        ModelgraftError: pyarrow is not installed.
        OSError: there is no such file.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ModelgraftError(
            f"reading {path!r} needs pyarrow: pip install 'modelgraft[parquet]', or save the table as CSV"
        ) from None
    budget = max(LARGEST_RATIO * regular_state(path).st_size, ALWAYS_ALLOWED)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            about = file.metadata
            shared, rows = _plan(about, path, budget)
        before = pyarrow.total_allocated_bytes()
        batches = []
        with pyarrow.parquet.ParquetFile(path, read_dictionary=shared) as file:
            for batch in file.iter_batches(rows):
                batches.append(batch)
                if pyarrow.total_allocated_bytes() - before > budget:
                    raise _too_large(path, budget)
            table = pyarrow.Table.from_batches(batches, file.schema_arrow if not batches else None)
    except pyarrow.ArrowException as error:
        raise UsageError(f"{path!r} is not a Parquet file that can be read: {str(error).splitlines()[0]}") from None
    return list(table.column_names), [column_of(column) for column in table.columns], table.num_rows


def _plan(about: Any, path: str, budget: int) -> tuple[list[str], int]:
    """Which columns to read as dictionaries, and how many rows at once.

    Raises:
        UsageError: what the file says of itself is over the budget.
    """
    cells = about.num_rows * max(1, about.num_columns)
    groups = [about.row_group(n) for n in range(about.num_row_groups)]
    parts = [group.column(n) for group in groups for n in range(group.num_columns)]
    stated = sum(part.total_uncompressed_size for part in parts)
    values = sum(part.num_values for part in parts)
    if max(stated, about.num_rows * _ROW_BYTES + max(cells, values) * _CELL_BYTES) > budget:
        raise _too_large(path, budget)
    texts = [part for part in parts if part.physical_type == "BYTE_ARRAY"]
    shared = sorted({part.path_in_schema for part in texts if part.has_dictionary_page})
    rows = _BATCH_ROWS
    for part in texts:
        if "DELTA_BYTE_ARRAY" in part.encodings:
            # Here a value repeats what the one before begins with: one may be as long as all that is stored.
            if part.num_values > about.num_rows:
                raise UsageError(f"{path!r} holds lists in the encoding DELTA_BYTE_ARRAY; write it anew without")
            rows = min(rows, max(1, _BATCH_BYTES // max(1, part.total_uncompressed_size)))
    return shared, rows


def _too_large(path: str, budget: int) -> UsageError:
    return UsageError(
        f"{path!r} of {os.path.getsize(path):,} bytes would take more than {budget >> 20:,} MiB of memory, "
        "maybe a decompression bomb; split it into several if it is not"
    )


def column_of(column: Any) -> Sequence[Any]:
    """The values of an Arrow column as Python objects, those of a dictionary made once; of files a `BytesColumn`."""
    if _holds_bytes(column.type):
        return BytesColumn(column)
    found: list[Any] = []
    for chunk in column.chunks:
        found += _values(chunk)
    return found


def _values(array: Any) -> list[Any]:
    import pyarrow

    kind = array.type
    if pyarrow.types.is_dictionary(kind):
        indices = array.indices.to_pylist()
        used = sorted(set(indices) - {None})
        once = dict(zip(used, _values(array.dictionary.take(pyarrow.array(used, pyarrow.int64()))), strict=True))
        return [None if index is None else once[index] for index in indices]
    if pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind):
        ends = array.offsets.to_pylist()
        start = ends[0] if ends else 0
        inner = _values(array.values[start : ends[-1]]) if ends else []
        there = array.is_valid().to_pylist()
        return [inner[ends[n] - start : ends[n + 1] - start] if valid else None for n, valid in enumerate(there)]
    if pyarrow.types.is_struct(kind) and not _holds_bytes(kind):
        names = [kind.field(n).name for n in range(kind.num_fields)]
        rows = zip(*(_values(part) for part in array.flatten()), strict=True) if names else ()
        there = array.is_valid().to_pylist()
        return [dict(zip(names, row, strict=True)) if valid else None for row, valid in zip(rows, there, strict=True)]
    return array.to_pylist()


def _holds_bytes(kind: Any) -> bool:
    """Whether an Arrow type holds files: binary, or a struct with the field ``bytes``, as the hub's data sets have it."""
    import pyarrow

    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    if pyarrow.types.is_struct(kind):
        return any(kind.field(n).name == "bytes" for n in range(kind.num_fields))
    return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)
