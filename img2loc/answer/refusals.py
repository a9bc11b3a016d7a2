"""Tells a model that will not answer from one that can't tell.

The first isn't asked again, the second is: asked for a guess, it often gives one. Where words can mean both ("I can't
provide the exact location"), it is taken for one that can't tell, as asking again is cheap. Each sentence is read
alone:

1. "I'd rather not", "I can't help with that", "I'm not comfortable": a refusal, unless the sentence says that something
   is missing ("I can't help without more clues").
2. "I can't provide the location": a refusal, unless the text says that something is missing, or that
   a precise position is.
3. "I can't identify photos of private homes": any verb together with privacy or a policy.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Final

HEAD_CHARS: Final = 1_000
TAIL_CHARS: Final = 1_000

# Of a sentence whose "can't" is "cannot" by now, "won't" "will not", and so on.
_I = r"(?:\b(?:I|we)\b[^.!?]{0,40}?|^\W{0,3}(?:(?:sorry|apologies|unfortunately|no|but|and)\b\W{1,3}){0,3})"
_CANNOT = r"\b(?:cannot|can not|could not|unable to|not able to)\s(?:\w+\s){0,2}?"
_WILL_NOT = (
    r"\b(?:will not|refuse to|not (?:going|willing|prepared|allowed|permitted|authori[sz]ed|supposed|meant|designed"
    r"|programmed|at liberty|free) to|(?:do|would|did) not (?:want|wish|like|care) to|should not|must not)"
    r"\s(?!be able)(?:\w+\s){0,2}?"
)
_SHARE = r"(?:share|disclose|reveal|divulge|give out|expose)"
_HELP = (
    rf"(?:(?:help|assist|comply|participate|take part|engage|cooperate|discuss|answer|respond|reply|oblige|{_SHARE}"
    r"|talk about|comment|support|accommodate|continue|proceed|do (?:that|this|so))\b"
    r"|(?:fulfil\w*|complete|process|handle|carry out|honou?r|grant) (?:\w+ ){0,3}requests?\b)"
    r"(?! (?:but|much|you much|further|more)\b)"
)
_NAME = (
    r"(?:provide|give|offer|supply|identify|locate|geolocate|pinpoint|determine|guess|speculate|name|tell|say|state|find"
    r"|estimate|analy[sz]e|work out)\b"
)
_RULES = r"(?:polic(?:y|ies)|guidelines?|terms|rules|principles|values|ethics|programming|instructions|standards)\b"

_REFUSES: Final = "|".join(
    (
        rf"{_I}{_CANNOT}{_HELP}",
        rf"{_I}{_WILL_NOT}(?:{_HELP}|{_NAME})",
        r"\b(?:I|we) do not think (?:it|that|this)\b[^.]{0,20} (?:good idea|appropriate|right|ok|okay|wise)\b",
        rf"{_I}{_CANNOT}(?:identify|recogni[sz]e|locate|find|track|trace) (?:\w+ ){{0,2}}"
        r"(?:people|persons?|individuals|someone|faces|minors|children)\b",
        r"\b(?:violat|invad|infring|compromis)\w* [^.]{0,30}privacy\b",
        rf"\b(?:I|we) do not (?:\w+ )?(?:{_SHARE}|provide|assist|discuss|help with|give)\b",
        r"\bsorry\b[^.!?]{0,20}\b(?:cannot|will not)\W*$",
        r"\bI\b[^,.]{0,20}\bnot\b[^,.]{0,20}\bcomfortable\b|^\W*not comfortable\b",
        r"\bI\b[^,.]{0,25}\buncomfortable\b|\bme uncomfortable\b",
        r"\b(?:I|we)(?:'d|'ll|'m)? (?:\w+ ){0,3}(?:rather|prefer|choose|choosing) (?:to )?(?:not|avoid|refrain)\b",
        r"\b(?:I|must|have to|respectfully|politely)(?:'m)? (?:\w+ ){0,3}(?:declin|refus|abstain|refrain)(?:e|ing)?\b",
        rf"\b(?:against|violat\w*|breach\w*|contrary to) (?:my|our|the|its|\w+'s) (?:\w+ ){{0,3}}{_RULES}",
        rf"\b(?:my|our) (?:\w+ ){{0,3}}{_RULES} (?:\w+ ){{0,3}}(?:not|prevent|prohibit|forbid|restrict|bar)\w*",
        r"\bnot\b[^.]{0,30}\b(?:good idea|appropriate|ethical|proper|responsible|right)\b[^.]{0,15} to "
        rf"(?:talk|{_HELP}|{_NAME})",
        r"\bnot something (?:that )?I\b",
        r"\b(?:talk about|discuss|try|move on to|switch to) (?:something else|(?:a|an|some|another) "
        r"(?:\w+ )?(?:topic|subject))\b|\bchange the (?:topic|subject)\b",
        r"\brequest (?:is |was |has been )?(?:denied|refused|declined|rejected|blocked|can ?not be)\b",
        r"\b(?:privacy|ethical|policy)(?:,? (?:and|or) \w+)? (?:reasons?|concerns?|considerations?|grounds)\b",
    )
)
_NOT_PROVIDED: Final = re.compile(rf"{_I}{_CANNOT}(?:provide|give|offer|supply)\b", re.I)
_NEGATION: Final = r"\b(?:cannot|can not|not|never|refuse|without)\b"
_PRIVACY: Final = (
    r"\bprivacy\b|\bprivate (?:homes|residences|properties|individuals?|persons?|people|citizens?|photos|images"
    r"|locations|information|lives)\b|\bpersonal (?:information|data|safety|privacy|security|photos)\b|\bdoxx?"
    r"|\bstalk(?:ers?|ing| someone| people| the| a)\b|\bharass|\bconsent\b"
    r"|\b(?:my|our|openai's|content|usage|safety) (?:\w+ )?(?:polic|guideline)"
    r"|\b(?:safety|security) (?:reasons|concerns)\b|\bmisuse|\bendanger|\bput\b.{0,30}\bat risk\b"
    r"|\b(?:people|individual|person|someone)s?(?:'s?)? (?:exact )?(?:location|home|whereabouts|safety)"
    r"|\b(?:where|locations? of) (?:\w+ )?(?:people|individuals|persons|someone|person)\b"
)
# The plates and faces of street photos are blurred, and fences and schools have such names.
_NO_PRIVACY: Final = (
    r"\bblur|\bobscure|\bpixel|\bredact|\bhidden\b|\bprivacy (?:fenc|hedge|screen|wall|glass|curtain)|\bpublic policy\b"
)
_MISSING: Final = (
    r"\bwithout (?!(?:\w+ ){0,3}(?:consent|permission|authori))|\black(?:s|ing)?\b|\babsence\b"
    r"|\bno (?:\w+ ){0,4}(?:clues?|landmarks?|sign(?:s|age)?|features?|text|context|information|details|indicat\w+"
    r"|evidence|markers|identif\w+)\b|\bnot (?:\w+ ){0,3}(?:enough|sufficient|clear|visible)\b|\binsufficient"
    r"|\btoo (?:\w+ )?(?:blurry|blurred|dark|small|generic|vague|little|few|common)\b"
    r"|\b(?:more|additional|further|better|other) (?:\w+ )?(?:clues?|context|information|details?|data|precis\w+"
    r"|specific\w*)\b|\bcertainty\b|\b(?:be|for|not) (?:certain|sure)\b|\bconfiden(?:ce|t|tly)\b|\breliabl[ey]\b"
    r"|\bonly (?:the|a)\b|\b(?:accurate|precise|exact|definitive|specifical)ly\b|\bunclear\b|\bstep-by-step"
    r"|\bchain[- ]of[- ]thought|\b(?:internal|my|full|detailed) (?:\w+ ){0,2}(?:reasoning|thoughts?|thinking)\b"
)
_PRECISE: Final = re.compile(
    r"\b(?:precise|exact|specific|accurate|definite|definitive|certain|better|closer|narrower|more|detailed|meaningful"
    r"|estimates?|guess(?:es)?|any|single|based|(?:from|for|in) th(?:e|is) (?:\w+ )?(?:image|photo|picture))\b",
    re.I,
)
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s|[\n\r;\u3002\uff01\uff1f\uff1b]")
_APOSTROPHES: Final = str.maketrans("\u2019\u2018\u02bc\u00b4`", "'''''")
_NOT: Final = re.compile(r"\b(ca|wo)?n't\b|n't\b", re.I)


def refuses(text: str) -> bool:
    """Whether a model says at the beginning or the end of a text that it will not answer; not that it can't tell."""
    if len(text) > HEAD_CHARS + TAIL_CHARS:
        text = f"{text[:HEAD_CHARS]}\n{text[-TAIL_CHARS:]}"
    text = _NOT.sub(_full_form, text.translate(_APOSTROPHES))
    sentences = _SENTENCE_END.split(text)
    lacks_something = _PRECISE.search(text) or any(language["lacks"].search(text) for language in _languages())
    return any(_is_refusal(sentence) for sentence in sentences) or (
        not lacks_something and any(_NOT_PROVIDED.search(sentence) for sentence in sentences)
    )


def _is_refusal(sentence: str) -> bool:
    for language in _languages():
        is_private = language["privacy"].search(sentence) and language["not"].search(sentence)
        if (is_private or language["refuses"].search(sentence)) and not language["blurred"].search(sentence):
            return bool(is_private) or not language["lacks"].search(sentence)
    return False


@cache
def _languages() -> tuple[dict[str, re.Pattern[str]], ...]:
    """Each language's patterns, by what they show: refuses, not, privacy, blurred, lacks."""
    english = {"refuses": _REFUSES, "not": _NEGATION, "privacy": _PRIVACY, "blurred": _NO_PRIVACY, "lacks": _MISSING}
    others = json.loads((resources.files("img2loc") / "data" / "refusals.json").read_text("utf-8")).values()
    return tuple(
        {name: re.compile(pattern, re.I) for name, pattern in language.items()} for language in (english, *others)
    )


def _full_form(short: re.Match[str]) -> str:
    return {"ca": "cannot", "wo": "will not"}.get((short[1] or "").lower(), " not")
