"""Tars read where they lie: class folders, WebDataset samples, compressed ones, hostile ones."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from modelgraft.errors import ModelgraftError, UnreadableItemError, UsageError
from modelgraft.paths import cache_dir
from modelgraft_adapters.data.reading import read_data
from PIL import Image

from tests.adapters.data.conftest import MakeTar, picture


def _labels(data) -> list[str | None]:
    return [None if number < 0 else data.classes[number] for number in data.targets]


def test_real_tars(shared_data: Path) -> None:
    data = read_data(shared_data / "flowers5.tar")
    assert data.classes == ("daisy", "dandelion", "rose", "sunflower", "tulip")
    assert (len(data.train), len(data.test)) == (500, 250)
    assert np.bincount(data.train.targets).tolist() == [100] * 5
    assert data.identity(0).startswith("flowers5.tar:test/daisy/")
    with tarfile.open(shared_data / "flowers5.tar") as archive:
        for item in (data.items[0], data.items[-1]):
            assert item.read_bytes() == archive.extractfile(item.name).read()


def test_items_are_read_by_many_threads_and_pickled(shared_data: Path) -> None:
    items = list(read_data(shared_data / "ants_bees.tar").items)
    alone = [item.read_bytes() for item in items]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda item: item.read_bytes(), items * 4)) == alone * 4
    assert pickle.loads(pickle.dumps(items[0])) == items[0]
    assert Image.open(io.BytesIO(alone[0])).size[0] > 100


def test_webdataset_with_cls(tar: MakeTar) -> None:
    first = tar(
        {f"{n:03}.{end}": body for n in range(4) for end, body in (("png", picture(n)), ("cls", b"%d" % (n % 2)))}
    )
    second = tar({"x/000.JPG": picture(9, "JPEG"), "x/000.cls": b"10\n"}, "more.tar")
    data = read_data([first, second])
    assert data.modality == "image"
    assert data.classes == ("0", "1", "10")
    assert _labels(data) == ["0", "1", "0", "1", "10"]
    assert list(data.identities)[3:] == ["shard.tar:003", "more.tar:x/000"]
    assert data.items[4].read_bytes() == picture(9, "JPEG")


def test_webdataset_with_json_fields_and_splits(tar: MakeTar) -> None:
    def record(n: int) -> bytes:
        return json.dumps({"label": "ab"[n % 2], "fine": f"f{n}", "split": "dev" if n == 3 else "train"}).encode()

    path = tar({f"{n}.{end}": body for n in range(4) for end, body in (("png", picture(n)), ("json", record(n)))})
    data = read_data(path)
    assert _labels(data) == ["a", "b", "a", "b"]
    assert data.split.tolist() == ["train", "train", "train", "val"]
    assert read_data(path, label_column="fine").classes == ("f0", "f1", "f2", "f3")
    with pytest.raises(UsageError, match="no sample has a member or a JSON field 'coarse'"):
        read_data(path, label_column="coarse")


def test_webdataset_multi_label(tar: MakeTar) -> None:
    members = {}
    for n, labels in enumerate((["a", "b"], [], ["b"])):
        members |= {f"{n}.png": picture(n), f"{n}.json": json.dumps({"labels": labels}).encode()}
    data = read_data(tar(members))
    assert data.task == "multi-label"
    assert data.targets.tolist() == [[1, 1], [0, 0], [0, 1]]


def test_cls_comes_before_json_and_txt(tar: MakeTar) -> None:
    members = {"1.png": picture(1), "1.cls": b"c", "1.json": b'{"label": "j"}', "1.txt": b"t"}
    assert read_data(tar(members)).classes == ("c",)
    del members["1.cls"]
    assert read_data(tar(members)).classes == ("j",)


def test_a_txt_beside_a_picture_is_a_label_if_it_repeats_and_a_caption_if_not(tar: MakeTar) -> None:
    labels = {
        f"{n}.{end}": body for n in range(4) for end, body in (("png", picture(n)), ("txt", b"ab"[n % 2 : n % 2 + 1]))
    }
    data = read_data(tar(labels))
    assert _labels(data) == ["a", "b", "a", "b"]
    captions = {**labels, **{f"{n}.txt": f"caption {n}".encode() for n in range(4)}}
    data = read_data(tar(captions, "captions.tar"))
    assert data.targets is None and "caption of its own" in data.notes[0]
    assert len(read_data(tar(captions, "captions.tar"), label_column="txt").classes) == 4


def test_webdataset_of_texts(tar: MakeTar) -> None:
    data = read_data(tar({"1.txt": "schön".encode(), "1.cls": b"pos", "2.txt": b"", "2.cls": b"neg"}))
    assert (data.modality, list(data.items), data.classes) == ("text", ["schön", ""], ("neg", "pos"))
    data = read_data(tar({f"{n}.json": json.dumps({"text": f"t{n}", "label": n}).encode() for n in range(2)}, "j.tar"))
    assert (list(data.items), data.classes) == (["t0", "t1"], ("0", "1"))


def test_missing_labels_and_pictures_in_samples(tar: MakeTar) -> None:
    data = read_data(tar({"1.png": picture(1), "1.cls": b"a", "2.png": picture(2), "3.cls": b"b"}))
    assert _labels(data) == ["a", None]
    assert data.notes[0] == "1 sample without an image left out"


def test_the_split_is_read_from_the_shards_names_or_the_first_folder(tar: MakeTar) -> None:
    sample = {"1.png": picture(1), "1.cls": b"a"}
    paths = [
        tar(sample, name) for name in ("flowers-train-00.tar", "flowers-train-01.tar", "flowers-validation-00.tar")
    ]
    assert read_data(paths).split.tolist() == ["train", "train", "val"]
    pattern = str(paths[0].parent / "flowers-{train-{00..01},validation-00}.tar")
    assert sorted(read_data(pattern).identities) == sorted(read_data(paths).identities)
    plain = str(paths[0].parent / "flowers-train-{00..01}.tar")
    assert list(read_data(plain).identities) == list(read_data(paths[:2]).identities)
    assert len(read_data(paths[0].parent / "flowers-train-*.tar")) == 2
    assert len(read_data(paths[0].parent)) == 3  # a folder of shards
    inside = tar(
        {f"{s}/1.{end}": body for s in ("train", "dev") for end, body in (("png", picture(1)), ("cls", b"a"))}, "x.tar"
    )
    assert read_data(inside).split.tolist() == ["train", "val"]


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_compressed_tar_is_uncompressed_once(tar: MakeTar, kind: str) -> None:
    members = {f"{name}/{n}.png": picture(n) for name in "ab" for n in range(2)}
    path = tar(members, f"data.tar.{kind}", f"w:{kind}")
    data = read_data(path)
    assert _labels(data) == ["a", "a", "b", "b"]
    assert [item.read_bytes() for item in data.items] == [picture(0), picture(1)] * 2
    assert data.identity(0) == f"data.tar.{kind}:a/0.png"
    copy = Path(data.items[0].path)
    assert copy.parent == cache_dir() / "shards"
    before = copy.stat().st_mtime_ns
    assert read_data(path).items[0].path == str(copy) and copy.stat().st_mtime_ns == before
    path = tar({**members, "c/1.png": picture(5)}, f"data.tar.{kind}", f"w:{kind}")
    assert read_data(path).classes == ("a", "b", "c")
    assert not copy.exists()  # of an older state of the same file
    assert not list(copy.parent.glob(".part-*"))


def test_a_compressed_tar_cut_off_is_said_and_leaves_nothing(tar: MakeTar, tmp_path: Path) -> None:
    path = tar({f"a/{n}.png": picture(n) for n in range(9)}, "cut.tar.gz", "w:gz")
    path.write_bytes(path.read_bytes()[:-2000])
    before = sorted((cache_dir() / "shards").glob("*")) if (cache_dir() / "shards").exists() else []
    with pytest.raises(ModelgraftError, match="damaged or cut off"):
        read_data(path)
    assert sorted((cache_dir() / "shards").glob("*")) == before


def test_a_damaged_tar_is_said(tar: MakeTar, tmp_path: Path) -> None:
    path = tar({"a/1.png": picture(1), "b/2.png": picture(2) * 40})
    whole = path.read_bytes()
    data = read_data(path)
    path.write_bytes(whole[:4000])
    with pytest.raises(ModelgraftError, match="cut off"):
        read_data(path)
    with pytest.raises(UnreadableItemError, match=r"ends in the middle of b/2\.png"):
        data.items[1].read_bytes()
    path.unlink()
    with pytest.raises(UnreadableItemError, match="No such file"):
        data.items[1].read_bytes()
    path.write_bytes(b"no tar at all" * 100)
    with pytest.raises(ModelgraftError, match="no tar file"):
        read_data(path)
    path.write_bytes(b"\x28\xb5\x2f\xfd" + b"0" * 20)
    with pytest.raises(UsageError, match="zstd -d"):
        read_data(path)


def test_hostile_members_lead_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture(3))
    path = tmp_path / "hostile.tar"
    with tarfile.open(path, "w") as out:
        for name, kind, link in (
            ("a/link.png", tarfile.SYMTYPE, str(secret)),
            ("a/hard.png", tarfile.LNKTYPE, "../secret.png"),
            ("a/device.png", tarfile.CHRTYPE, ""),
            ("a/pipe.png", tarfile.FIFOTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            out.addfile(info)
        for name in ("../b/1.png", "/etc/b/1.png", "b/../../c/1.png", "a/good.png", "./b/good.png"):
            info = tarfile.TarInfo(name)
            info.size = len(picture(1))
            out.addfile(info, io.BytesIO(picture(1)))
    data = read_data(path)
    assert [item.name for item in data.items] == ["a/good.png", "b/good.png"]
    assert data.classes == ("a", "b")
    assert data.notes[0].startswith("7 members")


def test_a_member_written_twice_counts_once_the_later_one(tmp_path: Path) -> None:
    path = tmp_path / "twice.tar"
    with tarfile.open(path, "w") as out:
        for name, number in (("a/1.png", 1), ("b/1.png", 2), ("a/1.png", 3)):
            info = tarfile.TarInfo(name)
            info.size = len(picture(number))
            out.addfile(info, io.BytesIO(picture(number)))
    data = read_data(path)
    assert [item.read_bytes() for item in data.items] == [picture(3), picture(2)]


def test_wrong_use_is_said(tar: MakeTar, tmp_path: Path) -> None:
    folders = tar({"a/1.png": picture(1)})
    with pytest.raises(UsageError, match="class folders in a tar"):
        read_data(folders, task="multi-label")
    with pytest.raises(UsageError, match="holds no images"):
        read_data(tar({"a/1.md": b"x"}, "none.tar"))
    with pytest.raises(UsageError, match="no files in"):
        read_data(tar({}, "empty.tar"))
    with pytest.raises(UsageError, match=r"1\.json is not JSON"):
        read_data(tar({"1.png": picture(1), "1.json": b"{"}, "json.tar"))
    with pytest.raises(UsageError, match=r"no file '.*shard-2.tar' \(of the pattern"):
        read_data(str(tmp_path / "shard-{2..3}.tar"))


def test_a_gzip_that_is_no_tar_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(b"hello" * 1000))
    with pytest.raises(ModelgraftError, match="no tar file"):
        read_data(path)


def test_class_folders_with_captions_beside_the_pictures_keep_their_classes(tar: MakeTar) -> None:
    members = {}
    for n in range(4):
        members |= {f"{'ab'[n % 2]}/{n}.png": picture(n), f"{'ab'[n % 2]}/{n}.txt": b"caption %d" % n}
    data = read_data(tar(members))
    assert (data.modality, data.classes, len(data)) == ("image", ("a", "b"), 4)
    assert _labels(data) == ["a", "a", "b", "b"]


def test_a_split_is_said_of_all_samples_or_of_none(tar: MakeTar) -> None:
    """Else the samples of the tar that is called otherwise would be trained on, or all of them."""
    named = tar({"1.png": picture(0), "1.cls": b"a"}, "train-0.tar")
    other = tar({"2.png": picture(1), "2.cls": b"b"}, "extra-0.tar")
    with pytest.raises(UsageError, match=r"train-0\.tar:1 is of the split 'train', and of extra-0\.tar:2 nothing says"):
        read_data([named, other])
    members = {"1.png": picture(0), "1.json": b'{"label": "a", "subset": "eval"}'}
    members |= {"2.png": picture(1), "2.json": b'{"label": "b", "subset": "train"}'}
    assert read_data(tar(members, "x.tar")).split_names == ("test", "train")
