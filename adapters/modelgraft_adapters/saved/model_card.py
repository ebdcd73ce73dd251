"""The page of a saved adapter for people, in the hub's model-card format (huggingface.co/docs/hub/model-cards)."""

from __future__ import annotations

import json
import math
import re
import shlex
from typing import Any, Final

from modelgraft.cli.render import printable

from modelgraft_adapters.saved.card import Card, shown_score

HUB_LICENCES: Final = frozenset(
    [
        *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
        *(
            "cc-by-nc-sa-4.0",
            "cc-by-3.0",
            "cc-by-nc-nd-4.0",
            "gpl-3.0",
            "agpl-3.0",
            "lgpl-3.0",
            "mpl-2.0",
            "openrail",
            "isc",
        ),
        *("unlicense", "wtfpl", "afl-3.0", "ecl-2.0", "llama2", "llama3", "gemma", "apple-amlr", "other"),
    ]
)
"""Identifiers that the hub knows; the others go in as ``other`` with their name (huggingface.co/docs/hub/repositories-licenses)."""
_PIPELINES: Final = {("image", False): "image-classification", ("text", False): "text-classification"}
MOST_SHOWN: Final = 50
"""Classes that the page names."""


def readme(card: Card, name: str) -> str:
    """The page, front matter and text.

    Args:
        name: what the adapter is loaded by: ``./folder`` or ``hub:user/repo``.
    """
    from huggingface_hub import ModelCardData

    data = ModelCardData(**_metadata(card, name))
    return f"---\n{data.to_yaml()}\n---\n\n{_text(card, name)}"


def _metadata(card: Card, name: str) -> dict[str, Any]:
    from huggingface_hub import EvalResult

    title = _title(name)
    pipeline = _PIPELINES.get((card.modality, card.task == "regression"))
    licence = (card.backbone.licence or "").lower()
    fields: dict[str, Any] = {
        "library_name": "modelgraft",
        "tags": ["modelgraft", "transfer-learning", card.head, card.task],
        "model_name": title,
    }
    if licence:
        fields["license"] = licence if licence in HUB_LICENCES else "other"
        if licence not in HUB_LICENCES:
            fields["license_name"] = re.sub(r"[^a-z0-9.-]+", "-", licence)[:100]
    if card.backbone.repo:
        fields["base_model"] = card.backbone.repo
    if pipeline:
        fields["pipeline_tag"] = pipeline
    known = [score for score in card.scores if score["value"] is not None]
    if known:
        items = (card.evaluated or {}).get("items")
        fields["eval_results"] = [
            EvalResult(
                task_type=pipeline or f"{card.modality}-regression",
                dataset_type="private",
                dataset_name=f"held-out items ({items})" if type(items) is int else "held-out items",
                metric_type=score["name"].replace(" ", "_").lower(),
                metric_name=score["name"],
                metric_value=round(float(score["value"]), 6),
            )
            for score in known
        ]
    return fields


def _title(name: str) -> str:
    return re.sub(r"[^\w .-]", "-", name.rstrip("/").rpartition("/")[2].removeprefix("hub:")) or "adapter"


def _text(card: Card, name: str) -> str:
    backbone = card.backbone
    whose = _code(backbone.name) + (f" at {_code(backbone.commit[:12])}" if backbone.commit else "")
    things = {"image": "images", "text": "texts"}[card.modality]
    item = {"image": "photo.jpg", "text": "a text"}[card.modality]
    does = {
        "single-label": f"sorts {things} into {len(card.classes)} classes",
        "multi-label": f"finds which of {len(card.classes)} labels {things} have",
        "regression": f"predicts {len(card.classes)} number{'s' if len(card.classes) > 1 else ''} from {things}",
    }[card.task]
    name = printable(name).replace("`", "-")
    command = f'modelgraft predict "{item}" --model {shlex.quote(name)}'
    parts = [
        f"# {_inline(_title(name))}",
        f"A saved adapter of [modelgraft](https://pypi.org/project/modelgraft/) that {does}: {_what(card, whose)}",
        f"{'Columns' if card.task == 'regression' else 'Classes'}: {_classes(card)}",
        "## Use",
        "```python\nfrom modelgraft_adapters import FrozenAdapter\n\n"
        f'adapter = FrozenAdapter.load({json.dumps(name, ensure_ascii=False)})\nprint(adapter.predict(["{item}"]))\n```',
        f"```sh\n{command}\n```",
        f"The head comes from {_brought(card.head_distribution, card.head_version)}, the backbone from "
        f"{_brought(backbone.distribution, backbone.version)}; `modelgraft pull {shlex.quote(name)}` fetches all files, after "
        "which it works without a network.",
        "## Scores",
        _scores(card),
        "## Training data",
        _training(card),
        "## Limits",
        _limits(card),
    ]
    return "\n\n".join(parts) + "\n"


def _what(card: Card, whose: str) -> str:
    if card.tuned is None:
        return (
            f"the head {_code(card.head)} on frozen features of {whose}. The backbone was not changed, and is not part of "
            "these files."
        )
    return (
        f"{whose}, trained further under the head {_code(card.head)}. These files hold the {len(card.tuned[1])} tensors of the "
        "backbone that were trained; the others are the pretrained ones."
    )


def _brought(distribution: str, version: str) -> str:
    return f"the distribution {_code(distribution)} ({_inline(version) or 'version unknown'})"


def _classes(card: Card) -> str:
    named = ", ".join(_inline(name) for name in card.classes[:MOST_SHOWN])
    more = len(card.classes) - MOST_SHOWN
    return named + (f" and {more} more." if more > 0 else ".")


def _scores(card: Card) -> str:
    if not card.scores:
        return "It was not tested before it was saved."
    items = (card.evaluated or {}).get("items")
    rows = ["| score | value | 95 % interval |", "|---|---|---|"]
    for score in card.scores:
        low, high = score["low"], score["high"]
        interval = "–" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        value = "–" if score["value"] is None else f"{score['value']:.3f}"
        rows.append(f"| {_inline(score['name'])} | {value} | {interval} |")
    on = f"On {items} items" if type(items) is int else "On items"
    return f"{on} that were not trained on.\n\n" + "\n".join(rows)


def _training(card: Card) -> str:
    facts = card.training.get("data")
    facts = facts if isinstance(facts, dict) else {}
    lines = []
    if type(facts.get("items")) is int:
        lines.append(f"- {facts['items']} labelled items" + _spread(card, facts.get("per_class")))
    if type(facts.get("unlabelled")) is int and facts["unlabelled"]:
        lines.append(f"- {facts['unlabelled']} items without a label were trained on too")
    if isinstance(facts.get("sha256"), str):
        lines.append(f"- SHA-256 of items and labels: {_code(facts['sha256'])}")
    for key, word in (("seed", "seed"), ("n_folds", "folds that settings were chosen by")):
        if type(card.training.get(key)) is int:
            lines.append(f"- {word}: {card.training[key]}")
    report = card.training.get("report")
    chosen = report.get("chosen") if isinstance(report, dict) else None
    if isinstance(chosen, dict) and chosen:
        lines.append(
            "- chosen: " + ", ".join(f"{_inline(str(k))} = {_inline(str(v))}" for k, v in list(chosen.items())[:20])
        )
    lines += [f"- {_inline(note)}" for note in card.notes[:20]]
    return "\n".join(lines) or "Not stated."


def _spread(card: Card, counts: Any) -> str:
    if not isinstance(counts, list) or not counts or not all(type(n) is int for n in counts):
        return ""
    low, high = min(counts), max(counts)
    return f", {low} of each class" if low == high else f", {low} to {high} of a class"


def _limits(card: Card) -> str:
    lines = [
        {
            "single-label": "- It answers with one of its classes whatever it is shown; only a low score says that none fits.",
            "multi-label": "- It knows no labels but its own.",
            "regression": "- It was not tested outside the range of the numbers it was trained on.",
        }[card.task],
        "- Scores hold for items like those it was tested on; with other cameras, words or times they can be lower.",
        "- What the backbone trained on its own training data, its biases included, is in the features.",
    ]
    licence = card.backbone.licence
    lines.append(
        f"- The backbone's licence is {_inline(licence)}; that of the head and of the training data is for its author to state."
        if licence
        else "- The backbone states no licence; that of the head and of the training data is for its author to state."
    )
    if card.scores and card.scores[0]["low"] is not None and card.scores[0]["high"] is not None:
        width = card.scores[0]["high"] - card.scores[0]["low"]
        if math.isfinite(width) and width > 0.1 and card.task != "regression":
            lines.append(f"- The test was small: {_inline(shown_score(card.scores[0]))}.")
    return "\n".join(lines)


def _inline(text: str) -> str:
    """A text on one line of Markdown: nothing in it is markup, a link, or hidden."""
    flat = printable(" ".join(text.split()))[:300]
    marked = re.sub(r"([\\`*_\[\]<>|#~$&!{}^@])", r"\\\1", flat)
    marked = re.sub(r"(?i)(www)\.|:(?=//)", lambda found: f"{found[1] or ''}\\{found[0][-1]}", marked)
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", marked)


def _code(text: str) -> str:
    """A text as code on one line of Markdown."""
    return f"`{printable(' '.join(text.replace('`', chr(39)).split()))[:300]}`"
