"""The protocols spoken to embedding backends: one file each.

A wire is a class that fulfils `ragctl.embedding.base.Wire`, made by
`ragctl.embedding.connect`, which has one row for each.
"""
