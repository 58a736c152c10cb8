"""What all tests share."""

import signal

# What a shell starts in the background ignores Ctrl-C, and so does what that starts; tests send it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
