"""A model that says what it is told to, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from img2loc.lmm import Turn
from img2loc.types import Reply


@dataclass
class ScriptedLMM:
    """Gives its replies in order, texts as they are; an exception among them is raised."""

    replies: Sequence[str | Reply | Exception]
    name: str = "scripted"
    model: str = "scripted-1"
    asked: list[tuple[tuple[Turn, ...], bytes]] = field(default_factory=list)

    def reply(self, turns: Sequence[Turn], jpeg: bytes) -> Reply:
        self.asked.append((tuple(turns), jpeg))
        said = self.replies[len(self.asked) - 1]
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Reply) else Reply(said, self.model, 0.1, 900, 30)
