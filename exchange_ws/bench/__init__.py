"""
How many messages a second reach the consumer's code, beside what others do with the same messages on the same machine.

`cases` are what an exchange sends, `sender` is the process that sends it, `competitors` are the clients that take it, each in
a process of its own, and `rounds` has all of them take turns. ``exchange-ws bench`` is the short form of it; the long one is
``tests/benchmarks/throughput.py``. Nothing here is imported by the rest of the package.
"""
