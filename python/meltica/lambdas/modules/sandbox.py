"""Restrictions of the process that checks an upload: resource limits, capabilities, Landlock and seccomp.

The process may compute, start threads and read the interpreter's files. It cannot write a file, open a
socket, start a process or signal another one; root and other users are restricted alike. The restrictions
protect from accidents. They are not a boundary for hostile code.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

MAX_DATA = 512 << 20
"""Bytes of private memory. Shared anonymous memory, which this limit does not cover, is refused."""
MAX_FILE = 16 << 20
"""Bytes of one file."""
MAX_DESCRIPTORS = 64

_PDEATHSIG, _SET_SECCOMP, _SET_NO_NEW_PRIVS = 1, 22, 38
_EPERM, _ENOSYS = 1, 38
_CAPABILITY_VERSION_3, _DAC_READ_SEARCH = 0x20080522, 1 << 2
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FILE_RIGHTS = (0, 13, 14, 15, 15, 16)
"""Version of Landlock -> how many rights on files it has; later versions have as many as the last."""

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Machine -> its column in the tables of system calls, and its name in a filter."""

_CAPSET = (126, 91)
_CLONE, _CLONE3, _MMAP, _PRLIMIT = (56, 220), (435, 435), (9, 222), (302, 261)
_OPEN, _OPENAT, _OPENAT2, _FCNTL, _IOCTL = (2, -1), (257, 56), (437, 437), (72, 25), (16, 29)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_SIGNALS_OTHERS = (8, 10, 15, 1024, 1026)
"""Commands of `fcntl` that let a file send signals to a process: owner, signal, lease, notification."""
_SET_FLAGS = (0x40086602, 0x40046602, 0x401C5820)
"""Commands of `ioctl` that change the attributes of a file."""
_OWN_PROCESS: dict[str, tuple[int, int]] = {
    "kill": (62, 129),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
}
"""Calls that are allowed on the own process only."""
_DENIED: dict[str, tuple[int, int]] = {
    "fork": (57, -1),
    "vfork": (58, -1),
    "execve": (59, 221),
    "execveat": (322, 281),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "ptrace": (101, 117),
    "tkill": (200, 130),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "setpriority": (141, 140),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "io_uring_setup": (425, 425),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # What Landlock does not restrict, or not in every version.
    "creat": (85, -1),
    "truncate": (76, 45),
    "chmod": (90, -1),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, -1),
    "fchown": (93, 55),
    "lchown": (94, -1),
    "fchownat": (260, 54),
    "utime": (132, -1),
    "utimes": (235, -1),
    "futimesat": (261, -1),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "inotify_init": (253, -1),
    "inotify_init1": (294, 26),
    "sync": (162, 81),
    "syncfs": (306, 267),
}
"""Calls that fail with EPERM; -1 where the machine does not have the call."""

_LOAD, _EQUAL, _BITS, _AND, _RETURN = 0x20, 0x15, 0x45, 0x54, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_X32 = 0x40000000


def restrict(cpu_seconds: int, readable: Iterable[Path]) -> list[str]:
    """Restricts this process for good; returns the restrictions that the system does not support.

    - `cpu_seconds`: after these the process is ended.
    - `readable`: folders and files that may be read. Nothing else can be opened.

    Call it while the process has one thread.
    """
    missing = _limit(cpu_seconds)
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return [*missing, "landlock", "seccomp"]
    libc = ctypes.CDLL(None, use_errno=True)
    column, machine = _MACHINES[platform.machine()]
    libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return [*missing, "no_new_privs", "landlock", "seccomp"]
    if os.geteuid() == 0 and not _drop_capabilities(libc, column):
        missing.append("capabilities")
    if not _landlock(libc, readable):
        missing.append("landlock")
    if not _seccomp(libc, _filter(column, machine, os.getpid())):
        missing.append("seccomp")
    return missing


def readable_paths(paths: Iterable[str]) -> list[Path]:
    """Returns what the interpreter reads: its library, `paths` with packages, and the system's libraries."""
    import sysconfig

    names = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    names += [
        *paths,
        sys.prefix + "/pyvenv.cfg",
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
    ]
    names += ["/etc/ld.so.cache", "/usr/share/zoneinfo", "/dev/null", "/dev/urandom"]
    return [path for path in map(Path, dict.fromkeys(names)) if path.exists()]


def _limit(cpu_seconds: int) -> list[str]:
    missing = list[str]()
    limits = {
        "RLIMIT_CPU": (cpu_seconds, cpu_seconds + 1),
        "RLIMIT_DATA": (MAX_DATA, MAX_DATA),
        "RLIMIT_FSIZE": (MAX_FILE, MAX_FILE),
        "RLIMIT_NOFILE": (MAX_DESCRIPTORS, MAX_DESCRIPTORS),
        "RLIMIT_CORE": (0, 0),
    }
    for name, (soft, hard) in limits.items():
        most = resource.getrlimit(getattr(resource, name))[1]
        most = hard if most == resource.RLIM_INFINITY else min(hard, most)
        try:
            resource.setrlimit(getattr(resource, name), (min(soft, most), most))
        except (OSError, ValueError):
            missing.append(name)
    return missing


def _drop_capabilities(libc: ctypes.CDLL, column: int) -> bool:
    """Leaves root no power but to read the packages of another user."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    sets = struct.pack("=6I", _DAC_READ_SEARCH, _DAC_READ_SEARCH, 0, 0, 0, 0)
    return libc.syscall(_CAPSET[column], header, sets) == 0


def _landlock(libc: ctypes.CDLL, readable: Iterable[Path]) -> bool:
    version: int = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    files = (1 << _FILE_RIGHTS[min(version, len(_FILE_RIGHTS) - 1)]) - 1
    # Since version 4 TCP, since version 6 abstract sockets and signals.
    rights = struct.pack("=QQQ", files, 3, 3)[: 24 if version >= 6 else 16 if version >= 4 else 8]
    rules = libc.syscall(_LANDLOCK_CREATE, rights, len(rights), 0)
    if rules < 0:
        return False
    try:
        for path in readable:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                allowed = _READ_FILE | _READ_DIR if path.is_dir() else _READ_FILE
                if libc.syscall(_LANDLOCK_ADD, rules, 1, struct.pack("=Qi", allowed, descriptor), 0) != 0:
                    return False
            finally:
                os.close(descriptor)
        return libc.syscall(_LANDLOCK_RESTRICT, rules, 0) == 0
    finally:
        os.close(rules)


def _filter(column: int, machine: int, process: int) -> list[tuple[int, int, int, int]]:
    """Returns the filter of system calls: instructions of (code, jump if true, jump if false, value)."""

    def when(number: int, *then: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
        """Runs instructions for one call; they end with a return."""
        return [(_EQUAL, 0, len(then), number), *then]

    refuse, allow = (_RETURN, 0, 0, _ERRNO | _EPERM), (_RETURN, 0, 0, _ALLOW)
    first, second, third, fourth = ((_LOAD, 0, 0, 16 + 8 * n) for n in range(4))
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, machine), refuse, (_LOAD, 0, 0, 0)]
    # The second table of calls of x86_64.
    program += [(_BITS, 0, 1, _X32), refuse]
    program += when(_CLONE3[column], (_RETURN, 0, 0, _ERRNO | _ENOSYS))
    thread = 0x10000
    program += when(_CLONE[column], first, (_BITS, 1, 0, thread), refuse, allow)
    shared_anonymous = 0x21
    program += when(
        _MMAP[column], fourth, (_AND, 0, 0, shared_anonymous), (_EQUAL, 0, 1, shared_anonymous), refuse, allow
    )
    for numbers in _OWN_PROCESS.values():
        program += when(numbers[column], first, (_EQUAL, 1, 0, process), refuse, allow)
    program += when(_PRLIMIT[column], first, (_EQUAL, 1, 0, 0), refuse, allow)
    program += when(_OPENAT2[column], (_RETURN, 0, 0, _ERRNO | _ENOSYS))
    for number, flags in ((_OPEN[column], second), (_OPENAT[column], third)):
        if number >= 0:
            program += when(number, flags, (_BITS, 0, 1, _WRITES), refuse, allow)
    for number, commands in ((_FCNTL[column], _SIGNALS_OTHERS), (_IOCTL[column], _SET_FLAGS)):
        last = len(commands) - 1
        tests = [(_EQUAL, last - n, 1 if n == last else 0, each) for n, each in enumerate(commands)]
        program += when(number, second, *tests, refuse, allow)
    for numbers in _DENIED.values():
        if numbers[column] >= 0:
            program += when(numbers[column], refuse)
    return [*program, allow]


def _seccomp(libc: ctypes.CDLL, program: list[tuple[int, int, int, int]]) -> bool:
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    head = struct.pack("@HP", len(program), ctypes.addressof(code))
    return libc.prctl(_SET_SECCOMP, 2, ctypes.c_char_p(head), 0, 0) == 0
