"""The check of an upload: what it returns, and what its process cannot do."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest

from meltica.lambdas.modules.check import CheckResult, Diagnostic, TooManyChecks, UploadCheck

CLASS = """
import meltica

class Grid(meltica.Lambda):
    '''Places orders on a grid.'''

    version = "1.2"

    class Config(meltica.LambdaConfig):
        step: float = 0.5
        '''Distance of two orders.'''

    def on_trade(self, trade):
        pass
"""

USERS = [0, 65534] if os.geteuid() == 0 else [os.geteuid()]
"""This user, and if that is root, a plain one."""

SCRIPT = """
import ctypes, mmap, os, socket, subprocess, sys
from pathlib import Path
import msgspec
from meltica.lambdas.modules.child import examine
from meltica.lambdas.modules.sandbox import restrict
source, user = sys.stdin.buffer.read(), int(sys.argv[1])
if user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
missing = restrict(5, [Path("/usr/lib")])
sys.stdout.buffer.write(msgspec.json.encode(msgspec.structs.replace(examine(source), not_enforced=missing)))
"""
"""The process of a check, as another user, who may not be allowed to start this interpreter."""

TRAPS = {
    "fork": "import os\nos.fork()",
    "spawn": "import subprocess\nsubprocess.run(['/bin/true'])",
    "exec": "import os\nos.execv('/bin/true', ['true'])",
    "socket": "import socket\nsocket.socket()",
    "unix socket": "import socket\nsocket.socket(socket.AF_UNIX)",
    "signal": "import os\nos.kill(os.getppid(), 0)",
    "group": "import os\nos.kill(0, 0)",
    "everyone": "import os\nos.kill(-1, 0)",
    "new session": "import os\nos.setsid()",
    "environment": "import os\nopen(f'/proc/{os.getppid()}/environ').read()",
    "memory of the parent": "import os\nopen(f'/proc/{os.getppid()}/mem', 'rb')",
    "file": "open('/etc/passwd')",
    "folder": "import os\nos.listdir('/')",
    "write": "open('written', 'w')",
    "make a folder": "import os\nos.mkdir('made')",
    "memory": "x = bytearray(600 << 20)",
    "shared memory": "import mmap\nmmap.mmap(-1, 1 << 20)",
    "file in memory": "import os\nos.memfd_create('x')",
    "priority": "import os\nos.setpriority(os.PRIO_PROCESS, os.getppid(), 5)",
    "limit of another process": "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)",
    "mode of a file": "import os\nos.chmod(target, 0o666)",
    "owner of a file": "import os\nos.chown(target, os.getuid(), os.getgid())",
    "times of a file": "import os\nos.utime(target, (1, 1))",
    "attributes of a file": "import os\nos.setxattr(target, 'user.x', b'1')",
    "end of a file": "import os\nos.truncate(target, 0)",
    "open for writing": "import os\nos.open(target, os.O_WRONLY)",
    "open for truncation": "import os\nos.open(os.__file__, os.O_RDONLY | os.O_TRUNC)",
    "owner of a pipe": "import fcntl, os\nfcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())",
    "signal of a pipe": "import fcntl, os\nfcntl.fcntl(os.pipe()[0], 10, 9)",
    "lease": "import fcntl, os\nfcntl.fcntl(os.open(os.__file__, os.O_RDONLY), fcntl.F_SETLEASE, 0)",
    "flags of a file": "import fcntl, os\nfcntl.ioctl(os.open(os.__file__, os.O_RDONLY), 0x40086602)",
    "two sockets": "import socket\nsocket.socketpair()",
    "disk": "import ctypes\nif ctypes.CDLL(None, use_errno=True).syncfs(0): raise PermissionError",
    "watch of a folder": """
        import ctypes
        if ctypes.CDLL(None).inotify_init1(0) < 0: raise PermissionError
    """,
    "secret memory": """
        import ctypes
        if ctypes.CDLL(None).syscall(447, 0) < 0: raise PermissionError
    """,
    "trace": """
        import ctypes
        if ctypes.CDLL(None).ptrace(16, __import__('os').getppid(), 0, 0): raise PermissionError
    """,
}


async def check(source: str) -> CheckResult:
    return await UploadCheck().run(dedent(source).encode())


def fault_of(result: CheckResult) -> Diagnostic:
    assert result.metadata is None
    assert result.not_enforced == []
    (fault,) = result.faults
    return fault


async def test_metadata_comes_from_the_class() -> None:
    result = await check(CLASS)
    assert result.faults == []
    assert result.not_enforced == []
    assert result.metadata is not None
    assert msgspec.to_builtins(result.metadata) == {
        "class_name": "Grid",
        "name": "grid",
        "display_name": "Grid",
        "description": "Places orders on a grid.",
        "version": "1.2",
        "config": [
            {
                "name": "step",
                "type": "float",
                "description": "Distance of two orders.",
                "default": 0.5,
                "required": False,
            }
        ],
        "events": ["Trade"],
    }


@pytest.mark.parametrize("user", USERS)
def test_no_trap_leaves_the_process(user: int, tmp_path: Path) -> None:
    """One module springs all traps, so that the process is started once."""
    target = tmp_path / "target"
    target.write_text("content")
    os.chown(target, user, user)
    source = f"""
import textwrap
escaped = []
for name, code in {TRAPS!r}.items():
    try:
        exec(textwrap.dedent(code), {{"target": {str(target)!r}}})
    except (PermissionError, MemoryError):
        pass
    except BaseException as error:
        escaped.append(f"{{name}}: {{error!r}}")
    else:
        escaped.append(name)
raise RuntimeError(f"escaped: {{escaped}}")
"""
    command = [sys.executable, "-c", SCRIPT, str(user if os.geteuid() == 0 else 0)]
    tmp_path.chmod(0o777)  # only the restrictions keep the traps from writing here
    done = subprocess.run(command, input=source.encode(), stdout=subprocess.PIPE, check=True, cwd=tmp_path)
    fault = fault_of(msgspec.json.decode(done.stdout, type=CheckResult))
    assert fault.message == "RuntimeError: escaped: []"


@pytest.mark.parametrize("name", ["fork", "environment", "write"])
async def test_the_check_restricts_its_process(name: str) -> None:
    assert fault_of(await check(TRAPS[name])).message.startswith("PermissionError")


async def test_threads_and_packages_work() -> None:
    result = await check(f"import threading, json, pydantic, zoneinfo\nthreading.Thread().start()\n{CLASS}")
    assert result.faults == []


async def test_the_environment_and_the_folder_are_empty() -> None:
    fault = fault_of(await check("import os\nraise RuntimeError(dict(os.environ), os.getcwd()[-4:] and 1)"))
    assert fault.message.startswith("RuntimeError: ({'LC_CTYPE': ") or "({}, 1)" in fault.message


async def test_a_wait_ends_at_the_wall_clock() -> None:
    result = await UploadCheck(wall_seconds=1.0).run(b"import time\ntime.sleep(60)")
    assert fault_of(result).message == "the module did not load within 1 s"


async def test_a_loop_ends_at_the_limit_of_cpu() -> None:
    result = await UploadCheck(cpu_seconds=1, wall_seconds=30.0).run(b"while True: pass")
    assert fault_of(result).message == "loading the module used more than 1 s of CPU"


async def test_output_is_limited_and_what_a_module_prints_is_not_part_of_it() -> None:
    long = f"print('x' * 100000)\n{CLASS}".replace("Places orders on a grid.", "x" * 70000)
    assert "longer than 65,536 bytes" in fault_of(await check(long)).message
    assert (await check(f"print('[]')\n{CLASS}")).faults == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os\nos._exit(0)", "the module ended its process with status 0"),
        ("import os\nos.kill(os.getpid(), 11)", "the module ended its process with signal SIGSEGV"),
        ("raise SystemExit", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
async def test_an_end_of_the_process_is_a_fault_of_the_module(source: str, expected: str) -> None:
    assert fault_of(await check(source)).message == expected


@pytest.mark.parametrize(
    ("source", "stage", "line", "column", "words"),
    [
        ("x = 1\ny = (\n", "compile", 2, 5, "never closed"),
        ("x = '\0'", "compile", None, None, "null bytes"),
        ("def f():\n    return 1 / 0\nf()", "execute", 2, 12, "division by zero"),
        ("import pandas_of_nobody", "execute", 1, 1, "pandas_of_nobody"),
        ("x = 1", "validation", None, None, "expected exactly one Lambda, saw none"),
    ],
)
async def test_a_fault_has_its_place(
    source: str, stage: str, line: int | None, column: int | None, words: str
) -> None:
    fault = fault_of(await check(source))
    assert (fault.stage, fault.line, fault.column) == (stage, line, column)
    assert words in fault.message


FORGED: dict[str, Any] = {
    "class_name": "Grid",
    "name": "grid",
    "display_name": "Grid",
    "description": "",
    "config": [],
    "events": [],
}


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../grid"},
        {"name": "GRID"},
        {"name": "g\n\u202e"},
        {"version": "a b"},
        {"config": [{"nme": 1}]},
        {"description": "a\0b"},
    ],
    ids=str,
)
async def test_an_answer_that_the_module_wrote_itself_is_checked(changes: dict[str, Any]) -> None:
    """Such metadata would make the lists of modules fail, or be refused by the database."""
    answer = json.dumps({"metadata": FORGED | changes})
    source = f"""
        import os
        for descriptor in range(3, 64):
            try:
                os.write(descriptor, {answer.encode()!r})
            except OSError:
                pass
        os._exit(0)
    """
    fault = fault_of(await check(source))
    assert fault.stage == "validation"


async def test_all_faults_of_a_class_are_reported_at_once() -> None:
    source = CLASS.replace("def on_trade", "needs = {'Tick'}\n    book_depth = 0\n\n    def on_trade")
    result = await check(source)
    assert [fault.stage for fault in result.faults] == ["validation", "validation"]
    assert {fault.line for fault in result.faults} == {4}
    named = await check(CLASS.replace('version = "1.2"', 'version = "a/b"\n    name = "a:b"'))
    assert [fault.hint for fault in named.faults] == ["set `name`", "set `version`"]


async def test_a_third_check_is_refused() -> None:
    checks = UploadCheck()
    running = [asyncio.create_task(checks.run(CLASS.encode())) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyChecks, match="retry"):
        await checks.run(b"")
    assert all(result.metadata for result in await asyncio.gather(*running))
    assert (await checks.run(CLASS.encode())).metadata is not None


async def test_a_cancelled_check_leaves_no_process() -> None:
    before = children()
    task = asyncio.create_task(UploadCheck().run(b"import time\ntime.sleep(60)"))
    while children() == before:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == before


def test_what_the_kernel_refuses_is_named() -> None:
    """The outer filter refuses Landlock, and any filter after itself."""
    script = """
from meltica.lambdas.modules import sandbox
import ctypes, platform
libc = ctypes.CDLL(None)
column, machine = sandbox._MACHINES[platform.machine()]
refuse, allow = (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000)
prctl = (157, 167)[column]
outer = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), refuse, (0x15, 1, 0, prctl), allow]
outer += [(0x20, 0, 0, 16), (0x15, 0, 1, 22), refuse, allow]
libc.prctl(38, 1, 0, 0, 0)
assert sandbox._seccomp(libc, outer)
print(sandbox.restrict(5, []))
"""
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "['landlock', 'seccomp']\n"


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
