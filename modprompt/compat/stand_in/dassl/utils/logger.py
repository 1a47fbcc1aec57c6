"""Standard output, echoed into a log file."""

import os
import sys
import time

from dassl.utils.tools import mkdir_if_missing
from modprompt.io.files import free_name


class Logger:
    """A stream that writes to standard output and to a file, which is flushed line by line.

    Args:
        fpath: the log file; None echoes nothing.
    """

    def __init__(self, fpath=None):
        self.console = sys.stdout
        self.file = None
        if fpath is not None:
            mkdir_if_missing(os.path.dirname(os.path.abspath(fpath)))
            # open as long as the stream; names that are no UTF-8 are written with escapes
            self.file = open(fpath, "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115

    def write(self, msg):
        """Write to both."""
        self.console.write(msg)
        if self.file is not None:
            self.file.write(msg)

    def flush(self):
        """Flush both."""
        self.console.flush()
        if self.file is not None:
            self.file.flush()

    def isatty(self):
        """Whether standard output is a terminal."""
        return self.console.isatty()

    def close(self):
        """Close the file; standard output stays open."""
        if self.file is not None:
            self.file.close()
            self.file = None


def setup_logger(output=None):
    """Echo standard output into `output` (a .txt or .log file, or a folder for log.txt).

    An existing log is kept: the new one gets the time after its name, and a number if that exists, too.
    """
    if output is None:
        return
    fpath = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
    if os.path.exists(fpath):
        fpath = free_name(fpath + time.strftime("-%Y-%m-%d-%H-%M-%S"))
    sys.stdout = Logger(fpath)
