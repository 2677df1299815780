"""What a request that is not ours costs on its way through the middleware.

    python tests/bench/passing.py

Nanoseconds over the bare application, the shortest of many interleaved rounds; the application is
not measured here, so that nothing but the way through counts.
"""

from __future__ import annotations

import tempfile
import timeit
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from wsgi_coverage import CoverageMiddleware

ROUNDS, CALLS = 40, 50_000


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    return ()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / ".coveragerc"
        config.write_text(f"[run]\ndata_file = {folder}/.coverage\ninclude = {folder}/nothing.py\n")
        wrapped = CoverageMiddleware(application, debug=True, config_file=config)
        environ = {"PATH_INFO": "/shop/basket", "SCRIPT_NAME": "", "REQUEST_METHOD": "GET"}
        wrapped(environ, print)  # the first request ends the load
        best = {"bare": float("inf"), "wrapped": float("inf")}
        for _ in range(ROUNDS):
            for name, called in (("bare", application), ("wrapped", wrapped)):
                seconds = timeit.timeit(lambda called=called: called(environ, print), number=CALLS)
                best[name] = min(best[name], seconds / CALLS)
        over = (best["wrapped"] - best["bare"]) * 1e9
        print(f"a request that is not ours: {over:.0f} ns over the bare application (300)")


if __name__ == "__main__":
    main()
