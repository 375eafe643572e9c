"""Certify a backend: name what is wrong with it, from at most twelve texts.

`evidence` collects the answers, `diagnosis` compares them with a reference (the collection, a
second backend or a model in this process), and `properties` turns both into one finding for each
property. `certification` does all of it for one backend.
"""
