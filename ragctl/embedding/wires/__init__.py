"""The protocols spoken to embedding backends, each in one file; rest_wires.py has their rows."""
