"""Torture: a whole swarm in namespaces, broken on purpose, and the books made at the end.

    python -m tests.torture --seed 7 --minutes 30

`plan` says what is broken when (the same for the same seed), `world` holds the processes and wires,
`agent` and `indexer` start the real programs in a hurry, `witness` writes down outside of the
journal what each agent did, `spy` listens at the brokers, `books` compares all of that with the
store and the journals, and names every promise that was broken.
"""
