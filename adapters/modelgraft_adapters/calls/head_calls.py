"""Calls into heads, which may be anybody's: as `plugin_calls` does it for backbones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from modelgraft.errors import PluginError
from modelgraft.guard import plugin_code
from modelgraft.host.host import current_host
from modelgraft.host.records import key_of
from modelgraft.learning import Examples

from modelgraft_adapters.calls.plugin_calls import shown
from modelgraft_adapters.calls.score_inputs import not_outputs

ROWS: Final = 4096
"""Features that go through a head at once."""


def head_owner(name: str) -> str:
    """Name who brings a head: the key of its plugin; the head's own name where nobody does."""
    _, plugin = current_host().heads().get(name, (None, name))
    return plugin


def fit_head(name: str, kind: Any, examples: Examples, settings: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a head fitted to examples, and its report.

    Raises:
        PluginError: it fails, or reports what is none.
        UsageError: what the head itself says of its settings.
    """
    plugin = head_owner(name)
    with plugin_code(plugin, f"fitting the head {name}"):
        head = kind.fit(examples, **settings)
        report = head.report()
    if not isinstance(report, Mapping):
        raise _bad_head(plugin, f"reports {shown(report)}, not a mapping")
    return head, dict(report)


def outputs(head: Any, features: torch.Tensor, task: str, plugin: str) -> torch.Tensor:
    """Return what a head gives for features (B, D): a row each; of a regression the values, else probabilities.

    Raises:
        PluginError: the head fails, or gives something else.
    """
    with plugin_code(plugin, "predicting"):
        found = head.logits(features) if task == "regression" else head.probabilities(features)
    good = isinstance(found, torch.Tensor) and found.is_floating_point() and found.ndim == 2
    if not good or len(found) != len(features):
        raise _bad_head(plugin, f"gives {shown(found)} for {len(features)} items")
    return found


def probabilities(head: Any, features: torch.Tensor, count: int, task: str, plugin: str) -> torch.Tensor:
    """Return what a head gives for features (B, D), checked: (B, ``count``) float32 on the CPU, of a regression float64.

    Args:
        task: of a regression the values are asked for, else probabilities.

    Raises:
        PluginError: the head fails, or gives other rows, columns, or no probabilities.
    """
    found = outputs(head, features, task, plugin)
    if found.shape[1] != count:
        raise _bad_head(plugin, f"gives {shown(found)} for {len(features)} items and {count} classes")
    # Numbers that were trained may lie far from 0, such as points of time in seconds.
    out = found.detach().to("cpu", torch.float64 if task == "regression" else torch.float32, copy=True)
    if wrong := not_outputs(out.numpy(), task):
        raise _bad_head(plugin, f"gives {wrong}")
    return out


def _bad_head(plugin: str, what: str) -> PluginError:
    return PluginError(f"plugin {plugin} is wrong: its head {what}; tell its author")


def outputs_of(head: Any, features: np.ndarray, count: int, task: str, plugin: str, device: torch.device) -> np.ndarray:
    """Return (N, C): `probabilities` of features (N, D), N at least 1, some thousands of rows at a time."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(features), ROWS):
            rows = torch.from_numpy(np.array(features[start : start + ROWS]))  # a copy: stored features are read-only
            parts.append(probabilities(head, rows.to(device), count, task, plugin).numpy())
    return np.concatenate(parts)


def brought_by(head: str) -> tuple[str, str]:
    """Distribution and version that bring a head; two empty texts for one that nobody brings."""
    host = current_host()
    _, plugin = host.heads().get(head, (None, None))
    record = next((record for record in host.records if key_of(record) == plugin), None)
    return (str(record["distribution"]), str(record["version"])) if record else ("", "")
