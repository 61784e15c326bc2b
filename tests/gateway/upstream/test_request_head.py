"""Nothing that a request is given can end a line early or change how its body is framed."""

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.upstream.request_head import Address, request_head, target_of


class Parsed:
    """What a server's parser makes of a request."""

    def __init__(self, request: bytes) -> None:
        self.url = b""
        self.headers: list[tuple[str, str]] = []
        self.is_complete = False
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(request)
        self.method = parser.get_method()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_message_complete(self) -> None:
        self.is_complete = True


@pytest.mark.parametrize(
    ("url", "address", "path", "host"),
    [
        ("http://models.internal/v1/x", Address(False, "models.internal", 80), b"/v1/x", "models.internal"),
        ("http://127.0.0.1:8101/v1/x", Address(False, "127.0.0.1", 8101), b"/v1/x", "127.0.0.1:8101"),
        ("https://models.internal/x?a=b%20c", Address(True, "models.internal", 443), b"/x?a=b%20c", "models.internal"),
        ("https://models.internal:80/x", Address(True, "models.internal", 80), b"/x", "models.internal:80"),
        ("http://[::1]:8101", Address(False, "::1", 8101), b"/", "[::1]:8101"),
    ],
)
def test_where_a_request_goes(url: str, address: Address, path: bytes, host: str) -> None:
    target = target_of("GET", url)
    assert target.address == address
    parsed = Parsed(request_head(target, {}, 0))
    assert (parsed.method, parsed.url) == (b"GET", path)
    assert parsed.headers == [("host", host), ("content-length", "0")]


@pytest.mark.parametrize(
    "url",
    [
        "http://a/x y",
        "http://a/x\r\nevil: 1",
        "http://a/\n",
        "http://a/\0",
        "http://a/é",
        "ftp://a/",
        "a/x",
        "http://",
        "http://a:99999/",
        "",
    ],
)
def test_a_url_that_does_not_fit_a_request_line(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the standard library's message for the port
        target_of("POST", url)


@pytest.mark.parametrize("method", ["", "post", "GET /x HTTP/1.1\r\nevil: 1\r\n\r\n", "GE T"])
def test_a_method_that_does_not_fit_a_request_line(method: str) -> None:
    with pytest.raises(ValueError, match="no method"):
        target_of(method, "http://a/x")


@pytest.mark.parametrize("evil", ["\r\n", "\n", "\r", "\0", "a\r\nevil: 1"])
def test_a_value_that_would_end_its_line_is_refused_without_being_repeated(evil: str) -> None:
    with pytest.raises(ValueError, match="'x-b' holds a line break or NUL") as caught:
        request_head(target_of("POST", "http://a/x"), {"x-a": "fine", "x-b": f"secret{evil}"}, 0)
    assert "secret" not in str(caught.value)


def test_a_value_that_no_header_can_carry() -> None:
    with pytest.raises(ValueError, match="'x-b' holds a letter"):
        request_head(target_of("POST", "http://a/x"), {"x-a": "é", "x-b": "☃"}, 0)


@pytest.mark.parametrize(
    "name",
    ["", "x y", "x:", "x\r\n", "x\0", "é", "Content-Length", "transfer-encoding", "host", "Connection", "expect", "TE"],
)
def test_a_name_that_is_none_or_that_frames_the_message(name: str) -> None:
    with pytest.raises(ValueError, match="is not a header"):
        request_head(target_of("POST", "http://a/x"), {name: "1"}, 0)


@given(
    st.dictionaries(st.text(max_size=12), st.text(max_size=20), max_size=4),
    st.binary(max_size=20),
)
@example({"a": "b", "c": "\n d"}, b"x")
def test_a_server_reads_exactly_what_was_given_or_nothing_is_sent(headers: dict[str, str], body: bytes) -> None:
    try:
        head = request_head(target_of("POST", "http://a/x"), headers, len(body))
    except ValueError:
        return
    try:
        parsed = Parsed(head + body)
    except httptools.HttpParserError:
        # Other control characters are the server's to refuse: they end no line.
        return
    given_headers = [(name, value.strip(" \t")) for name, value in headers.items()]
    assert [(name, value.strip(" \t")) for name, value in parsed.headers] == [
        ("host", "a"),
        *given_headers,
        ("content-length", str(len(body))),
    ]
    assert parsed.is_complete
