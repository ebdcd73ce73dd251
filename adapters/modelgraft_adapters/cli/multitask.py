"""``modelgraft multitask``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from modelgraft.errors import UsageError
from modelgraft.outputs import check_output_folder
from modelgraft.specs import HEAD_TASKS

from modelgraft_adapters.cli.data_options import (
    Balanced,
    GroupColumn,
    ItemColumn,
    LabelSeparator,
    SplitColumn,
    TestFraction,
    read_labelled,
)
from modelgraft_adapters.cli.device_options import Device
from modelgraft_adapters.cli.model_options import entry_of
from modelgraft_adapters.cli.progress import end_with, say, say_all
from modelgraft_adapters.cli.result_text import Format, aligned, check_format, place, settings_of_training, show, spent
from modelgraft_adapters.cli.training_options import (
    RENAMED_OUTPUT,
    BatchSize,
    Epochs,
    Model,
    Resume,
    SavedTo,
    Seed,
    Setting,
    Steps,
    Strategy,
    TensorBoard,
    Workers,
    training_settings,
)
from modelgraft_adapters.metrics.wording import interval
from modelgraft_adapters.saved.card import RUN_FOLDER, check_folder

RENAMED = {
    "--alone": "--single-task-baseline",
    "--weights": "--loss-weights",
    **RENAMED_OUTPUT,
}
"""Options as they were called, and as they are."""


def multitask(
    data: Annotated[
        str, typer.Argument(help="A table (CSV, TSV, JSON lines, Parquet) with a column of labels for each task.")
    ],
    tasks: Annotated[
        list[str],
        typer.Option(
            "--tasks",
            help="The columns of labels, each a task: kind,colour. A column of numbers: price:regression. Empty cells are unknown.",
        ),
    ],
    save: SavedTo,
    model: Model = None,
    strategy: Strategy = "lp-ft",
    loss_weights: Annotated[
        str,
        typer.Option(
            help="Of the tasks' losses: uncertainty (found while training), sum, or as stated: kind=1,colour=0.5."
        ),
    ] = "uncertainty",
    sampling: Annotated[
        str,
        typer.Option(help="Items of a step: proportional (each as often as another), or equal (each task as many)."),
    ] = "proportional",
    single_task_baseline: Annotated[
        bool,
        typer.Option("--single-task-baseline", help="Train each task alone too, and say what sharing is worth to it."),
    ] = False,
    epochs: Epochs = None,
    steps: Steps = None,
    batch_size: BatchSize = None,
    lr: Annotated[str | None, typer.Option(help="Highest learning rate. Default: the strategy's usual.")] = None,
    set_: Setting = None,
    resume: Resume = False,
    item_column: ItemColumn = None,
    split_column: SplitColumn = None,
    group_column: GroupColumn = None,
    label_separator: LabelSeparator = None,
    test_fraction: TestFraction = 0.2,
    balanced: Balanced = False,
    seed: Seed = 0,
    tensorboard: TensorBoard = False,
    format: Format = "table",
    device: Device = None,
    workers: Workers = None,
) -> None:
    """Train one pretrained model further on several tasks at once, with a head for each, and test them.

    Each task becomes a saved adapter of its own, in a folder of its name. The test items are looked at once, at the end. Exit
    codes: 0 success, 1 if some item could not be read or training failed, 2 usage error.
    """
    check_format(format)
    kinds = _kinds(tasks, lr)
    folder = _check_folders(save, kinds)
    stated = _weights(loss_weights)
    settings = training_settings(strategy, epochs, steps, batch_size, lr, set_)
    columns = (split_column, label_separator, group_column)
    parts = {name: read_labelled(data, kind, item_column, [name], *columns) for name, kind in kinds.items()}
    modality = next(iter(parts.values())).modality
    entry = entry_of(model, modality == "text")

    # torch is imported from here on.
    from modelgraft_adapters.cli.training_log import Follower
    from modelgraft_adapters.finetuning.checkpoint import discard
    from modelgraft_adapters.finetuning.multitask_tuner import MultiTaskTuner
    from modelgraft_adapters.runs.finetune import main_process
    from modelgraft_adapters.runs.multitask import parted_tasks, run_multitask

    first = main_process()
    whole = parted_tasks(parts, test_fraction, seed)
    run_folder = folder / RUN_FOLDER
    with Follower(run_folder, tensorboard=tensorboard, quiet=not first, resumed=resume) as follower:
        options = {"modality": modality, "seed": seed, "device": device, "workers": workers, "tell": follower}
        tuner = MultiTaskTuner(
            entry,
            weights=stated,
            sampling=sampling,  # type: ignore[arg-type]  # checked there
            class_weight="balanced" if balanced else None,
            folder=run_folder,
            **options,
            **settings,
        )
        run = run_multitask(tuner, whole, alone=single_task_baseline, resume=resume)
    if not first:
        return
    say_all(run.notes)
    _save(tuner, folder, save)
    discard(run_folder)
    show(format, run.record(), _table(run, data))
    end_with(run.unreadable, sum(run.items))


def _kinds(words: list[str], lr: str | None) -> dict[str, Any]:
    """``kind,price:regression`` as {column: task or None}. A task's name is a folder's too."""
    if lr == "find":
        raise UsageError("--lr find looks at one task; state the rate, or leave it to the strategy")
    found: dict[str, Any] = {}
    for word in (part.strip() for text in words for part in text.split(",") if part.strip()):
        column, _, ending = word.rpartition(":")
        name, kind = (column, ending) if column and ending in HEAD_TASKS else (word, None)
        if name in found:
            raise UsageError(f"--tasks names {name!r} twice")
        if name != name.strip(" .") or any(sign in name for sign in '/\\:*?"<>|') or name.casefold() == RUN_FOLDER:
            raise UsageError(f"the task {name!r} cannot be a folder's name; rename the column")
        found[name] = kind
    if len(found) < 2:
        raise UsageError(
            "--tasks takes two columns or more, such as kind,colour; for one task there is 'modelgraft finetune'"
        )
    return found


def _save(tuner: Any, folder: Path, output: Path) -> None:
    for name, adapter in tuner.adapters_.items():
        saved = adapter.save(folder / name)
        say(f"{name}: saved to {saved}; 'modelgraft predict FILES --model {place(output / name)}' uses it")


def _check_folders(output: Path, names: Iterable[str]) -> Path:
    """The folder, links followed, that may hold the run and each task's adapter and nothing else: asked before long work."""
    folder = Path(os.path.realpath(output.expanduser()))
    for name in names:
        check_folder(folder / name)
    if folder.is_file():
        raise UsageError(f"{folder} is a file; give a folder")
    if folder.is_dir() and (others := sorted(set(os.listdir(folder)) - {RUN_FOLDER, *names})):
        raise UsageError(f"the folder {folder} holds {others[0]!r}, which is no task of this run; give another one")
    check_output_folder(folder)
    return folder


def _weights(text: str) -> Literal["uncertainty"] | dict[str, float] | None:
    if text in ("uncertainty", "sum"):
        return "uncertainty" if text == "uncertainty" else None
    found = {}
    for word in text.split(","):
        name, equals, value = word.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise UsageError(
                f"--loss-weights {text!r}; it is uncertainty, sum, or a weight for each task: kind=1,colour=0.5"
            )
    return found


def _table(run: Any, data: str) -> str:
    tuner, report = run.tuner, run.tuner.report_
    chosen = settings_of_training(report["chosen"])
    lines = [
        ("data", f"{data}: {run.items[0]} to train on, {run.items[1]} to test on, {len(run.tasks)} tasks"),
        ("model", f"{tuner.entry.name}, {report['trained_parameters']:,} parameters trained"),
        ("strategy", f"{tuner.tuning.strategy}; {chosen}; {tuner.sampling} sampling"),
    ]
    for name, found in run.tasks.items():
        test = found.together
        labels = f"{found.train} labels to train on, {len(test.targets)} to test on, weight {tuner.weights_[name]:.3g}"
        lines.append((name, f"{interval(test.score)} {test.score.name}; {labels}"))
        if found.chance.value == found.chance.value:
            lines.append(("", f"chance: {found.chance.value:.3f}, {found.chance.name}"))
        if found.alone is not None:
            gain = found.gain
            told = "better" if gain.low > 0 else "worse" if gain.high < 0 else "no clear difference"
            lines.append(("", f"alone: {interval(found.alone.score)}"))
            lines.append(("", f"sharing: {gain.value:+.3f}  (95 %: {gain.low:+.3f} to {gain.high:+.3f}), {told}"))
    lines.append(("cost", f"{spent(run.seconds)}; {run.peak_mib:.0f} MiB"))
    return aligned(lines)
