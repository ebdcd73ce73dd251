"""What the command line shows, as it was last looked at: ``pytest tests/cli/test_snapshots.py --snapshot-update`` takes it anew.

Numbers that a processor or the clock decides are masked; those of the README's examples are compared as they are in its own tests.
"""

from __future__ import annotations

import re

import pytest
import typer
from modelgraft.cli.main import _verbs
from modelgraft.host.host import import_target
from syrupy.assertion import SnapshotAssertion

from tests.conftest import ROOT, Run

PHOTOS = "docs/photos"
CALLS = {
    "info": ("info", "embedded/sprig"),
    "list": ("list", "embedded/*"),
    "nothing listed": ("list", "no-such-*"),
    "unknown model": ("info", "timm/resnet5"),
    "unknown verb": ("clasify",),
    "unknown option": ("classify", PHOTOS, "--lables", "cat"),
    "no such path": ("classify", "nowhere", "--labels", "cat,dog"),
    "classify": ("classify", PHOTOS, "--labels", "cat,cup,orange flower,rocket"),
    "probe without labels": ("probe", PHOTOS),
    "finetune with a setting that is none": ("finetune", PHOTOS, "--set", "lerning_rate=1"),
    "head that is none": ("probe", PHOTOS, "--head", "lniear"),
}


@pytest.mark.parametrize("verb", sorted(_verbs()))
def test_help(verb: str, snapshot: SnapshotAssertion) -> None:
    """What can be said to a verb, and how that is explained; the layout of the page is typer's."""
    spec = _verbs()[verb]
    single = typer.Typer(add_completion=False)
    single.command()(import_target(spec.target, verb))
    lines = [spec.help]
    for param in typer.main.get_command(single).params:
        names = " / ".join([*param.opts, *param.secondary_opts])
        default = "" if param.default in (None, False, [], ()) or param.required else f" [{param.default}]"
        lines.append(f"{names}{' *' if param.required else ''}{default}: {getattr(param, 'help', '')}")
    assert "\n".join(lines) == snapshot


@pytest.mark.full
@pytest.mark.parametrize("name", CALLS)
def test_shown(name: str, run: Run, snapshot: SnapshotAssertion) -> None:
    done = run(*CALLS[name], env={"COLUMNS": "100"}, cwd=ROOT)
    assert f"exit code {done.returncode}\n{_masked(done.stdout)}{_masked(done.stderr)}" == snapshot


def _masked(text: str) -> str:
    text = re.sub(r"^(Usage|Try) .*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"\d+\.\d+", "#.#", text)
