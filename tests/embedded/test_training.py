"""A whole training run in seconds, on images made of colours: it learns, and a kill changes nothing."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from modelgraft_embedded.model import DualEncoder
from modelgraft_embedded.preprocess import normalise
from modelgraft_embedded.training.batches import everyday_groups, load_sources, make_batch, rows_of
from modelgraft_embedded.training.evaluate import START, fill
from modelgraft_embedded.training.train import Plan, last_rate, rate_at, side_at, train
from safetensors.torch import load_file

from tests.embedded.generated import NAMES, prepared

PLAN = Plan(steps=40, text_steps=6, text_batch=16, texts=16, sizes=(9, 6), save_every=8, widths=(8, 8, 16, 24))
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from modelgraft_embedded.training import train as module
from tests.embedded.test_training import PLAN

whole = module.make_batch
def make_batch(*arguments):
    if arguments[4] == 21:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*arguments)

module.make_batch = make_batch
module.train(Path(sys.argv[1]), Path(sys.argv[2]), PLAN)
"""


@pytest.mark.full
def test_killed_and_resumed_is_the_same_as_never_killed(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    prepared(one)
    prepared(two)
    train(one, one / "m.safetensors", PLAN)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(two), str(two / "m.safetensors")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (two / "m.safetensors").exists()
    (two / ".train.ckpt.part").write_bytes(b"half a checkpoint")
    train(two, two / "m.safetensors", PLAN)
    first, second = load_file(one / "m.safetensors"), load_file(two / "m.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)

    model = DualEncoder.from_file(one / "m.safetensors")
    assert model.config.concepts == [name for group in NAMES for name in group]
    cifar, _, _, _ = load_sources(one)
    vectors = torch.nn.functional.normalize(model.encode_text([names[0] for names in NAMES[:3]]), dim=1)
    best = (model.encode_image(normalise(cifar.pixels)) @ vectors.T).argmax(1)
    assert (best == cifar.label).float().mean() > 0.5


def test_another_plan_does_not_continue_a_run(tmp_path: Path) -> None:
    prepared(tmp_path, 24)
    plan = Plan(steps=8, tail=0, text_steps=2, text_batch=8, texts=8, sizes=(4, 4), save_every=8, widths=(8, 8, 8, 8))
    train(tmp_path, tmp_path / "m.safetensors", plan)
    with pytest.raises(SystemExit, match="another plan"):
        train(tmp_path, tmp_path / "m.safetensors", Plan(**{**vars(plan), "steps": 16}))


def test_batches_are_a_function_of_the_step(tmp_path: Path) -> None:
    prepared(tmp_path)
    cifar, views, _, _ = load_sources(tmp_path)
    columns = torch.tensor([0, 1, 2])
    one, two, other = (make_batch(cifar, views, columns, 3, step, (6, 4), 0) for step in (5, 5, 6))
    assert all(torch.equal(value, vars(two)[key]) for key, value in vars(one).items())
    assert not torch.equal(one.pixels, other.pixels)
    assert one.pixels.shape == (10, 3, 64, 64)
    torch.testing.assert_close(one.teacher.sum(1)[one.taught > 0], torch.ones(int(one.taught.sum())))


def test_every_picture_comes_once_before_any_comes_twice() -> None:
    seen = torch.cat([rows_of(10, step, 4, 0, 2) for step in range(5)])
    assert seen[:10].sort().values.tolist() == seen[10:].sort().values.tolist() == list(range(10))


def test_schedules() -> None:
    rates = [rate_at(step, 100) for step in range(100)]
    assert max(rates) == 1.0 and rates[-1] < 0.05 and rates[0] < 0.2
    assert [side_at(step, Plan(steps=100)) for step in (0, 34, 35, 75, 99)] == [32, 32, 48, 64, 64]


def test_the_last_part_ends_later_and_never_jumps() -> None:
    plan = Plan(steps=800, tail=100)
    rates = [last_rate(step, plan) for step in range(900)]
    assert rates[:700] == [rate_at(step, 800) for step in range(700)]
    assert rates[700] == rate_at(700, 800) and rates[-1] < 0.01
    assert all(later <= sooner for sooner, later in itertools.pairwise(rates[64:]))


def test_everyday_names_come_evenly(tmp_path: Path) -> None:
    prepared(tmp_path)
    cifar, views, _, _ = load_sources(tmp_path)
    wider = torch.tensor([3, 3, 2, 3])  # 0 and 1 are kinds of 3; 2 has no wider name
    groups = everyday_groups(views, wider, 3)
    assert [sorted(views.label[group].unique().tolist()) for group in groups] == [[0, 1]]
    batch = make_batch(cifar, views, torch.tensor([0, 1, 2]), 3, 0, (2, 40), 0, groups)
    assert int((batch.label[2:] == 2).sum()) < 40 / 3


def test_the_page_is_filled_again_and_again(tmp_path: Path) -> None:
    page = tmp_path / "p.md"
    page.write_text(f"before\n{START}\nold\n<!-- end of figures -->\nafter\n")
    fill(page, "one")
    fill(page, "two")
    assert page.read_text().startswith("before\n") and page.read_text().endswith("\nafter\n")
    assert "two" in page.read_text() and "one" not in page.read_text() and "old" not in page.read_text()
