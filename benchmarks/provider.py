"""A slow provider on loopback that knows each photo by a mark drawn into it, and answers with that mark.

The mark is a row of black and white fields along the photo's upper edge: it survives being scaled down and encoded
again as a JPEG. So an answer that reaches the wrong visitor, and a key, a photo or a prompt that is sent for the wrong
one, show at once.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import select
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from img2loc.types import LatLon
from tests.fakes.openai_server import OpenAIServer, Request

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "photos"
MARK_BITS, CHECK_BITS = 12, 4
FIELDS = MARK_BITS + CHECK_BITS
STRIP = 1 / 16  # of the photo's height
LOOK_EVERY_S = 0.05


@dataclass(frozen=True)
class MarkedPhoto:
    """A photo with a mark of its own.

    Args:
        mark: What is drawn into it.
        path: The file.
        base: The gallery's photo that it was made from.
    """

    mark: int
    path: Path
    base: str


def make_photos(folder: Path, visitors: int, photos: Sequence[tuple[int, str]]) -> list[list[MarkedPhoto]]:
    """Make photos for visitors, each visitor's of another one of the starter gallery's.

    Args:
        folder: Where to.
        visitors: How many.
        photos: Each visitor's own: long side in pixels, and format.
    """
    bases = sorted(PHOTOS.glob("*.jpg"))
    made = []
    for number, base in enumerate(bases[:: len(bases) // visitors][:visitors]):
        own = []
        with Image.open(base) as opened:
            picture = opened.convert("RGB")
        for place, (side, kind) in enumerate(photos):
            mark, scale = number * len(photos) + place, side / max(picture.size)
            image = picture.resize((round(picture.width * scale), round(picture.height * scale)))
            draw_mark(image, mark)
            path = folder / f"{mark}.{kind.lower()}"
            image.save(path, kind, quality=85)
            own.append(MarkedPhoto(mark, path, base.name))
        made.append(own)
    return made


def draw_mark(image: Image.Image, mark: int) -> None:
    """Draw a mark into a picture.

    Args:
        image: At least 64 pixels a side.
        mark: A number below 4096.
    """
    word = mark << CHECK_BITS | _check(mark)
    draw = ImageDraw.Draw(image)
    for field in range(FIELDS):
        left, right = (round(image.width * side / FIELDS) for side in (field, field + 1))
        colour = "white" if word >> (FIELDS - 1 - field) & 1 else "black"
        draw.rectangle((left, 0, right - 1, round(image.height * STRIP)), fill=colour)


def read_mark(jpeg: bytes) -> int:
    """Read a picture's mark.

    Raises:
        ValueError: It bears none.
    """
    with Image.open(io.BytesIO(jpeg)) as image:
        inside = (0, image.height * STRIP / 4, image.width, image.height * STRIP * 3 / 4)
        fields = image.convert("L").resize((FIELDS, 1), Image.Resampling.BOX, box=inside)
    word = int("".join("1" if value > 127 else "0" for value in fields.tobytes()), 2)
    mark, check = divmod(word, 1 << CHECK_BITS)
    if _check(mark) != check:
        raise ValueError("the photo bears no mark")
    return mark


def _check(mark: int) -> int:
    """Neither a dark edge nor a bright one may pass for a mark."""
    return 1 + mark % 14


def position_of(mark: int) -> LatLon:
    """The position that the provider gives for a mark: another for each."""
    return LatLon(mark % 120 - 60.0, mark // 120 * 5.0 - 170.0)


def reasoning_of(mark: int, prompt: str) -> str:
    """The reasoning that the provider gives for a mark and a prompt: another for each pair."""
    return f"Mark {mark}, prompt {hashlib.sha256(prompt.encode()).hexdigest()[:16]}."


class SlowProvider(OpenAIServer):
    """Answers after a while, unless the client has hung up by then.

    Args:
        delay_s: The shortest and the longest while; may be changed for those who wait already.
    """

    def __init__(self, delay_s: tuple[float, float]) -> None:
        super().__init__(key=None)
        self.delay_s = delay_s
        self.asked: Counter[tuple[str, int]] = Counter()  # by key and mark
        self.holding: list[int] = []  # the marks of those who wait now
        self.hung_up = 0
        self._random = random.Random(0)

    def next_behaviour(self, request: Request) -> tuple[str, str | None]:
        """Answer with the photo's mark."""
        try:
            mark = read_mark(request.jpeg)
        except ValueError as error:
            self.faults.append(str(error))
            return "bad_request", str(error)
        with self._lock:
            self.asked[request.key, mark] += 1
        place = position_of(mark)
        answer = {"latitude": place.lat, "longitude": place.lon, "place": f"Mark {mark}"}
        return "good", json.dumps({**answer, "reasoning": reasoning_of(mark, request.prompt)})

    def hold(self, connection: socket.socket, request: Request) -> bool:
        """Wait; False as soon as the client hangs up."""
        mark = read_mark(request.jpeg)
        with self._lock:
            share = self._random.random()
            self.holding.append(mark)
        start = time.monotonic()
        try:
            while time.monotonic() - start < self._wait_s(share):
                readable, _, _ = select.select([connection], [], [], min(LOOK_EVERY_S, self._wait_s(share)))
                if readable and not connection.recv(1, socket.MSG_PEEK):
                    with self._lock:
                        self.hung_up += 1
                    return False
            return True
        finally:
            with self._lock:
                self.holding.remove(mark)

    def _wait_s(self, share: float) -> float:
        shortest_s, longest_s = self.delay_s
        return shortest_s + share * (longest_s - shortest_s)
