"""``modelgraft explore``."""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from modelgraft.cli import render
from modelgraft.errors import UsageError
from modelgraft.outputs import write_output

from modelgraft_adapters.cli.device_options import Device, Dtype, Engine
from modelgraft_adapters.cli.model_options import BatchSize, Layer, Model, Workers, entry_of
from modelgraft_adapters.cli.precision import settled
from modelgraft_adapters.cli.progress import end_with, say, say_all
from modelgraft_adapters.cli.result_text import check_format, check_places, data_name

RENAMED = {"--repeats": "--check-duplicates", "--no-repeats": "--no-check-duplicates"}
"""Options as they were called, and as they are."""


def explore(
    data: Annotated[
        str,
        typer.Argument(help="A folder (of images, or of a folder per class), a table, tars, or a pattern of images."),
    ],
    model: Model = None,
    clusters: Annotated[
        int | None,
        typer.Option(
            "--clusters", "-k", min=1, help="Default: as many as classes, without labels the best silhouette."
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="spherical (k-means by cosine) or kmeans.")] = "spherical",
    map: Annotated[str, typer.Option(help="pca, or umap (needs modelgraft[map]).")] = "pca",
    whiten: Annotated[
        int | None, typer.Option(min=2, help="Whiten the features to this many principal components first.")
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(help="An image (of text data: a text) to find the most similar items of. Can be repeated."),
    ] = None,
    neighbours: Annotated[int, typer.Option(min=1, help="How many neighbours are looked at.")] = 10,
    outliers: Annotated[int, typer.Option(min=0, help="How many outliers are named.")] = 10,
    item_column: Annotated[str | None, typer.Option(help="Of a table: the column with the texts or paths.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Of a table: the column with the labels.")] = None,
    check_duplicates: Annotated[
        bool,
        typer.Option(
            "--check-duplicates/--no-check-duplicates",
            help="Look for test items that are duplicates of a training item.",
        ),
    ] = True,
    layer: Layer = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the clusters' starts and the map.")] = 0,
    format: Annotated[
        str | None, typer.Option("--format", "-f", help="table or json. Default: by the output's name.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the result to this file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page with the map and images, one file.")] = None,
    device: Device = None,
    dtype: Dtype = None,
    engine: Engine = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
) -> None:
    """See what is in data, without training: clusters, a map, outliers, repeated and similar items. Labels are optional.

    Exit codes: 0 success, 1 if some item could not be read, 2 usage error.
    """
    kind = format or ("json" if output is not None and output.suffix == ".json" else "table")
    check_format(kind)
    _check_words(method, map)
    check_places(output, report)

    from modelgraft_adapters.data.reading import read_data

    found = read_data(data, item_column=item_column, label_column=label_column)

    _check_fits(found, clusters, like or ())
    entry = entry_of(model, found.modality == "text")

    # torch is imported from here on.
    from modelgraft_adapters.explore import Explorer

    options: dict[str, Any] = {"layer": layer, "device": device, "batch_size": batch_size, "workers": workers}
    options |= settled(entry, found.items, found.modality, dtype, engine, **options)
    seen = Explorer(entry, modality=found.modality, **options).explore(
        found,
        clusters=clusters,
        method=method,  # type: ignore[arg-type]
        whiten=whiten,
        map=map,  # type: ignore[arg-type]
        like=like or (),
        neighbours=neighbours,
        outliers=outliers,
        duplicates=check_duplicates,
        seed=seed,
    )
    say_all(seen.notes)
    _write(seen, kind, output)
    if report is not None:
        from modelgraft_adapters.report.explore_page import build_page

        write_output(report, build_page(seen, data_name(data)).encode())
        say(f"report in {report}")
    end_with(len(seen.unreadable), len(found), ": ".join(next(iter(seen.unreadable.items()), ())))


def _check_words(method: str, map: str) -> None:
    for name, value, known in (("--method", method, ("spherical", "kmeans")), ("--map", map, ("pca", "umap"))):
        if value not in known:
            raise UsageError(f"no {name} {value!r}; there are {', '.join(known)}")
    if map == "umap" and importlib.util.find_spec("umap") is None:  # said before anything is embedded
        raise UsageError("--map umap needs umap-learn: pip install 'modelgraft[map]'")


def _check_fits(found: Any, clusters: int | None, like: Sequence[str]) -> None:
    if clusters is not None and clusters > len(found):
        raise UsageError(f"{clusters} clusters of {len(found)} items; between 1 and the number of items is possible")
    for item in like if found.modality == "image" else ():
        if not Path(item).is_file():
            raise UsageError(f"neighbours of {item!r}: no such file")


def _write(seen: Any, kind: str, output: Path | None) -> None:
    out: Any = io.StringIO() if output is not None else sys.stdout
    if kind == "json":
        render.as_json(seen.record(), out)
    else:
        _table(seen, out)
    if output is not None:
        write_output(output, out.getvalue().encode())


def _table(seen: Any, out: Any) -> None:
    found = seen.clustering
    k = len(found.centres)
    how = {"given": "as given", "classes": "as many as classes", "silhouette": "the largest silhouette"}[seen.chosen_by]
    name = "spherical k-means" if found.method == "spherical" else "k-means"
    numbers = f"{seen.features.shape[1]} {'whitened components' if seen.whitened else 'numbers'}"
    lines = [
        ("items", f"{len(seen.data)}, features of {numbers} by {seen.model}"),
        ("clusters", f"{k} ({how}) by {name}"),
    ]
    if seen.silhouette == seen.silhouette:
        lines.append(("silhouette", f"{seen.silhouette:.3f}"))
    if seen.agreement is not None:
        a = seen.agreement
        lines.append(("with labels", f"accuracy {a.accuracy:.3f}, NMI {a.nmi:.3f}, adjusted Rand index {a.ari:.3f}"))
    width = max(len(what) for what, _ in lines)
    out.write("".join(f"{what:<{width}}  {render.printable(text)}\n" for what, text in lines) + "\n")
    _clusters(seen, out)
    for one in seen.neighbours:
        near = [
            [f"{cosine:.3f}", seen.label(int(n)) or "", _short(seen.data.identity(int(n)))]
            for n, cosine in zip(one.indices, one.cosines, strict=True)
        ]
        out.write("\n")
        render.table(["cosine", "label", f"most like {_short(one.item)}"], near, right=("cosine",), out=out)
    if seen.outliers:
        far = [[f"{score:.3f}", seen.label(n) or "", _short(seen.data.identity(n))] for n, score in seen.outliers]
        out.write("\n")
        render.table(["distance", "label", "outlier"], far, right=("distance",), out=out)
    if seen.duplicates:
        out.write("\n")
        rows = [[_short(test), _short(train), kind] for test, train, kind, _ in seen.duplicates[:20]]
        render.table(["test item", "is in the training data as", "how"], rows, out=out)
        if len(seen.duplicates) > 20:
            out.write(f"and {len(seen.duplicates) - 20} more\n")


def _clusters(seen: Any, out: Any) -> None:
    names = (
        ["cluster", "items", "mostly", "share", "most central"]
        if seen.agreement is not None
        else ["cluster", "items", "most central"]
    )
    rows = []
    for record in seen.clusters():
        share = record.get("share")
        mostly = [record["label"] or "", "" if share is None else f"{share:.2f}"] if seen.agreement is not None else []
        rows.append([str(record["cluster"]), str(record["items"]), *mostly, _short(next(iter(record["central"]), ""))])
    render.table(names, rows, right=("cluster", "items", "share"), out=out)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 72 else "…" + line[-71:]
