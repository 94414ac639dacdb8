"""Hypothesis profiles: dev (quick), ci (the gates), thorough (nightly). JIT rules out deadlines."""

import os
import signal

from hypothesis import HealthCheck, settings

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
settings.register_profile(
    "dev", deadline=None, max_examples=15, derandomize=False, suppress_health_check=QUIET
)
settings.register_profile(
    "ci", deadline=None, max_examples=20, derandomize=True, suppress_health_check=QUIET
)
settings.register_profile(
    "thorough", deadline=None, max_examples=300, derandomize=False, suppress_health_check=QUIET
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # What is started in the background ignores Ctrl-C, and so would the children of the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
