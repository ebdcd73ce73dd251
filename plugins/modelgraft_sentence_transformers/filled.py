"""Whether every weight that an embedding depends on came out of the files: transformers fills what is missing by chance."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

from modelgraft.errors import WeightsUnavailableError
from sentence_transformers import SentenceTransformer
from transformers import PreTrainedModel

from modelgraft_sentence_transformers.blocks import blocks

_one_at_a_time: Final = threading.Lock()


@contextmanager
def missing_weights() -> Iterator[set[str]]:
    """Collect the names of weights that transformers does not find while models are loaded inside.

    Sentence Transformers does not pass on what transformers tells of it (``output_loading_info``), so it is asked for here.
    """
    missing: set[str] = set()
    with _one_at_a_time:
        real = PreTrainedModel.__dict__["from_pretrained"]

        def telling(kind: Any, *given: Any, **how: Any) -> Any:
            if how.get("output_loading_info"):
                return real.__func__(kind, *given, **how)
            model, found = real.__func__(kind, *given, **{**how, "output_loading_info": True})
            missing.update(found["missing_keys"])
            missing.update(key[0] if isinstance(key, tuple) else key for key in found["mismatched_keys"])
            return model

        PreTrainedModel.from_pretrained = classmethod(telling)  # type: ignore[method-assign, assignment]
        try:
            yield missing
        finally:
            PreTrainedModel.from_pretrained = real  # type: ignore[method-assign]


def check_filled(model: SentenceTransformer, missing: Collection[str], name: str) -> None:
    """See that no weight an embedding depends on was missing (a pooler that nobody reads may be).

    Raises:
        WeightsUnavailableError: some were: every embedding would be another one at every start.
    """
    if not missing:
        return
    read = {weight.split(".", 2)[-1] for block in blocks(model) for weight in block.parameters}
    lacks = sorted(read & set(missing))
    if lacks:
        raise WeightsUnavailableError(
            f"the files of {name} lack {len(lacks)} weights that its embeddings depend on ({', '.join(lacks[:3])} ...): not the "
            "whole model, or the configuration of another one"
        )
