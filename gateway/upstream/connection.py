"""One HTTP/1.1 connection to a model's server: an asyncio Protocol around one parser, for one exchange after another.

Promises: chunked bodies, bodies with a length, and bodies that end with the connection; interim answers are skipped;
one that is cut short is never taken for whole. A connection is used again only after a whole request and a whole
answer that allows it; bytes that nobody asked for close it. Heads, trailers and the lines between chunks have a limit.
Leaves out: upgrades, transfer codings but chunked, pipelining.
"""

import asyncio
from typing import Protocol, cast

import httptools

from gateway.upstream.exchange import Exchange

# Of an answer's head with interim answers and trailers; also of what may stand between two parts of a body.
MAX_HEAD_BYTES = 64 * 1024
# Up to here copying a body behind its head costs less than handing the system two pieces.
MOST_COPIED_BYTES = 8 * 1024
# A larger request body goes out in pieces of this size, each when the one before has left.
PIECE_BYTES = 256 * 1024
_SWITCHING_PROTOCOLS = 101
_BODILESS = frozenset({204, 304})


class Home(Protocol):
    """Where a connection belongs."""

    def opened(self, connection: "Connection") -> None:
        """It is connected."""

    def came_back(self, connection: "Connection") -> None:
        """It is idle and can be used again."""

    def lost(self, connection: "Connection") -> None:
        """It is closed."""


class _RefusedError(Exception):
    """The answer is not acceptable; the text goes on from "the server of model X"."""


class Connection(asyncio.Protocol):
    """Callbacks named `on_...` are the parser's, the others the transport's or the exchange's."""

    __slots__ = (
        "_barren_bytes",
        "_can_go_on",
        "_ends_at_close",
        "_exchange",
        "_has_bytes",
        "_head_bytes",
        "_headers",
        "_home",
        "_is_writing_paused",
        "_loop",
        "_parser",
        "_timer",
        "_transport",
        "_unsent",
        "idle_since",
        "is_open",
    )

    def __init__(self, home: Home, loop: asyncio.AbstractEventLoop) -> None:
        self.is_open = False
        self.idle_since = 0.0
        self._home = home
        self._loop = loop
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._exchange: Exchange | None = None
        self._is_writing_paused = False
        self._unsent: memoryview | None = None

    def start(self, exchange: Exchange, head: bytes, body: bytes) -> None:
        """Send a request; its answer goes into `exchange`."""
        if not self.is_open:
            # It closed in the turn between being opened and being used.
            exchange.lost(has_bytes=False)
            return
        self._exchange = exchange
        self._headers: dict[str, str] = {}
        self._head_bytes = self._barren_bytes = 0
        self._has_bytes = self._can_go_on = self._ends_at_close = False
        if len(body) <= MOST_COPIED_BYTES:
            self._transport.write(head + body)
            return
        if len(body) <= PIECE_BYTES:
            self._transport.writelines((head, body))
            return
        self._transport.write(head)
        self._unsent = memoryview(body)
        self._send_on()

    def abort(self) -> None:
        """Close at once; what was not sent is dropped."""
        self.is_open = False
        self._transport.abort()

    # What the exchange asks

    def look_by(self, when: float) -> None:
        """See Carrier. A timer that rings before it has to is left alone: it looks, and is wound up again."""
        timer = self._timer
        if timer is not None:
            if timer.when() <= when:
                return
            timer.cancel()
        self._timer = self._loop.call_at(when, self._look)

    def pause(self) -> None:
        """See Carrier."""
        if self.is_open:
            self._transport.pause_reading()

    def resume(self) -> None:
        """See Carrier."""
        if self.is_open:
            self._transport.resume_reading()

    def let_go(self, exchange: Exchange) -> None:
        """See Carrier."""
        self._exchange = None
        if exchange.is_complete and self._can_go_on and self._unsent is None and self.is_open:
            self._home.came_back(self)
        else:
            self.abort()

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True
        self._home.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer, or bytes that nobody asked for."""
        exchange, parser = self._exchange, self._parser
        if exchange is None or exchange.is_complete or parser is None:
            self.abort()
            return
        self._has_bytes = True
        self._barren_bytes += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._refuse(exchange, error)
            return
        if self._barren_bytes > MAX_HEAD_BYTES and not exchange.is_complete:
            self._fail(exchange, "sends a head or chunk line that does not end")

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: `exc` says why, None that the server ended it or we did."""
        was_ended_by_server, self.is_open = self.is_open and exc is None, False
        if self._timer is not None:
            self._timer.cancel()
        exchange = self._exchange
        if exchange is not None and not exchange.is_complete:
            if self._ends_at_close and was_ended_by_server:
                exchange.finished()
            else:
                exchange.lost(has_bytes=self._has_bytes)
        self._unsent = None
        # The parser holds this object's methods: without it the two go as soon as nobody holds them.
        self._parser = None
        self._home.lost(self)

    def pause_writing(self) -> None:
        """The server does not take what was sent."""
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        """It does again."""
        self._is_writing_paused = False
        self._send_on()

    # What the parser tells

    def on_message_begin(self) -> None:
        """An answer begins: the one that is waited for, or one after it that nobody asked for."""
        if self._exchange is None or self._exchange.is_complete:
            raise _RefusedError("sent more than its answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _RefusedError(f"sent an answer with more than {MAX_HEAD_BYTES} bytes of headers")
        if self._exchange is not None and self._exchange.has_head:
            return
        # The parser leaves blanks at the end of a value.
        key, text = name.decode("latin-1").lower(), value.decode("latin-1").rstrip(" \t")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """The end of a head."""
        parser, exchange = self._parser, self._exchange
        if parser is None or exchange is None:
            return
        status, headers = parser.get_status_code(), self._headers
        if status == _SWITCHING_PROTOCOLS:
            raise _RefusedError("wants to speak another protocol")
        if 100 <= status < 200:
            self._headers = {}
            return
        coding = headers.get("transfer-encoding")
        if coding is not None and coding.lower() != "chunked":
            raise _RefusedError("encodes its answer in a way it was not asked for")
        is_framed = coding is not None or "content-length" in headers
        self._barren_bytes = 0
        self._can_go_on = parser.should_keep_alive()
        exchange.begun(status, headers)
        if status not in _BODILESS:
            self._ends_at_close = not is_framed
            return
        # It has no body whatever its headers say; the parser would wait for one.
        self._can_go_on = self._can_go_on and not is_framed
        exchange.finished()

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        exchange = self._exchange
        if exchange is not None and not exchange.is_complete:
            self._barren_bytes = 0
            exchange.arrived(data)

    def on_message_complete(self) -> None:
        """The end of an answer, or of an interim one."""
        exchange = self._exchange
        if exchange is not None and exchange.has_head:
            exchange.finished()

    def _send_on(self) -> None:
        while self._unsent is not None and not self._is_writing_paused and not self._transport.is_closing():
            piece, rest = self._unsent[:PIECE_BYTES], self._unsent[PIECE_BYTES:]
            self._unsent = rest if rest else None
            self._transport.write(piece)

    def _look(self) -> None:
        self._timer = None
        exchange = self._exchange
        if exchange is None or exchange.is_complete:
            return
        look_next = exchange.overdue(self._loop.time())
        if look_next is None:
            self.abort()
        else:
            self.look_by(look_next)

    def _refuse(self, exchange: Exchange, error: httptools.HttpParserError) -> None:
        if exchange.is_complete:
            # The answer is whole; what follows it does not belong to anyone.
            self._can_go_on = False
            return
        reason = error.__context__
        if isinstance(reason, _RefusedError):
            self._fail(exchange, str(reason))
        elif isinstance(error, httptools.HttpParserCallbackError) and reason is not None:
            self.abort()
            raise reason
        else:
            self._fail(exchange, "broke off its answer" if exchange.has_head else "did not answer in HTTP")

    def _fail(self, exchange: Exchange, why: str) -> None:
        exchange.refused(why)
        self.abort()
