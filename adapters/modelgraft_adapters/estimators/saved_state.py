"""What is written of a fitted adapter, and whether it could be written before it is trained."""

from __future__ import annotations

from typing import Any

from modelgraft_adapters.estimators.tuned_weights import low_rank_record, trained_tensors
from modelgraft_adapters.saved.state import SavedState


def state_of(adapter: Any) -> SavedState:
    """Return a fitted `Adapter` as plain data. The data it was trained on are read once more, for their fingerprint.

    Raises:
        OSError: an item that was trained on cannot be read.
    """
    tensors, settings = adapter.head_.state()
    adapter.trained_on_ = adapter._with_fingerprint()
    identity, known = adapter.extractor.card, adapter.saved_
    precision = identity["precision"]["dtype"]
    if adapter.evaluation_ is not None:
        evaluation = adapter.evaluation_.record()
    else:
        evaluation = known.evaluated if known is not None and known.evaluated else None
    return SavedState(
        adapter.task,
        adapter.classes,
        adapter.values_,
        adapter.entry,
        identity if adapter.tuned_ is None else adapter.tuned_.identity,
        {
            "modality": identity["modality"],
            "layer": adapter.extractor.layer,
            "dtype": None if " " in precision else precision,
            "device": identity["device"],
            "reading": identity["reading"],
            "width": adapter.trained_on_.get("width") or (known.width if known is not None else None),
        },
        identity["versions"],
        adapter.head_name,
        tensors,
        settings,
        trained_tensors(adapter),
        low_rank_record(adapter),
        adapter.training_record(),
        adapter.trained_on_,
        evaluation,
        tuple(dict.fromkeys([*(known.notes if known is not None else ()), *adapter.notes_])),
        adapter.reference_,
        adapter.calibration_,
    )
