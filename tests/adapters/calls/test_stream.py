"""Reading ahead: in order, lazily, with torch alone in its threads and unchanged in everybody else's."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch
from modelgraft.errors import UnreadableItemError
from modelgraft_adapters.calls.stream import read_ahead, stream


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_torch_works_alone_in_decoding_threads_and_as_before_in_all_others() -> None:
    def prepare(item: int) -> tuple[tuple[int, int], None]:
        time.sleep(0.005)
        (torch.rand(200_000) + 1).sum()  # large enough to be shared out
        return (torch.get_num_threads(), threading.get_ident()), None

    for workers in (1, 4):
        found = [prepared.value for prepared in read_ahead(range(40), prepare, workers=workers, ahead=8)]
        assert {value[0] for value in found if value} == {1}
        assert len({value[1] for value in found if value}) == workers
        assert torch.get_num_threads() == 3
    elsewhere: list[int] = []
    thread = threading.Thread(target=lambda: elsewhere.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert elsewhere == [3]


def test_two_at_once_leave_the_number_of_threads_as_it_was() -> None:
    counts: list[int] = []

    def run() -> None:
        rows = list(read_ahead(range(20), lambda item: (torch.get_num_threads(), None), workers=3, ahead=4))
        counts.extend(row.value or 0 for row in rows)

    running = [threading.Thread(target=run) for _ in range(8)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert counts == [1] * 160 and torch.get_num_threads() == 3


def test_in_order_with_errors_and_never_far_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    def prepare(item: int) -> tuple[int, str | None]:
        time.sleep(0.001 * (item % 3))
        if item % 10 == 7:
            raise UnreadableItemError(f"no {item}")
        return item * item, "odd" if item % 2 else None

    for n, prepared in enumerate(read_ahead(items(), prepare, workers=3, ahead=5)):
        assert len(taken) <= n + 6
        assert prepared.item == n
        assert (prepared.value, prepared.error) == ((None, f"no {n}") if n % 10 == 7 else (n * n, None))
    assert n == 99


def test_an_error_of_another_kind_ends_the_run() -> None:
    def prepare(item: int) -> tuple[torch.Tensor, None]:
        if item == 5:
            raise RuntimeError("a bug")
        return torch.ones(2), None

    with pytest.raises(RuntimeError, match="a bug"):
        list(stream(range(10), prepare, torch.stack, batch_size=2, workers=2))
