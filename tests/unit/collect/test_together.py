"""Several workers as one: who answers, who does not, and what a reset does to each."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

Measure = Callable[..., dict[str, Any]]
LOADED = [1, 5, 9]
FIRST, SECOND = 2, 6

SETUP = """
import signal
from wsgi_coverage.control import Control
from wsgi_coverage.settings import Settings
start_early()
import app
worker = forks.current()
control = Control(worker, Settings(debug=True))
ready_in, ready_out = os.pipe()
go_in, go_out = os.pipe()
child = os.fork()
if child == 0:
    app.first()
    os.write(ready_out, b".")
    while os.read(go_in, 1) == b"g":
        app.second()
        os.write(ready_out, b".")
    os._exit(0)
os.read(ready_in, 1)

def end_child():
    os.write(go_out, b"x")
    os.waitpid(child, 0)
"""


def test_a_worker_that_is_stopped_is_named(measure: Measure) -> None:
    told = measure(
        SETUP
        + """
os.kill(child, signal.SIGSTOP)
gathering = worker.ask_all("publish", wait=0.3)
os.kill(child, signal.SIGCONT)
after = worker.ask_all("publish", wait=30)
end_child()
tell(
    complete=[gathering.complete, after.complete],
    silent=[each.pid == child for each in gathering.workers if each.state == "silent"],
    fresh=len(after.workers),
)
"""
    )

    assert told["complete"] == [False, True]
    assert told["silent"] == [True]
    assert told["fresh"] == 2


def test_another_program_that_answers_at_a_worker_s_socket_is_named_as_silent(
    measure: Measure,
) -> None:
    told = measure(
        """
from wsgi_coverage.store.channel import Listener
worker = forks.start()
other = Listener(worker.private, {"id": "other", "host": worker.host, "pid": 1})
threading.Thread(target=other.serve, args=(30, lambda verb: {"said": verb})).start()
gathering = worker.ask_all("publish", wait=30)
other.close()
tell(states=[(each.pid, each.state, each.fresh) for each in gathering.workers if each.pid == 1])
"""
    )

    assert told["states"] == [[1, "silent", False]]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a worker has a thread there")
def test_a_worker_that_begins_to_serve_while_others_are_asked_is_up_to_date(
    measure: Measure,
) -> None:
    told = measure(
        """
import subprocess
from wsgi_coverage.collect import gathering
start_early()
import app
worker = forks.current()
Path("serving.py").write_text('''
from wsgi_coverage import CoverageMiddleware
from wsgi_coverage.collect.early import start_early
start_early()
CoverageMiddleware(lambda environ, start_response: [], debug=True)
print("serves", flush=True)
input()
''')
look, begun = gathering._silent, []

def look_and_begin(*args, **options):
    found = look(*args, **options)
    begun.append(
        subprocess.Popen(
            [sys.executable, "serving.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    )
    begun[0].stdout.readline()
    return found

gathering._silent = look_and_begin
workers = worker.ask_all("publish", wait=1).workers
begun[0].communicate(b"end")
tell(
    fresh={str(each.pid): [each.fresh, each.error] for each in workers},
    pids=sorted([os.getpid(), begun[0].pid]),
)
""",
        core=None,
    )

    assert told["fresh"] == {str(pid): [True, None] for pid in told["pids"]}


def test_a_reset_that_a_worker_misses_still_hides_what_it_ran_before(measure: Measure) -> None:
    told = measure(
        SETUP
        + """
worker.ask_all("publish", wait=30)
before = published()["app.py"]
os.kill(child, signal.SIGSTOP)
complete = control.reset(wait=0.3).complete
os.kill(child, signal.SIGCONT)
worker.ask_all("publish", wait=30)
late = [str(path) for path in worker.store.published()]
os.write(go_out, b"g")
os.read(ready_in, 1)
worker.ask_all("publish", wait=30)
after = published()["app.py"]
end_child()
tell(before=before, complete=complete, late=late, after=after)
"""
    )

    assert told["before"] == sorted([*LOADED, FIRST])
    assert told["complete"] is False
    assert told["late"] == []
    assert told["after"] == [SECOND]


def test_a_reset_forgets_what_workers_ran_that_have_ended(measure: Measure) -> None:
    told = measure(
        SETUP
        + """
worker.ask_all("publish", wait=30)
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
gathering = control.reset(wait=5)
tell(left=[str(path) for path in worker.store.published()], workers=len(gathering.workers))
"""
    )

    assert told["left"] == []
    assert told["workers"] == 1


def test_dozens_of_workers_that_come_and_go_leave_a_handful_of_files_and_every_line(
    measure: Measure, tmp_path: Any
) -> None:
    """Half of them are killed, half end by themselves; nobody asks for a report."""
    workers = 40
    body = "".join(f"def f{number}():\n    return {number}\n" for number in range(workers))
    (tmp_path / "many.py").write_text(body)

    told = measure(
        f"""
import signal
from wsgi_coverage.control import Control
from wsgi_coverage.settings import Settings
start_early()
import many
worker = forks.current()
worker.flush()
control = Control(worker, Settings(debug=True))
most = 0
for number in range({workers}):
    pid = os.fork()
    if pid == 0:
        getattr(many, f"f{{number}}")()
        mine = forks.current()
        mine.flush()
        mine._service.stop()  # after its errand: this one has tidied
        if number % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        sys.exit()
    os.waitpid(pid, 0)
    most = max(most, len(list(Path.cwd().glob(".coverage.*"))))
tell(lines=published()["many.py"], most=most)
"""
    )

    assert told["lines"] == list(range(1, 2 * workers + 1))
    assert told["most"] < 10


LATE = """
from wsgi_coverage.control import Control
from wsgi_coverage.data.reading import Reading
from wsgi_coverage.errors import NoReportError, RefreshBusyError
from wsgi_coverage.fleet.messages import FleetAnswer
from wsgi_coverage.settings import Settings
start_early()
import app
worker = forks.current()
control = Control(worker, Settings(debug=True))
asked = []

def lines_of_the_fleet(late):
    "Have the lines of other hosts be of an epoch that is over, the first times."
    ask = Control._ask_all

    def ask_all(self, verb, *, wait):
        gathering, _ = ask(self, verb, wait=wait)
        asked.append(verb)
        epoch = worker.store.oldest() - (len(asked) <= late)
        reading = Reading(id="fleet", host="all", epoch=epoch, sources=(), by_phase={})
        return gathering, FleetAnswer(reading=reading)

    Control._ask_all = ask_all
"""


def test_lines_that_were_read_before_a_reset_of_the_fleet_are_read_again(measure: Measure) -> None:
    told = measure(
        LATE
        + """
lines_of_the_fleet(late=2)
report = control.refresh(wait=5)
tell(asked=len(asked), same=control.report().id == report.id)
"""
    )

    assert told == told | {"asked": 3, "same": True}


def test_no_report_is_published_of_lines_that_a_reset_of_the_fleet_has_ended(
    measure: Measure,
) -> None:
    told = measure(
        LATE
        + """
lines_of_the_fleet(late=100)
try:
    control.refresh(wait=5)
except RefreshBusyError as error:
    why = str(error)
try:
    control.report()
except NoReportError:
    tell(why=why, published=False)
"""
    )

    assert "reset" in told["why"]
    assert not told["published"]
