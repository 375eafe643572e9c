"""Install servers and run their tests: python -m tests.real_servers [NAME…] [-- PYTEST…].

Without names: infinity, litellm and llama.cpp; vllm takes several minutes to install. Exits with 0,
after a line that says so, if nothing is installed and pip cannot reach its package index.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.real_servers.environments import ENVIRONMENTS, Environment, NotInstalled, Unreachable

DEFAULT = ("infinity", "litellm", "llama.cpp")


def main(words: list[str]) -> int:
    """Return the exit code."""
    split = words.index("--") if "--" in words else len(words)
    names, rest = words[:split] or DEFAULT, words[split + 1 :]
    chosen = [ENVIRONMENTS[name] for name in names]
    try:
        with ThreadPoolExecutor() as pool:
            for environment, seconds in zip(
                chosen, pool.map(Environment.install, chosen), strict=True
            ):
                print(f"{environment.name}: {environment.folder}, {seconds:.0f} s", flush=True)
    except Unreachable as error:
        print(f"SKIPPED: tests of real servers: {error}")
        return 0
    except NotInstalled as error:
        print(f"real servers cannot be installed: {error}")
        return 1
    return pytest.main(["-m", "real_servers", "tests/real_servers", *rest])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
