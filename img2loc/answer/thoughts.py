"""Takes a model's thoughts out of its reply: what is weighed there is not the answer."""

from __future__ import annotations

import re

_NAMES = r"(?:\w{1,10}:)?(?:think|thinking|thoughts?|reasoning|scratchpad|reflection|(?:inner_|internal_)?monologue)"
# Tags; Kimi's; Mistral's; Cohere's; Apertus's; Gemma 4's; gpt-oss's harmony, whole and without its special tokens.
_BEGIN = re.compile(
    rf"<{_NAMES}(?:\s[^<>]{{0,80}})?>|◁think▷|\[THINK\]|<\|START_THINKING\|>|<\|inner_prefix\|>"
    r"|<\|channel>\s{0,3}(?:thought|analysis)|<\|channel\|>(?:analysis|commentary)[^<]{0,80}<\|message\|>"
    r"|\A\s{0,20}analysis(?=[A-Z])",
    re.I,
)
_END = re.compile(
    rf"</{_NAMES}\s{{0,3}}>|◁/think▷|\[/THINK\]|<\|END_THINKING\|>|<\|inner_suffix\|>"
    r"|<channel\|>|<\|channel\|>final[^<]{0,80}<\|message\|>|assistantfinal",
    re.I,
)
_SPECIAL_TOKEN = re.compile(r"<\|/?[A-Za-z_]{1,30}\|>")


def without_thoughts(text: str) -> str:
    """What a reply says outside its blocks of thoughts, which may be nested.

    Some servers leave out the mark that begins a block, and a reply that was cut off lacks the one that ends it.
    """
    begins, ends = list(_BEGIN.finditer(text)), list(_END.finditer(text))
    if not begins and not ends:
        return text
    first_begin = begins[0].start() if begins else len(text)
    # Ahead of the first block; another may have ended there whose beginning is missing.
    before = text[max((end.end() for end in ends if end.start() < first_begin), default=0) : first_begin]
    last_end = ends[-1].end() if ends and ends[-1].start() > first_begin else len(text)
    unended = next((begin.start() for begin in begins if begin.start() >= last_end), len(text))
    return _SPECIAL_TOKEN.sub("", f"{before}\n{text[last_end:unended]}")
