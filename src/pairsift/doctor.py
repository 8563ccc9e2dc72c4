"""Check this installation: what is there, what is missing, and how to install it."""

from __future__ import annotations

import getpass
import os
import platform
import re
import socket
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from packaging.requirements import Requirement

from pairsift.errors import PairsiftError

_FAULTY = "cannot be loaded"


@dataclass(frozen=True, slots=True)
class Package:
    """One requirement; `found` is None if it is missing, `fits` is about its version."""

    requirement: str
    found: str | None
    fits: bool

    @classmethod
    def look_up(cls, requirement: Requirement) -> Package:
        """Look for the package in this environment."""
        plain = f"{requirement.name}{requirement.specifier}"
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            return cls(plain, None, False)
        return cls(plain, found, requirement.specifier.contains(found, prereleases=True))

    @property
    def state(self) -> str:
        """Its version, or what is missing and how to install it."""
        if self.fits:
            return self.found or ""
        what = f"{self.found} is installed" if self.found else "missing"
        return f"{what}, {self.requirement} is needed: pip install '{self.requirement}'"


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that `pairsift doctor` reports."""

    pairsift: str
    python: str
    system: str
    cores: int
    device: str
    core: tuple[Package, ...]
    extras: dict[str, tuple[Package, ...]]
    scorers: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `--json`."""
        return asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """Return label and text of each line."""
        lines = [
            ("pairsift", self.pairsift),
            ("python", f"{self.python} on {self.system}, {self.cores} cores"),
            ("device", self.device),
        ]
        lines += [(_name(package), package.state) for package in self.core]
        for extra, packages in self.extras.items():
            missing = [_name(package) for package in packages if not package.fits]
            lines.append(
                (
                    f"extra {extra}",
                    f"missing {', '.join(missing)}: pip install 'pairsift[{extra}]'"
                    if missing
                    else "installed",
                )
            )
        return lines + [(f"scorer {name}", state) for name, state in self.scorers.items()]

    def report(self) -> str:
        """Return Markdown for an issue: versions, device, extras; no paths, no names of user or
            machine.

        Environment variables and configuration are left out, because they may hold secrets.
        """
        core = [f"{_name(package)} {package.found or 'missing'}" for package in self.core]
        lines = [
            f"- pairsift {self.pairsift}; embedded filter {_embedded_filter()}",
            f"- Python {self.python} on {self.system}; {self.cores} cores, {_memory()}",
            f"- device: {self.device}",
            f"- core: {', '.join(core)}",
        ]
        for extra, packages in self.extras.items():
            found = [f"{_name(package)} {package.found or 'missing'}" for package in packages]
            lines.append(f"- extra {extra}: {', '.join(found)}")
        faulty = {name: state for name, state in self.scorers.items() if state.startswith(_FAULTY)}
        lines += [f"- scorer {name}: {state}" for name, state in faulty.items()]
        lines.append(
            f"- scorers that load: {', '.join(name for name in self.scorers if name not in faulty)}"
        )
        return "\n".join(["**pairsift doctor --report**", "", *map(anonymous, lines)])


def _name(package: Package) -> str:
    return Requirement(package.requirement).name


def examine() -> Findings:
    """Check this installation; nothing is changed and nothing is downloaded."""
    core, extras = _packages()
    return Findings(
        pairsift=version("pairsift"),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cores=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        device=_device(),
        core=core,
        extras=extras,
        scorers=_scorers(),
    )


def _packages() -> tuple[tuple[Package, ...], dict[str, tuple[Package, ...]]]:
    core: list[Package] = []
    extras: dict[str, list[Package]] = {}
    for line in requires("pairsift") or ():
        requirement = Requirement(line)
        marker = str(requirement.marker or "")
        extra = marker.split("extra ==")[1].strip(" \"')") if "extra ==" in marker else None
        if requirement.marker and not requirement.marker.evaluate({"extra": extra or ""}):
            continue
        (core if extra is None else extras.setdefault(extra, [])).append(
            Package.look_up(requirement)
        )
    return tuple(core), {extra: tuple(packages) for extra, packages in extras.items()}


def _device() -> str:
    try:
        import torch
    except ImportError as error:
        return f"none: torch cannot be imported ({error}); pip install torch"
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        return f"cuda: {count} x {torch.cuda.get_device_name(0)} (torch {torch.__version__})"
    return f"cpu, {torch.get_num_threads()} threads (torch {torch.__version__}; no GPU is visible)"


def _scorers() -> dict[str, str]:
    from pairsift.scorers.registry import entries

    states = {}
    for name, entry in entries().items():
        try:
            entry.load()
            states[name] = entry.summary
        except (ImportError, PairsiftError) as error:
            states[name] = f"{_FAULTY}: {error}"
    return states


def anonymous(text: str) -> str:
    """Return the text without URLs, paths, and the names of this user and this machine."""
    text = re.sub(r"[a-z][a-z0-9+.-]*://[^\s'\",)]+", "<url>", text)
    text = re.sub(r"(?<![\w.<])[~.]{0,2}/[^\s'\",:;)]+", "<path>", text)
    text = re.sub(r"\b[A-Za-z]:\\[^\s'\",;)]+", "<path>", text)
    for name, stands_for in ((_user(), "<user>"), (socket.gethostname(), "<host>")):
        if len(name) > 2:  # shorter names occur inside words, and identify little
            text = re.sub(rf"\b{re.escape(name)}\b", stands_for, text)
    return text


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in containers, a user number may have no name
        return ""


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (AttributeError, OSError, ValueError):
        return "memory unknown"


def _embedded_filter() -> str:
    import json
    from importlib import resources

    config = resources.files("pairsift").joinpath("assets/pairsift-tiny/config.json")
    try:
        return str(json.loads(config.read_text("utf-8")).get("version"))
    except (OSError, ValueError):
        return "missing"
