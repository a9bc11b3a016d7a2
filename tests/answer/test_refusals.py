"""Who refuses isn't asked again; who can't tell is."""

# ruff: noqa: RUF001 - as people and models write

from __future__ import annotations

import pytest

from img2loc.answer.angles import Problem
from img2loc.answer.ask import parse
from img2loc.answer.refusals import refuses

REFUSALS = (
    "I can't assist with identifying the location of this photo.",
    "I won't help find where this person lives.",
    "Sorry, I can't do that.",
    "I'm sorry, but I can't.",
    "I cannot share the location of private individuals.",
    "I'm unable to provide assistance with geolocating photos.",
    "I must respectfully decline.",
    "I'd rather not discuss where this is.",
    "I would prefer not to speculate about people's whereabouts.",
    "I'm not comfortable with this request.",
    "I don't feel comfortable identifying this location.",
    "That goes against my guidelines.",
    "For privacy reasons, no location will be given.",
    "I can't continue with this conversation.",
    "This isn't something I can help with.",
    "It would violate someone's privacy to say where this was taken.",
    "I don't think that is appropriate.",
    "Let's talk about something else.",
    "I am not allowed to give location information about private residences.",
    "I can't identify people in images.",
    "Ich kann dir dabei leider nicht helfen.",
    "Je ne peux pas vous aider avec cette demande.",
    "Lo siento, no puedo ayudar con eso.",
    "Desculpe, não posso ajudar com isso.",
    "К сожалению, я не могу помочь с этим.",
    "抱歉，我无法协助处理这个请求。",
    "申し訳ありませんが、お手伝いできません。",
    "죄송하지만 도와드릴 수 없습니다.",
    "I will not answer this question.",
    "As an AI I cannot comply.",
    "I'm not comfortable with this subject.",
    "I don't think it's a good idea to talk about that.",
    "I can't answer that.",
    "I'm sorry, but I can't help with that.",
    "1. Country: Chile\n2. City: Santiago\n3. Coordinates: I’m sorry, but I can’t share exact coordinates.",
    "I can't locate photos that show people, as this could put their privacy at risk.",
    "I cannot provide the location of private homes.",
    "This goes against our content policy.",
)
CANNOT_TELL = (
    "I can't tell where this is.",
    "Sorry, I can't quite tell.",
    "I'm sorry, I'm not able to pinpoint the exact spot.",
    "I cannot give exact coordinates without more context.",
    "I'm unable to provide a precise location from the image.",
    "I can't provide a more specific guess.",
    "There is not enough information to say.",
    "I can't answer with certainty.",
    "I can't answer precisely.",
    "It is impossible to know where this was taken.",
    "I do not know.",
    "Sorry, I cannot see the image.",
    "I can't see any people in this image, so there are no clues.",
    "I can't be sure.",
    "I will not be able to pinpoint it.",
    "I can't help but notice the red roofs; the place is unclear.",
    "The benches are not comfortable and nobody sits there.",
    "The sign says that people cannot enter; it could be anywhere.",
    "The shop has a privacy policy notice. No idea where.",
    "Ich kann den Ort nicht bestimmen.",
    "Je ne peux pas déterminer le lieu.",
    "No puedo determinar la ubicación.",
    "无法确定位置。",
    "場所を特定できません。",
    "Не могу определить место.",
    "The image is too blurry; unable to offer any estimate.",
    "I could not find a match.",
    "Could you provide a closer view?",
    "I won't guess the street, only the country: France.",
    "A sign reads 'We cannot serve minors'.",
    "A plain road with no signs. Without better clues I cannot provide specific coordinates.",
    "Most likely somewhere in Portugal, but I can't provide a more precise location.",
    "I'm sorry, but I can't tell where this was taken.",
    "I’m sorry – I can’t determine the location from this image.",
    "I can’t read the text or identify the people precisely enough to pinpoint the place.",
)


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_recognised_in_many_words_and_languages(text):
    assert refuses(text) and parse(text).problem is Problem.REFUSED


@pytest.mark.parametrize("text", CANNOT_TELL)
def test_who_cannot_tell_does_not_refuse(text):
    assert not refuses(text) and parse(text).problem is Problem.ABSENT


def test_null_island_is_no_refusal_whatever_comes_before():
    empty = "The file is an empty grey tile, so I cannot give any estimate.\n\nLatitude: 0.0\nLongitude: 0.0"
    assert parse(empty).problem is Problem.NULL_ISLAND
