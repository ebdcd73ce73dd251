"""The page of a saved adapter says hostile names and obeys none: no tag, link, image, heading or front matter is theirs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from markdown_it.token import Token
from modelgraft_adapters import FrozenAdapter
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.saved import model_card as hub_card
from modelgraft_adapters.saved.card import CARD_FILE, Card, read_card
from modelgraft_adapters.saved.model_card import readme

from tests.hostile import ALL

HEADINGS = ["h1", "h2", "h2", "h2", "h2"]
OWN_LINK = "https://pypi.org/project/modelgraft/"


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    texts, labels = ["a red rose", "a blue sky", "red wine", "blue sea"], ["red", "blue"] * 2
    adapter = FrozenAdapter("embedded/sprig", "prototype", modality="text", device="cpu", n_folds=2)
    adapter.fit(read_data(texts, labels, modality="text", task="single-label"))
    folder = adapter.save(tmp_path_factory.mktemp("made") / "it")
    found: dict[str, Any] = json.loads((folder / CARD_FILE).read_text())
    del found["checksum"]
    return found


def _hostile(record: dict[str, Any], name: str) -> Card:
    """The name wherever a card may hold a text, as a stranger's card that is saved again does."""
    changed: dict[str, Any] = json.loads(json.dumps(record))
    line = "".join(c for c in name if c.isprintable()) or "x"
    changed["classes"] = [name, "b"]
    changed["notes"] = [name]
    changed["backbone"]["licence"] = changed["backbone"]["repo"] = changed["backbone"]["version"] = line
    changed["head"]["version"] = changed["head"]["name"] = line
    changed["training"]["report"] = {"chosen": {name: name}}
    changed["training"]["data"] = {"sha256": name, "items": 4}
    changed["evaluation"] = {"items": 4, "scores": [{"name": name, "value": 0.5, "low": 0.1, "high": 0.9}]}
    return read_card(changed, "it")


def _all(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _all(token.children or [])


def _live(page: str) -> list[str]:
    """What of a page is markup, and none of ours."""
    tokens = list(_all(MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page)))
    found = [
        token.type
        for token in tokens
        if token.type in ("html_inline", "html_block", "image", "em_open", "s_open", "blockquote_open")
    ]
    found += [str(t.attrs["href"]) for t in tokens if t.type == "link_open" and t.attrs["href"] != OWN_LINK]
    headings = [token.tag for token in tokens if token.type == "heading_open"]
    found += [] if headings == HEADINGS else headings
    fences = [token.info for token in tokens if token.type in ("fence", "code_block")]
    return (
        found
        + ([] if fences == ["python", "sh"] else fences)
        + re.findall(r"(?<!\\)://evil|www\.evil", re.sub(r"`[^`]*`", "", page))
    )


def _front(page: str) -> dict[str, Any]:
    return ModelCard(page).data.to_dict()


def test_no_hostile_name_is_markup(record: dict[str, Any]) -> None:
    keys = set(_front(readme(_hostile(record, "plain"), "./it")))
    for name in ALL:
        page = readme(_hostile(record, name), "./it")
        assert _live(ModelCard(page).text) == [], name
        front = _front(page)
        assert set(front) <= keys and front["library_name"] == "modelgraft" and "owned" not in front["tags"], name
        assert all(c.isprintable() or c == "\n" for c in ModelCard(page).text), name
        assert page.count("\n---\n") == 1, name


def test_the_test_sees_markup(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_card, "_inline", lambda text: text)
    live = [name for name in ALL if _live(ModelCard(readme(_hostile(record, name), "./it")).text)]
    assert len(live) > 15


def test_a_folder_of_any_name(record: dict[str, Any], tmp_path: Path) -> None:
    """The command in the page is one word for the shell, and the code one text for Python."""
    card = read_card(record, "it")
    for name in ALL:
        folder = name.replace("/", "-").replace("\0", "")
        page = ModelCard(readme(card, f"./{folder}")).text
        assert _live(page) == [], name
        code = page.split("```python\n")[1].split("\n```")[0]
        compile(code, "page", "exec")
