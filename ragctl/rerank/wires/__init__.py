"""The wires of rerankers, one module each.

To add one, add a module with one subclass of RerankWire; the module's name, with hyphens
for underscores, is the wire's name in rerankers.toml.
"""
