"""llama.cpp's server with the options of `llama-server`, from the package xllamacpp.

The package index has no `llama-server` that installs without a compiler; this is the same server
as a library. It runs in the environment of the server, without this project.
"""

import argparse
import threading

import xllamacpp


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-m", required=True)
    parser.add_argument("--embedding", action="store_true")
    parser.add_argument("--pooling", default="mean")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--api-key")
    for name, short in (("context", "-c"), ("batch", "-b"), ("physical", "-ub")):
        parser.add_argument(short, dest=name, type=int, default=512)
    told = parser.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = told.m
    params.embedding = told.embedding
    params.pooling_type = xllamacpp.llama_pooling_type[f"LLAMA_POOLING_TYPE_{told.pooling.upper()}"]
    params.hostnames, params.port = [told.host], told.port
    params.n_ctx, params.n_batch, params.n_ubatch = told.context, told.batch, told.physical
    params.n_parallel = 1
    if told.api_key:
        params.api_keys = [told.api_key]
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
