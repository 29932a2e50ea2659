"""Escapes from the sandbox of the tool python, each tried in every wall that this machine has."""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from ramify.tools import sandbox
from ramify.tools.programs import python_tool
from ramify.tools.sandbox import SandboxLimits, Wall, run_python

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's"), pytest.mark.slow]
TIGHT = SandboxLimits(cpu_s=1, memory_bytes=256 << 20, disk_bytes=8 << 20, file_bytes=4 << 20, processes=16)


@pytest.fixture(params=[Wall.NAMESPACES, Wall.BUBBLEWRAP, Wall.LIMITS], scope="module")
def wall(request):
    if not sandbox._works(request.param):
        pytest.skip(f"there are no {request.param} here")
    return request.param


@pytest.fixture
def closed(wall):
    """A wall that shows no files, network and processes of the system."""
    if wall is Wall.LIMITS:
        pytest.skip("limits alone do not keep this off, as docs/howto/tools.md says")
    return wall


async def test_a_program_prints_and_its_last_value_is_shown(wall):
    outcome = await run_python("print('a')\nx = 6\nx * 7", wall=wall)
    assert (outcome.output, outcome.code) == ("a\n42\n", 0)


async def test_an_error_shows_the_programs_own_frames_alone(wall):
    outcome = await run_python("def f():\n    return 1 / 0\nf()", wall=wall)
    assert outcome.code == 1 and "ZeroDivisionError" in outcome.output and "<string>" not in outcome.output


async def test_a_fork_bomb_ends(wall):
    began = time.monotonic()
    with anyio.move_on_after(4) as scope:
        outcome = await run_python(
            "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass", TIGHT, wall
        )
        assert outcome.code != 0
    assert scope.cancelled_caught or time.monotonic() - began < 15
    await _nothing_is_left()


async def test_memory_is_limited(wall):
    outcome = await run_python("x = bytearray(1 << 30)", TIGHT, wall)
    assert "MemoryError" in outcome.output


async def test_disk_is_limited(wall):
    code = "with open('big', 'wb') as file:\n    for _ in range(64):\n        file.write(bytes(1 << 20))"
    outcome = await run_python(code, TIGHT, wall)
    assert outcome.code != 0


async def test_many_files_are_limited(closed):
    code = "for i in range(32):\n    open(str(i), 'wb').write(bytes(1 << 20))"
    outcome = await run_python(code, TIGHT, closed)
    assert "No space left" in outcome.output


async def test_output_without_end_is_cut(wall):
    outcome = await run_python("while True:\n    print('x' * 1000)", TIGHT, wall)
    assert outcome.flooded and len(outcome.output) <= TIGHT.output_bytes
    assert "printed without end" in await python_tool().call({"code": "while True: print('x' * 1000)"})


async def test_a_loop_without_end_is_ended(wall):
    outcome = await run_python("while True: pass", TIGHT, wall)
    assert outcome.code < 0


async def test_signals_are_no_way_out(wall):
    code = (
        "import os, signal, time\n"
        "for each in range(1, 65):\n    try:\n        signal.signal(each, signal.SIG_IGN)\n"
        "    except (OSError, ValueError):\n        pass\n"
        "os.setsid() if os.getpid() != os.getsid(0) else None\n"
        "while True: time.sleep(1)"
    )
    with anyio.move_on_after(3):
        await run_python(code, TIGHT, wall)
    await _nothing_is_left()


async def test_processes_outside_cannot_be_signalled(closed):
    code = f"import os\nos.kill({os.getpid()}, 0)"
    outcome = await run_python(code, wall=closed)
    assert "ProcessLookupError" in outcome.output


async def test_a_daemon_does_not_outlive_its_call(closed):
    code = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(600)\n"
    with anyio.move_on_after(10):
        await run_python(code, wall=closed)
    await _nothing_is_left()


async def test_the_environment_and_the_keys_of_the_user_stay_outside(wall, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    code = (
        "import os\nprint(os.environ)\n"
        "for each in (os.getppid(), 1):\n    try:\n        print(open(f'/proc/{each}/environ').read())\n"
        "    except OSError as error:\n        print(error)"
    )
    outcome = await run_python(code, wall=wall)
    assert "sk-secret" not in outcome.output


async def test_files_outside_cannot_be_read(closed, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hidden")
    for path in (secret, Path("/etc/passwd"), Path(__file__), Path.home() / ".ssh"):
        outcome = await run_python(f"import os\nprint(os.path.exists({str(path)!r}))", wall=closed)
        assert outcome.output == "False\n", path


async def test_nothing_outside_can_be_written(closed):
    code = (
        "import os, sys\nfor each in ('/', '/usr', sys.base_prefix, '/dev', '/proc'):\n    try:\n"
        "        open(os.path.join(each, 'x'), 'w')\n        print('wrote', each)\n    except OSError:\n        pass"
    )
    outcome = await run_python(code, wall=closed)
    assert outcome.output == ""


async def test_there_is_no_network(closed):
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        code = f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2)"
        outcome = await run_python(code, wall=closed)
    assert "Error" in outcome.output and outcome.code == 1


async def test_privileges_cannot_be_won_back(closed):
    code = (
        "import os, ctypes\nlibc = ctypes.CDLL(None)\nprint(libc.mount(b'none', b'/', None, 32, None))\n"
        "try:\n    os.setuid(0)\n    print(os.getuid())\nexcept OSError:\n    print('refused')\n"
        "try:\n    os.chroot('.')\n    print('chroot')\nexcept OSError:\n    print('refused')"
    )
    outcome = await run_python(code, wall=closed)
    lines = outcome.output.splitlines()
    assert lines[0] == "-1" and lines[1] in ("refused", "0") and lines[2] == "refused"


async def test_the_working_folder_is_empty_and_goes_away(wall):
    outcome = await run_python("import os\nprint(os.listdir('.'))\nopen('a', 'w').write('x')", wall=wall)
    assert outcome.output.startswith("[]")
    assert (await run_python("import os\nprint(os.listdir('.'))", wall=wall)).output == "[]\n"


async def test_a_cancelled_program_is_killed(wall):
    with anyio.move_on_after(2):
        await run_python("import time\ntime.sleep(600)", wall=wall)
    await _nothing_is_left()


async def _nothing_is_left() -> None:
    for _ in range(50):
        if not _programs():
            return
        await anyio.sleep(0.1)
    raise AssertionError(f"{_programs()} are left")


def _programs() -> list[str]:
    """Return the command lines of interpreters that this process has started in sandboxes."""
    found = list[str]()
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                line = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                gone = (each / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if "<code>" in line and not gone:
                found.append(line[:80])
    return found
