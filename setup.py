"""Builds the web pages into the wheel and the source archive; everything else is in setup.cfg.

A build takes ``xinfer/web/dist`` if it is there, else makes it with npm, else fails, unless ``XINFER_NO_UI=1``. Editable installs
need no Node.js: they serve ``dist`` once ``scripts/pages`` has made it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

UI = Path(__file__).parent / "xinfer" / "web" / "ui"
DIST = UI.parent / "dist"


def pages() -> None:
    """See above.

    Raises:
        SystemExit: there are no pages and no npm.
    """
    if os.environ.get("XINFER_NO_UI") == "1" or (DIST / "index.html").is_file():
        return
    if not (UI / "package.json").is_file() or shutil.which("npm") is None:
        raise SystemExit("xinfer: the web pages need Node.js 20 or newer and npm to be built; XINFER_NO_UI=1 builds without them.")
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=UI, check=True)
    subprocess.run(["npm", "run", "build"], cwd=UI, check=True)


class Modules(build_py):
    """With the pages; not where the checkout itself is what is installed."""

    def run(self) -> None:
        """See ``pages``."""
        if not self.editable_mode:
            pages()
        super().run()


class Archive(sdist):
    """With the pages, so that who builds a wheel from it needs no Node.js."""

    def run(self) -> None:
        """See ``pages``."""
        pages()
        super().run()


setup(cmdclass={"build_py": Modules, "sdist": Archive})
