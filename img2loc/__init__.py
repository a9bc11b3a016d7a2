"""Img2Loc: where on Earth was this photo taken?

Example:
    from img2loc import Locator

    prediction = Locator.open("starter").locate("photo.jpg")
    print(prediction.position, prediction.radius_km, prediction.place)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from img2loc.errors import Img2LocError
    from img2loc.locator import Ask, Locator
    from img2loc.photo.decode import Photo
    from img2loc.types import LatLon, Prediction

__version__ = "0.1.0"
__all__ = ["Ask", "Img2LocError", "LatLon", "Locator", "Photo", "Prediction", "__version__"]

# Imported when they are first used: the command line and app.py begin with modules that need none of them.
_MODULES = {
    "Ask": "img2loc.locator",
    "Img2LocError": "img2loc.errors",
    "LatLon": "img2loc.types",
    "Locator": "img2loc.locator",
    "Photo": "img2loc.photo.decode",
    "Prediction": "img2loc.types",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
