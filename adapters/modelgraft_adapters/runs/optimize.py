"""What runs a model fastest on this machine, and what that does to its embeddings: what ``modelgraft optimize`` does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import torch
from modelgraft import Entry, list_engines
from modelgraft.devices import EXACT, dtype_of, is_native
from PIL import Image

from modelgraft_adapters.calls import plugin_calls
from modelgraft_adapters.calls.text_batches import by_length
from modelgraft_adapters.features.best_engine import Best, is_installed, keep_best
from modelgraft_adapters.features.choosing import first_answers_changed, least_cosine
from modelgraft_adapters.features.engine import TORCH
from modelgraft_adapters.features.running import Running
from modelgraft_adapters.media.images import read_image

MADE_UP: Final = 64
"""Items that are made where none are given."""
MOST: Final = 256
"""Items of those given that are looked at, spread evenly."""
ROUNDS: Final = 3
BATCH: Final = 16

GAIN: Final = 1.05
"""How much faster fewer threads must be to be taken: rates of one way differ by a few percent."""

Precision = Literal["exact", "fast"]
_Place = tuple[str, Precision, int]
"""Engine, precision, threads."""
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run a model."""

    engine: str
    precision: Precision
    dtype: str
    threads: int
    items_per_s: float | None
    """The best of some rounds, taken in turn with the other ways; None: it cannot be run so."""
    start_s: float | None
    """From the loaded model to the first embeddings: what was converted before is opened, else it is converted."""
    largest_difference: float | None
    """Of an embedding from torch's in float32, as a part of its length."""
    least_cosine: float | None
    same_first: float | None
    """Part of the items whose nearest other item is the same one."""
    note: str | None


@dataclass(frozen=True, slots=True)
class Optimized:
    """All ways that there are here."""

    model: str
    modality: str
    items: int
    made_up: bool
    threads: int
    load_s: float
    """The model by torch, in float32."""
    ways: tuple[Way, ...]

    def record(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def optimize(
    entry: Entry, items: Sequence[Any] = (), modality: Literal["image", "text"] | None = None, tell: Tell | None = None
) -> Optimized:
    """Run a model on the CPU in each way that there is: by torch and by each engine that is installed, in float32 and reduced.

    The fastest of a precision is then run in fewer threads (a half, a quarter ...), which small models can be faster in. What
    engines make of the model is kept, and what was fastest too: ``engine="auto"`` takes that from then on.

    Args:
        items: images or texts; without any, some are made up, of which the agreement says less.

    Raises:
        UsageError: a model that does not read such items.
        WeightsUnavailableError: the model's files are not stored and cannot be asked for.
        UnreadableItemError: an item cannot be read.
    """
    began = time.perf_counter()
    torch_exact = Running(entry, modality, None, "cpu", EXACT, None)
    backbone = torch_exact.backbone
    load_s = time.perf_counter() - began
    places = np.linspace(0, len(items) - 1, min(len(items), MOST)).astype(int) if len(items) else np.zeros(0, int)
    given = [items[place] for place in np.unique(places).tolist()]
    reads_text = torch_exact.modality == "text"
    batches = _texts(given or _some_texts()) if reads_text else _images(backbone, given or _some_images())
    precisions: list[Precision] = ["exact", "fast"]
    if not is_native(torch.bfloat16, torch.device("cpu")):
        precisions = ["exact"]
    names = [TORCH, *(spec.name for spec in list_engines() if is_installed(spec.name))]
    threads = torch.get_num_threads()
    first, wanted = _ways(
        torch_exact, [(name, precision, threads) for precision in precisions for name in names], batches, tell
    )
    fewer = [threads >> n for n in range(1, threads.bit_length())]
    best = [_best(first, precision) for precision in precisions]
    if fewer:
        again = [(way.engine, way.precision, n) for way in best for n in fewer]
        first += _ways(torch_exact, again, batches, tell, wanted)[0]
    count = sum(len(batch) for batch in batches)
    found = Optimized(entry.name, torch_exact.modality, count, not given, threads, load_s, tuple(first))
    best = [_best(found.ways, precision) for precision in precisions]
    keep_best(
        torch_exact.identity, torch_exact.modality, {way.precision: Best(way.engine, way.threads) for way in best}
    )
    return found


def _ways(
    torch_exact: Running,
    todo: Sequence[_Place],
    batches: list[list[Any]],
    tell: Tell | None,
    wanted: np.ndarray | None = None,
) -> tuple[list[Way], np.ndarray]:
    """Each way measured, and torch's embeddings in float32: those given, else those of the first way."""
    started: dict[_Place, tuple[Callable[[], np.ndarray], float, np.ndarray] | str] = {}
    for number, place in enumerate(todo):
        if tell:
            tell("starting", number, len(todo))
        started[place] = _started(torch_exact, place, batches)
    rates = _rates({place: found[0] for place, found in started.items() if not isinstance(found, str)}, batches, tell)
    if wanted is None:
        first = started[todo[0]]
        assert not isinstance(first, str)
        wanted = first[2]
    return [_way(place, started[place], rates, wanted) for place in todo], wanted


def _best(ways: Sequence[Way], precision: str) -> Way:
    """The fastest way in a precision."""
    threads = max(way.threads for way in ways)
    there = [way for way in ways if way.precision == precision and way.items_per_s is not None]
    return max(there, key=lambda way: (way.items_per_s or 0.0) / (1 if way.threads == threads else GAIN))


def _started(
    torch_exact: Running, place: _Place, batches: list[list[Any]]
) -> tuple[Callable[[], np.ndarray], float, np.ndarray] | str:
    """What embeds all items in a way, seconds to the first ones, and the embeddings; or why it cannot be."""
    engine, precision, threads = place
    if place == (TORCH, EXACT, torch.get_num_threads()):
        running = torch_exact
    else:
        running = Running(torch_exact.entry, torch_exact.modality, None, "cpu", precision, engine, threads)
    _ = running.backbone

    def embedded() -> np.ndarray:
        with torch.inference_mode():
            return np.concatenate([running.encode(batch).numpy() for batch in batches])

    began = time.perf_counter()
    with torch.inference_mode():
        running.encode(batches[0])
    seconds = time.perf_counter() - began
    if notes := running.take_notes():  # it ran in torch
        return "; ".join(notes)
    return embedded, seconds, embedded()


def _rates(
    ways: dict[_Place, Callable[[], np.ndarray]], batches: list[list[Any]], tell: Tell | None
) -> dict[_Place, float]:
    count, best = sum(len(batch) for batch in batches), dict.fromkeys(ways, 0.0)
    for number in range(ROUNDS):
        for way, embedded in ways.items():
            began = time.perf_counter()
            embedded()
            best[way] = max(best[way], count / (time.perf_counter() - began))
        if tell:
            tell("measuring", number + 1, ROUNDS)
    return best


def _way(
    place: _Place,
    found: tuple[Callable[[], np.ndarray], float, np.ndarray] | str,
    rates: dict[_Place, float],
    wanted: np.ndarray,
) -> Way:
    engine, precision, threads = place
    dtype = str(dtype_of(precision, torch.device("cpu"))).removeprefix("torch.")
    if isinstance(found, str):
        return Way(engine, precision, dtype, threads, None, None, None, None, None, found)
    _, seconds, rows = found
    apart = np.linalg.norm(rows - wanted, axis=1) / np.maximum(np.linalg.norm(wanted, axis=1), 1e-12)
    same = 1 - first_answers_changed(wanted, rows) / len(wanted)
    return Way(
        engine,
        precision,
        dtype,
        threads,
        rates[place],
        seconds,
        float(apart.max()),
        least_cosine(wanted, rows),
        same,
        None,
    )


def _images(backbone: Any, items: Sequence[Any]) -> list[list[torch.Tensor]]:
    ready = [plugin_calls.preprocess(backbone, read_image(item)[0]) for item in items]
    return [ready[begin : begin + BATCH] for begin in range(0, len(ready), BATCH)]


def _texts(items: Sequence[str]) -> list[list[str]]:
    texts = list(items)
    return [[texts[n] for n in group] for group in by_length(texts, BATCH, exactly=True)]


def _some_images() -> list[Image.Image]:
    """Smooth noise of several sizes of detail, no two alike."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(MADE_UP):
        detail = int(rng.integers(3, 40))
        small = Image.fromarray(rng.integers(0, 256, (detail, detail, 3), np.uint8))
        found.append(small.resize((320, 240), Image.Resampling.BICUBIC))
    return found


def _some_texts() -> list[str]:
    """Strings of 4 to 60 common words."""
    words = _WORDS.split()
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(words, rng.integers(4, 61))) for _ in range(MADE_UP)]


_WORDS: Final = """
the a of and to in is it that was for on are with as his they at be this have from or one had by word but not what all were we
when your can said there use an each which she do how their if will up other about out many then them these so some her would
make like him into time has look two more write go see number no way could people my than first water been call who oil its now
find long down day did get come made may part
"""
