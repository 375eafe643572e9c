"""A pool of child processes with hard limits on time and memory.

A function runs on jobs in children that no hang, crash or memory bomb can outlive. Each child is
a fresh interpreter, fed and read by a thread of its own over two pipes, so that a slow child
blocks nobody; it serves many jobs.

No child outlives the parent: an idle one ends when its pipe closes; a busy one is killed by the
kernel with its parent (Linux), or by its own alarm soon after its job's time is up (elsewhere).
"""

from ragctl.workers.pool import Pool
from ragctl.workers.reply import Ended

__all__ = ["Ended", "Pool"]
