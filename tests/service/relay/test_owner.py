"""Whose a response is."""

from mistralwire.service._relay import owner_of

TOKEN = ("authorization", "Bearer secret")


def test_a_response_of_nobody_in_particular_has_no_owner() -> None:
    assert owner_of([]) == ""
    assert owner_of([TOKEN]) == "", "a token that the service has not checked"


def test_owners_differ_by_token_certificate_and_caller() -> None:
    calls = [
        owner_of([TOKEN], has_tokens=True),
        owner_of([("authorization", "Bearer other")], has_tokens=True),
        owner_of([TOKEN, ("x-mistralwire-caller", "a")], has_tokens=True),
        owner_of([TOKEN, ("x-mistralwire-caller", "b")], has_tokens=True),
        owner_of([("x-mistralwire-caller", "a")]),
        owner_of([], [b"a"]),
        owner_of([("x-mistralwire-caller", "secret")], [b"a"]),
        owner_of([], [b"a\ncaller secret"]),
        owner_of([], [b"a", b"b"]),
        owner_of([], [b"a\ncertificate b"]),
    ]
    assert len({*calls}) == len(calls)
    assert {len(owner) for owner in calls} == {32}


def test_the_way_in_which_a_token_is_sent_makes_no_other_owner() -> None:
    other = [("x-request-id", "1"), ("authorization", "bearer  secret")]
    assert owner_of(other, has_tokens=True) == owner_of([TOKEN], has_tokens=True)


def test_a_checked_token_counts_more_than_a_certificate() -> None:
    assert owner_of([TOKEN], [b"a"], has_tokens=True) == owner_of([TOKEN], [b"b"], has_tokens=True)
