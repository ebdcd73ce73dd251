"""Features to a file as they come, in constant memory: Parquet, NumPy or safetensors. A file appears whole or not at all.

Parquet has a row for each item; one that failed has its reason and no embedding. The two others hold the features of the items
that did not fail, in their order, and beside them lies ``NAME.items.jsonl``, a line for each item: its ``row`` or its ``error``.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from modelgraft.cli.render import encodable
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft.outputs import Output, told
from modelgraft.outputs import check_output as check_place

SUFFIXES: Final = (".parquet", ".npy", ".safetensors")
ROWS_PER_GROUP: Final = 1024
_DIGITS: Final = 20
"""Room for the number of rows, which is known at the end only."""


def feature_file(path: Path, card: Mapping[str, Any]) -> FeatureFile:
    """The writer for a path, by its suffix.

    Args:
        card: what the features depend on, written along: in Parquet under the key ``card`` of the schema's metadata, in safetensors
            under that of the file's, for NumPy in ``NAME.card.json``.

    Raises:
        UsageError: another suffix, no such folder, or Parquet without pyarrow.
    """
    check_output(path)
    kinds = {".parquet": _Parquet, ".npy": _Npy, ".safetensors": _Safetensors}
    return kinds[path.suffix.lower()](path, card)


def check_output(path: Path) -> None:
    """Errors as `feature_file`; imports nothing that is not needed to tell."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{str(path)!r} must end in {', '.join(SUFFIXES)}: the suffix chooses the format")
    if path.suffix.lower() == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise UsageError("Parquet needs pyarrow: pip install 'modelgraft[parquet]'") from None
    check_place(path)


class FeatureFile:
    """Writes rows one after the other; used in a ``with``: on an error nothing is left behind.

    Raises:
        ModelgraftError: the disk is full or cannot be written.
    """

    def __init__(self, path: Path, card: Mapping[str, Any]) -> None:
        self.path = path
        self.card = dict(card)
        self.shape: tuple[int, ...] | None = None
        self.rows = 0
        self._outputs: list[Output] = []

    def __enter__(self) -> FeatureFile:
        try:
            self.begin()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                with told(self.path):
                    self.end()
                    # What lies beside it first: who finds the features finds all.
                    for out in reversed(self._outputs):
                        out.place()
        finally:
            self._discard()

    def write(
        self, identity: str, features: np.ndarray | None, *, label: str | None = None, error: str | None = None
    ) -> None:
        """One item: its features, float32 of any one shape, or why there are none."""
        if features is not None:
            if self.shape is None:
                self.shape = features.shape
            elif features.shape != self.shape:
                raise ModelgraftError(f"{identity} has features of shape {features.shape}, others of {self.shape}")
        with told(self.path):
            self.put(identity, features, label, error)
        self.rows += features is not None

    def begin(self) -> None:
        """Open what is written to."""
        raise NotImplementedError

    def put(self, identity: str, features: np.ndarray | None, label: str | None, error: str | None) -> None:
        """Write one item."""
        raise NotImplementedError

    def end(self) -> None:
        """Write what is only known now."""
        raise NotImplementedError

    def open(self, final: Path) -> IO[bytes]:
        """A temporary file that takes the place of ``final`` in the end."""
        with told(final):
            self._outputs.append(Output(final))
        return self._outputs[-1].file

    def abandon(self) -> None:
        """Let go of what writes to the files, when they are not to be kept."""

    def _discard(self) -> None:
        with contextlib.suppress(Exception):
            self.abandon()
        for out in self._outputs:
            out.discard()


class _Parquet(FeatureFile):
    def begin(self) -> None:
        self._file = self.open(self.path)
        self._writer: Any = None
        self._buffer: list[tuple[str, np.ndarray | None, str | None, str | None]] = []

    def put(self, identity: str, features: np.ndarray | None, label: str | None, error: str | None) -> None:
        self._buffer.append((identity, features, label, error))
        if len(self._buffer) >= ROWS_PER_GROUP and self.shape is not None:
            self._flush()

    def end(self) -> None:
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        # Else it tries to when it is collected, and complains.
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._writer is None:
            width = int(np.prod(self.shape)) if self.shape is not None else 0
            kind = pa.list_(pa.float32(), width) if width else pa.list_(pa.float32())
            card = json.dumps({**self.card, "shape": self.shape}, sort_keys=True)
            self._schema = pa.schema(
                [("path", pa.string()), ("embedding", kind), ("label", pa.string()), ("error", pa.string())],
                metadata={"card": card},
            )
            # Embeddings are noise to a compressor and cost it minutes.
            self._writer = pq.ParquetWriter(
                self._file, self._schema, compression={"path": "snappy", "label": "snappy", "error": "snappy"},
                use_dictionary=["label", "error"], write_page_checksum=True,
            )  # fmt: skip
        paths, features, labels, errors = zip(*self._buffer, strict=True) if self._buffer else ((),) * 4
        arrays = [
            _texts(paths),
            self._embeddings(list(features), self._schema.field("embedding").type),
            _texts(labels),
            _texts(errors),
        ]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._buffer.clear()

    def _embeddings(self, rows: list[np.ndarray | None], kind: Any) -> Any:
        import pyarrow as pa

        if self.shape is None:
            return pa.nulls(len(rows), kind)
        nothing = np.zeros(self.shape, np.float32)
        values = np.stack([nothing if row is None else row for row in rows]).reshape(-1)
        missing = pa.array([row is None for row in rows], pa.bool_())
        return pa.FixedSizeListArray.from_arrays(pa.array(values), kind.list_size, mask=missing)


def _texts(values: Sequence[str | None]) -> Any:
    """A column of texts: what is no Unicode in the name of a file is escaped, as in CSV."""
    import pyarrow as pa

    return pa.array([None if value is None else encodable(value) for value in values], pa.string())


class _WithItems(FeatureFile):
    """A header of fixed length, the features one after the other, and the items in a file beside it."""

    def begin(self) -> None:
        self._file = self.open(self.path)
        self._items = self.open(self.path.with_name(f"{self.path.name}.items.jsonl"))
        self._room = 0

    def put(self, identity: str, features: np.ndarray | None, label: str | None, error: str | None) -> None:
        line = {"path": identity, "row": None if features is None else self.rows, "label": label, "error": error}
        self._items.write(json.dumps(line).encode() + b"\n")
        if features is not None:
            if not self._room:
                self._room = len(self.header(10 ** (_DIGITS - 1), features.shape))
                self._file.write(b" " * self._room)
            self._file.write(np.ascontiguousarray(features, "<f4").tobytes())

    def end(self) -> None:
        header = self.header(self.rows, self.shape or (0,))
        if self._room:
            self._file.seek(0)
        header += b" " * (self._room - len(header)) if self._room > len(header) else b""
        self._file.write(header)

    def header(self, rows: int, shape: tuple[int, ...]) -> bytes:
        """The file's beginning; of one length whatever the number of rows."""
        raise NotImplementedError


class _Npy(_WithItems):
    def end(self) -> None:
        super().end()
        card = json.dumps({**self.card, "shape": self.shape}, sort_keys=True, indent=2)
        self.open(self.path.with_name(f"{self.path.name}.card.json")).write(card.encode() + b"\n")

    def header(self, rows: int, shape: tuple[int, ...]) -> bytes:
        out = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            out, {"descr": "<f4", "fortran_order": False, "shape": (rows, *shape)}
        )  # numpy itself leaves room for the first axis to grow
        return out.getvalue()


class _Safetensors(_WithItems):
    def header(self, rows: int, shape: tuple[int, ...]) -> bytes:
        size = 4 * rows * int(np.prod(shape))
        about = {
            "__metadata__": {"card": json.dumps(self.card, sort_keys=True)},
            "features": {"dtype": "F32", "shape": [rows, *shape], "data_offsets": [0, size]},
        }
        text = json.dumps(about).encode()
        length = self._room - 8 if self._room else -(-(len(text) + 8) // 8) * 8
        return length.to_bytes(8, "little") + text.ljust(length)  # white space after the header is allowed
