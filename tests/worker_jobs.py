"""Jobs for the tests of the pool, among them slow and crashing ones."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ragctl.errors import StoreError

HELD: list[bytes] = []
WARMED: list[bool] = []


def warm() -> None:
    """Note that it was called; each child calls it once."""
    WARMED.append(True)


def misbehave(job: tuple[str, object]) -> object:
    """Do what the job (what, argument) says."""
    what, argument = job
    match what:
        case "echo":
            return argument
        case "warmed":
            return WARMED
        case "pid":
            return os.getpid()
        case "big":
            return b"x" * int(str(argument))
        case "spin":
            while True:
                pass
        case "spin in C":
            return ctypes.PyDLL(None).sleep(1000)  # holds the GIL
        case "allocate":
            return len(bytearray(int(str(argument))))
        case "hold":
            HELD.append(bytes(int(str(argument))))
            return len(HELD)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(7)
        case "sys.exit":
            sys.exit("out")
        case "raise":
            raise KeyError(f"no such\nthing as {argument}")
        case "raise ours":
            raise StoreError(str(argument))
        case "recurse":
            return misbehave(job)
        case "unpicklable":
            return lambda: None
        case "print":
            print("to stdout", flush=True)
            print("to stderr", file=sys.stderr, flush=True)
            os.write(1, b"to descriptor 1")
            os.write(2, b"to descriptor 2")
            return sys.stdin.read()
        case "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
            return "alive"
    raise AssertionError(what)


def count(job: tuple[int, str]) -> Iterator[int]:
    """Yield 0 … n - 1, then end as `job[1]` says."""
    n, end = job
    yield from range(n)
    if end == "raise":
        raise ValueError("at the end")
    if end == "exit":
        os._exit(3)
    if end == "spin":
        while True:
            pass


def report_and_spin(path: str) -> None:
    """Write the child's process id, then run forever in C without releasing the GIL."""
    Path(path).write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(1000)


def report_and_return(path: str) -> None:
    Path(path).write_text(str(os.getpid()))


def wait_for(path: str) -> int:
    """Wait for a file and return the number in it."""
    while not (Path(path).exists() and (text := Path(path).read_text())):
        time.sleep(0.005)
    return int(text)
