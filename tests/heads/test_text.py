"""The text head as a head that is fitted: zero-shot, whatever the examples say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from modelgraft import ScoreRule
from modelgraft.errors import UsageError
from modelgraft.learning import Examples, TextClasses
from modelgraft_heads.text import TextHead


def test_fitted_it_is_the_head_the_class_embeddings_make(examples: Examples, held: Any) -> None:
    assert examples.text is not None
    made = TextHead(examples.text.weight, examples.text.rule)
    fitted = TextHead.fit(replace(examples, targets=examples.targets.flip(0)))
    assert torch.equal(made.logits(held[0]), fitted.logits(held[0]))
    assert torch.equal(made.probabilities(held[0]), fitted.probabilities(held[0]))


def test_under_a_sigmoid_classes_that_exclude_each_other_sum_to_one(examples: Examples, held: Any) -> None:
    assert examples.text is not None
    text = TextClasses(examples.text.weight, ScoreRule("sigmoid", 20.0, -10.0))
    fitted = TextHead.fit(replace(examples, text=text))
    torch.testing.assert_close(fitted.probabilities(held[0]), fitted.logits(held[0]).softmax(dim=1))
    alone = TextHead(text.weight, text.rule)
    torch.testing.assert_close(alone.probabilities(held[0]), alone.logits(held[0]).sigmoid())


def test_several_labels_need_a_sigmoid(examples: Examples) -> None:
    several = replace(examples, task="multi-label", targets=torch.zeros(200, 10))
    with pytest.raises(UsageError, match="sigmoid"):
        TextHead.fit(several)


def test_class_embeddings_of_another_space_are_refused(examples: Examples) -> None:
    text = TextClasses(torch.ones(10, 3), ScoreRule("softmax", 1.0))
    with pytest.raises(UsageError, match="64"):
        TextHead.fit(replace(examples, text=text))
