"""``modelgraft classify``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from modelgraft.cli.completion import model_names
from modelgraft.errors import UsageError

from modelgraft_adapters.cli.device_options import Device, Dtype, Engine
from modelgraft_adapters.cli.inputs import expand_paths, expand_texts, read_labels
from modelgraft_adapters.cli.model_options import BatchSize, Workers, entry_of, templates_of
from modelgraft_adapters.cli.precision import precision_told, settled
from modelgraft_adapters.cli.prediction_rows import write_rows
from modelgraft_adapters.cli.prediction_writers import FORMATS, make_writer
from modelgraft_adapters.cli.progress import Bar, say, say_all
from modelgraft_adapters.defaults import IMAGE_MODEL, TEXT_MODEL
from modelgraft_adapters.media.files import MOST_TEXT_BYTES, read_regular
from modelgraft_adapters.metrics.calibration import checked_coverage
from modelgraft_adapters.transductive.naming import METHODS, checked_method


def classify(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, patterns; '-' reads paths from standard input. With --text: texts, or files of one a line."
        ),
    ],
    labels: Annotated[
        list[str] | None,
        typer.Option("--labels", "-l", help="Class names: 'cat,dog', or '@FILE' with one a line. Can be repeated."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help=f"A model that can do zero-shot. Default: {IMAGE_MODEL}, for texts {TEXT_MODEL}.",
            autocompletion=model_names,
        ),
    ] = None,
    text: Annotated[bool, typer.Option("--text", help="Classify texts, not images.")] = False,
    template: Annotated[
        list[str] | None,
        typer.Option(
            "--template",
            "-t",
            help="Prompt with {} for the label (can be repeated), or an ensemble: imagenet-80, simple, none.",
        ),
    ] = None,
    descriptions: Annotated[
        Path | None, typer.Option(help="JSON file: label to a list of texts that describe it.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="Report only the best K labels.")] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Give no label where the best score is lower.")
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            help="Labelled items (a folder per class, a table) that scores are made to mean what they say by."
        ),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(help="With --calibrate: give each item a set of labels that holds the true one so often (0.9)."),
    ] = None,
    transductive: Annotated[
        str | None,
        typer.Option(
            help=f"Fit to all items first, without labels, and answer then: {', '.join(METHODS)}. Can help or hurt."
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", "-f", help=f"{', '.join(FORMATS)}. Default: by the output's name, else a table."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file, whole or not at all.")
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    engine: Engine = None,
    batch_size: BatchSize = None,
    workers: Workers = None,
) -> None:
    """Classify images or texts by label names, without training.

    Exit codes: 0 success, 1 if some item could not be read (it is a row with its reason), 2 usage error.
    """
    names = read_labels(labels or [])
    if not names:
        raise UsageError("no labels; name the classes to choose from: --labels 'cat,dog'")
    _check_coverage(coverage, calibrate)
    _check_transductive(transductive, calibrate, descriptions)
    writer = make_writer(format, output, names if top_k is None else None)
    identified = _identified(paths, text)
    entry = entry_of(model, text)
    _fits(entry, text)

    # torch is imported from here on, when all that can be wrong with the call has been said.
    from modelgraft_adapters.estimators.zero_shot_core import ZeroShot

    options: dict[str, Any] = {"device": device, "batch_size": batch_size, "workers": workers}
    words: dict[str, Any] = {"templates": templates_of(template), "descriptions": _read_descriptions(descriptions)}

    def scores(precision: str, features: Any) -> Any:
        return ZeroShot(entry, names, dtype=precision, **words, **options).scores(features)

    items = [item for _, item in identified]
    modality = "text" if text else "image"
    options |= settled(entry, items, modality, dtype, engine, scores, store=False, **options)
    classifier = _classifier(transductive)(entry, names, threshold=threshold, **words, **options)
    if len(names) == 1 and classifier.head.rule.kind == "softmax":
        say("only one label: a softmax over one class is always 1; give it something to choose against")
    say_all(classifier.notes)
    _calibrate(classifier, calibrate)
    predictions = _together(classifier, items) if transductive else classifier.classify(items, coverage=coverage)
    writer.ask(text=text, sets=coverage is not None, precision=precision_told(dtype, options["dtype"], device))
    try:
        write_rows(writer, identified, predictions, top_k, "classifying")
    finally:
        say_all(classifier.take_notes())


def _identified(paths: list[str], text: bool) -> list[tuple[str, Any]]:
    """(what to call it, item) for everything that is pointed at."""
    found = list(expand_texts(paths, sys.stdin)) if text else [(p, p) for p in expand_paths(paths, sys.stdin)]
    if not found:
        raise UsageError("nothing to classify: " + ("no texts" if text else "no paths on standard input"))
    return found


def _check_coverage(coverage: float | None, calibrate: str | None) -> None:
    if coverage is not None:
        checked_coverage(coverage)
        if calibrate is None:
            raise UsageError("--coverage takes labelled items: --calibrate DATA")


def _calibrate(classifier: Any, data: str | None) -> None:
    if data is not None:
        found = classifier.calibrate(data).check_calibration()
        say(f"calibrated on {found.source}: temperature {found.temperature:.2f}")


def _check_transductive(method: str | None, calibrate: str | None, descriptions: Path | None) -> None:
    if method is None:
        return
    checked_method(method)
    if calibrate is not None:
        raise UsageError(
            "--transductive and --calibrate (--coverage) cannot be combined: what was calibrated on other items does not hold for "
            "answers that depend on the batch; leave one of them out"
        )
    if method == "prompt-weights" and descriptions is not None:
        raise UsageError(
            "--transductive prompt-weights weighs templates, and --descriptions take their place; leave one of them out"
        )


def _classifier(transductive: str | None) -> Any:
    """What makes the classifier."""
    if transductive is None:
        from modelgraft_adapters.estimators.zero_shot_core import ZeroShot

        return ZeroShot
    from functools import partial

    from modelgraft_adapters.estimators.transductive_core import Transductive

    return partial(Transductive, method=transductive)


def _together(classifier: Any, items: list[Any]) -> list[Any]:
    """Answers that wait for all items, and what plain zero-shot would have said of how many otherwise."""
    with Bar() as bar:
        found = list(
            classifier.classify_together(items, lambda done, total: bar.tell("reading all items", done, total))
        )
    rule = classifier.fitted_
    if rule.rule is not None:
        say(
            f"{rule.method}: fitted to all {rule.items:,} readable items without labels; {rule.changed:,} of the answers are "
            "others than plain zero-shot gives"
        )
    return found


def _fits(entry: Any, text: bool) -> None:
    if text and entry.modality != "text":
        raise UsageError(
            f"{entry.name} compares images with texts; to classify texts take a text model, as {TEXT_MODEL}"
        )
    if not text and entry.modality == "text":
        raise UsageError(f"{entry.name} reads texts; add --text, or take a model of modality image-text")


def _read_descriptions(path: Path | None) -> dict[str, list[str]] | None:
    if path is None:
        return None
    try:
        data = json.loads(read_regular(path, MOST_TEXT_BYTES, pipe=True))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read descriptions from {str(path)!r}: {error}") from None
    good = isinstance(data, dict) and all(
        isinstance(v, str) or (isinstance(v, list) and v and all(isinstance(t, str) for t in v)) for v in data.values()
    )
    if not good:
        raise UsageError(f"{str(path)!r} must hold an object: label to a text or a list of texts")
    return {label: [texts] if isinstance(texts, str) else texts for label, texts in data.items()}
