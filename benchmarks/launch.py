"""Start a program, wait for it, and print what it took as JSON on the last line.

    python -I -S launch.py PROGRAM [ARGUMENT…]

A process of its own, and a small one: Linux counts the memory of the process that forks towards the
peak of the one it starts, so whoever measures must be smaller than what is measured. Processor time
and peak are the program's with its ended children: the peak is that of the greatest one of them.
"""

import json
import os
import sys
import time


def main() -> int:
    began = time.perf_counter()
    pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - began
    code = os.waitstatus_to_exitcode(status)
    taken = {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss * 1024}
    print("\n" + json.dumps({**taken, "code": code}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
