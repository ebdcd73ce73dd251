"""Pages made of names that a stranger chose, everywhere a name can stand: nothing in them is live, and nothing hides."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from modelgraft import load
from modelgraft_adapters import Dataset, LinearProbe, read_data
from modelgraft_adapters.explore import Explorer
from modelgraft_adapters.report import build_report, collect
from modelgraft_adapters.report import probe_page as page
from modelgraft_adapters.report.compare_page import build_comparison
from modelgraft_adapters.report.explore_page import build_page
from modelgraft_adapters.report.gap_page import build_gap_page
from modelgraft_adapters.report.rank_page import build_ranking
from modelgraft_adapters.runs.gap import measure_gap
from modelgraft_adapters.runs.probe import run_probe

from tests.adapters.compare.comparisons import made_up
from tests.adapters.ranking.images import made_up as made_up_ranking
from tests.hostile import ALL

TAGS = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "link",
        "style",
        "body",
        "main",
        "header",
        "h1",
        "h2",
        "h3",
        "p",
        "div",
        "span",
        "section",
        "figure",
        "figcaption",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "blockquote",
        "ul",
        "ol",
        "li",
        "dl",
        "dt",
        "dd",
        "code",
        "pre",
        "details",
        "summary",
        "a",
        "img",
        "strong",
        "em",
        "small",
        "nav",
        "footer",
        "article",
        "abbr",
        "b",
        "br",
        "sub",
        "sup",
        "svg",
        "g",
        "circle",
        "rect",
        "polygon",
        "polyline",
        "line",
        "text",
    ]
)


class _Seen(HTMLParser):
    """What a browser would act on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.live: list[str] = []
        self.shown = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.live.append(f"<{tag}>")
        for name, value in attrs:
            given = value or ""
            fine = not name.startswith("on") and name not in ("srcdoc", "autofocus", "formaction", "xlink:href")
            if name in ("href", "src"):
                fine = given.startswith(("#", "data:image/", "data:,"))
            if not fine:
                self.live.append(f"{tag} {name}={given[:40]}")

    def handle_data(self, data: str) -> None:
        self.shown += data

    def handle_comment(self, data: str) -> None:
        self.live.append("comment")


def _texts(names: tuple[str, ...]) -> Dataset:
    texts = [f"{name} {n}" for name in names for n in range(4)]
    data = read_data(texts, [name for name in names for _ in range(4)], modality="text", task="single-label")
    from modelgraft_adapters.data.splitting import stratified_split

    return stratified_split(data, 0.5)


def _probe(names: tuple[str, ...]) -> str:
    run = run_probe(LinearProbe(load("embedded/sprig"), modality="text", C=1.0), _texts(names))
    made = collect(run, data_name=names[0], shots=(1, None), seeds=(0,), command=f"modelgraft probe {names[0]}")
    return build_report(made)


def _exploration(names: tuple[str, ...]) -> str:
    return build_page(Explorer("embedded/sprig").explore(_texts(names), duplicates=False), names[0])


def _comparison(names: tuple[str, ...]) -> str:
    return "\n".join(build_comparison(made_up(name), name, f"modelgraft compare {name}") for name in names[:4])


def _gap(names: tuple[str, ...]) -> str:
    several = (*names, "a", "b", "c")  # ten items or more
    found = measure_gap(_texts(several), _texts(several[::-1]), "embedded/sprig", permutations=19)
    return build_gap_page(found, names[0], names[-1])


def _ranking(names: tuple[str, ...]) -> str:
    return "\n".join(build_ranking(made_up_ranking(name), name, f"modelgraft rank {name}") for name in names[:4])


PAGES = {"probe": _probe, "explore": _exploration, "compare": _comparison, "gap": _gap, "rank": _ranking}


@pytest.mark.full
@pytest.mark.parametrize("make", PAGES.values(), ids=PAGES)
def test_nothing_of_a_name_is_live_and_nothing_hides(make: Callable[[tuple[str, ...]], str]) -> None:
    for start in range(0, len(ALL), 16):
        text = make(ALL[start : start + 16])
        assert _Seen(text).live == []
        assert {unicodedata.category(c) for c in set(text) - {"\n", "\t"}}.isdisjoint(
            {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
        )
        text.encode()
    for sign in ("<script>document.title=", "onerror=alert", "{{ 7 * 7 }}"):  # shown they are
        where = next(n for n in range(0, len(ALL), 16) if any(sign in name for name in ALL[n : n + 16]))
        assert make in (_comparison, _ranking) or sign in _Seen(make(ALL[where : where + 16])).shown


def test_the_test_sees_what_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without escaping the names are tags and attributes of the page."""
    environment = page._environment()
    monkeypatch.setattr(environment, "autoescape", False)
    environment.cache.clear()  # type: ignore[union-attr]
    try:
        live = _Seen(_comparison(tuple(name for name in ALL if "<" in name))).live
        assert "<script>" in live
    finally:
        environment.cache.clear()  # type: ignore[union-attr]
