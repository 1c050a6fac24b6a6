from __future__ import annotations

import pytest

from clucert.errors import InputError
from clucert.models.server_address import Endpoint


@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("http://host:8000", "http://host:8000/v1"),
        ("http://host:8000/", "http://host:8000/v1"),
        ("http://host:8000/v1", "http://host:8000/v1"),
        ("http://host:8000/v1/", "http://host:8000/v1"),
        ("http://host:8000/v1/chat/completions", "http://host:8000/v1"),
        ("https://host/proxy", "https://host/proxy/v1"),
        ("https://host/v1beta/openai/", "https://host/v1beta/openai"),
        ("localhost:8000", "http://localhost:8000/v1"),
        ("10.0.0.7", "http://10.0.0.7/v1"),
        ("gpu.lan:8000/v1", "http://gpu.lan:8000/v1"),
        ("api.example.com/v1", "https://api.example.com/v1"),  # a key is not sent there for all to read
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
        ("http://user:p%40ss@host:8000", "http://host:8000/v1"),
    ],
)
def test_urls_with_and_without_version(written: str, used: str) -> None:
    assert Endpoint.of(written, None).base_url == used


@pytest.mark.parametrize("written", ["", "ftp://host", "http://", "http://host:port/secret", "http://u:secret@host:x"])
def test_what_is_no_url_is_refused_without_repeating_it(written: str) -> None:
    with pytest.raises(InputError) as caught:
        Endpoint.of(written, None)
    assert "secret" not in str(caught.value)


def test_scrubbing_covers_every_form_of_the_password() -> None:
    endpoint = Endpoint.of("http://user:p%40ss%2Fword@host", "the-key")
    shown = endpoint.scrub("p@ss/word p%40ss%2Fword the-key sk-abcdefghijkl Bearer abc.def\nnext")
    assert shown == "*** *** *** *** Bearer *** next"


def test_long_messages_are_cut() -> None:
    assert len(Endpoint.of("http://h", None).scrub("x" * 5000)) <= 300
