"""An AWS for a test: the emulator, a proxy before it that misbehaves, and the template deployed there.

What stands around the stack (name server, receivers, waiting) is `harness` of the end-to-end tests.
"""
