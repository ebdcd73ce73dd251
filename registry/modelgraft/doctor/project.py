"""The plugins that are installed, and the files of the project in the current folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from modelgraft.doctor import child
from modelgraft.doctor.row import Row
from modelgraft.errors import ModelgraftError
from modelgraft.host.discovery import installed_version
from modelgraft.host.trials import TIMEOUT, time_limit
from modelgraft.project import local_names, lockfile

MORE_SECONDS: Final = 30.0
"""On top of what the trials themselves may take."""

_PLUGINS: Final = """
from dataclasses import asdict
from modelgraft.registry import plugins
say(plugins=[{k: v for k, v in asdict(report).items() if k != "traceback"} for report in plugins()])
"""


def plugin_rows() -> Iterator[Row]:
    """A row ``plugins``, and one more for each that does not work."""
    try:
        seconds = time_limit()
    except ModelgraftError as error:
        yield Row("plugins", "fail", str(error), f"unset {TIMEOUT}")
        return
    answer = child.run(_PLUGINS, seconds + MORE_SECONDS)
    if "plugins" not in answer.facts:
        cure = "MODELGRAFT_PLUGINS=-NAME keeps a plugin out; 'modelgraft plugins' says which it is"
        yield Row("plugins", "fail", f"the installed plugins could not be listed: {answer.died}", cure)
        return
    reports = answer.facts["plugins"]
    working = [report for report in reports if report["status"] in ("ok", "warned")]
    barred = [report["name"] for report in reports if report["status"] == "barred"]
    models = sum(report["models"] for report in working)
    detail = f"{len(working)} of {len(reports)} work and bring {models} models"
    if barred:
        detail += f"; kept out by MODELGRAFT_PLUGINS: {', '.join(barred)}"
    if working:
        yield Row("plugins", "ok", detail)
    else:
        yield Row("plugins", "fail", detail, "pip install --force-reinstall --no-deps modelgraft")
    for report in reports:
        if report["status"] not in ("failed", "warned"):
            continue
        cure = (
            f"'modelgraft plugins -v' shows where; then pip install --upgrade {report['distribution']}, "
            f"or keep it out with MODELGRAFT_PLUGINS=-{report['name']}"
        )
        yield Row(
            f"plugin {report['name']}",
            "fail" if report["status"] == "failed" else "warn",
            f"{report['distribution']} {report['version']}: {report['error']}",
            cure,
        )


def lock_rows() -> Iterator[Row]:
    """The row ``lock file``: readable, and made with the plugins that are installed."""
    named = os.environ.get(lockfile.VARIABLE, "")
    in_force = named not in ("", "0")
    path = Path(named).expanduser() if in_force and named != "1" else lockfile.default_path()
    if not path.exists():
        if in_force:
            cure = f"'modelgraft lock NAME' makes it, or unset {lockfile.VARIABLE}"
            yield Row("lock file", "fail", f"{lockfile.VARIABLE} asks for {path}, which is not there", cure)
        else:
            yield Row("lock file", "skip", f"no {lockfile.FILE} here")
        return
    try:
        models = lockfile.read(path)
    except ModelgraftError as error:
        yield Row("lock file", "fail", str(error), "take it from version control again, or lock the models anew")
        return
    moved = []
    for name, found in models.items():
        now = installed_version(found.distribution) if found.distribution else found.version
        if now != found.version:
            moved.append(f"{name} ({found.distribution} {found.version}, now {now or 'not installed'})")
    some = f"{len(models)} model{'s' if len(models) != 1 else ''} locked in {path}{', in force' if in_force else ''}"
    if moved:
        detail = f"{some}; with other plugins than installed: {', '.join(moved[:3])}{' ...' if len(moved) > 3 else ''}"
        yield Row("lock file", "warn", detail, "'modelgraft lock --check' says what that changes")
    else:
        yield Row("lock file", "ok", some)


def alias_rows() -> Iterator[Row]:
    """The row ``aliases``: readable, and what they stand for is there."""
    path = local_names.default_path()
    if not path.exists():
        yield Row("aliases", "skip", f"no {local_names.FILE} here")
        return
    try:
        found = local_names.aliases(path)
    except ModelgraftError as error:
        yield Row("aliases", "fail", str(error), "mend the file by hand, or take it from version control again")
        return
    gone = [
        f"{name} ({target})"
        for name, target in found.items()
        if (place := target.removeprefix("file:")).startswith("/") and not Path(place).exists()
    ]
    some = f"{len(found)} in {path}"
    if gone:
        detail = f"{some}; what they stand for is gone: {', '.join(gone[:3])}{' ...' if len(gone) > 3 else ''}"
        yield Row(
            "aliases", "warn", detail, "'modelgraft register NAME PATH --force', or 'modelgraft register --remove NAME'"
        )
    else:
        yield Row("aliases", "ok", some)
