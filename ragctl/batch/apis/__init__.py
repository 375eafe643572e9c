"""The batch APIs, one module each; its name is `api` in a row of backends.toml."""
