"""``modelgraft classify`` from the outside: right labels, the output contract, every odd input, no traceback."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.adapters.media.test_images import _bomb
from tests.conftest import Run

LABELS = "cat,cup,orange flower,rocket"


def _rows(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def _clean(done) -> None:
    """No traceback, and nothing on standard output that is not data."""
    assert "Traceback" not in done.stderr + done.stdout, done.stderr


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A folder of the cat's photograph in every disguise, and of files that are no images."""
    folder = tmp_path_factory.mktemp("odd")
    cat = Image.open(photos / "cat.jpg").convert("RGB")
    cat.save(folder / "plain.jpg", quality=95)
    cat.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    cat.convert("RGBA").save(folder / "rgba.png")
    cat.convert("L").save(folder / "grey.png")
    grey16 = np.asarray(cat.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey16).save(folder / "grey16.png")
    palette = cat.quantize(250)
    palette.save(folder / "palette.png", transparency=251)
    exif = Image.Exif()
    exif[0x0112] = 6
    cat.transpose(Image.Transpose.ROTATE_90).save(folder / "rotated.jpg", exif=exif, quality=95)
    cat.save(folder / "animated.gif", save_all=True, append_images=[ImageOps.invert(cat)])
    cat.save(folder / "naïve name 🐈 with, comma.jpg", quality=95)
    data = (photos / "cat.jpg").read_bytes()
    (folder / "bad_truncated.jpg").write_bytes(data[: len(data) // 2])
    (folder / "bad_text.jpg").write_text("no image")
    (folder / "bad_empty.jpg").write_bytes(b"")
    (folder / "bad_bomb.png").write_bytes(_bomb(60_000, 60_000))
    return folder


def test_the_photographs_get_their_labels(run: Run, photos: Path) -> None:
    done = run("classify", str(photos), "--labels", LABELS, "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    found = {Path(row["path"]).stem.replace("-", " "): row["label"] for row in _rows(done.stdout)}
    assert found == {label: label for label in LABELS.split(",")}


def test_every_disguise_of_the_cat_is_a_cat_and_what_is_no_picture_is_a_row(run: Run, odd: Path) -> None:
    done = run("classify", str(odd), "--labels", LABELS, "--format", "jsonl")
    _clean(done)
    rows = {Path(row["path"]).name: row for row in _rows(done.stdout)}
    assert [Path(row["path"]).name for row in _rows(done.stdout)] == sorted(rows)
    bad = {name for name in rows if name.startswith("bad_")}
    assert len(bad) == 4 and len(rows) == 13
    assert {name: row["label"] for name, row in rows.items() if name not in bad} == {
        n: "cat" for n in rows if n not in bad
    }
    for name in bad:
        assert rows[name]["error"] and rows[name]["label"] is None and rows[name]["scores"] == {}
    assert done.returncode == 1 and "4 of 13 items could not be read" in done.stderr
    for label, score in rows["plain.jpg"]["scores"].items():
        assert abs(score - rows["rotated.jpg"]["scores"][label]) < 0.05


def test_json_lines_contract(run: Run, photos: Path) -> None:
    paths = [str(photos / "rocket.jpg"), "missing.jpg", str(photos / "cat.jpg")]
    done = run("classify", *paths, "--labels", LABELS, "--format", "jsonl")
    rows = _rows(done.stdout)
    assert [row["path"] for row in rows] == paths
    assert set(rows[0]) == {"path", "label", "score", "scores", "error", "note"}
    assert rows[0]["error"] is None and set(rows[0]["scores"]) == set(LABELS.split(","))
    assert abs(sum(rows[0]["scores"].values()) - 1) < 1e-5
    assert rows[0]["score"] == max(rows[0]["scores"].values()) == rows[0]["scores"][rows[0]["label"]]
    assert rows[1] == {
        "path": "missing.jpg",
        "label": None,
        "score": None,
        "scores": {},
        "error": "no such file",
        "note": None,
    }


@pytest.mark.full
def test_the_formats_say_the_same(run: Run, photos: Path, tmp_path: Path) -> None:
    def out(*arguments: str) -> str:
        done = run("classify", str(photos), "--labels", LABELS, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    lines = _rows(out("--format", "jsonl"))
    assert json.loads(out("--format", "json")) == lines
    table = list(csv.DictReader(io.StringIO(out("--format", "csv"))))
    assert [(row["path"], row["label"]) for row in table] == [(row["path"], row["label"]) for row in lines]
    assert float(table[0]["score:cat"]) == lines[0]["scores"]["cat"]
    import pyarrow.parquet as pq

    assert out("--format", "parquet", "--output", str(tmp_path / "x.parquet")) == ""
    parquet = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert [(row["path"], row["label"], dict(row["scores"])) for row in parquet] == [
        (row["path"], row["label"], row["scores"]) for row in lines
    ]
    text = out()
    assert text.splitlines()[0].split() == ["path", "label", "score", "next", "best"]


def test_paths_from_standard_input_and_patterns(run: Run, photos: Path, tmp_path: Path) -> None:
    listed = f"{photos / 'cat.jpg'}\n\n{photos / 'rocket.jpg'}\n"
    done = run("classify", "-", "--labels", LABELS, "--format", "jsonl", stdin=listed)
    assert [row["label"] for row in _rows(done.stdout)] == ["cat", "rocket"]
    done = run("classify", str(photos / "c*.jpg"), "--labels", LABELS, "--format", "jsonl")
    assert [Path(row["path"]).name for row in _rows(done.stdout)] == sorted(p.name for p in photos.glob("c*.jpg"))


@pytest.mark.full
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["{photos}"], 2, "no labels"),
        (["{photos}", "--labels", " , "], 2, "no labels"),
        (["{photos}", "--labels", "@/nowhere/labels.txt"], 2, "cannot read labels"),
        (["{empty}", "--labels", "a,b"], 2, "holds no images"),
        (["{photos}/*.webp", "--labels", "a,b"], 2, "no file matches"),
        (["{photos}", "--labels", "a,b", "--model", "sprigg"], 2, "did you mean embedded/sprig"),
        (["{photos}", "--labels", "a,b", "--model", "a b"], 2, "is not a model name"),
        (["{photos}", "--labels", "a,b", "--model", "timm/resnet18"], 2, "cannot classify by label names"),
        (["{photos}", "--labels", "a,b", "--model", "sentence-transformers/all-MiniLM-L6-v2"], 2, "add --text"),
        (["hello", "--text", "--labels", "a,b", "--model", "embedded/sprig"], 2, "take a text model"),
        (["{photos}", "--labels", "a,b", "--format", "yaml"], 2, "no format 'yaml'"),
        (["{photos}", "--labels", "a,b", "--template", "no slot"], 2, "neither a template"),
        (["{photos}", "--labels", "a,b", "--device", "cuda:7"], 2, "CUDA devices"),
        (["{photos}", "--labels", "a,b", "--device", "toaster"], 2, "no device 'toaster'"),
        (["{photos}", "--labels", "a,b", "--dtype", "int8"], 2, "no dtype 'int8'"),
        (["{photos}", "--labels", "a,b", "--output", "/nowhere/x.csv"], 2, "does not exist"),
        (["{photos}", "--labels", "a,b", "--descriptions", "{photos}/cat.jpg"], 2, "cannot read descriptions"),
        (["{photos}", "--labels", "a,b", "--model", "embedded/sprig@v9"], 2, "has no revisions"),
        (["{photos}", "--labels", "a,b", "--model", "open_clip/ViT-B-32:openai"], 1, "open_clip/ViT-B-32:openai"),
        (["--labels", "a,b"], 2, "Missing argument"),
        (["{photos}", "--labels", "a,b", "--bogus"], 2, "No such option"),
    ],
)
def test_wrong_use_is_one_line(
    run: Run, photos: Path, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    filled = [word.format(photos=photos, empty=tmp_path) for word in arguments]
    done = run("classify", *filled, env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)})
    _clean(done)
    assert done.returncode == code, done.stderr
    assert said in done.stderr and done.stdout == ""
    if not done.stderr.startswith("Usage:"):
        assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.full
def test_an_unreachable_model_says_how_to_get_it(run: Run, photos: Path, tmp_path: Path) -> None:
    done = run(
        *("classify", str(photos), "--labels", "a,b", "--model", "open_clip/ViT-B-32:laion2b_s34b_b79k"),
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
    )
    assert done.returncode == 1 and "HF_HUB_OFFLINE" in done.stderr and len(done.stderr.splitlines()) == 1


def test_one_label_and_repeated_labels(run: Run, photos: Path) -> None:
    cat = str(photos / "cat.jpg")
    done = run("classify", cat, "--labels", "cat", "--format", "jsonl")
    assert done.returncode == 0 and "only one label" in done.stderr and _rows(done.stdout)[0]["score"] == 1
    done = run("classify", cat, "--labels", "cat,dog,cat, dog", "--format", "jsonl")
    assert done.returncode == 2 and "labels given twice: 'cat' (labels 1, 3); 'dog' (labels 2, 4)" in done.stderr


@pytest.mark.full
def test_labels_from_a_file_top_k_threshold_and_templates(run: Run, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ncup\n\nrocket\nflower, orange\n")
    cat = str(photos / "cat.jpg")
    done = run("classify", cat, "--labels", f"@{tmp_path / 'labels.txt'}", "--top-k", "2", "--format", "jsonl")
    (row,) = _rows(done.stdout)
    assert len(row["scores"]) == 2 and row["label"] == "cat"
    done = run("classify", cat, "--labels", LABELS, "--threshold", "1.0", "--format", "jsonl")
    (row,) = _rows(done.stdout)
    assert row["label"] is None and row["score"] < 1 and row["error"] is None
    for template in ("imagenet-80", "simple", "none", "an image of a {}."):
        done = run("classify", cat, "--labels", LABELS, "--template", template, "--format", "jsonl")
        assert _rows(done.stdout)[0]["label"] == "cat", template
    (tmp_path / "d.json").write_text(json.dumps({"cat": ["a small furry animal with whiskers", "a kitten"]}))
    done = run("classify", cat, "--labels", LABELS, "--descriptions", str(tmp_path / "d.json"), "--format", "jsonl")
    assert done.returncode == 0, done.stderr


def test_words_the_embedded_model_does_not_know_are_said(run: Run, photos: Path) -> None:
    done = run("classify", str(photos / "cat.jpg"), "--labels", "cat,qwxzzyk", "--format", "jsonl")
    assert done.returncode == 0 and "qwxzzyk" in done.stderr


def test_only_torch_and_pillow_are_imported_for_the_embedded_model(run: Run, photos: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from modelgraft.cli.main import main\n"
        f"try: main(['classify', {str(photos)!r}, '--labels', 'cat,dog', '-f', 'jsonl'])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'timm', 'open_clip', 'torchvision', 'transformers', 'sentence_transformers', 'sklearn', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip().splitlines()[-1] == "[]", done.stderr
