"""A child process of a process that is measured, forks, or is patched by gevent."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import pytest

RunScript = Callable[..., Any]

pytestmark = pytest.mark.skipif(not hasattr(os, "posix_spawn"), reason="no child can be started")

HOOKS = """
import json
import os

hooks = []
os.register_at_fork(before=lambda: hooks.append("before"))
"""
CALL = """
from wsgi_coverage.offload import child

def call(function, *arguments, tick=lambda: None):
    return child.call(function, *arguments, tick=tick)
"""


def test_starting_one_runs_no_fork_hooks(run_script: RunScript) -> None:
    hooks, other = run_script(
        f"""{HOOKS}{CALL}
other = call(os.getpid) != os.getpid()
print(json.dumps([hooks, other]))
"""
    )

    assert hooks == []
    assert other


@pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")
def test_under_gevent_no_fork_hook_runs_and_other_greenlets_go_on(run_script: RunScript) -> None:
    hooks, other = run_script(
        f"""
from gevent import monkey
monkey.patch_all()
{HOOKS}{CALL}
import gevent
import jobs

def take_turns():
    for _ in range(6):
        gevent.sleep(0.01)
    open("turns-taken", "w").close()

other = call(os.getpid) != os.getpid()
gevent.spawn(take_turns)
call(jobs.wait_for, "turns-taken")
print(json.dumps([hooks, other]))
""",
        {
            "jobs.py": """
                import os, time

                def wait_for(path):
                    while not os.path.exists(path):
                        time.sleep(0.01)
                """
        },
    )

    assert hooks == []
    assert other


@pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")
def test_under_gevent_large_jobs_and_large_results_come_through(run_script: RunScript) -> None:
    sizes = run_script(
        f"""
from gevent import monkey
monkey.patch_all()
import json
{CALL}
import jobs

print(json.dumps([call(jobs.size, bytes(3_000_000)), len(call(bytes, 3_000_000))]))
""",
        {
            "jobs.py": """
                def size(content):
                    return len(content)
                """
        },
    )

    assert sizes == [3_000_000, 3_000_000]


def test_it_does_not_outlive_a_worker_that_is_killed(run_script: RunScript) -> None:
    ended = run_script(
        f"""{CALL}
import json, os, select, signal, subprocess, sys, time

WORKER = '''
import jobs
from wsgi_coverage.offload import child
child.call(jobs.say_and_sleep, tick=lambda: None)
'''
os.mkfifo("alive")
worker = subprocess.Popen([sys.executable, "-c", WORKER])
alive = os.open("alive", os.O_RDONLY)
assert os.read(alive, 1) == b"x"
worker.kill()
worker.wait()
ready = select.select([alive], [], [], 30)[0]
print(json.dumps(bool(ready) and os.read(alive, 1) == b""))
""",
        {
            "jobs.py": """
                import os, time

                def say_and_sleep():
                    fd = os.open("alive", os.O_WRONLY)
                    os.write(fd, b"x")
                    time.sleep(600)
                """
        },
    )

    assert ended is True
