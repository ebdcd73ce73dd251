"""Names for groups of parameters: what a plugin calls the blocks of a model that its library groups."""

from __future__ import annotations

from modelgraft.training import modules_of


def test_the_outermost_module_that_is_a_groups_own() -> None:
    groups = [
        ["stem.conv.weight", "stem.norm.weight", "pos_embed"],
        ["layers.0.a.weight", "layers.0.b.bias"],
        ["layers.1.a.weight", "layers.1.b.bias"],
        ["norm.weight", "norm.bias"],
    ]
    assert modules_of(groups) == ["stem", "layers.0", "layers.1", "norm"]


def test_a_module_of_one_numbered_step_is_named_by_it() -> None:
    assert modules_of([["body.stages.0.w"], ["head.w"]]) == ["body", "head"]
    assert modules_of([["stages.0.w", "stages.0.b"], ["head.w"]]) == ["stages.0", "head"]


def test_groups_that_share_a_module_have_its_name() -> None:
    assert modules_of([["block.weight"], ["block.bias"]]) == ["block", "block"]
    assert modules_of([["weight"], ["bias"]]) == ["", ""]
