#!/usr/bin/env python3
"""Copy an installed llama-cpp-python into another environment, so that it need not be compiled again.

`python scripts/installed_llama.py REQUIREMENT SITE_PACKAGES` takes the one that this interpreter imports, if it has the
required version and its library loads. It prints the name of the copy; without one that fits it prints nothing. The
package is one of Python files and shared libraries that any version of Python on the same machine can load.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def fits(version: str, requirement: str) -> bool:
    """Tell whether a version is in the range of a requirement like `name>=0.3.36,<0.4`."""
    try:
        from pip._vendor.packaging.requirements import Requirement
    except ImportError:
        return False
    return Requirement(requirement).specifier.contains(version)


def loads() -> bool:
    """Tell whether the library can be loaded, in a process of its own."""
    command = [sys.executable, "-P", "-c", "import llama_cpp.llama_cpp as lib; lib.llama_backend_init()"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def main() -> None:
    """Copy the package, if there is one that fits."""
    requirement, target = sys.argv[1], Path(sys.argv[2]).resolve()
    try:
        found = distribution("llama-cpp-python")
    except PackageNotFoundError:
        return
    files = [each for each in found.files or () if ".." not in each.parts and "__pycache__" not in each.parts]
    if not files or Path(str(found.locate_file(""))).resolve() == target:
        return
    if not fits(found.version, requirement) or not loads():
        return
    for each in files:
        place = target / each
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(each.locate(), place)
    print(f"llama-cpp-python {found.version} from {found.locate_file('')}")


if __name__ == "__main__":
    main()
