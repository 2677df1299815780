"""No line is lost, whatever is saved, reset, forked, killed or combined meanwhile.

Every function runs once only, so a line that a save drops cannot come back. This is the race that
coverage.py's own save() loses 2 to 88 % of the lines in.
"""

import sys
from collections.abc import Callable
from typing import Any

import pytest

Measure = Callable[..., dict[str, Any]]
CORES = ["ctrace"] + (["sysmon"] if sys.version_info >= (3, 12) else [])
MODES = [(core, False) for core in CORES] + [("ctrace", True)]
if sys.version_info >= (3, 14):
    MODES.append(("sysmon", True))
every_mode = pytest.mark.parametrize(("core", "branch"), MODES)

SOURCES = """
MODULES, FUNCTIONS = 40, 20
function = "def f{}(x):\\n    y = x\\n    if x:\\n        y += 1\\n    return y\\n"
body = "".join(function.format(j) for j in range(FUNCTIONS))
for i in range(MODULES):
    Path(f"m{i}.py").write_text(body)
sys.path.insert(0, "")

def expected(defs):
    lines = set()
    for j in range(FUNCTIONS):
        base = 5 * j
        lines |= {base + 2, base + 3, base + 5} | ({base + 4} if j % 2 else set())
        if defs:
            lines.add(base + 1)
    return sorted(lines)
"""


@every_mode
def test_saving_all_the_time_loses_no_line(measure: Measure, core: str, branch: bool) -> None:
    told = measure(
        SOURCES
        + """
from concurrent.futures import ThreadPoolExecutor
import random
start_early()
worker = forks.current()
done = threading.Event()
saves = 0

def save_all_the_time():
    global saves
    while not done.is_set():
        worker.flush()
        saves += 1

saver = threading.Thread(target=save_all_the_time)
saver.start()
with ThreadPoolExecutor(8) as pool:
    for start in range(0, MODULES, 4):
        modules = [__import__(f"m{i}") for i in range(start, start + 4)]
        work = [(m, j) for m in modules for j in range(FUNCTIONS)]
        random.Random(start).shuffle(work)
        list(pool.map(lambda each: getattr(each[0], f"f{each[1]}")(each[1] % 2), work))
        seen, deadline = saves, time.monotonic() + 30
        while saves == seen and time.monotonic() < deadline:
            time.sleep(0)
done.set()
saver.join(60)
worker.flush()
lines = published()
wrong = [i for i in range(MODULES) if lines.get(f"m{i}.py") != expected(True)]
tell(wrong=wrong, saves=saves)
""",
        core=core,
        branch=branch,
    )

    assert told["wrong"] == []
    assert told["saves"] >= 10


@every_mode
def test_forks_kills_and_readers_lose_no_line(measure: Measure, core: str, branch: bool) -> None:
    """Forked workers save every 20 ms and are killed; meanwhile everything is combined."""
    told = measure(
        SOURCES
        + """
import random, signal
start_early()
worker = forks.current()
worker.configure(0.02)
modules = [__import__(f"m{i}") for i in range(MODULES)]
children, read_end, write_end = [], *os.pipe()
for k in range(4):
    pid = os.fork()
    if pid == 0:
        from concurrent.futures import ThreadPoolExecutor
        work = [(m, j) for m in modules[k * 10 : k * 10 + 10] for j in range(FUNCTIONS)]
        random.Random(k).shuffle(work)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda each: getattr(each[0], f"f{each[1]}")(each[1] % 2), work))
        forks.current().flush()
        os.write(write_end, b".")
        signal.pause()
    children.append(pid)
finished, combined, problems = b"", 0, []
os.set_blocking(read_end, False)
deadline = time.monotonic() + 60
while len(finished) < 4 and time.monotonic() < deadline:
    try:
        finished += os.read(read_end, 4)
    except BlockingIOError:
        pass
    try:
        published()
        combined += 1
    except Exception as error:
        problems.append(repr(error))
for pid in children:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
worker.flush()
lines = published()
wrong = [i for i in range(MODULES) if lines.get(f"m{i}.py") != expected(True)]
left = worker.ask_all("status", wait=5)
tell(wrong=wrong, combined=combined, problems=problems, left=len(left.workers))
""",
        core=core,
        branch=branch,
    )

    assert told["wrong"] == []
    assert told["problems"] == []
    assert told["combined"] > 0
    assert told["left"] == 1  # the killed are known to be dead


@every_mode
def test_after_a_reset_in_the_thick_of_it_every_line_that_runs_is_recorded(
    measure: Measure, core: str, branch: bool
) -> None:
    """Threads run the same lines all the time, so resets meet callbacks that are on their way."""
    told = measure(
        SOURCES
        + """
start_early()
sys.setswitchinterval(1e-5)
worker = forks.current()
modules = [__import__(f"m{i}") for i in range(4)]
done = threading.Event()
rounds = [0] * 4
problems = []

def hammer(k):
    while not done.is_set():
        for j in range(FUNCTIONS):
            getattr(modules[k], f"f{j}")(j % 2)
        rounds[k] += 1

threads = [threading.Thread(target=hammer, args=(k,)) for k in range(4)]
for thread in threads:
    thread.start()
for number in range(15):
    reset()
    before = list(rounds)
    deadline = time.monotonic() + 30
    while min(now - then for now, then in zip(rounds, before)) < 2:  # a whole round since
        assert time.monotonic() < deadline
        time.sleep(0)
    worker.flush()
    lines = published()
    problems += [(number, k) for k in range(4) if lines.get(f"m{k}.py") != expected(False)]
done.set()
for thread in threads:
    thread.join(30)
tell(problems=problems)
""",
        core=core,
        branch=branch,
    )

    assert told["problems"] == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sysmon is there from Python 3.12 on")
def test_a_callback_that_is_on_its_way_during_a_reset_hides_no_line(measure: Measure) -> None:
    """It ends by switching its line off, after events were restarted."""
    told = measure(
        """
from wsgi_coverage.compat import measurement
start_early()
import app
worker = forks.current()
(tracer,) = measurement.collector_of(worker.engine.coverage).tracers
arrived, waited_for, go_on = threading.Event(), threading.Event(), threading.Event()

class HeldUp:
    def __init__(self, lines):
        self.lines = lines

    def add(self, line):
        self.lines.add(line)
        arrived.set()
        go_on.wait(10)

app.second()  # so that the tracer knows its code
reset()
info = tracer.code_infos[id(app.second.__code__)]
lines, info.file_data = info.file_data, HeldUp(info.file_data)
thread = threading.Thread(target=app.second)
thread.start()
arrived.wait(10)
info.file_data = lines
sleep = time.sleep
measurement.time.sleep = lambda seconds: (waited_for.set(), sleep(seconds))
resetting = threading.Thread(target=reset)
resetting.start()
noticed = waited_for.wait(10)
go_on.set()
thread.join(10)
resetting.join(10)
app.second()
worker.flush()
tell(noticed=noticed, lines=published())
""",
        core="sysmon",
    )

    assert told["noticed"]
    assert told["lines"]["app.py"] == [6]
