"""Tokens that read one response."""

import hashlib

import pytest

from mistralwire.errors import MistralwireError
from mistralwire.gateway._responses._read_token import LIFETIME_S, find_signer, make_read_token

NOW_S = 1_800_000_000.5
KEYS = [hashlib.sha256(text).digest() for text in (b"one", b"two", b"three")]


@pytest.mark.parametrize("keys", [KEYS, [b""]], ids=["keys", "none"])
def test_a_token_is_known_by_the_key_that_made_it_for_ten_minutes(keys: list[bytes]) -> None:
    for key in keys:
        token = make_read_token(key, "resp_1", NOW_S)
        assert token.expires_s == int(NOW_S) + 600
        assert find_signer(keys, "resp_1", token.text, NOW_S + LIFETIME_S - 1) == key
        with pytest.raises(MistralwireError, match="found one that has expired"):
            find_signer(keys, "resp_1", token.text, NOW_S + LIFETIME_S)


def test_other_responses_other_keys_and_changed_tokens_are_refused() -> None:
    token = make_read_token(KEYS[1], "resp_1", NOW_S).text
    expiry, _, signature = token.partition(".")
    refused = [
        (KEYS, "resp_2", token),
        ([KEYS[0], KEYS[2]], "resp_1", token),
        ([b""], "resp_1", token),
        (KEYS, "resp_1", f"{int(expiry) + 1}.{signature}"),
        (KEYS, "resp_1", f"\u0661{expiry[1:]}.{signature}"),
        (KEYS, "resp_1", f"{expiry}.{signature[:-1]}"),
        (KEYS, "resp_1", f"{expiry}.\ud800"),
        (KEYS, "resp_1", f"{'9' * 5000}.{signature}"),
        (KEYS, "resp_1", ""),
    ]
    for keys, response_id, text in refused:
        with pytest.raises(MistralwireError, match="another response, or of a key") as caught:
            find_signer(keys, response_id, text, NOW_S)
        assert (caught.value.code, caught.value.reason) == ("UNAUTHENTICATED", "READ_TOKEN_INVALID")
