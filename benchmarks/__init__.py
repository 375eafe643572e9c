"""Speed and memory of ragctl beside a bare ideal and its peers: `python -m benchmarks`."""
