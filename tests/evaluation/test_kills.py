"""A run that is killed twice and gone on with asks nothing needlessly and scores as if nothing had happened."""

from __future__ import annotations

from tests.evaluation.evaluation_kills import LIGHT, check


def test_killed_twice_and_resumed_scores_as_if_undisturbed():
    found = check(30, module=LIGHT)
    assert found["same_answers"] and found["same_score"]
    assert found["most_asks_of_a_photo"] <= 2 and found["asked_twice"] == found["cut_short"] <= 2 * 4
    assert found["asks_undisturbed"] == 30 and found["kinds_of_fault"] == 3
    assert 10 <= found["killed_after_photos"][0] < found["killed_after_photos"][1] < 30
