"""Start a program, wait for it, and print its measurements as JSON on the last line.

    python -I -S launch.py PROGRAM [ARGUMENT…]

This is a small process of its own, since Linux counts the memory of the forking process towards the
peak of the one that it starts. Processor time and peak memory include ended children: the peak is
that of the largest process.
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
