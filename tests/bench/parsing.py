"""First refreshes of a large project, whose sources are parsed ahead, or are not.

    python tests/bench/parsing.py [--package NAME]

534 sources of the standard library; or those of a package that can be imported, as moto is.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from sites import DASHBOARD, Site, as_json, large_project, served, ways

DONE = Path(".flask-coverage-cache/analysis/ahead")
NEVER, ALWAYS = "0", "1000"
TIMEOUT = 600.0


def refresh(site: Site, what: str) -> None:
    seconds, _, body = site.ask(f"{DASHBOARD}/refresh", "POST")
    summary = as_json(body)["summary"]
    print(
        f"  {what:24} {seconds:6.2f} s  {summary['statements']:,} statements in "
        f"{summary['files']:,} files",
        flush=True,
    )


def measure(folder: Path, load: str) -> None:
    os.environ["WSGI_COVERAGE_PARSE_AHEAD_LOAD"] = load
    with served(folder, ways(None)[1], autosave=TIMEOUT) as site:
        begun = time.monotonic()
        while load == ALWAYS and not (folder / DONE).exists():
            if time.monotonic() - begun > TIMEOUT:
                raise SystemExit("the sources are not parsed ahead")
            time.sleep(0.2)
        if load == ALWAYS:
            print(f"  {'parsed ahead within':24} {time.monotonic() - begun:6.2f} s")
        refresh(site, "first refresh, ready" if load == ALWAYS else "first refresh, not ready")
        refresh(site, "refresh again")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", help="measure this one")
    package = parser.parse_args().package
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "site"
        large_project(folder)
        if package:
            (folder / ".coveragerc").write_text(f"[run]\nsource_pkgs = {package}\n")
            with (folder / "app.py").open("a") as app:
                app.write(f"import {package}\n")
        for load in (NEVER, ALWAYS):
            measure(folder, load)


if __name__ == "__main__":
    main()
