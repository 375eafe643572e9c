"""Embedding servers for tests: real HTTP on the loopback, strict about what they accept.

    from tests.servers import faults
    from tests.servers.jina import JinaServer

    with JinaServer(key="secret") as server:
        here = BackendConfig(base_url=server.url)
        connect("jina-embeddings-v3", backends=[here], environ={"JINA_API_KEY": "secret"})
        server.faults.append(faults.busy(retry_after=0.01))   # for the next request
        server.requests, server.texts, server.peak            # what came in

Facts about the hosts are written here a second time, apart from ragctl's own
catalogue, so that a wrong fact on one side is seen. As a process of its own:
`python -m tests.servers.jina --port 0 --key secret` prints its address.
"""
