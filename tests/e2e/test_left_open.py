"""What these tests start is watched: a file that nobody closes fails the test that started it."""

from __future__ import annotations

import pytest

OPENS = "open('/dev/null')"


def test_a_command_that_leaves_a_file_open_is_a_failure(project):
    with pytest.raises(pytest.fail.Exception, match=r"unclosed file .*/dev/null"):
        project.run("-c", OPENS)


def test_a_server_that_has_left_a_file_open_is_a_failure_at_the_end(project, tmp_path):
    (tmp_path / "other").mkdir()
    other = type(project)(tmp_path / "other")
    assert other.start("-c", OPENS).popen.wait(30) == 0

    with pytest.raises(pytest.fail.Exception, match=r"unclosed file .*/dev/null"):
        other.close()


LISTENS = """
import socket, sys, time
listening = socket.socket(fileno=int(sys.argv[1]))
listening.listen()
socket.fromfd(listening.fileno(), listening.family, listening.type)
time.sleep(60)
"""


def test_what_a_server_listens_on_is_its_own_affair(project):
    server = project.serve("-c", LISTENS, "{fd}")

    server.wait_for("ResourceWarning: unclosed <socket.socket")

    assert server.unclosed() == []
