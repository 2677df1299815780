"""The same lines as coverage.py's sysmon core, in every file that a real application runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="sys.monitoring is there from Python 3.12 on"
)

SCRIPT = """
import json, os, sys, warnings
from pathlib import Path
import coverage

PACKAGES = Path(coverage.__file__).parent.parent
OURS = str(PACKAGES / "coverage") + os.sep
theirs = coverage.Coverage(data_file=None, config_file=False, include=[f"{PACKAGES}/*"])
theirs.set_option("run:core", "sysmon")
theirs.set_option("run:disable_warnings", ["no-data-collected"])

from wsgi_coverage.collect.engines.monitoring import Measured, Monitoring
from wsgi_coverage.data.phases import Phase
from wsgi_coverage.store.memory import Memory

def is_measured(filename):
    return filename.startswith(f"{PACKAGES}{os.sep}") and not filename.startswith(
        (OURS, os.path.dirname(sys.modules["wsgi_coverage"].__file__))
    )

def classify(filename, frame):
    return Measured(filename, filename) if is_measured(filename) else None

Path("memory").mkdir()
ours = Monitoring(Memory(Path("memory")), classify)
theirs.start()
ours.start()
ours.switch(Phase.RUNTIME, 0)

warnings.simplefilter("ignore")
import django, flask, jinja2, sqlalchemy
from django.conf import settings
settings.configure(
    SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes",
                    "django.contrib.sessions"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth.models import User
for number in range(3):
    User.objects.create_user(f"u{number}", password="x")
assert User.objects.filter(username__startswith="u").count() == 3
urlpatterns = []
from django.test import Client
assert Client().get("/nothing").status_code == 404

from sqlalchemy import Column, Integer, create_engine, orm
Base = orm.declarative_base()
class Row(Base):
    __tablename__ = "row"
    id = Column(Integer, primary_key=True)
engine = create_engine("sqlite://")
Base.metadata.create_all(engine)
with orm.Session(engine) as session:
    session.add(Row(id=1))
    session.commit()
    assert session.query(Row).count() == 1
engine.dispose()

app = flask.Flask("app")
template = jinja2.Template("{% for each in all %}{{ each }}{% endfor %}")
app.add_url_rule("/", "index", lambda: template.render(all=[1, 2]))
assert app.test_client().get("/").data == b"12"

theirs.stop()
data = theirs.get_data()
reading = ours.memory.read()
marked = {}
for claim in reading.sources:
    chunk, at, room = claim.place
    for plane in reading.by_phase.values():
        raw = plane.get(chunk, b"")[at : at + room]
        lines = {number for number, byte in enumerate(raw) if byte}
        marked.setdefault(claim.name, set()).update(lines)
seen = {name: set(data.lines(name)) for name in data.measured_files() if is_measured(name)}
names = [name for name in {*seen, *marked} if seen.get(name, set()) != marked.get(name, set())]
print(json.dumps({
    "core": [each for each in theirs.sys_info() if each[0] == "core"][0][1],
    "files": len(seen),
    "lines": sum(map(len, seen.values())),
    "differ": {name: sorted(seen.get(name, set()) ^ marked.get(name, set())) for name in names},
    "why": ours.unmeasured,
    "problems": reading.problems,
}))
"""


def test_both_tools_at_once_see_the_same_lines_in_every_file(tmp_path: Path) -> None:
    for package in ("django", "sqlalchemy", "flask"):
        pytest.importorskip(package)
    (tmp_path / "script.py").write_text(SCRIPT)

    ran = subprocess.run(
        [sys.executable, "-W", "error", "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert ran.returncode == 0, ran.stderr + ran.stdout
    told = json.loads(ran.stdout)
    assert "Sys" in told["core"]
    assert told["files"] > 300
    assert told["lines"] > 20_000
    assert told["differ"] == {}
    assert told["why"] == {}
    assert told["problems"] == []
