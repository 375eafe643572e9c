"""Embedding servers for tests: real HTTP on the loopback interface, strict about their input.

    from tests.servers import faults
    from tests.servers.jina import JinaServer

    with JinaServer(key="secret") as server:
        here = BackendConfig(base_url=server.url)
        connect("jina-embeddings-v3", backends=[here], environ={"JINA_API_KEY": "secret"})
            server.faults.append(faults.busy(retry_after=0.01))   # for the next request
            server.requests, server.texts, server.peak            # what the server received

Facts about the hosts are repeated here independently of ragctl's catalogue, so that a wrong
fact on either side makes a test fail. To run one as its own process:
`python -m tests.servers.jina --port 0 --key secret` prints its address.
"""
