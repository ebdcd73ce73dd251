"""``modelgraft push``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from modelgraft.cli.completion import model_names

from modelgraft_adapters.cli.progress import say


def push(
    folder: Annotated[Path, typer.Argument(help="The folder of a saved adapter.")],
    repo: Annotated[str, typer.Argument(metavar="USER/REPO", help="The repository; made if it is not there.")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private, if it is made.")] = False,
    token: Annotated[
        str | None,
        typer.Option(help="A token that may write. Default: HF_TOKEN, or that of 'hf auth login'.", show_default=False),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="The backbone by a name that others find it by (hub:USER/REPO), where the adapter was trained on a folder.",
            autocompletion=model_names,
        ),
    ] = None,
    message: Annotated[str, typer.Option(help="Of the commit.")] = "A saved adapter of modelgraft",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the adapter and print what would be uploaded.")
    ] = False,
) -> None:
    """Put a saved adapter on the Hugging Face Hub, from where 'hub:USER/REPO' is a model by name.

    Uploaded are its files: card, head, reference and page. The backbone is not: it is fetched from where it came from.
    """
    from modelgraft_adapters.runs.publishing import contents
    from modelgraft_adapters.runs.publishing import push as upload

    if dry_run:
        for name, content in contents(folder, repo, backbone).items():
            print(f"{name}  {len(content):,} bytes")
        say(f"nothing was uploaded to {repo}")
        return
    commit = upload(folder, repo, backbone=backbone, private=private, token=token, message=message)
    print(commit)
    say(f"'modelgraft predict FILES --model hub:{repo}' uses it")
