"""Waiting for a condition, with a bound."""

import time

# How long a condition may take on a loaded two-core machine before a test calls it broken.
PATIENCE_S = 30.0


def until(condition, what, patience_s=PATIENCE_S, every_s=0.03):
    """Returns the first truthy value of `condition()`; fails naming `what` when the patience is over."""
    end = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience_s:g} s: {what() if callable(what) else what}")
        time.sleep(every_s)


def steady(condition, what, for_s):
    """Holds that `condition()` stays true for a while: for what must not happen."""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        assert condition(), what() if callable(what) else what
        time.sleep(0.03)
