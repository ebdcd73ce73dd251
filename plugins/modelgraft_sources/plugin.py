"""What this package brings to the host. The hub client is imported when a source is used."""

from __future__ import annotations

from modelgraft.contract import SourceSpec
from modelgraft.hookspecs import hookimpl

MODELGRAFT_API = 1


@hookimpl
def modelgraft_sources() -> list[SourceSpec]:
    """The sources, as data."""
    return [
        SourceSpec("hf", "modelgraft_sources.hub:HubSource", "The Hugging Face Hub, or a mirror of it (HF_ENDPOINT)."),
        SourceSpec("https", "modelgraft_sources.web:WebSource", "A file at an https address."),
        SourceSpec("http", "modelgraft_sources.web:WebSource", "A file at an http address."),
        SourceSpec("file", "modelgraft_sources.folder:FolderSource", "A folder or file on this machine."),
    ]
