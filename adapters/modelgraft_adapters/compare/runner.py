"""Which model, trained in which way, is right for these data: what ``modelgraft compare`` does.

Each model is trained in each way, from few labels and from all, with several seeds, and tested on the same items; each way of each
model in a process of its own (`worker`).
"""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from modelgraft import Entry, list_heads, resolve
from modelgraft.devices import device_of
from modelgraft.errors import DamagedFileError, ModelgraftError, UsageError
from modelgraft.host.code import plugin_code_digest
from modelgraft.host.discovery import OWN_DISTRIBUTION, installed_version
from modelgraft.sealed import without_checksum

from modelgraft_adapters.calls import head_calls
from modelgraft_adapters.calls.child import MARK, NoProcessError, child, how_it_ended
from modelgraft_adapters.compare import worker
from modelgraft_adapters.compare.results import Comparison, Row, chance_on, judge, rank, read, score_of
from modelgraft_adapters.compare.strategies import Way, parse_way
from modelgraft_adapters.compare.worker import FORMAT, Cell, Job
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.fingerprint import fingerprint
from modelgraft_adapters.data.labels import learnt_classes
from modelgraft_adapters.data.splitting import few_shot
from modelgraft_adapters.defaults import is_whole
from modelgraft_adapters.features.identity import builds, entry_identity, is_known, versions
from modelgraft_adapters.metrics.costs import Meter
from modelgraft_adapters.metrics.paired import Answers
from modelgraft_adapters.metrics.wording import figure
from modelgraft_adapters.runs.finetune import parted
from modelgraft_adapters.runs.learning_curve import checked_seeds, checked_steps

SHOTS: Final = (4, 16, None)
SEEDS: Final = 3
CELLS: Final = "cells"
"""The folder of what is kept, in the one that was named."""
Tell = Callable[[str], None]
_MARK: Final = MARK.encode()


def compare(
    data: Dataset,
    models: Sequence[str],
    strategies: Sequence[str],
    *,
    seeds: int | Sequence[int] = SEEDS,
    shots: Sequence[int | None] = SHOTS,
    wanted: float | None = None,
    test_fraction: float = 0.2,
    class_weight: str | None = None,
    settings: Mapping[str, Any] | None = None,
    folder: Path | None = None,
    device: str | None = None,
    workers: int | None = None,
    tell: Tell = lambda text: None,
) -> Comparison:
    """Learn every model in every way, and test all on the same items.

    The test items are looked at once for each trained model, and choose nothing of it. Which row is best is seen on them, though:
    the best of many rows is a little worse on new items than it looks here.

    Args:
        data: of one task; without a split ``test``, ``test_fraction`` of the items are, by the first seed, the same for every row.
        models: names; each is loaded in other processes, so that a loaded backbone will not do.
        strategies: see `parse_way`.
        seeds: how many, or which. Each draws the labels anew (`few_shot`) and is the seed of what is trained.
        shots: labels of each class; None is all.
        wanted: the score that labels are counted to.
        settings: of fine-tuning.
        folder: each learning is kept there and not done again, until data, files of the model, settings or versions change.
        tell: told a line for each learning.

    Raises:
        UsageError: no such model or strategy, nothing to train or test on, no seeds.
    """
    for what, some in (("model", models), ("strategy", strategies)):
        if isinstance(some, str) or not some:
            raise UsageError(f"a comparison takes a list of at least one {what}, not {some!r}")
    given: Any = seeds
    count = int(given) if is_whole(given) else None
    if count is not None and count < 1:
        raise UsageError(f"seeds={seeds!r}; a comparison takes at least one")
    numbers = checked_seeds(given if count is None else range(count))
    shots = checked_steps(shots)
    if wanted is not None and (not isinstance(wanted, Real) or isinstance(wanted, bool) or not math.isfinite(wanted)):
        raise UsageError(f"wanted={wanted!r}; a score is a finite number, such as 0.8")
    ways = [parse_way(text, settings) for text in dict.fromkeys(strategies)]
    device_of(device)
    entries = {name: resolve(name) for name in dict.fromkeys(models)}
    whole = parted(data, test_fraction, None, numbers[0])
    train, test = whole.part("train"), whole.part("test").take(whole.part("test").labelled)
    steps = _steps(train, shots, numbers)
    meter = Meter()
    with _folder(folder) as place:
        bench = _Bench(whole, ways, steps, numbers, class_weight, device, workers, place / CELLS, tell)
        rows = [row for name, entry in entries.items() for row in bench.rows(name, entry, len(ways) * len(entries))]
    done = [row for row in rows if row.status == "done"]
    judge(done, bench.answers, wanted, 1 if whole.task == "regression" else learnt_classes(whole))
    order = sorted(rows, key=lambda row: (row.status != "done", row.status, *rank(row)))
    return Comparison(
        task=whole.task,
        metric=done[0].score.name if done and done[0].score else "score",
        classes=whole.classes,
        learnt=learnt_classes(whole),
        train=len(train),
        test=len(test),
        shots=steps,
        seeds=numbers,
        wanted=wanted,
        chance=chance_on(train, test),
        rows=order,
        ran=bench.ran,
        kept=bench.kept,
        energy=", ".join(meter.sources) if meter.sources else meter.why_not,
        settings={
            "test fraction": test_fraction if "test" not in data.split_names else "the data's own test split",
            "class weight": class_weight,
            "device": device,
            "fine-tuning": dict(settings or {}),
        },
        versions={k: v for entry in entries.values() for k, v in versions(entry.distribution).items()},
        notes=list(
            dict.fromkeys([*whole.notes, *(f"{row.model} {row.strategy}: {n}" for row in order for n in row.notes)])
        ),
    )


class _Bench:
    """Jobs, their processes, and what came of them."""

    def __init__(
        self,
        data: Dataset,
        ways: Sequence[Way],
        shots: Sequence[int | None],
        seeds: Sequence[int],
        class_weight: str | None,
        device: str | None,
        workers: int | None,
        folder: Path,
        tell: Tell,
    ) -> None:
        self.data, self.ways, self.shots, self.seeds = data, ways, shots, seeds
        self.class_weight, self.device, self.workers = class_weight, device, workers
        self.folder, self.tell = folder, tell
        self.ran = self.kept = self.row = 0
        self.answers: dict[int, list[Answers]] = {}
        """id of a row -> of its most labels, one for each seed."""
        self.about = {name: fingerprint(data.part(name)) for name in data.split_names}

    def rows(self, name: str, entry: Entry, total: int) -> Iterator[Row]:
        """A model's rows, as they come."""
        try:
            identity: Any = entry_identity(entry)
            if not is_known(identity):  # code that cannot be known may answer otherwise the next time
                identity = {**identity, "only now": uuid4().hex}
        except ModelgraftError as error:
            identity, why = None, str(error)
        for way in self.ways:
            self.row += 1
            at = f"{name} {way.label} ({self.row} of {total})"
            row = Row(name, way.label, "done")
            if identity is None:
                row.status, row.reason = "failed", why
            elif reason := _cannot(entry, way, self.data):
                row.status, row.reason = "cannot", reason
            else:
                self._fill(row, way, self._cells(name, entry, identity, way), at)
            if row.status != "done":
                self.tell(f"{at}: {row.reason}")
            yield row

    def _cells(self, name: str, entry: Entry, identity: Any, way: Way) -> list[Cell]:
        cells = []
        for shots in (0,) if way.kind == "zero-shot" else self.shots:
            for seed in self.seeds[:1] if way.kind == "zero-shot" else self.seeds:
                key = {
                    "format": FORMAT,
                    "model": identity,
                    "versions": [
                        installed_version(OWN_DISTRIBUTION),
                        versions(entry.distribution),
                        builds(entry.distribution),
                    ],
                    "data": self.about,
                    "way": [way.kind, way.name, way.settings, _code(way)],
                    "shots": shots,
                    "seed": seed,
                    "class_weight": self.class_weight,
                    "device": self.device,
                }
                digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:16]
                many = "all" if shots is None else shots
                slug = re.sub(r"[^A-Za-z0-9._=-]+", "-", f"{name[-60:]}_{way.label}_{many}_{seed}").strip("-.")
                cells.append(Cell(shots, seed, self.folder / f"{slug}_{digest}.json"))
        return cells

    def _fill(self, row: Row, way: Way, cells: list[Cell], at: str) -> None:
        """Do what is not kept, and read all of it."""
        missing = tuple(cell for cell in cells if _kept(cell) is None)
        self.kept += len(cells) - len(missing)
        if not missing:
            self.tell(f"{at}: kept from before")
        else:
            job = Job(row.model, way, self.data, missing, self.class_weight, self.device, self.workers)
            try:
                row.status, row.reason = self._run(job, at)
            except NoProcessError as error:
                row.status, row.reason = "failed", str(error)
        records = [found for cell in cells if (found := _kept(cell)) is not None]
        if row.status == "done" and len(records) < len(cells):
            row.status, row.reason = (
                "failed",
                f"{len(cells) - len(records)} of {len(cells)} trainings left no whole result",
            )
        if records:
            read(row, records, self.data.task)
            most = cells[-1].shots
            self.answers[id(row)] = [Answers.restore(self.data.task, r) for r in records if r["shots"] == most]

    def _run(self, job: Job, at: str) -> tuple[str, str]:
        """(status, reason) of a job in a process of its own."""
        status, reason, heard = "done", "", 0
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile() as errors, child(worker.__name__, errors) as process:
            assert process.stdin is not None and process.stdout is not None
            try:
                pickle.dump(job, process.stdin)
                process.stdin.close()
            except BrokenPipeError:
                pass  # it ended before it had read; its exit code says so below
            for text in process.stdout:
                if not text.startswith(_MARK):  # printed before the process was ours, by what starts with Python itself
                    continue
                line = json.loads(text.removeprefix(_MARK))
                heard += 1
                for what in ("cannot", "failed"):
                    if what in line:
                        status, reason = what, reason or line[what]
                if line["cell"] is not None and len(line) == 1:
                    self.ran += 1
                    self.tell(_line(job.cells[line["cell"]], at))
            code = process.wait()
            if code:
                return "failed", how_it_ended(code, errors)
        return status, reason


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="modelgraft-compare-") as name:
        yield Path(name)


def _steps(train: Dataset, shots: Sequence[int | None], seeds: Sequence[int]) -> tuple[int | None, ...]:
    """The numbers of labels, fewest first, all last; numbers that would draw every item are "all"."""
    places = Dataset(range(len(train)), train.modality, train.task, train.targets, train.classes)
    few = sorted({count for count in shots if count is not None})
    kept = [n for n in few if any(len(few_shot(places, n, seed)) < int(train.labelled.sum()) for seed in seeds)]
    return (*kept, *([None] if None in shots or len(kept) < len(few) else []))


def _cannot(entry: Entry, way: Way, data: Dataset) -> str:
    """What can be said before anything is loaded."""
    if way.kind == "zero-shot" and "zero-shot" not in entry.tasks:
        return "no text tower" if data.modality == "image" else "it cannot compare texts with the names of classes"
    if way.kind != "tune":
        tasks = next(spec.tasks for spec in list_heads() if spec.name == way.name)
        if data.task not in tasks:
            return f"the head takes {', '.join(tasks)}, not {data.task}"
    return ""


def _code(way: Way) -> str | None:
    """Of the head that is fitted; `versions` says it of all else."""
    plugin = head_calls.head_owner(way.name) if way.kind == "head" else ""
    return plugin_code_digest(plugin.partition(":")[0], plugin) or uuid4().hex if plugin else None


def _kept(cell: Cell) -> dict[str, Any] | None:
    """What a cell found, if it is there and whole."""
    try:
        found = without_checksum(json.loads(cell.path.read_text(encoding="utf-8")), str(cell.path))
    except (OSError, ValueError, AttributeError, RecursionError, DamagedFileError):
        return None
    of_this = (found.get("format"), found.get("shots"), found.get("seed")) == (FORMAT, cell.shots, cell.seed)
    return found if of_this else None


def _line(cell: Cell, at: str) -> str:
    """What is told of a learning that is done."""
    found = _kept(cell)
    if found is None:
        return f"{at}: nothing was written"
    score, seconds = score_of(found), found["seconds"]
    what = "no labels" if cell.shots == 0 else f"{'all' if cell.shots is None else cell.shots} labels, seed {cell.seed}"
    got = f"{score.name} {figure(score.value)}"
    return f"{at}: {what}: {got}, {seconds['learning']:.1f} s to train, {seconds['testing']:.1f} s to test"
