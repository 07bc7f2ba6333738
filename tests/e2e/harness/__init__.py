"""Everything the tests put around `posthaste dev`: receivers, a name server, certificates, a client.

Nothing here reads the program's code: it is driven by its commands and its HTTP API alone.
"""
