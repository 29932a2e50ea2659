"""Old module paths and old names, importable for one release with a DeprecationWarning."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

from ._old_names import FORMER_HOMES, MOVED_MODULES, RENAMED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.abc import Loader
    from types import ModuleType
    from typing import Any
else:
    # Importing the real one takes longer than all of this module.
    Loader = object


class _AliasLoader(Loader):
    """Loads an old module path as the very module that has taken its place."""

    def __init__(self, new: str) -> None:
        self._new = new

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to the machinery."""

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        # The machinery hands out what stands in sys.modules after this.
        sys.modules[name] = import_module(self._new)
        _warn(f"the module {name} is now {self._new}")


class _ServingLoader(Loader):
    """Loads a module as its own loader does, and adds its old names."""

    def __init__(self, loader: Loader, names: Mapping[str, tuple[str, str]]) -> None:
        self._loader = loader
        self._names = names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        _serve(module, self._names)


class _OldNames:
    """Finds modules by their old paths, and modules that have old names to serve."""

    def __init__(self, served: Mapping[str, Mapping[str, tuple[str, str]]]) -> None:
        self._served = served

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of an old path, or of a module with old names; None for all others."""
        if not fullname.startswith("ramify."):
            return None
        new = _new_path(fullname)
        if new != fullname:
            return ModuleSpec(fullname, _AliasLoader(new))
        names = self._served.get(fullname)
        if names is None:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _ServingLoader(spec.loader, names)
                return spec
        return None


def install() -> None:
    """Serve all old paths and names from now on; for `ramify` itself, once it is loaded."""
    served: dict[str, dict[str, tuple[str, str]]] = {}
    for old, homes in FORMER_HOMES.items():
        names = served.setdefault(_new_path(old), {})
        names.update((name, (new, name)) for new, moved in homes.items() for name in moved.split())
    for (old, name), new in RENAMED.items():
        served.setdefault(_new_path(old), {})[name] = new
    _serve(sys.modules["ramify"], served.pop("ramify", {}))
    sys.meta_path.insert(0, _OldNames(served))


def _new_path(name: str) -> str:
    """Return where a module is now; its own name if it did not move."""
    package, rest = name, ""
    while package != "ramify":
        if package in MOVED_MODULES:
            return MOVED_MODULES[package] + rest
        package, _, last = package.rpartition(".")
        rest = f".{last}{rest}"
    return name


def _serve(module: ModuleType, names: Mapping[str, tuple[str, str]]) -> None:
    own: Callable[[str], Any] | None = module.__dict__.get("__getattr__")

    def __getattr__(name: str) -> Any:
        if name in names:
            home, new = names[name]
            value = getattr(import_module(home), new)
            _warn(f"{module.__name__}.{name} is now {home}.{new}")
            return value
        if own is not None:
            return own(name)
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

    module.__dict__["__getattr__"] = __getattr__


def _warn(message: str) -> None:
    # Level 3 is the caller of the function that warns; the import machinery's own frames do not count.
    warnings.warn(f"{message}; the old name goes in the next release", DeprecationWarning, stacklevel=3)
