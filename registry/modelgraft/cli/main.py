"""The command ``modelgraft``: global options, verbs found by name, errors as one line."""

from __future__ import annotations

import difflib
import gc
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from modelgraft.cli.anywhere import take
from modelgraft.cli.output import finish_output, keep_notes, keep_output, no_closed_streams
from modelgraft.cli.render import printable
from modelgraft.errors import ModelgraftError, OutputError
from modelgraft.guard import in_a_line
from modelgraft.specs import VerbSpec
from modelgraft.verbs import BUILT_IN


def _verbs() -> dict[str, VerbSpec]:
    from modelgraft.host.host import current_host

    return {**{v.name: v for v in BUILT_IN}, **current_host().verbs()}


class _DefaultsAsTheyAre:
    """Options that were not given keep their default as it stands in Python, unconverted.

    Typer would build a pydantic validator for each of them, and import pydantic for that: as long as reading the catalogue.
    """

    def get_params(self, ctx: Any) -> Any:
        params = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if not isinstance(param.process_value, partial):
                param.process_value = partial(_process_value, param, param.process_value)
        return params


def _process_value(param: Any, convert: Callable[[Any, Any], Any], ctx: Any, value: Any) -> Any:
    kind = getattr(getattr(param, "type_descriptor", None), "annotation", None)
    several = param.multiple or param.nargs == -1
    as_it_is = value is param.default and not several and (value is None or type(value) is kind)
    if param.required or not as_it_is:
        return convert(ctx, value)
    return param.callback(ctx, param, value) if param.callback else value


class _Verb(_DefaultsAsTheyAre, TyperCommand):
    renamed: Mapping[str, str]
    """Options that were called otherwise: the old name -> the new one. Stated by the verb's module as ``RENAMED``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if type(error).__name__ == "NoSuchOption":  # typer's click is its own, and private
                name = error.option_name  # type: ignore[attr-defined]
                if name in self.renamed:
                    error.message = f"{name} is called {self.renamed[name]} now"  # type: ignore[attr-defined]
                    error.possibilities = None  # type: ignore[attr-defined]
                else:
                    error.message += "; a text or a file that begins with '-' goes after --"  # type: ignore[attr-defined]
            raise


class _LazyVerb(TyperCommand):
    """A verb known by name and help line; its code is imported when its own arguments are read."""

    def __init__(self, spec: VerbSpec) -> None:
        super().__init__(name=spec.name, help=spec.help, rich_markup_mode=None)
        self.spec = spec

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:
        from modelgraft.host.host import import_target

        function = import_target(self.spec.target, f"of the verb {self.spec.name}")
        _running.append(self.spec.target.partition(":")[0].partition(".")[0])
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name=self.spec.name, cls=_Verb)(function)
        command: Any = typer.main.get_command(single)
        command.renamed = getattr(sys.modules.get(getattr(function, "__module__", "")), "RENAMED", {})
        return command.make_context(info_name, args, parent=parent, **extra)


class _Verbs(_DefaultsAsTheyAre, TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(_verbs())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        # The built-in verbs must work even where the host cannot: they are how a user learns why.
        spec = next((v for v in BUILT_IN if v.name == cmd_name), None) or _verbs().get(cmd_name)
        return _LazyVerb(spec) if spec else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except Exception as error:
            if type(error).__name__ == "UsageError" and args:  # typer's click is its own, and private
                near = difflib.get_close_matches(args[0], self.list_commands(ctx), 2)
                if near and "id you mean" not in error.message:  # type: ignore[attr-defined]
                    error.message = f"No such command {args[0]!r}; did you mean {' or '.join(near)}?"  # type: ignore[attr-defined]
            raise


app = typer.Typer(
    cls=_Verbs,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Graft a task onto a pretrained model: find it by name, classify with it, adapt it.",
    invoke_without_command=True,
    no_args_is_help=True,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from modelgraft.version import __version__

        typer.echo(f"modelgraft {__version__}")
        raise typer.Exit()


@app.callback()
def frame(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_print_version, is_eager=True),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error (anywhere on the line)."),
    locked: bool = typer.Option(
        False, "--locked", help="Use only what the lock file names (anywhere; --locked=PATH for another file)."
    ),
    trust: str = typer.Option(
        "", "--trust-remote-code", metavar="NAME", help="Let the code in this one model's repository run (anywhere)."
    ),
) -> None:
    """Options that stand before the verb."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with 0, with 1 for work that failed, with 2 for a usage error."""
    no_closed_streams()
    # Reading thousands of entries makes many objects and no garbage: at the usual threshold the collector takes half the time.
    gc.set_threshold(100_000, 20, 20)
    if not sys.stderr.isatty():  # no progress bars into a log or a pipe, the hub client's neither
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal of another encoding gets escapes, not a traceback
            stream.reconfigure(errors="backslashreplace")
    keep_output()
    keep_notes()
    _show_warnings_plainly()
    debug = False
    try:
        words, debug = take(sys.argv[1:] if arguments is None else arguments)
        if not debug:  # an error is one line; the hub client would tell of every retry before it
            os.environ.setdefault("HF_HUB_VERBOSITY", "error")
        app(args=words, prog_name="modelgraft")
    except SystemExit as error:
        if (culprit := _stranger(error)) is None:
            _flush(error.code)
            raise
        if debug:
            traceback.print_exc()
        _fail(f"the plugin {culprit} ended the run (sys.exit({error.code!r})); tell its author", 1)
    except ModelgraftError as error:
        if debug:
            raise
        _fail(str(error), error.exit_code)
    except BrokenPipeError:
        # The reader of our output (head, less) has seen enough; leave quietly, and keep Python from complaining at exit.
        _output_to_nowhere()
        sys.exit(0)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BaseException as error:  # GeneratorExit and kinds of a plugin's own included
        _unexpected(error, debug)


def _unexpected(error: BaseException, debug: bool) -> NoReturn:
    if debug:
        raise error
    if (culprit := _stranger(error)) is not None:
        _fail(f"the plugin {culprit} failed: {in_a_line(error)} (--debug shows where)", 1)
    if isinstance(error, BlockingIOError) or "can't start new thread" in str(error):
        _fail(
            f"the system lets this command start no more processes or threads ({in_a_line(error)}); raise the limit", 1
        )
    if isinstance(error, IsADirectoryError) and error.filename is None:
        _fail("standard input is a folder; give its name in the place of '-'", 2)
    if isinstance(error, FileNotFoundError) and error.filename is None and not _stands_somewhere():
        _fail("the folder that this command was started in is gone; 'cd' to one that is there", 1)
    if isinstance(error, OSError) and error.filename is not None:  # the disk, a folder, a permission: no bug to report
        _fail(f"{os.fsdecode(error.filename)}: {error.strerror or type(error).__name__}", 1)
    _fail(f"{in_a_line(error)} (this should not happen; run it again with --debug and report it)", 1)


def _stands_somewhere() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


_running: list[str] = []
"""The package of the verb that runs: it may end the process, and fail in its own name."""


def _stranger(error: BaseException) -> str | None:
    """The distribution to blame for an error, if it is a plugin's and not the running verb's own."""
    from modelgraft.cli.culprit import culprit_of, raised_in

    ours = {"typer", "click", "modelgraft", "modelgraft_adapters", *_running}
    if isinstance(error, SystemExit) and raised_in(error) in ours:
        return None
    return culprit_of(error, besides=_running)


def _flush(code: object) -> None:
    """Have the output written before the exit code is settled: a full disk must not look like success."""
    try:
        finish_output()
    except BrokenPipeError:
        _output_to_nowhere()
        sys.exit(0)
    except (OSError, ValueError, OutputError) as error:
        _output_to_nowhere()
        if code in (None, 0):
            told = getattr(error, "strerror", None) or error
            _fail(str(error) if isinstance(error, OutputError) else f"standard output cannot be written: {told}", 1)


def _output_to_nowhere() -> None:
    sys.stdout = open(os.devnull, "w")
    os.dup2(sys.stdout.fileno(), 1)


def _show_warnings_plainly() -> None:
    """One plain line for each retired or hidden name, however often a verb resolves it; other warnings as Python words them."""
    import warnings

    from modelgraft.errors import NameWarning

    said = set()

    def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
        if not issubclass(category, NameWarning):
            told = warnings.formatwarning(message, category, *where[:2])
            print("\n".join(map(printable, told.splitlines())), file=sys.stderr)
        elif str(message) not in said:
            said.add(str(message))
            print(f"modelgraft: warning: {printable(str(message))}", file=sys.stderr)

    warnings.showwarning = show


def _fail(text: str, code: int) -> NoReturn:
    _flush(code)
    print(f"modelgraft: error: {printable(_short(text))}", file=sys.stderr)
    sys.exit(code)


def _short(text: str, most: int = 1400) -> str:
    """A line that a person reads: a name of a megabyte says no more than its ends."""
    return text if len(text) <= most else f"{text[: most // 2]} [...] {text[-most // 2 :]}"
