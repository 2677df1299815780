"""Run a Python program in this process as `python` itself would: a script, a folder, a module.

Concurrency: runs once, in the main thread.
"""

from __future__ import annotations

import importlib.util
import io
import os
import pkgutil
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

from wsgi_coverage.collect.engines import monitoring
from wsgi_coverage.errors import WsgiCoverageError
from wsgi_coverage.system import interrupt

_former: list[ModuleType] = []  # keeps the former __main__ alive: its globals are still in use

Load = Callable[[], tuple[ModuleType, CodeType]]
Show = Callable[[type[BaseException], BaseException, TracebackType | None], object]


class NoProgramError(WsgiCoverageError):
    """There is no such script or module, or it has no code; the message says which."""


class Program:
    """A Python program to run in this process; sys.argv and sys.path become the program's.

    Args:
        arguments: the script or the module's name, and its arguments.
        is_module: run a module, as `python -m` does.

    Raises:
        NoProgramError: there is no such script.
    """

    def __init__(self, arguments: list[str], *, is_module: bool) -> None:
        self._load: Load = _module(arguments) if is_module else _script(arguments)

    def run(self, ctrl_c: interrupt.Hold) -> None:
        """Run the program to its end.

        Args:
            ctrl_c: holds Ctrl-C back until here; the program handles it from here on. If it was
                pressed before, the program is not run.

        Raises:
            NoProgramError: there is no such module.
            SystemExit: the program ended by it; or with exit code 1 after an exception was shown.
        """
        try:
            if ctrl_c.release(to_python=True):
                interrupt.end()
            main, code = self._load()
            _former.append(sys.modules["__main__"])
            sys.modules["__main__"] = main
            exec(code, main.__dict__)  # noqa: S102  that is what it is for
        except (SystemExit, NoProgramError):
            raise
        except Exception as error:  # noqa: BLE001  the program's; it is shown
            _show(error)
            sys.exit(1)
        except BaseException:  # Ctrl-C ends the process in Python's own way, exit code included
            sys.excepthook = _showing_own(sys.excepthook)
            raise


def _script(arguments: list[str]) -> Load:
    path = arguments[0]
    sys.argv[:] = arguments
    importer = pkgutil.get_importer(path)
    if importer is not None and (spec := importer.find_spec("__main__")) is not None:
        _begin_path(os.path.abspath(path))  # noqa: PTH100  links stay links
        return lambda: _main(spec, package="")
    _begin_path(os.path.dirname(os.path.realpath(path)))  # noqa: PTH120
    full = os.path.join(Path.cwd(), path)  # noqa: PTH118  as Python has it
    try:
        with io.open_code(full) as file:
            source = file.read()
    except OSError as error:
        raise NoProgramError(f"can't open file {full!r}: {error.strerror}") from None

    def load() -> tuple[ModuleType, CodeType]:
        main = ModuleType("__main__")
        main.__file__ = full
        main.__builtins__ = sys.modules["builtins"]  # type: ignore[attr-defined]
        return main, compile(source, full, "exec", dont_inherit=True)

    return load


def _module(arguments: list[str]) -> Load:
    name = arguments[0]
    sys.argv[:] = ["-m", *arguments[1:]]
    _begin_path(str(Path.cwd()))

    def load() -> tuple[ModuleType, CodeType]:
        spec = _find(name)
        if spec.submodule_search_locations is not None:
            spec = _find(f"{name}.__main__", of=name)
        main, code = _main(spec, package=spec.parent)
        sys.argv[0] = str(main.__file__)
        return main, code

    return load


def _find(name: str, *, of: str | None = None) -> ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # a module that a package of it misses
        spec = None
    except ValueError as error:
        raise NoProgramError(f"{name!r} cannot be run: {error}") from None
    if spec is None:
        if of is not None:
            raise NoProgramError(f"No module named {name}; {of!r} is a package")
        raise NoProgramError(f"No module named {name}")
    return spec


def _main(spec: ModuleSpec, *, package: str | None) -> tuple[ModuleType, CodeType]:
    loader: Any = spec.loader
    code = loader.get_code(spec.name) if hasattr(loader, "get_code") else None
    if code is None:
        raise NoProgramError(f"{spec.name} has no code that could be run")
    main = ModuleType("__main__")
    main.__file__ = spec.origin
    main.__cached__ = spec.cached  # type: ignore[attr-defined]
    main.__package__ = package
    main.__loader__ = loader
    main.__spec__ = spec
    main.__builtins__ = sys.modules["builtins"]  # type: ignore[attr-defined]
    return main, code


def _begin_path(folder: str) -> None:
    """Put a folder into sys.path in the place of the folder of the running command."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _show(error: Exception) -> None:
    """Show an exception as Python would, without our frames."""
    _showing_own(sys.excepthook)(type(error), error, error.__traceback__)


def _showing_own(show: Show) -> Show:
    def shown(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> object:
        with interrupt.Hold():
            own = _own(trace)
            return show(kind, error.with_traceback(own), own)

    return shown


def _own(trace: TracebackType | None) -> TracebackType | None:
    """Return the program's part of a traceback, without frames of this package at either end.

    There are some at its end if Ctrl-C came while a line was marked.
    """
    last = at = trace
    while at is not None:
        if at.tb_frame.f_code.co_filename == __file__:
            last = at.tb_next
        at = at.tb_next
    at = last
    while at is not None and at.tb_next is not None:
        if at.tb_next.tb_frame.f_code.co_filename == monitoring.__file__:
            at.tb_next = None
        at = at.tb_next
    return last
