"""Runs in a process of its own: has the weights of models, or loads them, with guards taken out if told to.

``python -m tests.weights.malicious_client fetch|load NAME,... [GUARD,...]`` prints what came of each as a line of JSON. A GUARD is
a function of this module: what the test takes away to see that the trap is a trap.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import modelgraft
from modelgraft.errors import ModelgraftError
from modelgraft.weights import local_weights


def pickles_without_code() -> None:
    """``weights_only=True`` wherever a pickle is opened."""
    import torch

    real = torch.load
    torch.load = lambda *given, **how: real(*given, **{**how, "weights_only": False})


def safe_names() -> None:
    """`modelgraft.resolution.safe_path`, and the two looks that the hub client itself takes at a file name."""
    import modelgraft.weights.choosing
    import modelgraft_sources.hub
    from huggingface_hub import file_download

    for module in (modelgraft.weights.choosing, modelgraft_sources.hub):
        module.safe_path = lambda path: path  # type: ignore[attr-defined]
    file_download._validate_relative_filename = lambda filename: None
    file_download._get_pointer_path = lambda folder, revision, name: f"{folder}/snapshots/{revision}/{name}"


def links_inside() -> None:
    """The look at where a cached file really lies."""
    from modelgraft.weights import verifying

    real = verifying.fault
    verifying.fault = lambda path, file, root, again=False: real(path, file, Path("/"), again=again)


def downloads_into_no_link() -> None:
    """A partial file that is a link is not gone on with."""
    import os

    from modelgraft_sources import downloading

    os.O_NOFOLLOW = 0
    downloading.Path.is_symlink = lambda path: False  # type: ignore[method-assign]


def folders_inside() -> None:
    """A folder of the cache that leads out of it is neither filled nor read, and nothing in it is set aside."""
    import modelgraft_sources.hub

    modelgraft_sources.hub._blobs_root = lambda root: Path("/")


def configs_as_we_say() -> None:
    """What the libraries see of a stranger's configurations is all of them."""
    import modelgraft_open_clip.configs as clip
    import modelgraft_sentence_transformers.backbone as sentences
    import modelgraft_timm.pushed as timm
    from modelgraft.opening import only

    sentences.as_we_say = lambda part, whose: only(part)
    clip.model_config = lambda at, value: value
    clip.transformers_files.copies = lambda files, folder, whose: {}
    timm.model_args = timm.pretrained_config = lambda at, value: value


def no_remote_code() -> None:
    """``trust_remote_code=False``, and the list of files that are fetched, in which no Python is."""
    configs_as_we_say()
    import modelgraft_sentence_transformers.backbone as backbone
    import modelgraft_sentence_transformers.plugin as plugin

    real = backbone.SentenceTransformer
    plugin.FILES = (*plugin.FILES, "*.py")
    backbone.SentenceTransformer = lambda *given, **how: real(*given, **{**how, "trust_remote_code": True})


def attempt(what: str, name: str) -> dict[str, Any]:
    try:
        entry = modelgraft.resolve(name)
        if what == "load" and "tag" in entry.loader:
            from tests.open_clip.zoo import shrink

            with tempfile.TemporaryDirectory() as configs:
                shrink(str(entry.loader["model"]), Path(configs))
        if what == "load":
            modelgraft.load(name, device="cpu")
        else:  # what `modelgraft pull` does: no torch
            local_weights(entry)
        return {"done": what}
    except ModelgraftError as error:
        return {"error": type(error).__name__, "text": str(error)}
    except Exception as error:  # where a guard is missing anything may happen
        return {"error": type(error).__name__, "text": f"not on purpose: {error}"}


def main(what: str, names: str, guards: str = "") -> None:
    for guard in filter(None, guards.split(",")):
        globals()[guard]()
    for name in names.split(","):
        print(json.dumps(attempt(what, name)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
