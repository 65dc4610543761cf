"""Ctrl-C reaches the tests and what they start even where they run in the background of a shell, which has it ignored."""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
