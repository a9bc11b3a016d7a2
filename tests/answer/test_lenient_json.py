import pytest

from img2loc.answer.lenient_json import find_objects


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("no braces", []),
        ("{not json at all}", []),
        ('{"a": 1}', [{"a": 1}]),
        ('see {"a": {"b": [1, 2]}} there', [{"a": {"b": [1, 2]}}]),
        ('{{{ {"a": 1}', [{"a": 1}]),
        ('{"a": 1} then {"b": 2}', [{"a": 1}, {"b": 2}]),
        ('[{"a": 1}, {"b": 2},\n{"c": 3}]', [{"a": 1}]),
        ('{"a": [1, 2,], "b": 3,}', [{"a": [1, 2], "b": 3}]),
        ("{'a': 'it\\'s', b: None, c: True}", [{"a": "it's", "b": None, "c": True}]),
        ('{"a": "https://x.org/#y", /* no */ "b": 1}', []),
        ('{"a": "https://x.org/#y", // yes\n "b": 1}', [{"a": "https://x.org/#y", "b": 1}]),
        ('{"a": "two\nlines"}', [{"a": "two\nlines"}]),
        ('{"a": %s}' % ("1" * 5000), []),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, []),  # too deep for Python 3.13 as well
    ],
)
def test_objects_are_found_and_their_slips_put_right(text, found):
    assert find_objects(text) == found
