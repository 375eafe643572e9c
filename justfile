# Commands for contributors. `just` lists them. Run them in an environment with `pip install -e '.[dev]'`.

# List the commands.
default:
    @just --list

# Format, lint, types, unused and undeclared dependencies, quick tests: under a minute on two cores.
check *tests:
    ruff format .
    ruff check --fix .
    deptry .
    mypy
    pytest -n 2 --dist loadfile -m "not slow and not soak" {{ tests }}

# The whole default suite, or the given tests: `just test tests/test_plan.py -k rename`.
test *tests:
    pytest -n 2 --dist loadfile {{ tests }}

# The long runs: hundreds of kills, simulated years.
soak *tests:
    pytest -m soak {{ tests }}

# Write the generated parts of the documentation anew and check the rest.
docs:
    python -m ragctl schema > ragctl/pipeline/schema.json
    python docs/generate_catalog.py
    python docs/generate_environment.py
    python -m tests.sessions
    pytest -q tests/test_docs.py tests/test_readme.py tests/test_sessions.py tests/test_schema.py tests/test_catalog_commands.py tests/test_environment.py

# Compare ragctl with a bare ideal and with its peers: `just bench ingest --runs 5`.
bench *arguments:
    python -m benchmarks {{ arguments }}

# Everything that has to pass before a change lands, from a fresh environment.
ci:
    bash .ci/run
