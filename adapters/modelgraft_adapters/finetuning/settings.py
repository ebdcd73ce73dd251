"""What a user may say of a fine-tuning run, checked."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Real
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

import numpy as np
from modelgraft.errors import UsageError

from modelgraft_adapters.defaults import is_whole

STRATEGIES: Final = {
    "full": "every block and a new head, at once",
    "last-N": "the last N blocks and a new head (last-1, last-2 ...)",
    "gradual": "the head, then one block more each epoch from the last to the first (Howard and Ruder 2018)",
    "lp-ft": "the exact probe first, then every block from there (Kumar et al. 2022)",
    "norm-only": "the scales and shifts of normalisation layers, and a new head (Frankle et al. 2021)",
    "bias-only": "the biases, and a new head (Ben Zaken et al. 2022)",
    "surgical": "one chosen block, and a new head (Lee et al. 2023)",
    "lora": "low-rank matrices beside the weights, merged at the end (Hu et al. 2022), and a new head",
    "dora": "the same with the lengths of the weights apart (Liu et al. 2024), and a new head",
    "contrastive": "texts of a class drawn together, others apart, then the exact probe (Tunstall et al. 2022, SetFit)",
    "flyp": "images and the names of their classes drawn together, both towers (Goyal et al. 2023)",
    "head-only": "nothing of the backbone: the head alone, by the same loop",
    "scratch": "every block from random weights: the control that says what pretraining is worth",
}
RATES: Final = {
    "norm-only": 1e-3,
    "bias-only": 1e-3,
    "head-only": 1e-2,
    "lp-ft": 3e-5,
    "scratch": 1e-3,
    "lora": 1e-3,
    "dora": 1e-3,
    "contrastive": 2e-5,
    "flyp": 1e-5,
}
"""Learning rates where none is given; 1e-4 for the others."""
LOW_RANK: Final = ("lora", "dora")
ALIGNING: Final = ("deep-coral", "dann")
"""Ways to train on unlabelled images that draw two domains together."""
AUGMENTATIONS: Final = ("none", "flip", "crop", "trivial", "randaugment")
LEAST_STEPS: Final = 100
EPOCHS: Final = 10
BATCH: Final = 32
PAIRS: Final = 16
"""Of a step of ``contrastive``."""
MOST_PAIR_STEPS: Final = 2000
"""``contrastive`` where no length is given: one pass over the pairs, of which there are about as many as texts squared, or so many
steps."""
RENAMED: Final = {"optimiser": "optimizer"}

_ABOVE_0: Final = (
    *("epochs", "steps", "batch_size", "accumulate", "lr", "head_lr"),
    *("clip", "patience", "rank", "semi_ratio", "lora_alpha"),
)
_FROM_0: Final = ("weight_decay", "l2_sp", "l2_head", "mixup", "cutmix", "semi_weight")
_SHARES: Final = (
    *("layer_decay", "warmup", "label_smoothing", "held_out"),
    *("ema", "wise", "lora_dropout", "semi_threshold"),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one run. What is None is chosen when the data and the device are known."""

    strategy: str = "lp-ft"
    """One of `STRATEGIES`."""
    block: str | None = None
    """surgical: the block's name, or its number from the first (0) or the last (-1)."""
    epochs: float | None = None
    """Passes over the training items; None is `EPOCHS`, and more where that were fewer than `LEAST_STEPS` steps."""
    steps: int | None = None
    """Steps of the optimizer, in place of ``epochs``."""
    batch_size: int | None = None
    """Items of one step, over all processes and parts of it; None is `BATCH`, for ``contrastive`` `PAIRS` pairs."""
    accumulate: int = 1
    """Parts that a step's items go through the model in, one after the other: the same step with less memory."""
    lr: float | None = None
    """Highest learning rate; None is the strategy's usual (`RATES`)."""
    head_lr: float | None = None
    """The head's; None is ``lr``."""
    layer_decay: float = 1.0
    """Each block's rate is this times that of the block after it (Clark et al. 2020; BEiT's 0.75)."""
    optimizer: str = "adamw"
    """``adamw``, or ``sgd`` with Nesterov momentum 0.9."""
    weight_decay: float = 0.05
    """Decoupled (Loshchilov and Hutter 2019), on matrices and kernels; never on biases, norms, and what l2_sp holds."""
    schedule: str = "cosine"
    """``cosine`` to zero, or ``constant``; both after ``warmup``."""
    warmup: float = 0.1
    """Part of the steps in which the rate rises from zero."""
    clip: float | None = 1.0
    """Largest norm of a step's gradient; None does not clip."""
    l2_sp: float = 0.0
    """alpha: the strength with which weights are held to the pretrained ones (Xuhong Li et al. 2018, arXiv 1802.01483)."""
    l2_head: float = 0.0
    """beta: the same for the head, held to zero."""
    ema: float | None = None
    """Decay of an exponential average of the weights, which is then what was trained."""
    wise: float | None = None
    """Where between the pretrained weights (0) and the trained ones (1) to end (Wortsman et al. 2022, WiSE-FT, takes 0.5)."""
    label_smoothing: float = 0.0
    mixup: float = 0.0
    """alpha of its Beta distribution (Zhang et al. 2018); 0 does not mix."""
    cutmix: float = 0.0
    """alpha of its Beta distribution (Yun et al. 2019); with mixup one of the two is drawn each step."""
    augment: str = "crop"
    """One of `AUGMENTATIONS`: of images; texts are taken as they are."""
    norms: str | None = None
    """``eval``: batch statistics are not updated and not used; ``train``: both. None: eval, but for full and scratch."""
    rank: int = 8
    """lora, dora: of the matrices."""
    lora_alpha: float | None = None
    """What they add is times ``lora_alpha / rank``; None is ``rank``."""
    lora_dropout: float = 0.0
    semi: str = "fixmatch"
    """What unlabelled images are trained on by: ``fixmatch`` (Sohn et al. 2020), or ``pseudo-label`` (Lee 2013); of another domain
    than the labelled ones ``deep-coral`` (Sun and Saenko 2016) or ``dann`` (Ganin et al. 2016)."""
    semi_threshold: float = 0.95
    """tau: the probability from which on a class that the model itself gives an unlabelled image is taken for its label."""
    semi_weight: float = 1.0
    """lambda: of the unlabelled images' loss; of dann the strength that the reversal of the gradient ends at."""
    semi_ratio: int = 1
    """mu: unlabelled images of a step for each labelled one."""
    patience: int | None = None
    """Stop when that many epochs brought nothing on a part held out of training, and keep the best; None trains to the end."""
    held_out: float = 0.1
    """That part, where the data have no split ``val``."""
    precision: str | None = None
    """``fp32``, ``bf16`` or ``fp16`` (autocast); None is bf16 on a CUDA device that computes in it, and on such a processor for a
    model of 5 million parameters or more, else fp32."""
    compile: bool = False
    """torch.compile."""
    channels_last: bool = False
    recompute: bool = False
    """Activations are computed again in the backward pass: less memory, more time."""

    def __post_init__(self) -> None:
        parse_strategy(self.strategy)
        if (self.strategy == "surgical") != (self.block is not None):
            raise UsageError("strategy surgical takes the block to train (block=), and no other does")
        _one_of("optimizer", self.optimizer, ("adamw", "sgd"))
        _one_of("schedule", self.schedule, ("cosine", "constant"))
        _one_of("augment", self.augment, AUGMENTATIONS)
        _one_of("semi", self.semi, ("fixmatch", "pseudo-label", *ALIGNING))
        for name, words in (("norms", ("eval", "train")), ("precision", ("fp32", "bf16", "fp16"))):
            if getattr(self, name) is not None:
                _one_of(name, getattr(self, name), words)
        self._check_numbers()
        self._check_together()

    def _check_numbers(self) -> None:
        for name in _ABOVE_0:
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf):
                raise UsageError(f"{name} must be above 0, not {value!r}")
        for name in _FROM_0:
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} must be 0 or more, not {getattr(self, name)!r}")
        for name in _SHARES:
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"{name} must be from 0 to 1, not {value!r}")
        for name in ("label_smoothing", "lora_dropout", "held_out", "ema"):
            if getattr(self, name) == 1:
                raise UsageError(f"{name} must be below 1: with 1 there is nothing to train on")

    def _check_together(self) -> None:
        if self.epochs is not None and self.steps is not None:
            raise UsageError("give epochs or steps, not both")
        if self.patience is not None and self.held_out == 0:
            raise UsageError("patience looks at a part held out of training: held_out must be above 0")
        if self.accumulate > self.usual_batch:
            raise UsageError(f"{self.usual_batch} items cannot go in {self.accumulate} parts")
        if self.strategy == "flyp" and self.accumulate > 1:
            raise UsageError(
                "flyp compares all items of a step with each other: it cannot be taken in parts (accumulate)"
            )
        if self.semi == "deep-coral" and (self.accumulate > 1 or self.usual_batch < 2):
            raise UsageError(
                "deep-coral compares the covariances of a step: it takes a batch_size of 2 or more, and no parts (accumulate)"
            )
        if self.strategy in LOW_RANK and self.l2_sp:
            raise UsageError(
                "l2_sp holds weights to the pretrained ones, which lora and dora do not move; take weight_decay"
            )

    @property
    def highest_rate(self) -> float:
        """The learning rate, chosen by strategy where it was not given."""
        return self.lr if self.lr is not None else RATES.get(self.strategy, 1e-4)

    @property
    def usual_batch(self) -> int:
        """Items (or pairs) of one step where there are enough."""
        return self.batch_size or (PAIRS if self.strategy == "contrastive" else BATCH)

    @property
    def norms_in_eval(self) -> bool:
        """Whether layers with running statistics neither update nor leave them."""
        return self.norms == "eval" if self.norms else self.strategy not in ("full", "scratch")

    def total_steps(self, items: int) -> int:
        """Steps of a run on so many items."""
        if self.steps is not None:
            return int(self.steps)
        each = items / self.items_of_step(items)
        if self.epochs is not None:
            return max(1, round(self.epochs * each))
        if self.strategy == "contrastive":
            return max(1, min(round(each), MOST_PAIR_STEPS))
        return max(round(EPOCHS * each), LEAST_STEPS)

    def items_of_step(self, items: int) -> int:
        """Items of one step: never more than there are."""
        return min(self.usual_batch, items)

    def record(self) -> dict[str, Any]:
        """Plain JSON types: what differs from the defaults, and the strategy."""
        plain = asdict(self)
        return {f.name: plain[f.name] for f in fields(self) if f.name == "strategy" or plain[f.name] != f.default}

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """From a user's words.

        Raises:
            UsageError: a setting that does not exist, or a value that cannot be.
        """
        known = [f.name for f in fields(cls)]
        if strangers := [name for name in given if name not in known]:
            if strangers[0] in RENAMED:
                raise UsageError(f"the setting {strangers[0]} is called {RENAMED[strangers[0]]}")
            raise UsageError(f"no setting {strangers[0]!r} of fine-tuning; there are: {', '.join(known)}")
        return cls(**{name: _plain(name, value) for name, value in given.items()})


def parse_strategy(text: str) -> tuple[str, int]:
    """``last-3`` is (last-N, 3); any other is itself and 0.

    Raises:
        UsageError: there is no such strategy.
    """
    name, _, count = text.rpartition("-")
    if name == "last" and count.isdecimal() and int(count) > 0:
        return "last-N", int(count)
    if text not in STRATEGIES or text == "last-N":
        raise UsageError(f"no strategy {text!r}; there are: {', '.join(STRATEGIES)}")
    return text, 0


def with_settings(init: Callable[..., None]) -> Callable[..., None]:
    """Give a constructor that takes settings as ``**settings`` the signature of one that names each: what scikit-learn reads the
    parameters of an estimator from, and what ``help`` shows."""
    signature = inspect.signature(init)
    named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    taken = {p.name for p in named}
    more = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type)
        for f in fields(Settings)
        if f.name not in taken
    ]
    init.__signature__ = signature.replace(parameters=[*named, *more])  # type: ignore[attr-defined]
    return init


def keep_settings(estimator: Any, given: Mapping[str, Any]) -> None:
    """Store settings as parameters of an estimator, as they were given; the default of each that was not.

    Raises:
        UsageError: a setting that does not exist, or a value that cannot be.
    """
    Settings.of({"strategy": estimator.strategy, **given})
    for f in fields(Settings):
        if f.name != "strategy":
            setattr(estimator, f.name, given.get(f.name, f.default))


def settings_of(estimator: Any) -> Settings:
    """The settings that an estimator has as parameters. Errors as `keep_settings`."""
    return Settings.of({f.name: getattr(estimator, f.name) for f in fields(Settings)})


def check_workers(workers: Any) -> None:
    """Check how many processes are to read ahead.

    Raises:
        UsageError: no whole number of 0 or more.
    """
    if workers is not None and (not is_whole(workers) or workers < 0):
        raise UsageError(f"workers is {workers!r}; it takes a whole number of 0 or more")


@functools.cache
def _kinds() -> Mapping[str, tuple[type, bool]]:
    """The type of each setting, and whether it may be None."""
    found = {}
    for name, hint in get_type_hints(Settings).items():
        (kind,) = (one for one in get_args(hint) or (hint,) if one is not NoneType)
        found[name] = kind, NoneType in get_args(hint)
    return found


def _plain(name: str, value: Any) -> Any:
    """Return a user's value in Python's own types: numpy's numbers are taken, and floats that are whole where a whole number is
    wanted.

    Raises:
        UsageError: a value of another kind.
    """
    kind, optional = _kinds()[name]
    if name == "block" and is_whole(value):
        return str(int(value))
    if value is None and optional:
        return None
    if kind is bool:
        if isinstance(value, (bool, np.bool_)):
            return bool(value)
    elif kind is str:
        if isinstance(value, str):
            return str(value)
    elif is_whole(value):
        return int(value)
    elif isinstance(value, Real) and not isinstance(value, bool):
        number = float(value)
        if kind is float:
            return number
        if number.is_integer():
            return int(number)
    raise UsageError(f"{name} is {value!r}; it takes {kind.__name__}")


def _one_of(name: str, value: str, words: tuple[str, ...]) -> None:
    if value not in words:
        raise UsageError(f"{name} is {value!r}; it takes {', '.join(words)}")
