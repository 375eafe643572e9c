"""ragctl against the real embedding servers, each installed in an environment of its own.

`python -m tests.real_servers` installs the servers and runs the tests; `pytest -m real_servers`
runs those whose server is installed.
"""
