"""What is wrong with this installation, and what mends it: one row per check, and no check can take the others down.

Whatever is heavy or may hang or crash (torch, the network, plugins) runs in child processes with a time limit, all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from modelgraft.doctor.row import Row
from modelgraft.threads import thread_pool

Check = Callable[[], Iterable[Row]]

__all__ = ["Check", "Row", "checks", "examine"]


def checks() -> dict[str, Check]:
    """All checks by name, in the order their rows are shown."""
    from modelgraft.doctor import hub, project, storage, torch_checks, versions

    return {
        "versions": versions.rows,
        "torch": torch_checks.rows,
        "hub": hub.rows,
        "hub cache": storage.hub_cache_rows,
        "modelgraft cache": storage.own_cache_rows,
        "plugins": project.plugin_rows,
        "lock file": project.lock_rows,
        "aliases": project.alias_rows,
    }


def examine(chosen: dict[str, Check] | None = None) -> list[Row]:
    """Run the checks side by side; their rows in the order of the checks. A check that breaks is a row that fails."""
    chosen = checks() if chosen is None else chosen
    with thread_pool(len(chosen)) as pool:
        running = [pool.submit(_isolated, name, check) for name, check in chosen.items()]
        return [row for one in running for row in one.result()]


def _isolated(name: str, check: Check) -> Sequence[Row]:
    try:
        return list(check())
    except BaseException as error:  # a plugin's sys.exit among them; an interrupt reaches the main thread, not this one
        told = " ".join(str(error).split())[:300]
        return [
            Row(
                name,
                "fail",
                f"the check itself broke: {type(error).__name__}: {told}",
                "report it to modelgraft's authors",
            )
        ]
