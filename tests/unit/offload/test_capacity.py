"""How many processes this host has room for."""

import os
from pathlib import Path

import pytest

from wsgi_coverage.offload import capacity

MB = 1 << 20


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four cores, 8 GB of free memory, and no container."""
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:  {8 << 20} kB\n")
    monkeypatch.setattr(capacity, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(capacity, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    return tmp_path


def test_there_is_a_process_for_each_core() -> None:
    assert capacity.processes(MB) == 4


def test_a_container_has_the_cores_that_its_quota_gives(host: Path) -> None:
    (host / "cpu.max").write_text("150000 100000\n")
    assert capacity.cores() == 2

    (host / "cpu.max").write_text("50000 100000\n")
    assert capacity.cores() == 1

    (host / "cpu.max").write_text("max 100000\n")
    assert capacity.cores() == 4


def test_they_take_an_eighth_of_the_free_memory_at_most() -> None:
    assert capacity.room() == 1024 * MB
    assert capacity.processes(400 * MB) == 2
    assert capacity.processes(2048 * MB) == 0


def test_a_container_has_the_memory_that_its_limit_leaves(host: Path) -> None:
    (host / "memory.max").write_text(f"{512 * MB}\n")
    (host / "memory.current").write_text(f"{480 * MB}\n")
    assert capacity.room() == 4 * MB

    (host / "memory.max").write_text("max\n")
    assert capacity.room() == 1024 * MB


def test_where_nothing_tells_there_is_some_memory(host: Path) -> None:
    (host / "meminfo").unlink()

    assert capacity.processes(16 * MB) == 4


def test_the_load_is_that_of_each_core_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (4.0, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)

    assert capacity.load() == 0.5


def test_a_host_that_tells_no_load_counts_as_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError

    monkeypatch.setattr(os, "getloadavg", refuse)

    assert capacity.load() == 0.0
