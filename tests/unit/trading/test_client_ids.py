import random
import string

import pytest

from meltica.model.orders import is_client_order_id
from meltica.trading.client_ids import ALPHABET, ClientOrderIds, new_mark


def test_an_id_has_the_mark_and_fifteen_random_letters() -> None:
    ids = ClientOrderIds("m3a")
    made = {ids.next() for _ in range(2_000)}
    assert len(made) == 2_000
    assert all(len(each) == 18 and each.startswith("m3a") and is_client_order_id(each) for each in made)
    for place in range(3, 18):
        assert {each[place] for each in made} == set(ALPHABET)


def test_the_alphabet_is_what_every_venue_accepts() -> None:
    assert set(ALPHABET) == set(string.digits + string.ascii_lowercase)


def test_ids_follow_neither_a_seed_nor_an_order() -> None:
    ids = ClientOrderIds("m3a")
    random.seed(1)
    first = [ids.next() for _ in range(50)]
    random.seed(1)
    second = [ids.next() for _ in range(50)]
    assert not set(first) & set(second)
    assert sorted(first) != first


def test_a_mark_has_three_letters() -> None:
    marks = {new_mark() for _ in range(500)}
    assert len(marks) > 450
    assert all(ClientOrderIds(mark).mark == mark for mark in marks)


@pytest.mark.parametrize("mark", ["", "ab", "abcd", "ABC", "a-b", "äbc", "abc\n", "a" * 1000])
def test_another_form_of_mark_is_refused(mark: str) -> None:
    with pytest.raises(ValueError, match="expected 3 of 0-9 and a-z"):
        ClientOrderIds(mark)


def test_the_mark_is_recognized_in_whole_ids_only() -> None:
    ids = ClientOrderIds("m3a")
    assert ids.has_mark(ids.next())
    assert not ids.has_mark("m3a")
    assert not ids.has_mark(ids.next() + "x")
    assert not ids.has_mark(ClientOrderIds("m3b").next())
