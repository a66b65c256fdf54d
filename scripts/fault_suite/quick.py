"""Runs one of our command lines with shorter times, for the test suite: ``python quick.py PATH/OF/xinfer serve …``."""

import runpy
import sys
from dataclasses import fields

from xinfer.settings import Timings

QUICK = {"heartbeat": 1.0, "suspect": 3.0, "lost": 6.0, "settle": 8.0, "health_every": 2.0, "health_deadline": 10.0}

if __name__ == "__main__":
    # The launcher hands its settings down to the processes below it, so that it is enough to change them here.
    usual = Timings.__init__.__defaults__ or ()
    Timings.__init__.__defaults__ = tuple(QUICK.get(each.name, default) for each, default in zip(fields(Timings), usual, strict=True))
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
