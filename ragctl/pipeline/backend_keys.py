"""The keys of one backend in a pipeline file.

They fill dataclasses of the catalogue: BackendConfig, Rates and Runtime. They are declared here,
not there, because the help of a command needs the keys but not the catalogue;
tests/test_pipeline_keys.py checks that each key has a field and each field a key.
"""

from dataclasses import replace

from ragctl.pipeline.keys import KeySpec

RATES = (
    KeySpec("requests", "integer", "requests per minute", minimum=1),
    KeySpec("tokens", "integer", "tokens per minute", minimum=1),
)
"""The keys of a `rates` table; they fill catalog.Rates."""

RUNTIME = (
    KeySpec(
        "device",
        "string",
        "cpu, cuda, cuda:1 or mps",
        default_text="chosen by what the machine has",
    ),
    KeySpec(
        "dtype",
        "string",
        "number format of the weights",
        choices=("float32", "bfloat16", "float16"),
    ),
    KeySpec("batch", "integer", "texts per forward pass", minimum=1),
    KeySpec("threads", "integer", "CPU threads", minimum=1),
)
"""The keys of a `runtime` table; they fill catalog.Runtime."""

BACKEND = (
    KeySpec(
        "backend",
        "string",
        "what runs the model (ragctl backends lists them)",
        default_text="the model's first",
        options=("--backend",),
        metavar="NAME",
        literal=True,
    ),
    KeySpec(
        "base_url",
        "address",
        "address of the backend",
        default_text="the catalogue's",
        options=("--base-url",),
        metavar="URL",
    ),
    KeySpec(
        "weights",
        "path",
        "folder with the model's files",
        default_text="from the Hugging Face hub",
        options=("--weights",),
        metavar="FOLDER",
    ),
    KeySpec("key_command", "arguments", "a program, with its arguments, that prints the API key"),
    KeySpec(
        "concurrency",
        "integer",
        "maximum number of concurrent requests",
        default_text="the catalogue's",
        minimum=1,
    ),
    KeySpec("rates", "table", "rate limits of your account", keys=RATES),
    KeySpec(
        "price",
        "number",
        "US dollars per million tokens",
        default_text="the catalogue's",
        minimum=0,
    ),
    KeySpec("runtime", "table", "how the model runs in this process", keys=RUNTIME),
)
"""The keys of one backend; they fill catalog.BackendConfig, `backend` its `name`."""

LISTED_BACKEND = (replace(BACKEND[0], required=True, default_text=""), *BACKEND[1:])
"""The keys of a table of [[embedding.backends]]."""
