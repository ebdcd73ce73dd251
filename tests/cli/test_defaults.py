"""Options that were not given keep their defaults unconverted, but where a default is not yet what the option says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from modelgraft.cli.main import _Verb


def called(*words: str) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def verb(
        folder: Annotated[Path, typer.Option(callback=lambda value: value)] = "out",  # type: ignore[assignment]
        count: Annotated[int, typer.Option(min=1)] = 3,
        names: Annotated[list[str] | None, typer.Option("--name")] = None,
        kind: str = "a",
        rate: float | None = None,
        loud: Annotated[bool, typer.Option("--loud")] = False,
    ) -> None:
        seen.update(folder=folder, count=count, names=names, kind=kind, rate=rate, loud=loud)

    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(cls=_Verb)(verb)
    typer.main.get_command(single)(args=list(words), standalone_mode=False)
    return seen


def test_defaults_and_what_is_given() -> None:
    kept = called()
    assert kept.pop("names") in (None, [], ())
    assert kept == {"folder": Path("out"), "count": 3, "kind": "a", "rate": None, "loud": False}
    assert isinstance(kept["folder"], Path)
    given = called(
        "--folder", "b", "--count", "4", "--name", "x", "--name", "y", "--kind", "a", "--rate", "0.5", "--loud"
    )
    assert given == {"folder": Path("b"), "count": 4, "names": ["x", "y"], "kind": "a", "rate": 0.5, "loud": True}


@pytest.mark.parametrize("words", [("--count", "0"), ("--count", "many"), ("--rate", "fast")])
def test_what_is_given_is_checked(words: tuple[str, ...]) -> None:
    with pytest.raises(typer.BadParameter):
        called(*words)
