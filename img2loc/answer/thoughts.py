"""Takes a model's thoughts out of its reply: what is weighed there is not the answer."""

from __future__ import annotations

import re

_NAME = (
    r"(?:[a-z]{1,20}[:_-]){0,2}(?:(?:ant)?thinking|think|thoughts?|reasoning|scratch[_-]?pad|analysis|reflection|monologue"
    r"|cot|deliberation|思考)(?:[_-][a-z]{1,20}){0,2}"
)
# Tags and tokens; Kimi's; Mistral's; OpenThinker's; Apertus's; Open WebUI's; harmony (gpt-oss), also without its
# special tokens; Gemma 4's.
_MARK = re.compile(
    rf"""(?P<end> <\|?/\s?(?P<ended>{_NAME})\s?\|?> | ◁/think▷ | \[/(?:think(?:ing)?|reasoning)\]
        | <\|end_(?:of_)?{_NAME}\|> | <\|inner_suffix\|>
        | <\|channel\|?>\s?final\b(?:[^<]{{0,40}}(?:<\|constrain\|>[^<]{{0,40}})?<\|message\|>)? | <channel\|>
        | assistantfinal )
      | (?P<details></details>)
      | (?P<begin> <\|?\s?(?P<begun>{_NAME})(?:\s[^<>]{{0,80}})?\|?> | ◁think▷
        | \[(?:think(?:ing)?|reasoning)\](?!\()
        | <\|inner_prefix\|> | <details\s[^<>]{{0,80}}\breasoning\b[^<>]{{0,80}}>
        | <\|channel\|?>\s{{0,3}}(?:analysis|commentary|thought)\b (?:[^<]{{0,40}}<\|message\|>)?
        | \A\s{{0,20}}analysis(?-i:(?=[A-Z])) )
    """,
    re.I | re.X,
)
_SPECIAL_TOKEN = re.compile(r"<\|start\|>assistant|<\|/?[a-z_]{1,30}\|>", re.I)
_MAX_DEPTH = 50  # deeper blocks count as one
_QUOTES = frozenset("'\"`")


def without_thoughts(text: str) -> str:
    """What a reply says outside its blocks of thoughts, which may be nested.

    Some servers leave out the mark that begins a block, and a reply that was cut off lacks the one that ends it. Of
    blocks that begin twice in a row, the second beginning is a mere repetition.
    """
    pieces: list[str] = []
    open_blocks: list[str] = []
    end = 0
    for mark in _MARK.finditer(text):
        if {text[mark.start() - 1 : mark.start()], text[mark.end() : mark.end() + 1]} <= _QUOTES:
            continue  # the mark is only mentioned
        between = text[end : mark.start()]
        if mark["begin"]:
            name = (mark["begun"] or "").lower()
            if not open_blocks:
                pieces.append(between)
            if not open_blocks or (len(open_blocks) < _MAX_DEPTH and _SPECIAL_TOKEN.sub("", between).strip()):
                open_blocks.append(name)
        elif mark["details"] and not open_blocks:
            continue
        elif not open_blocks:
            pieces.clear()
        else:
            name = (mark["ended"] or "").lower()
            last = max((index for index, block in enumerate(open_blocks) if block == name), default=-1)
            del open_blocks[last:]
        end = mark.end()
    if not open_blocks:
        pieces.append(text[end:])
    return _SPECIAL_TOKEN.sub("", "\n".join(pieces)) if end else text
