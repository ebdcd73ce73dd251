"""``modelgraft finetune``."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from modelgraft.errors import UsageError
from modelgraft.outputs import check_output_folder

from modelgraft_adapters.cli.data_options import (
    Balanced,
    Data,
    GroupColumn,
    ItemColumn,
    LabelColumns,
    LabelSeparator,
    SplitColumn,
    TaskName,
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

RENAMED = RENAMED_OUTPUT
"""Options as they were called, and as they are."""


def finetune(
    data: Data,
    save: SavedTo,
    model: Model = None,
    strategy: Strategy = "lp-ft",
    epochs: Epochs = None,
    steps: Steps = None,
    batch_size: BatchSize = None,
    lr: Annotated[
        str | None, typer.Option(help="Highest learning rate, or 'find'. Default: the strategy's usual.")
    ] = None,
    set_: Setting = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(
            help="Further images (a folder, a table, tars) to train on without labels; see the settings semi..."
        ),
    ] = None,
    zero_shot_on: Annotated[
        str | None,
        typer.Option(
            help="Data of other classes: say how well a dual encoder still classifies them by name alone, before and after."
        ),
    ] = None,
    resume: Resume = False,
    item_column: ItemColumn = None,
    label_column: LabelColumns = None,
    split_column: SplitColumn = None,
    group_column: GroupColumn = None,
    label_separator: LabelSeparator = None,
    task: TaskName = None,
    test_fraction: TestFraction = 0.2,
    shots: Annotated[int | None, typer.Option(min=1, help="Train on this many labels of each class only.")] = None,
    balanced: Balanced = False,
    seed: Seed = 0,
    tensorboard: TensorBoard = False,
    format: Format = "table",
    device: Device = None,
    workers: Workers = None,
) -> None:
    """Train a pretrained model further on data of yours, and test it: images or texts.

    The test items are looked at once, at the end. Ctrl-C keeps what is done; --resume goes on, to the same result. Exit codes: 0
    success, 1 if some item could not be read or training failed, 2 usage error.
    """
    check_format(format)
    folder = check_folder(save)
    check_output_folder(folder)
    settings = training_settings(strategy, epochs, steps, batch_size, lr, set_)

    from modelgraft_adapters.data.reading import read_data

    found = read_labelled(data, task, item_column, label_column, split_column, label_separator, group_column)
    elsewhere = None if zero_shot_on is None else read_data(zero_shot_on, modality=found.modality)
    entry = entry_of(model, found.modality == "text")
    if elsewhere is not None and "zero-shot" not in entry.tasks:
        raise UsageError(f"--zero-shot-on asks by the names of classes, and {entry.name} has no text tower")

    # torch is imported from here on.
    from modelgraft_adapters.cli.training_log import Follower
    from modelgraft_adapters.finetuning.checkpoint import discard
    from modelgraft_adapters.finetuning.tuner import FineTuner
    from modelgraft_adapters.runs.finetune import main_process, parted, run_finetune

    first = main_process()
    weight = "balanced" if balanced else None
    options: dict[str, Any] = {"modality": found.modality, "class_weight": weight, "seed": seed}
    options |= {"device": device, "workers": workers}
    whole = parted(found, test_fraction, shots, seed)
    more = None if unlabelled is None else read_data(unlabelled, modality=found.modality)
    if lr == "find":
        settings["lr"] = _rate(FineTuner(entry, **options, **settings).find_rate(whole, unlabelled=more), first)
    run_folder = folder / RUN_FOLDER
    with Follower(run_folder, tensorboard=tensorboard, quiet=not first, resumed=resume) as follower:
        tuner = FineTuner(entry, **options, folder=run_folder, tell=follower, **settings)
        run = run_finetune(tuner, whole, unlabelled=more, elsewhere=elsewhere, resume=resume)
    if not first:
        return
    say_all(run.notes)
    saved = tuner.save(folder)
    discard(run_folder)
    say(f"saved to {saved}; 'modelgraft predict FILES --model {place(save)}' uses it")
    show(format, run.record(), _table(run, data))
    end_with(run.tuner.report_["unreadable"] + len(run.evaluation.unreadable), len(run.train) + len(run.test))


def _rate(test: Any, tell: bool) -> float:
    rate = float(f"{test.chosen:.2g}")
    if tell:
        say(f"learning rate {rate:g}: a tenth of that at which the loss was least, of {len(test.rates)} tried")
    return rate


def _table(run: Any, data: str) -> str:
    tuner, report = run.tuner, run.tuner.report_
    chosen = report["chosen"]
    trained, count = report["trained_parameters"], len(tuner.classes)
    what = "numbers" if tuner.task == "regression" else "classes"
    lines = [
        ("data", f"{data}: {len(run.train)} to train on, {len(run.test)} to test on, {count} {what}"),
        ("model", f"{tuner.entry.name}, {trained:,} parameters trained"),
        ("strategy", f"{tuner.tuning.strategy}; {settings_of_training(chosen)}"),
    ]
    if report["best_step"] is not None:
        early = ", where it was stopped" if report["stopped_early"] else ""
        lines.append(("kept", f"step {report['best_step']} of {chosen['steps']}, the best on the held-out part{early}"))
    lines += [(score.name, interval(score)) for score in run.evaluation.scores]
    if run.probe is not None:
        lines.append(("probe", f"{interval(run.probe.score)} {run.probe.score.name}, of the frozen model it began as"))
    if run.elsewhere is not None:
        before, after = run.elsewhere
        what = f"{before.score.name} by name alone, on {len(before.targets)} items"
        lines.append(("elsewhere", f"{interval(before.score)} before, {interval(after.score)} after: {what}"))
    if run.chance.value == run.chance.value:
        lines.append(("chance", f"{run.chance.value:.3f}, {run.chance.name}"))
    gpu = "" if run.gpu_peak_mib is None else f", {run.gpu_peak_mib:.0f} MiB of the GPU"
    lines.append(("cost", f"{spent(run.seconds)}; {run.peak_mib:.0f} MiB{gpu}"))
    return aligned(lines)
