"""A pool of child processes with limits on time and memory.

A function runs on jobs in child processes, so that a hang, a crash or a lack of memory ends one
job and not the run. Each child is a new interpreter that serves many jobs. A thread of its own
sends them and reads the replies through two pipes, so that a slow child delays no other.

No child outlives its parent. An idle child ends when its pipe is closed; a busy one is killed by
the kernel together with the parent (Linux), or by its own alarm soon after its time limit
(elsewhere).

`pool.py` is the pool and its threads, `process.py` a child as seen by the parent, `serve.py` the
child itself, `frames.py` what passes through the pipes, `reply.py` what the pool yields.
"""

from ragctl.workers.pool import Pool
from ragctl.workers.reply import Ended

__all__ = ["Ended", "Pool"]
