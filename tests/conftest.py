"""What all tests need, whatever shell and machine they run on."""

import os
import signal

# Ctrl-C must reach the tests and what they start; a shell that runs them in the background has it
# ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Small tensors gain nothing from more threads, which wait for each other badly where other programs
# keep the processors busy.
os.environ.setdefault("OMP_NUM_THREADS", "1")
