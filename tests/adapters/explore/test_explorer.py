"""Clusters, projections, neighbours and outliers against scikit-learn, their definitions, and cases whose answer is known."""

from __future__ import annotations

import json
import math
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelgraft import load
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft_adapters import read_data
from modelgraft_adapters.explore import (
    PCA,
    Explorer,
    agreement,
    choose_k,
    kmeans,
    nearest,
    outlier_scores,
    project,
)
from modelgraft_adapters.explore.clusters import silhouette
from modelgraft_adapters.report.explore_page import build_page
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA as TheirPCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

HOSTILE = "<script>alert(1)</script>"


def directions(per: int = 40, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Items around orthogonal directions, of lengths that differ a thousandfold: their angle alone tells them apart."""
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.arange(classes).repeat(per))
    rows = np.eye(classes, 12)[targets] + 0.1 * rng.normal(size=(len(targets), 12))
    return rows * 10 ** rng.uniform(-2, 1, (len(targets), 1)), targets


def test_spherical_k_means_finds_directions_whatever_their_length() -> None:
    rows, targets = directions()
    found = kmeans(rows, 4, "spherical")
    assert agreement(found.labels, targets).accuracy == 1
    assert np.linalg.norm(found.centres, axis=1) == pytest.approx(1)
    assert agreement(kmeans(rows, 4, "kmeans").labels, targets).accuracy < 0.9, "lengths mislead plain k-means"


def test_spherical_k_means_is_at_a_fixed_point_of_its_objective() -> None:
    rows = np.random.default_rng(3).normal(size=(200, 6))
    found = kmeans(rows, 5, "spherical", seed=1)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = unit @ found.centres.T
    assert (cosine.argmax(axis=1) == found.labels).all()
    assert found.objective == pytest.approx(float((1 - cosine.max(axis=1)).sum()))
    for c in range(5):
        total = unit[found.labels == c].sum(axis=0)
        assert found.centres[c] == pytest.approx(total / np.linalg.norm(total))


def test_spherical_k_means_is_the_best_there_is() -> None:
    """Of 7 items in 2 clusters every division can be tried."""
    for seed in range(5):
        rows = np.random.default_rng(seed).normal(size=(7, 3))
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        best = min(
            7
            - sum(
                np.linalg.norm(unit[np.array([(code >> n) & 1 for n in range(7)]) == side].sum(axis=0))
                for side in (0, 1)
            )
            for code in range(1, 64)
        )
        assert kmeans(rows, 2, "spherical").objective == pytest.approx(best)


def test_plain_k_means_is_scikit_learns() -> None:
    rows = load_digits().data[:300]
    found = kmeans(rows, 10, "kmeans", seed=2)
    theirs = KMeans(10, n_init=8, max_iter=300, random_state=2).fit(rows)
    assert adjusted_rand_score(found.labels, theirs.labels_) == 1
    assert found.objective == pytest.approx(theirs.inertia_)
    counts = np.bincount(found.labels)
    assert (np.diff(counts) <= 0).all(), "the largest cluster is number 0"


@pytest.mark.parametrize("method", ["spherical", "kmeans"])
def test_as_many_clusters_as_items_and_one(method: str) -> None:
    rows, _ = directions(3)
    assert sorted(kmeans(rows, 12, method).labels) == list(range(12))
    assert set(kmeans(rows, 1, method).labels) == {0}
    with pytest.raises(UsageError, match="13 clusters of 12 items"):
        kmeans(rows, 13, method)


def test_equal_items_do_not_break_spherical_k_means() -> None:
    rows = np.ones((6, 3))
    found = kmeans(rows, 3, "spherical")
    assert found.labels.shape == (6,) and np.isfinite(found.centres).all()
    assert found.objective == pytest.approx(0, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 5))
def test_renumbering_changes_nothing(seed: int, k: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    clusters, targets = rng.integers(0, k, 30), rng.integers(0, classes, 30)
    first = agreement(clusters, targets)
    second = agreement(rng.permutation(k)[clusters], rng.permutation(classes)[targets])
    assert (first.accuracy, first.nmi, first.ari) == pytest.approx((second.accuracy, second.nmi, second.ari))
    assert first.nmi == pytest.approx(normalized_mutual_info_score(targets, clusters))
    assert first.ari == pytest.approx(adjusted_rand_score(targets, clusters))


def test_the_matching_is_the_best_of_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        clusters, targets = rng.integers(0, 4, 40), rng.integers(0, 4, 40)
        best = max(
            np.mean([way[c] == t for c, t in zip(clusters, targets, strict=True)]) for way in permutations(range(4))
        )
        assert agreement(clusters, targets).accuracy == pytest.approx(best)


def test_clusters_beyond_the_classes_count_as_wrong_and_unlabelled_items_do_not_count() -> None:
    found = agreement(np.array([0, 0, 0, 1, 2, 2, 2]), np.array([5, 5, 5, 5, 9, 9, -1]))
    assert found.accuracy == pytest.approx(5 / 6)
    assert found.classes == {0: 5, 2: 9}
    with pytest.raises(UsageError, match="no item has a label"):
        agreement(np.zeros(3), -np.ones(3))


def test_the_number_of_clusters_is_found() -> None:
    rows, _ = directions(classes=5)
    k, tried = choose_k(rows)
    assert k == 5 and [n for n, _ in tried] == list(range(2, 15))
    assert max(score for _, score in tried) == dict(tried)[5]
    assert math.isnan(silhouette(rows, np.zeros(len(rows))))
    with pytest.raises(UsageError, match="3 or more"):
        choose_k(rows[:2])


@pytest.mark.parametrize("shape", [(200, 30), (20, 64)])
@pytest.mark.parametrize("whiten", [False, True])
def test_pca_is_scikit_learns(shape: tuple[int, int], whiten: bool) -> None:
    rows = np.random.default_rng(0).normal(size=shape) @ np.random.default_rng(1).normal(size=(shape[1], shape[1])) + 5
    theirs = TheirPCA(8, whiten=whiten, svd_solver="full").fit(rows)
    ours = PCA.fit(rows, 8)
    found, wanted = ours.transform(rows, whiten=whiten), theirs.transform(rows)
    signs = np.sign((found * wanted).sum(axis=0))  # the sign of a component is a convention
    assert found == pytest.approx(wanted * signs, abs=1e-8)
    assert ours.explained == pytest.approx(theirs.explained_variance_ratio_)
    if whiten:
        assert np.cov(found.T) == pytest.approx(np.eye(8), abs=1e-9)


def test_whitening_does_not_enlarge_rounding() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3)) @ np.random.default_rng(1).normal(size=(3, 10))
    found = PCA.fit(rows).transform(rows, whiten=True)
    assert found.std(axis=0, ddof=1)[:3] == pytest.approx(1)
    assert (found[:, 3:] == 0).all()


def test_neighbours_are_exact_across_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(97, 5))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    monkeypatch.setattr("modelgraft_adapters.explore.neighbours.TILE", 500)  # five rows at once
    indices, cosines = nearest(rows, None, 4)
    assert (indices == np.argsort(-cosine, axis=1)[:, :4]).all()
    assert cosines == pytest.approx(-np.sort(-cosine, axis=1)[:, :4])
    assert outlier_scores(rows, 4) == pytest.approx(1 - cosines.mean(axis=1))
    asked, same = nearest(rows, rows[[3]] * 7, 1)
    assert asked.tolist() == [[3]] and same[0, 0] == pytest.approx(1)
    assert nearest(rows, rows[:2], 1000)[0].shape == (2, 97)


def test_the_odd_one_out_is_the_first_outlier() -> None:
    rows, _ = directions()
    rows[17] = -rows.sum(axis=0)
    assert outlier_scores(rows, 5).argmax() == 17


def test_a_row_of_zeros_is_told() -> None:
    with pytest.raises(UsageError, match="item 1 are all 0"):
        nearest(np.array([[1.0, 0], [0, 0]]))


def test_maps() -> None:
    rows, _ = directions(10)
    place, about = project(rows, "pca")
    assert place.shape == (40, 2) and about["kind"] == "pca"
    assert project(rows * 3, "pca")[0] == pytest.approx(place), "lengths do not count"
    with pytest.raises(UsageError, match="no map 'tsne'"):
        project(rows, "tsne")  # type: ignore[arg-type]


def test_umap_that_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UsageError, match=r"pip install 'modelgraft\[map\]'"):
        project(directions(4)[0], "umap")


@pytest.mark.slow
def test_umap_keeps_groups_apart_and_has_a_seed() -> None:
    rows, targets = directions(30)
    place, _ = project(rows, "umap", seed=1)
    assert (place == project(rows, "umap", seed=1)[0]).all()
    assert silhouette(place, targets, "kmeans") > 0.5


def pictures() -> tuple[list[np.ndarray], list[str]]:
    """Three colours with a little noise, and one image of nothing but noise."""
    rng = np.random.default_rng(0)
    made, labels = [], []
    for n in range(36):
        colour = ((200, 30, 30), (30, 160, 60), (40, 60, 200))[n % 3]
        made.append((np.array(colour) + rng.integers(-12, 13, (40, 40, 3))).clip(0, 255).astype(np.uint8))
        labels.append(("red", "green", HOSTILE)[n % 3])
    made.append(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    return made, [*labels, "red"]


@pytest.fixture(scope="module")
def explorer() -> Explorer:
    return Explorer(load("embedded/sprig"))


def test_pictures_with_labels(explorer: Explorer) -> None:
    made, labels = pictures()
    seen = explorer.explore(read_data(made, labels), like=[made[5]])
    assert seen.chosen_by == "classes" and len(seen.clustering.centres) == 3
    assert seen.agreement is not None and seen.agreement.accuracy >= 36 / 37
    assert seen.outliers[0][0] == 36
    assert seen.neighbours[0].indices[0] == 5 and seen.neighbours[0].cosines[0] == pytest.approx(1)
    assert {seen.label(int(n)) for n in seen.neighbours[0].indices[:5]} == {HOSTILE}
    for number, record in enumerate(seen.clusters()):
        assert record["items"] == (seen.clustering.labels == number).sum()
        assert all(seen.clustering.labels[n] == number for n in seen.central[number])
    record = json.loads(json.dumps(seen.record()))
    assert len(record["points"]) == 37 and record["clustering"]["accuracy"] == pytest.approx(
        seen.agreement.accuracy, rel=1e-5
    )
    page = build_page(seen, HOSTILE)
    assert HOSTILE not in page and "&lt;script&gt;" in page and "default-src 'none'" in page
    assert page.count("see-through") >= 37 and "data:image/jpeg" in page


def test_the_numbers_of_classes_mean_nothing(explorer: Explorer) -> None:
    """Other names in another order: other numbers, the same result."""
    made, labels = pictures()
    swap = {"red": "z", "green": "a", HOSTILE: "m"}
    one = explorer.explore(read_data(made, labels)).agreement
    two = explorer.explore(read_data(made, [swap[label] for label in labels])).agreement
    assert one is not None and two is not None
    assert (one.accuracy, one.nmi, one.ari) == pytest.approx((two.accuracy, two.nmi, two.ari))


def test_pictures_without_labels_choose_by_silhouette(explorer: Explorer) -> None:
    made, _ = pictures()
    seen = explorer.explore(made[:36])
    assert seen.chosen_by == "silhouette" and len(seen.clustering.centres) == 3 and seen.agreement is None
    assert seen.record()["clustering"]["accuracy"] is None
    assert "cluster 0" in build_page(seen)


def test_whitened_features(explorer: Explorer) -> None:
    made, labels = pictures()
    seen = explorer.explore(read_data(made, labels), whiten=3, like=[made[0]])
    assert seen.features.shape == (37, 3) and seen.features.std(axis=0, ddof=1) == pytest.approx(1)
    assert seen.neighbours[0].indices[0] == 0
    assert seen.record()["whitened"] == 3


def test_repeated_items_across_the_splits(explorer: Explorer, photos: Path, tmp_path: Path) -> None:
    for split, names in (("train", ("cat", "cup")), ("test", ("rocket", "cat"))):
        for name in names:
            (tmp_path / split / name).mkdir(parents=True)
            size = 160 if split == "test" else 220
            Image.open(photos / f"{name}.jpg").resize((size, size)).save(tmp_path / split / name / "1.jpg")
    seen = explorer.explore(str(tmp_path))
    assert [(Path(test).parts[-3:], Path(train).parts[-3:]) for test, train, _, _ in seen.duplicates] == [
        (("test", "cat", "1.jpg"), ("train", "cat", "1.jpg"))
    ]
    assert "in the training data" in build_page(seen)
    assert not explorer.explore(str(tmp_path), duplicates=False).duplicates


def test_texts() -> None:
    texts = ["a cat sleeps", "the cat eats", "two cats play", "a rocket starts", "the rocket flies", "rockets are loud"]
    seen = Explorer(load("embedded/sprig"), modality="text").explore(
        read_data(texts, ["cat"] * 3 + ["rocket"] * 3, modality="text"), clusters=2, outliers=2
    )
    assert seen.agreement is not None and seen.agreement.accuracy > 0.8
    assert len(seen.outliers) == 2 and "two cats play" in build_page(seen)


def test_what_cannot_be_read_is_left_out_and_named(explorer: Explorer, tmp_path: Path) -> None:
    made, _ = pictures()
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    seen = explorer.explore([*made[:6], str(broken)], clusters=3)
    assert len(seen.data) == 6 and list(seen.unreadable.values()) == ["not an image of a format that is read"]
    with pytest.raises(ModelgraftError, match="none of the 2 items"):
        explorer.explore([str(broken), str(tmp_path / "absent.png")])
    with pytest.raises(UsageError, match="neighbours of"):
        explorer.explore(made[:6], clusters=2, like=[str(broken)])


def test_wrong_use(explorer: Explorer) -> None:
    made, _ = pictures()
    for options, message in (
        ({"clusters": 7}, "7 clusters of 6"),
        ({"method": "fuzzy"}, "fuzzy"),
        ({"neighbours": 0}, "0 neighbours"),
        ({"whiten": 99}, "99 components"),
    ):
        with pytest.raises(UsageError, match=message):
            explorer.explore(made[:6], **options)
    with pytest.raises(UsageError, match="two or more"):
        explorer.explore(made[:1])
    with pytest.raises(UsageError, match="these are texts"):
        explorer.explore(read_data(["a text", "another"], modality="text"))
