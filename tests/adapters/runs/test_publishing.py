"""What `push` uploads: plain files of the adapter's own folder, each read once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from modelgraft.errors import ModelgraftError
from modelgraft_adapters import FrozenAdapter
from modelgraft_adapters.runs import publishing
from modelgraft_adapters.saved.card import CARD_FILE, HEAD_FILE, README_FILE
from PIL import Image

SECRET = "the secret of somebody's home folder"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data, generator = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name, shade in (("dark", 40), ("light", 200)):
        (data / name).mkdir()
        for number in range(4):
            picture = generator.normal(shade, 10, (32, 32, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(picture).save(data / name / f"{number}.png")
    adapter = FrozenAdapter("embedded/sprig", "prototype", device="cpu").fit(data)
    return adapter.save(tmp_path_factory.mktemp("saved") / "shades")


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET)
    return Path(shutil.copytree(original, tmp_path / "shades"))


def test_the_files_of_an_adapter(saved: Path) -> None:
    files = publishing.contents(saved, "user/shades")
    assert set(files) == {CARD_FILE, HEAD_FILE, README_FILE}
    assert files[CARD_FILE] == (saved / CARD_FILE).read_bytes() and files[HEAD_FILE] == (saved / HEAD_FILE).read_bytes()


@pytest.mark.parametrize("name", [README_FILE, CARD_FILE, HEAD_FILE])
def test_a_link_publishes_nothing(name: str, saved: Path, tmp_path: Path) -> None:
    """Even one to the very file that belongs there: what it leads to can be another by then."""
    there = tmp_path / "elsewhere"
    shutil.move(saved / name, there)
    (saved / name).symlink_to(there if name != README_FILE else tmp_path / "secret")
    with pytest.raises(ModelgraftError, match=f"{name} of .* is a link"):
        publishing.contents(saved, "user/shades")


def test_without_the_guard_the_secret_is_published(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (saved / README_FILE).unlink()
    (saved / README_FILE).symlink_to(tmp_path / "secret")
    monkeypatch.setattr(publishing, "_own_file", lambda folder, name, most=None: (folder / name).read_bytes())
    assert publishing.contents(saved, "user/shades")[README_FILE] == SECRET.encode()


def test_a_second_name_of_a_file_a_pipe_and_a_long_page_are_refused(saved: Path, tmp_path: Path) -> None:
    page = saved / README_FILE
    page.unlink()
    os.link(tmp_path / "secret", page)
    with pytest.raises(ModelgraftError, match="is no plain file of its own"):
        publishing.contents(saved, "user/shades")
    page.unlink()
    os.mkfifo(page)
    with pytest.raises(ModelgraftError, match="is no plain file of its own"):
        publishing.contents(saved, "user/shades")
    page.unlink()
    page.write_text("x" * ((1 << 20) + 1))
    with pytest.raises(ModelgraftError, match="more than 1,048,576 bytes"):
        publishing.contents(saved, "user/shades")


def test_a_head_that_is_another_is_refused(saved: Path) -> None:
    (saved / HEAD_FILE).write_bytes(b"another")
    with pytest.raises(ModelgraftError, match="is not the file that its card names"):
        publishing.contents(saved, "user/shades")
