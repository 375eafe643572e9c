"""The wires, one module each and nothing else: `ragctl.embedding.wire_registry` lists them."""
