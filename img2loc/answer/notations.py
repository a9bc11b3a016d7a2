"""Rewrites the many ways in which positions are written into a few that angles.py and coordinates.py read.

Signs and digits of other scripts, words of other languages, links, formats that put the longitude first, and angles
without their marks come out as English words, ASCII digits, and the marks ° ' ".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import cast

_SPACES = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
_SAME = (
    {code: str(unicodedata.digit(chr(code))) for code in range(0x660, 0x1A9A) if chr(code).isdecimal()}
    | {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full-width forms
    | {ord(char): " " for char in _SPACES + "~\u2248\u223c\u2245{}"}
    | {ord(char): None for char in _INVISIBLE + "*`"}
    | {ord(char): "-" for char in "\u2212\u2010\u2011\u2012\u2013\ufe63"}
    | {ord(char): "\u00b0" for char in "\u00ba\u02da\u2218"}
    | {ord(char): "'" for char in "\u2032\u2019\u2018\u02b9\u00b4\u02bc"}
    | {ord(char): '"' for char in "\u2033\u201d\u201c\u201e\u02dd\u02ba"}
    | {0x066B: ".", 0x060C: ",", 0x3001: ",", 0x3002: ". "}  # Arabic and Chinese points and commas
)

_LATITUDES = (
    "latitud|latitudine|(?:geogra(?:ph|f)ische )?breite(?:ngrad)?|breedtegraad|breddgrad|breddegrad|широт[аы]"
    "|纬度|緯度|위도|و?(?:خط|دائرة) العرض|szerokość(?: geograficzna)?|enlem|vĩ độ"
)
_LONGITUDES = (
    "longitud|longitudine|(?:geogra(?:ph|f)ische )?länge(?:ngrad)?|lengtegraad|längdgrad|lengdegrad|долгот[аы]"
    "|经度|經度|経度|경도|و?خط الطول|długość(?: geograficzna)?|boylam|kinh độ"
)
_DEGREES = "grados?|graus?|degrés?|gradi|graden|grad|градус\\w{0,2}|درجة"
_ABOUT = "approximately|approx|about|around|roughly|circa|etwa|ungefähr|environ|aprox(?:imadamente)?|примерно|около"
_CJK = r"[\u3040-\u9fff\uac00-\ud7a3]"
# Words for the hemispheres. No single letters: O is east in German, and west in French and Spanish.
_AFTER = {
    "N": r"nord|norte|noord|nördl(?:iche[rn]?|\.) (?:breite|br\.)|северной широты|\u0441\. ?ш\.?|شمالا?ً?",
    "S": r"süd|sud|sur|sul|zuid|südl(?:iche[rn]?|\.) (?:breite|br\.)|южной широты|ю\. ?ш\.?|جنوبا?ً?",
    "E": r"ost|este?|leste|oost|östl(?:iche[rn]?|\.) (?:länge|l\.)|восточной долготы|в\. ?д\.?|شرقا?ً?",
    "W": r"ouest|oeste|ovest|westl(?:iche[rn]?|\.) (?:länge|l\.)|западной долготы|з\. ?д\.?|غربا?ً?",
}
_BEFORE = {"N": "北[纬緯]|북위", "S": "南[纬緯]|남위", "E": "[东東][经經経]|동경", "W": "西[经經経]|서경"}

_N = r"-?\d{1,3}\.\d{1,20}"
_MINUTES = r"\d{1,2}(?:\.\d{1,20})?"
_LETTER = "(?-i:[NSEW])"
# Degrees, minutes and perhaps seconds, with or without marks.
_PARTS = rf"\d{{1,3}}(?:°\s?|[ :]){_MINUTES}(?:(?:'\s?|[ :]){_MINUTES})?[\"']{{0,2}}"
_LED = rf"{_LETTER} {{0,2}}{_PARTS}"
_TRAILED = rf"{_PARTS}\s{{0,2}}{_LETTER}(?![A-Za-z])"
_BEGINS = r"(?<![\\w°])(?<!\\d['\"])(?<!\\d )(?<!\\d[°'\"] )"  # a letter that isn't the end of another angle
_ENDS = r"(?=\s{0,3}(?:[,;/)\n]|\Z))"


def _marked(match: re.Match[str]) -> str:
    """One or two angles with their marks, and the letter behind."""
    return ", ".join(
        "".join(number + mark for number, mark in zip(re.findall(r"\d+(?:\.\d+)?", angle), "°'\"", strict=False))
        + re.sub("[^NSEW]", "", angle)
        for angle in match.groups()
    )


_Replacement = str | Callable[[re.Match[str]], str]
_REWRITES = tuple(
    (re.compile(pattern, re.IGNORECASE), cast(_Replacement, replacement))
    for pattern, replacement in (
        # Links.
        (r"%2C", ","),
        (r"%20", " "),
        (r"(?:%C2)?%B0", "°"),
        (r"\bmlat=", "lat="),
        (r"\bmlon=", "lon="),
        (rf"\b(?:loc:|point\.)({_N})[+_]({_N})(?:_|\b)", r"\1, \2 "),
        (rf"!3d({_N})!4d({_N})", r" latitude \1, longitude \2 "),
        (rf"\bmap=\d{{1,2}}(?:\.\d{{1,9}})?/({_N})/({_N})", r" latitude \1, longitude \2 "),
        # The longitude first: WKT, KML, GeoJSON, and some maps' links.
        (
            rf"\b(?-i:POINT|Point)\s?Z?M?\s?\(\s{{0,3}}({_N}|-?\d{{1,3}})\s{{1,3}}({_N}|-?\d{{1,3}})",
            r"longitude \1, latitude \2 (",
        ),
        (
            rf"<point>\s{{0,20}}<coordinates>\s{{0,9}}({_N}),({_N})(?:,[\d.]{{1,9}})?",
            r"longitude \1, latitude \2 ",
        ),
        (
            rf"""["']point["'],\s{{0,20}}["']coordinates["']\s?:\s?\[\s{{0,20}}({_N}),\s{{0,20}}({_N})""",
            r"longitude \1, latitude \2 [",
        ),
        (
            rf"(?:yandex|2gis|amap|mapbox)\.[^\s]{{0,80}}?(?:ll|pt|m|position|point|geo)[=/]({_N}),({_N})",
            r" longitude \1, latitude \2 ",
        ),
        # ISO 6709, and degrees, minutes and seconds run together.
        (r"(?<![\w.])([-+]\d{2}\.\d{1,20})([-+]\d{3}\.\d{1,20})(?![\w.])", r"\1, \2"),
        (
            r"\b(\d\d)(\d\d)(\d\d(?:\.\d{1,9})?)([NS]) ?(\d{3})(\d\d)(\d\d(?:\.\d{1,9})?)([EW])\b",
            r"""\1°\2'\3"\4, \5°\6'\7"\8""",
        ),
        # Degrees, minutes and seconds in words and letters.
        (r"\^?\s?\\(?:circ|degree)\b|&deg;|&#176;|\s?(?<![a-z_])(?:degrees|degree|deg)\b\.?", "°"),
        (rf"(?<=\d)\s?(?:(?:{_DEGREES})\b|[度도])", "°"),
        (r"\^?\s?\\prime\b", "'"),
        (rf"(?<![\w.])(\d{{1,3}}) ?d ?(?={_MINUTES} ?m)", r"\1°"),
        (rf"(°\s?{_MINUTES}) ?(?:(?:minut(?:e[sn]?|os?|i)?|min|m|минут[аы]?|دقيقة)(?![^\W\d_])|[分분])", r"\1'"),
        (rf"('\s?{_MINUTES}) ?(?:(?:se[ck]\w{{0,6}}|(?-i:s)|секунд[аы]?|ثانية)(?![^\W\d_])|[秒초])", r'\1"'),
        (r"""(\d[°']\s{0,2}\d{1,2}),(\d{1,9}\s?["'])""", r"\1.\2"),
        # Formulas, and words that say nothing.
        (r"\\(?:text|mathrm|boxed|left|right|quad|[,;()\[\]])", " "),
        (r"\$(-?\d{1,3}\.\d{1,40}(?:, ?-?\d{1,3}\.\d{1,40})?)\$(?!\d)", r"\1"),
        (rf"\b(?:{_ABOUT})\b\.?\s?", ""),
        (r"大?[约約][为為]?(?=\s?\d)|약(?=\s?\d)", " "),
        # Scripts that leave no space between a word and a number.
        (rf"(?<={_CJK})(?=[-+]?\d)|(?<=\d)(?={_CJK})", " "),
        (r"(?:^|(?<=\n))[ \t]{0,8}\d{1,2}[.)](?=[ \t])", "- "),  # numbers of a list
        (r"\(?\bWGS[ -]?84\b\)?", ""),
        # Other languages.
        *((rf"(?:{words})(?=[\s:]{{0,3}}\d)", f" {letter} ") for letter, words in _BEFORE.items()),
        *((rf"(?<=[\d°'\"])\s{{0,2}}(?:{words})(?!\w)", f" {letter}") for letter, words in _AFTER.items()),
        (rf"(?<![^\W\d_])(?:{_LATITUDES})(?![a-z])", " latitude "),
        (rf"(?<![^\W\d_])(?:{_LONGITUDES})(?![a-z])", " longitude "),
        # Small letters. "48.85° e 2.29°" is Italian for "and".
        *((rf"([°'\"]\s?|\.\d{{1,20}}){letter}(?![\w-])", rf"\1{letter}") for letter in "NSW"),
        (r"([°'\"]\s?|\.\d{1,20})e(?![\w-]|\s\d)", r"\1E"),
        (r"((?<=[\d° ])[NSEW]|\b(?:north|south|east|west))\s(?:latitude|longitude)\b(?!\s?[:=])", r"\1"),
        (r"[ \t]{2,}", " "),
        # Minutes and seconds without their marks.
        (rf"{_BEGINS}({_LED})[\s,;/]{{1,3}}({_LED})(?!\d)", _marked),
        (rf"(?<![\w.+\-:])(?<!{_LETTER} )({_TRAILED})[\s,;/]{{0,3}}({_TRAILED})", _marked),
        (rf"{_BEGINS}({_LED}){_ENDS}", _marked),
        (rf"(?<![\w.+\-:])(?<!{_LETTER} )({_TRAILED})", _marked),
        (r"(\d°\s?\d{1,2}\.\d{1,20})(?![\d.]|\s{0,2}[°'\"])", r"\1'"),
        (rf"(\d°\s?\d{{1,2}}'\s?{_MINUTES})(?![\d.]|\s{{0,2}}[°'\"])", r'\1"'),
        (r"([:=(,\[][ \t]{0,2}-)[ \t](?=\d)", r"\1"),
    )
)


def tidy(text: str) -> str:
    """Normalise signs, spaces, digits, words and notations, and remove emphasis, LaTeX and "about"."""
    text = re.sub(r"(^|\n)([ \t]{0,8})[*•][ \t]", r"\1\2- ", text).translate(_SAME)
    if "\\circ" in text or "\\degree" in text:
        text = text.replace("$", " ")  # around a formula; elsewhere a dollar marks a price
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return text
