"""
Run a command that gets a signal when the process that started it dies, even by kill -9.

A script, run by path and in isolated mode, so that it starts in milliseconds:

    python -I -S die_with_parent.py PARENT_PID DEATH_SIGNAL IDENTITY COMMAND [ARGUMENT ...]

`PARENT_PID` is the process that starts the script; if it has ended already, the script exits.
`DEATH_SIGNAL` is the number of the signal that the command gets when the *thread* that started it
ends; Linux only, ignored elsewhere. `IDENTITY` is `same`, or `unprivileged` for programs that
refuse to run as root or as a user without a name, as PostgreSQL does.

It is a script because a `preexec_fn` is not safe in a program with threads.
"""

import ctypes
import os
import pwd
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_SECUREBITS, PR_CAP_AMBIENT = 1, 28, 47
PR_CAP_AMBIENT_RAISE = 2
SECBIT_NO_SETUID_FIXUP = 1 << 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522
CLONE_NEWUSER = 0x10000000
ACCOUNT = "nobody"


class CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def system_call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def become_unprivileged() -> None:
    """
    Change to a user that is not root and has a name.

    The command can still reach its files. Root keeps one of its capabilities: to pass through
    directories of other users. A user without a name gets one in a new user namespace, where it
    still owns its files.

    :raises OSError: the machine does not allow it (a container without these capabilities).
    """
    if os.geteuid() == 0:
        drop_root_but_traverse_directories()
    elif not has_a_name(os.geteuid()):
        take_a_name()


def has_a_name(uid: int) -> bool:
    try:
        return bool(pwd.getpwuid(uid))
    except KeyError:
        return False


def drop_root_but_traverse_directories() -> None:
    account = pwd.getpwnam(ACCOUNT)
    # Without this bit access(2), which initdb calls, ignores our capabilities.
    system_call("prctl", PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    only = 1 << CAP_DAC_OVERRIDE
    data = (CapabilityData * 2)(CapabilityData(only, only, only))
    system_call("capset", ctypes.byref(CapabilityHeader(CAPABILITY_VERSION_3, 0)), data)
    system_call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def take_a_name() -> None:
    account, uid, gid = pwd.getpwnam(ACCOUNT), os.geteuid(), os.getegid()
    system_call("unshare", CLONE_NEWUSER)
    for file, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{account.pw_uid} {uid} 1"),
        ("gid_map", f"{account.pw_gid} {gid} 1"),
    ):
        Path(f"/proc/self/{file}").write_text(line)


def die_with(parent_pid: int, death_signal: int) -> None:
    if sys.platform == "linux":
        system_call("prctl", PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the line above
        sys.exit(1)


def main(arguments: list[str]) -> None:
    parent_pid, death_signal, identity, *command = arguments
    if identity == "unprivileged":
        try:
            become_unprivileged()
        except OSError as error:
            sys.exit(
                f"user id {os.geteuid()} cannot run {command[0]}: it needs an ordinary user with a"
                f" name, and this machine allows no change to one ({error}). Run as an ordinary"
                " user, or set DATABASE_URL to a server that runs already."
            )
    die_with(int(parent_pid), int(death_signal))  # last: a change of user would undo it
    for number in (
        signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ
    ):  # fmt: skip
        signal.signal(number, signal.SIG_DFL)  # Python and a shell's `&` ignore some of these
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
