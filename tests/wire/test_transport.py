"""Dialling, and the byte stream after it, against raw peers on loopback, plain and TLS."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import hashlib
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
import trustme
from websocket import _handshake as library
from wire_peers import LIMIT_S, Connection, Peer, switching

from exchange_ws.clock import Deadline, SystemClock
from exchange_ws.errors import ConnectFailed, ConnectionClosed, UsageError
from exchange_ws.wire import transport
from exchange_ws.wire.transport import Waker, dial

#: Seconds within which something that happens at once has happened, on a busy machine.
SOON_S = 8.0

#: A timeout that is meant to run out.
SHORT_S = 0.2


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture(scope="module")
def server_tls(authority):
    return server_context(authority.issue_cert("localhost", "127.0.0.1", "exchange.test"))


@pytest.fixture(scope="module")
def client_tls(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(params=["plain", "tls"])
def tls(request, server_tls):
    """The server's context, or None."""
    return server_tls if request.param == "tls" else None


@pytest.fixture(autouse=True)
def no_proxy_around(monkeypatch):
    """The environment of whoever runs the tests has no say."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def waker():
    made = Waker()
    yield made
    made.close()


@pytest.fixture
def connect(waker, client_tls):
    """Dial, and close at the end."""
    made = []

    def connect(url, timeout=LIMIT_S, **options):
        options.setdefault("context", client_tls)
        made.append(dial(url, timeout=timeout, waker=waker, **options))
        return made[-1]

    yield connect
    for link in made:
        link.close()


@pytest.fixture
def waiting(monkeypatch):
    """Set when a thread is about to wait in the kernel."""
    event = threading.Event()
    original = transport._wait

    def wait(*arguments, **options):
        event.set()
        return original(*arguments, **options)

    monkeypatch.setattr(transport, "_wait", wait)
    readable = transport._SocketTransport._wait

    def wait_readable(link):
        event.set()
        readable(link)

    monkeypatch.setattr(transport._SocketTransport, "_wait", wait_readable)
    return event


class Background:
    """A call on another thread, and what became of it."""

    def __init__(self, call) -> None:
        self._call = call
        self._outcome = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome = self._call(), None
        except BaseException as error:
            self._outcome = None, error

    def result(self):
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()
        value, error = self._outcome
        if error is not None:
            raise error
        return value


def read_exactly(link, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = link.read()
        assert more
        data += more
    return data


def read_to_end(link) -> bytes:
    """All that comes, however the stream ends."""
    data = b""
    with contextlib.suppress(OSError):
        while more := link.read():
            data += more
    return data


def failure(connect, url, **options) -> ConnectFailed:
    with pytest.raises(ConnectFailed) as caught:
        connect(url, **options)
    return caught.value


# Waker


def test_waker_is_set_until_cleared(waker):
    """A waker stays set, however often it was set, until it is cleared once."""
    for _ in range(100_000):  # more bytes than a socket pair holds
        waker.wake()
    before = waker.is_set, transport._wait(waker, 0.0)
    waker.clear()
    waker.clear()
    assert ((True, True), (False, False)) == (before, (waker.is_set, transport._wait(waker, 0.0)))


def test_waker_after_close():
    """Waking who has gone is not an error."""
    waker = Waker()
    waker.close()
    waker.wake()
    waker.clear()
    waker.close()
    assert not waker.is_set


# The stream


def test_first_frame_in_the_segment_of_the_handshake(tls, connect):
    """What follows the 101 in its segment is what the first read gives."""
    with Peer(lambda peer: (peer.accept(after=b"\x81\x05first"), peer.hold()), tls) as peer:
        link = connect(peer.url())
        assert b"\x81\x05first" == link.read()


@pytest.mark.parametrize("cut", [1, 3, 6])
def test_first_frame_cut(tls, connect, cut):
    """A frame that begins in the segment of the 101 goes on in the next one."""
    frame = b"\x81\x05first"
    read = threading.Event()

    def script(peer: Connection):
        peer.accept(after=frame[:cut])
        read.wait(LIMIT_S)
        peer.send(frame[cut:])
        peer.hold()

    with Peer(script, tls) as peer:
        link = connect(peer.url())
        first = link.read()
        read.set()
        assert (frame[:cut], frame[cut:]) == (first, read_exactly(link, len(frame) - cut))


def test_handshake_one_byte_at_a_time(tls, connect):
    """Where the 101 is cut does not matter, and the library takes no byte of what follows."""

    def script(peer: Connection):
        answer = switching(peer.head()) + b"\x81\x05first"
        for at in range(len(answer)):
            peer.send(answer[at : at + 1])
        peer.hold()

    with Peer(script, tls) as peer:
        assert b"\x81\x05first" == read_exactly(connect(peer.url()), 7)


def test_many_records_in_one_read(server_tls, connect):
    """One read of the socket gives all its TLS records, as one: not a system call or two for each."""

    def script(peer: Connection):
        peer.accept()
        peer.raw(b"".join(peer.seal(b"%04d" % number) for number in range(1000)))
        peer.hold()

    with Peer(script, server_tls) as peer:
        link = connect(peer.url())
        data = link.read()
        # A segment may have been cut: what counts is that a read is not a record.
        count = 1
        while len(data) < 4000:
            data += link.read()
            count += 1
        assert (b"".join(b"%04d" % number for number in range(1000)), True) == (data, count <= 3)


def test_record_cut_anywhere(server_tls, connect):
    """A part of a TLS record is kept until its rest comes."""

    def script(peer: Connection):
        peer.accept()
        record = peer.seal(b"whole")
        for at in range(len(record)):
            peer.raw(record[at : at + 1])
        peer.hold()

    with Peer(script, server_tls) as peer:
        assert b"whole" == read_exactly(connect(peer.url()), 5)


def test_large_data_both_ways(tls, connect):
    """A reader and a writer on two threads, megabytes both ways: each byte arrives once, in order."""
    block = bytes(range(256)) * 97
    blocks = 200

    def script(peer: Connection):
        peer.accept()
        left = len(block) * blocks
        while left:
            data = peer.recv()
            left -= len(data)
            peer.send(data)
        peer.hold()

    with Peer(script, tls) as peer:
        link = connect(peer.url())
        writer = Background(lambda: [link.write(block, LIMIT_S) for _ in range(blocks)])
        digest = hashlib.sha256()
        left = len(block) * blocks
        while left:
            data = link.read()
            digest.update(data)
            left -= len(data)
        assert [True] * blocks == writer.result()
        assert hashlib.sha256(block * blocks).digest() == digest.digest()


def test_peer_that_stops_reading(tls, connect):
    """A full link does not block a write beyond its time, nor the reader at all; later all arrives, in order."""
    block = bytes(range(256)) * 4096
    resume = threading.Event()
    sent = threading.Event()
    got = hashlib.sha256()

    def script(peer: Connection):
        peer.accept(after=b"hello")
        resume.wait(LIMIT_S)
        total = int.from_bytes(peer.read(8), "big")
        while total:
            data = peer.recv()
            total -= len(data)
            got.update(data)
        sent.set()
        peer.hold()

    with Peer(script, tls) as peer:
        link = connect(peer.url())
        blocks = 24  # more than the kernel takes for both sides
        link.write((blocks * len(block)).to_bytes(8, "big"), LIMIT_S)
        begun = time.monotonic()
        empty = [link.write(block, 0) for _ in range(blocks)]
        at_once = time.monotonic() - begun
        unsent = link.unsent
        begun = time.monotonic()
        bounded = link.write(b"", SHORT_S)
        waited = time.monotonic() - begun
        read = link.read()
        resume.set()
        assert link.write(b"", LIMIT_S)
        assert sent.wait(LIMIT_S)
        assert (False, False, b"hello", 0) == (empty[-1], bounded, read, link.unsent)
        assert unsent > 0
        assert at_once < SOON_S
        assert SHORT_S <= waited < SHORT_S + SOON_S
        assert hashlib.sha256(block * blocks).digest() == got.digest()


def test_peer_that_resets(tls, connect):
    """A reset ends the stream at once, and writes fail."""
    connected = threading.Event()
    reset = threading.Event()

    def script(peer: Connection):
        peer.accept()
        connected.wait(LIMIT_S)  # a reset overtakes what the kernel has not delivered
        peer.reset()
        reset.set()

    with Peer(script, tls) as peer:
        link = connect(peer.url())
        connected.set()
        assert reset.wait(LIMIT_S)
        ended = Background(lambda: read_to_end(link)).result()
        with pytest.raises(OSError, match=r"."):  # the first may still go into the kernel's buffer
            write_until_refused(link)
        assert b"" == ended


def test_peer_that_closes(tls, connect):
    """The end of the stream is `b""`, again and again, after all that came; with TLS without close_notify too."""
    with Peer(lambda peer: peer.accept(after=b"last"), tls) as peer:
        link = connect(peer.url())
        assert [b"last", b"", b""] == [link.read(), link.read(), link.read()]


def test_close_notify(server_tls, connect):
    """TLS's own end is an end, although the TCP connection stays; what came with it comes first."""

    gone = threading.Event()

    def script(peer: Connection):
        peer.accept(after=b"last")
        peer.end_tls()
        peer.hold()
        gone.set()

    with Peer(script, server_tls) as peer:
        link = connect(peer.url())
        assert ([b"last", b"", b""], False) == ([link.read(), link.read(), link.read()], gone.is_set())


def test_broken_record(server_tls, connect):
    """Bytes that are no TLS are an error, and what came whole before them is not lost."""

    gone = threading.Event()

    def script(peer: Connection):
        peer.accept()
        peer.raw(peer.seal(b"whole") + b"\x17\x03\x03\x00\x20" + b"x" * 32)
        peer.hold()
        gone.set()

    with Peer(script, server_tls) as peer:
        link = connect(peer.url())
        assert (b"whole", False) == (read_to_end(link), gone.is_set())


def test_what_tls_answers_by_itself(authority, connect):
    """What decrypting makes TLS say is counted as unsent, and goes out before the next data, in the order of TLS."""
    context = server_context(authority.issue_cert("localhost"))
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    trusting.post_handshake_auth = True
    authority.issue_cert("us@client.test").configure_cert(trusting)
    got = []

    def script(peer: Connection):
        peer.accept()
        peer.verify_client()
        peer.send(b"who are you?")
        got.append(peer.read(4))
        got.append(peer._tls.getpeercert()["subjectAltName"])
        peer.hold()

    with Peer(script, context) as peer:
        link = connect(peer.url(), context=trusting)
        assert b"who are you?" == read_exactly(link, 12)
        unsent = link.unsent
        assert link.write(b"data", LIMIT_S)
        link.abort()
    assert ([b"data", (("email", "us@client.test"),)], True, 0) == (got, unsent > 0, link.unsent)


# Waking, aborting, closing


def test_wake_ends_a_read(tls, connect, waker, waiting):
    """A set waker ends a read, and each one that follows, until it is cleared."""
    with Peer(lambda peer: (peer.accept(), peer.recv(), peer.send(b"more"), peer.hold()), tls) as peer:
        link = connect(peer.url())
        waiting.clear()
        reading = Background(link.read)
        assert waiting.wait(LIMIT_S)
        waker.wake()
        woken = reading.result(), link.read()
        waker.clear()
        link.write(b"go on", LIMIT_S)
        assert ((None, None), b"more") == (woken, link.read())


def test_wake_ends_a_busy_read(tls, connect, waker):
    """A peer that sends without a pause does not keep a woken reader from its end."""

    def script(peer: Connection):
        peer.accept()
        while not peer.ending.is_set():
            peer.send(b"x" * 65536)

    with Peer(script, tls) as peer:
        link = connect(peer.url())
        assert link.read()
        waker.wake()
        assert link.read() is None


def test_abort_ends_a_blocked_read(tls, connect, waiting):
    """An abort from another thread ends a read that waits."""
    with Peer(lambda peer: (peer.accept(), peer.hold()), tls) as peer:
        link = connect(peer.url())
        waiting.clear()
        reading = Background(lambda: read_to_end(link))
        assert waiting.wait(LIMIT_S)
        link.abort()
        assert b"" == reading.result()


def test_abort_ends_a_busy_read(connect):
    """After an abort nothing is read, although the kernel has more."""

    def script(peer: Connection):
        peer.accept()
        while not peer.ending.is_set():
            peer.send(b"x" * 65536)

    with Peer(script) as peer:
        link = connect(peer.url())
        assert link.read()
        link.abort()
        assert b"" == link.read()


def write_until_refused(link) -> None:
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        link.write(b"x", 0)


def fill(link) -> None:
    """Write until the link takes no more."""
    while link.write(b"x" * 65536, 0):
        pass


def test_abort_ends_a_blocked_write(tls, connect, waiting):
    """An abort from another thread ends a write that waits, with an error."""
    with Peer(lambda peer: (peer.accept(), peer.hold()), tls) as peer:
        link = connect(peer.url())
        fill(link)
        waiting.clear()
        writing = Background(lambda: link.write(b"x", 60.0))
        assert waiting.wait(LIMIT_S)
        begun = time.monotonic()
        link.abort()
        with pytest.raises(OSError):
            writing.result()
        assert time.monotonic() - begun < SOON_S


@pytest.mark.parametrize("end", ["abort", "close"])
def test_write_after_the_end(tls, connect, end):
    """A write to a link that we have ended says so."""
    with Peer(lambda peer: (peer.accept(), peer.hold()), tls) as peer:
        link = connect(peer.url())
        for _ in range(2):
            getattr(link, end)()
        with pytest.raises(OSError):
            link.write(b"x", 0)


def test_close_under_a_writer(tls, connect, monkeypatch):
    """The descriptor outlives a write that uses it: another thread's file may get its number at once."""
    numbers = []
    waits = threading.Event()
    closed = threading.Event()
    original = transport._wait

    def wait(sock, timeout, *, write=False, waker=None):
        ready = original(sock, timeout, write=write, waker=waker)
        if write:
            waits.set()
            closed.wait(LIMIT_S)
            numbers.append(sock.fileno())
        return ready

    with Peer(lambda peer: (peer.accept(), peer.hold()), tls) as peer:
        link = connect(peer.url())
        number = link._socket.fileno()
        fill(link)
        monkeypatch.setattr(transport, "_wait", wait)
        writing = Background(lambda: link.write(b"x", SHORT_S))
        assert waits.wait(LIMIT_S)
        link.close()
        closed.set()
        with contextlib.suppress(OSError):  # or False: its time was over
            writing.result()
        assert ([number], -1) == (numbers, link._socket.fileno())


def test_close_tells_the_peer_what_was_sent(tls, connect):
    """What was written before a close (the close frame) arrives."""
    got = []
    with Peer(lambda peer: (peer.accept(), got.append(peer.read(4))), tls) as peer:
        link = connect(peer.url())
        link.write(b"last", LIMIT_S)
        link.close()
        peer._thread.join(0.0)
        end = time.monotonic() + LIMIT_S
        while not got and time.monotonic() < end:
            peer.ending.wait(0.01)
    assert [b"last"] == got


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors have no small numbers there")
def test_descriptor_beyond_what_select_takes(waker):
    """Waiting works for a process with thousands of descriptors."""
    import fcntl
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("this machine does not allow 2,000 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    near, far = socket.socketpair()
    try:
        with near, far, socket.socket(fileno=fcntl.fcntl(near.fileno(), fcntl.F_DUPFD, 1500)) as high:
            before = transport._wait(high, 0.0, waker=waker)
            far.send(b"x")
            assert (False, True) == (before, transport._wait(high, LIMIT_S, waker=waker))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_waiting_without_poll(monkeypatch, waker):
    """Where there is no `poll` (Windows), `select` does it."""
    monkeypatch.delattr(transport.select, "poll")
    near, far = socket.socketpair()
    with near, far:
        empty = transport._wait(near, 0.0, waker=waker), transport._wait(near, 0.0, write=True)
        far.send(b"x")
        ready = transport._wait(near, LIMIT_S, waker=waker)
        near.recv(1)
        waker.wake()
        assert ((False, True), True, False) == (empty, ready, transport._wait(near, LIMIT_S, waker=waker))


def test_reading_without_poll(monkeypatch, connect):
    """There too, what comes later is waited for."""
    monkeypatch.delattr(transport.select, "poll")
    with Peer(lambda peer: (peer.accept(), peer.recv(), peer.send(b"more"), peer.hold())) as peer:
        link = connect(peer.url())
        reading = Background(lambda: read_exactly(link, 4))
        link.write(b"x", LIMIT_S)
        assert b"more" == reading.result()


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors get other numbers there")
def test_read_behind_a_close(tls, connect):
    """A link that was closed does not wait for a stranger who has got its descriptor's number."""
    with Peer(lambda peer: (peer.accept(after=b"last"), peer.hold()), tls) as peer:
        link = connect(peer.url())
        read_exactly(link, 4)
        number = link._socket.fileno()
        link.close()
        near, far = socket.socketpair()
        with near, far:
            assert (True, b"") == (number in (near.fileno(), far.fileno()), Background(link.read).result())


# Options of the socket


def test_socket_options(connect):
    """Small frames go at once, a dead peer is looked for, and no child process inherits the socket."""
    with Peer(lambda peer: (peer.accept(), peer.hold())) as peer:
        check_options(connect(peer.url()))


def check_options(link) -> None:
    sock = link._socket
    wanted = {"TCP_NODELAY": 1, "TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 5000}
    wanted = {name: value for name, value in wanted.items() if hasattr(socket, name)}
    assert wanted == {name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in wanted}
    assert (1, False) == (sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), sock.get_inheritable())


# TLS


@pytest.mark.parametrize(
    ("certificate", "trusted", "says"),
    [
        ("other host", True, "Hostname mismatch, certificate is not valid for 'localhost'"),
        ("good", False, "unable to get local issuer certificate"),
        ("expired", True, "certificate has expired"),
    ],
)
def test_refused_certificate(authority, connect, certificate, trusted, says):
    """A certificate that does not prove the peer's name is refused, and the error says which check failed."""
    made = {
        "good": lambda: authority.issue_cert("localhost"),
        "other host": lambda: authority.issue_cert("other.test"),
        "expired": lambda: authority.issue_cert(
            "localhost", not_after=datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
        ),
    }[certificate]()
    with Peer(lambda peer: peer.accept(), server_context(made)) as peer:
        error = failure(connect, peer.url(), **({} if trusted else {"context": None}))
        assert f"{peer.url('')}: the server's TLS certificate was refused: {says}" == str(error)


def test_context_of_the_user(server_tls, connect):
    """A context is used as it is: one that checks nothing connects."""
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    with Peer(lambda peer: (peer.accept(after=b"hello"), peer.hold()), server_tls) as peer:
        assert b"hello" == connect(peer.url(), context=careless).read()


def test_server_name_is_told(authority, connect):
    """A server with several names is told which one is meant (SNI)."""
    context = server_context(authority.issue_cert("localhost"))
    names = []
    context.sni_callback = lambda connection, name, context: names.append(name)
    with Peer(lambda peer: (peer.accept(), peer.hold()), context) as peer:
        connect(peer.url())
        assert ["localhost"] == names


def test_address_in_the_certificate(server_tls, connect):
    """A URL with an IP address is checked against the certificate's addresses."""
    with Peer(lambda peer: (peer.accept(after=b"hello"), peer.hold()), server_tls) as peer:
        assert b"hello" == connect(peer.url(host="127.0.0.1")).read()


def test_tls_to_a_plain_server(connect):
    """wss to a port that speaks no TLS says what is wrong."""
    with Peer(lambda peer: (peer.recv(), peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"))) as peer:
        error = failure(connect, f"wss://localhost:{peer.port}")
        assert f"wss://localhost:{peer.port}: the TLS handshake failed: wrong version number" == str(error)


# The handshake


@pytest.mark.parametrize("headers", [{"X-One": "1", "X-Two": "b c"}, ["X-One: 1", "X-Two: b c"]])
def test_request(connect, headers):
    """The request is RFC 6455's, with the headers given, the path and query, and no Origin, cookie or second name."""
    with Peer(lambda peer: requests.append(peer.accept())) as peer:
        requests = []
        connect(peer.url("/v5/public?a=b"), headers=headers)
    first, *lines = requests[0].decode().split("\r\n")[:-2]
    fields = dict(line.split(": ", 1) for line in lines)
    key = fields.pop("Sec-WebSocket-Key")
    assert ("GET /v5/public?a=b HTTP/1.1", len(lines), 24) == (first, len(fields) + 1, len(key))
    assert {
        "Host": f"localhost:{peer.port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "User-Agent": "exchange-ws",
        "X-One": "1",
        "X-Two": "b c",
    } == fields


def test_user_agent_of_the_user(connect):
    """A name that was given replaces ours."""
    with Peer(lambda peer: requests.append(peer.accept())) as peer:
        requests = []
        connect(peer.url(), headers={"user-agent": "theirs"})
    assert [b"user-agent: theirs"] == [line for line in requests[0].split(b"\r\n") if b"agent" in line.lower()]


@pytest.mark.parametrize("status", [200, 401, 404, 500, 503])
def test_refused_handshake(tls, connect, status):
    """A refusal gives its status, whatever length the server says that its page has."""
    answer = b"HTTP/1.1 %d Their Words\r\nContent-Length: 99999999\r\n\r\nnever ending" % status
    with Peer(lambda peer: (peer.head(), peer.send(answer), peer.hold()), tls) as peer:
        error = failure(connect, peer.url())
    assert (status, None) == (error.status, error.retry_after_s)
    assert f"refused the handshake with HTTP {status} (" in str(error)


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("Retry-After: 7", 7.0, 7.0),
        ("retry-after:0", 0.0, 0.0),
        (f"Retry-After: {email.utils.formatdate(time.time() + 3600, usegmt=True)}", 1.0, 3600.0),
        ("Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", 0.0, 0.0),
    ],
)
def test_retry_after(connect, header, low, high):
    """The time for which the server asks is told in seconds, whether it said seconds or a date."""
    answer = f"HTTP/1.1 429 Slow Down\r\n{header}\r\n\r\n".encode()
    with Peer(lambda peer: (peer.head(), peer.send(answer))) as peer:
        error = failure(connect, peer.url())
    assert (429, True) == (error.status, low <= error.retry_after_s <= high)


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", "9" * 5000, "", "Wed, 99 Oct 2015 07:28:00 GMT"])
def test_retry_after_without_sense(connect, value):
    """A time that is none is not told."""
    answer = f"HTTP/1.1 503 Busy\r\nRetry-After: {value}\r\n\r\n".encode()
    with Peer(lambda peer: (peer.head(), peer.send(answer))) as peer:
        error = failure(connect, peer.url())
    assert (503, None) == (error.status, error.retry_after_s)


def test_redirect(connect):
    """A redirect is not followed: our headers are for the host that was named."""
    with Peer(lambda peer: peer.accept()) as other:
        answer = f"HTTP/1.1 302 Found\r\nLocation: {other.url()}\r\n\r\n".encode()
        with Peer(lambda peer: (peer.head(), peer.send(answer))) as peer:
            error = failure(connect, peer.url(), headers={"X-Key": "secret"})
        assert (302, False) == (error.status, other.arrived.is_set())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Accept: x"),
        (b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Other: "),
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"Connection: Upgrade", b"Connection: close"),
        (b"Connection: Upgrade", b"Connection Upgrade"),
        (b"Connection: Upgrade", b"Connection: Upgrade\r\nX-Bytes: \xff\xfe"),
    ],
)
def test_invalid_acceptance(connect, old, new):
    """A 101 that does not prove that the server speaks WebSocket is refused."""
    with Peer(lambda peer: peer.send(switching(peer.head()).replace(old, new))) as peer:
        error = failure(connect, peer.url())
    assert f"{peer.url('')}: the server answered 101, but not as RFC 6455 asks" in str(error)
    assert (None, None) == (error.__cause__, error.__context__)


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 1x1\r\n\r\n", b"HTTP/1.1 10\r\n\r\n", b"\r\n\r\n"]
)
def test_no_http(connect, answer):
    """A peer that speaks something else is found out."""
    with Peer(lambda peer: (peer.head(), peer.send(answer))) as peer:
        assert "the peer's answer in the WebSocket handshake is not HTTP" in str(failure(connect, peer.url()))


def test_endless_head(tls, connect):
    """A header line without end is not read for ever."""

    def script(peer: Connection):
        peer.head()
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nX-Long: ")
        while not peer.ending.is_set():
            peer.send(b"x" * 65536)

    with Peer(script, tls) as peer:
        assert "the answer's head in the WebSocket handshake has more than 65,536 bytes" in str(failure(connect, peer.url()))


@pytest.mark.parametrize("ends", ["close", "reset"])
def test_peer_that_leaves_during_the_handshake(tls, connect, ends):
    """A peer that hangs up instead of answering is reported at once."""
    with Peer(lambda peer: (peer.head(), peer.reset() if ends == "reset" else None), tls) as peer:
        error = failure(connect, peer.url())
    assert "the WebSocket handshake" in str(error)
    assert "timed out" not in str(error)


def test_peer_that_leaves_during_tls(connect):
    """A peer that hangs up instead of speaking TLS is reported at once."""
    with Peer(lambda peer: peer.socket.recv(65536)) as peer:
        error = failure(connect, f"wss://localhost:{peer.port}")
    assert f"wss://localhost:{peer.port}: the peer closed the connection during the TLS handshake" == str(error)


@pytest.fixture
def cookies(monkeypatch):
    """The library's cookie jar, which all connections of the process share."""
    monkeypatch.setattr(library, "CookieJar", library.SimpleCookieJar())
    return library.CookieJar


def test_cookies_are_not_shared(connect, cookies):
    """A connection takes no cookies from others in this process, and leaves none to them."""
    cookies.set("theirs=1; domain=localhost")
    requests = []

    def script(peer: Connection):
        requests.append(peer.accept(headers=["Set-Cookie: ours=2; domain=localhost"]))

    with Peer(script) as peer:
        for _ in range(2):
            connect(peer.url()).close()
    assert (False, "theirs=1") == (any(b"cookie" in request.lower() for request in requests), cookies.get("localhost"))


# Names, addresses, URLs


def test_unknown_name(connect):
    """A name without an address fails by name."""
    assert str(failure(connect, "wss://no-such-host.invalid/path")).startswith(
        "wss://no-such-host.invalid: no address is known for no-such-host.invalid: "
    )


def test_refused_port(connect):
    """A port where nobody listens fails at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(connect, f"ws://127.0.0.1:{port}")
    assert f"ws://127.0.0.1:{port}: the TCP connect failed: Connection refused" == str(error)


def resolve_to(monkeypatch, *addresses) -> None:
    """Let every name have *addresses*."""
    original = socket.getaddrinfo

    def getaddrinfo(host, port, *arguments, flags=0, **options):
        if flags & socket.AI_NUMERICHOST:
            return original(host, port, *arguments, flags=flags, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_second_address(connect, monkeypatch):
    """An address that refuses is passed over."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()
    with Peer(lambda peer: (peer.accept(after=b"hello"), peer.hold())) as peer:
        resolve_to(monkeypatch, closed, ("127.0.0.1", peer.port))
        assert b"hello" == connect("ws://exchange.test").read()


@pytest.fixture
def black_hole():
    """Address where a TCP connect is neither accepted nor refused."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):  # the first fill the queue, the rest are dropped, as is every later one
            queued = stack.enter_context(socket.socket())
            queued.setblocking(False)
            queued.connect_ex(listener.getsockname())
        yield listener.getsockname()


def test_black_hole_among_addresses(connect, monkeypatch, black_hole):
    """An address that says nothing leaves time for the next one."""
    with Peer(lambda peer: (peer.accept(after=b"hello"), peer.hold())) as peer:
        resolve_to(monkeypatch, black_hole, ("127.0.0.1", peer.port))
        assert b"hello" == connect("ws://exchange.test", timeout=3.0).read()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.exchange.test/ws",
        "https://api.exchange.test/ws",
        "wss://",
        "wss://:443",
        "wss://host:port/",
        "wss://host:0/",
        "wss://host:70000/",
        "wss://a..b/",
        f"wss://{'a' * 64}.test/",
        "wss://ho st/",
        "wss://[::1/",
        "wss://user:hidden@host/",
        "wss://host/#hidden",
        "wss://host/a b",
        "wss://host/?x=\u00e9",
    ],
)
def test_invalid_url(connect, url):
    """A URL that cannot be dialled is the caller's error, before anything is sent, and is not repeated in it."""
    with pytest.raises(UsageError, match="url") as caught:
        connect(url)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "authority", "name"),
    [
        ("wss://Exchange.Test", "exchange.test", "wss://exchange.test"),
        ("wss://exchange.test:443/x", "exchange.test", "wss://exchange.test"),
        ("ws://exchange.test:443/x?y=z", "exchange.test:443", "ws://exchange.test:443"),
        ("ws://[::1]:80/", "[::1]", "ws://[::1]"),
        ("wss://[::1]:8080/", "[::1]:8080", "wss://[::1]:8080"),
        ("wss://b\u00fccher.test", "xn--bcher-kva.test", "wss://xn--bcher-kva.test"),
    ],
)
def test_target(url, authority, name):
    """The Host header and the errors name host and port as the standards write them."""
    target = transport._Target.parse(url)
    assert (authority, name) == (target.authority, str(target))


@pytest.mark.parametrize(
    "headers",
    [["no colon"], [": no name"], {"two words": "1"}, {"X-Key": "hidden\r\nInjected: 1"}, ["X-Key: hidden\0"]],
)
def test_invalid_headers(connect, headers):
    """A header that would break the request is refused, without its value."""
    with pytest.raises(UsageError, match="headers") as caught:
        connect("ws://127.0.0.1:1", headers=headers)
    assert "hidden" not in str(caught.value)


# Deadlines and waking, step by step


def silent(peer: Connection) -> None:
    peer.hold()


def dripping(peer: Connection) -> None:
    """Answers the handshake for ever, a byte at a time."""
    peer.head()
    while not peer.ending.wait(0.005):
        peer.send(b"H")


def silent_after_connect(peer: Connection) -> None:
    peer.head()
    peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
    peer.hold()


@contextlib.contextmanager
def stuck(step: str, monkeypatch):
    """A world in which a dial stays in *step*: the URL, and options."""
    release = threading.Event()

    def getaddrinfo(host, port, *_, flags=0, **__):
        if not flags & socket.AI_NUMERICHOST:
            release.wait(LIMIT_S)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with contextlib.ExitStack() as stack:
        if step == "name lookup":
            patch = stack.enter_context(monkeypatch.context())
            patch.setattr(socket, "getaddrinfo", getaddrinfo)
            stack.callback(release.set)
            yield "ws://exchange.test", {}
        elif step == "CONNECT through the proxy":
            proxy = stack.enter_context(Peer(silent))
            yield "wss://exchange.test", {"proxy": f"http://127.0.0.1:{proxy.port}"}
        elif step == "handshake with the proxy":
            proxy = stack.enter_context(Peer(silent))
            yield "wss://exchange.test", {"proxy": f"socks5h://127.0.0.1:{proxy.port}"}
        elif step == "TLS handshake":
            peer = stack.enter_context(Peer(silent))
            yield f"wss://localhost:{peer.port}", {}
        elif step == "TLS handshake through a proxy":
            proxy = stack.enter_context(Peer(silent_after_connect))
            yield "wss://exchange.test", {"proxy": f"http://127.0.0.1:{proxy.port}"}
        else:
            script = dripping if step == "WebSocket handshake, dripping" else silent
            peer = stack.enter_context(Peer(script))
            yield f"ws://localhost:{peer.port}", {}


STEPS = [
    "name lookup",
    "CONNECT through the proxy",
    "handshake with the proxy",
    "TLS handshake",
    "TLS handshake through a proxy",
    "WebSocket handshake",
    "WebSocket handshake, dripping",
]


@pytest.mark.parametrize("step", STEPS)
def test_timeout_in_each_step(connect, monkeypatch, step):
    """One deadline covers all steps, however the peer keeps us busy; the error names the step."""
    named = step.split(" through a proxy")[0].split(",")[0]
    original = transport._Dial._check
    ours = []

    def check(dialling):
        assert ours in ([], [dialling._deadline]), "another deadline than the first"
        if dialling._step != named:  # until then something comes, which a busy machine may hold up
            dialling._deadline = Deadline(SystemClock(), SHORT_S)
        ours[:] = [dialling._deadline]
        return original(dialling)

    monkeypatch.setattr(transport._Dial, "_check", check)
    with stuck(step, monkeypatch) as (url, options):
        begun = time.monotonic()
        error = failure(connect, url, timeout=SHORT_S, **options)
        took = time.monotonic() - begun
    assert f"the {named} timed out: the dial may take 0.2 s in all" in str(error)
    assert SHORT_S <= took < SHORT_S + SOON_S


def test_timeout_of_the_connect(connect, black_hole):
    """A TCP connect that nobody answers ends at our deadline: nothing else would end it for minutes."""
    begun = time.monotonic()
    error = failure(connect, f"ws://127.0.0.1:{black_hole[1]}", timeout=SHORT_S)
    took = time.monotonic() - begun
    assert "the TCP connect timed out" in str(error)
    assert SHORT_S <= took < SHORT_S + SOON_S


@pytest.mark.parametrize("step", STEPS)
def test_wake_in_each_step(connect, waker, waiting, monkeypatch, step):
    """A dial that is not wanted any more ends at once, in whatever step it is."""
    reached = threading.Event()
    original = transport._Dial._check
    named = step.split(" through a proxy")[0].split(",")[0]

    def check(dialling):
        if dialling._step == named:
            reached.set()
        return original(dialling)

    monkeypatch.setattr(transport._Dial, "_check", check)
    with stuck(step, monkeypatch) as (url, options):
        dialling = Background(lambda: connect(url, timeout=60.0, **options))
        assert reached.wait(LIMIT_S)
        begun = time.monotonic()
        waker.wake()
        with pytest.raises(ConnectionClosed, match=f"closed during the {named}"):
            dialling.result()
        assert time.monotonic() - begun < SOON_S


def test_wake_in_the_connect(connect, waker, waiting, black_hole):
    """A TCP connect that nobody answers is given up when woken."""
    dialling = Background(lambda: connect(f"ws://127.0.0.1:{black_hole[1]}", timeout=60.0))
    assert waiting.wait(LIMIT_S)
    waker.wake()
    with pytest.raises(ConnectionClosed, match="closed during the TCP connect"):
        dialling.result()


def test_wake_before_the_dial(connect, waker):
    """A waker that is set already lets nothing begin."""
    waker.wake()
    with Peer(lambda peer: peer.accept()) as peer:
        with pytest.raises(ConnectionClosed):
            connect(peer.url())


def test_result_that_nobody_waits_for():
    """What comes of an interrupted call after its caller has gone is thrown away properly, and once."""
    thrown = []
    go = threading.Event()
    late = transport._Aside(lambda: go.wait(LIMIT_S) and "late", thrown.append)
    late.abandon()
    go.set()
    early = transport._Aside(lambda: "early", thrown.append)
    transport._wait(early.done, LIMIT_S)
    early.abandon()
    transport._wait(late.done, LIMIT_S)
    for aside in (late, early):
        aside.done.close()
    assert {"late", "early"} == set(thrown)
    assert 2 == len(thrown)


# Proxies


def http_proxy(heads, credentials=None, tls=None):
    """An HTTP proxy, and in one the server to which it connects."""

    def script(peer: Connection):
        head = peer.head()
        heads.append(head)
        if credentials is not None and f"Proxy-Authorization: Basic {credentials}\r\n".encode() not in head:
            peer.send(b"HTTP/1.1 407 Who Are You\r\nProxy-Authenticate: Basic\r\n\r\n")
            return
        peer.send(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        if tls is not None:
            peer.start_tls(tls)
        heads.append(peer.accept(after=b"hello"))
        peer.hold()

    return script


def test_http_proxy(tls, connect):
    """An HTTP proxy is asked to connect, by name; TLS and the handshake are the server's."""
    heads = []
    with Peer(http_proxy(heads, tls=tls)) as proxy:
        scheme, port = ("ws", 80) if tls is None else ("wss", 443)
        link = connect(f"{scheme}://exchange.test/path", proxy=f"http://127.0.0.1:{proxy.port}")
        check_options(link)
        assert b"hello" == link.read()
    where = f"exchange.test:{port}"
    assert f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode() == heads[0]
    assert heads[1].startswith(b"GET /path HTTP/1.1\r\n")


def test_http_proxy_with_credentials(connect):
    """User and password of the proxy's URL, percent-decoded, are for the proxy only."""
    heads = []
    with Peer(http_proxy(heads, credentials="dXNlcjpwOndAcmQ=")) as proxy:
        assert b"hello" == connect("ws://exchange.test", proxy=f"http://user:p:w%40rd@localhost:{proxy.port}").read()
    assert b"Authorization" not in heads[1]


def test_http_proxy_that_refuses(connect):
    """A proxy's refusal is told as the proxy's, and is not the server's status."""
    with Peer(http_proxy([], credentials="other")) as proxy:
        error = failure(connect, "ws://exchange.test", proxy=f"http://user:hidden@localhost:{proxy.port}")
    name = f"ws://exchange.test through the proxy http://localhost:{proxy.port}"
    says = "the proxy refused with HTTP 407 (Proxy Authentication Required): it wants other credentials"
    assert (f"{name}: {says}", None) == (str(error), error.status)


def test_proxy_that_does_not_listen(connect):
    """An unreachable proxy is not mistaken for the server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for kind in ("http", "socks5"):
        error = failure(connect, "ws://127.0.0.1", proxy=f"{kind}://127.0.0.1:{port}")
        assert f"through the proxy {kind}://127.0.0.1:{port}: " in str(error)


def socks_proxy(asked, tls=None, password=None, reply=0):
    """A SOCKS proxy (RFC 1928; 4a too), and in one the server to which it connects."""

    def script(peer: Connection):
        version = peer.read(1)[0]
        if version == 4:
            _, port = struct.unpack("!BH", peer.read(3))
            address = socket.inet_ntoa(peer.read(4))
            texts = []
            for _ in range(2 if address.startswith("0.0.0.") else 1):
                text = b""
                while (byte := peer.read(1)) != b"\0":
                    text += byte
                texts.append(text.decode())
            asked.append((texts[1] if len(texts) > 1 else address, port))
            peer.send(b"\0\x5a" + bytes(6))
        else:
            methods = peer.read(peer.read(1)[0])
            if password is None:
                peer.send(b"\5\0")
            else:
                assert 2 in methods
                peer.send(b"\5\2")
                assert b"\1" == peer.read(1)
                user = peer.read(peer.read(1)[0])
                word = peer.read(peer.read(1)[0])
                good = (user, word) == (b"user", password)
                peer.send(b"\1\0" if good else b"\1\1")
                if not good:
                    return
            kind = peer.read(4)[3]
            host = peer.read(peer.read(1)[0]).decode() if kind == 3 else socket.inet_ntoa(peer.read(4))
            asked.append((host, int.from_bytes(peer.read(2), "big")))
            peer.send(b"\5" + bytes([reply]) + b"\0\1" + bytes(6))
            if reply:
                return
        if tls is not None:
            peer.start_tls(tls)
        peer.accept(after=b"hello")
        peer.hold()

    return script


@pytest.mark.parametrize(
    ("kind", "url", "host"),
    [
        ("socks5h", "ws://exchange.test:81", "exchange.test"),
        ("socks5", "ws://127.0.0.1:81", "127.0.0.1"),
        ("socks4a", "ws://exchange.test:81", "exchange.test"),
        ("socks4", "ws://127.0.0.1:81", "127.0.0.1"),
    ],
)
def test_socks_proxy(connect, kind, url, host):
    """A SOCKS proxy is asked to connect, by name where its kind says so; the socket gets our options."""
    asked = []
    with Peer(socks_proxy(asked)) as proxy:
        link = connect(url, proxy=f"{kind}://127.0.0.1:{proxy.port}")
        check_options(link)
        assert (b"hello", [(host, 81)]) == (link.read(), asked)


def test_socks_proxy_with_credentials_and_tls(authority, connect):
    """A password goes to the SOCKS proxy; TLS is the server's, by its own name."""
    asked = []
    server = server_context(authority.issue_cert("exchange.test"))
    with Peer(socks_proxy(asked, tls=server, password=b"p w")) as proxy:
        link = connect("wss://exchange.test", proxy=f"socks5h://user:p%20w@127.0.0.1:{proxy.port}")
        assert (b"hello", [("exchange.test", 443)]) == (link.read(), asked)


@pytest.mark.parametrize(("reply", "password"), [(5, None), (0, b"other")])
def test_socks_proxy_that_refuses(connect, reply, password):
    """A SOCKS proxy's refusal is told."""
    with Peer(socks_proxy([], password=password, reply=reply)) as proxy:
        error = failure(connect, "ws://exchange.test", proxy=f"socks5h://user:hidden@127.0.0.1:{proxy.port}")
    assert f"through the proxy socks5h://127.0.0.1:{proxy.port}: the handshake with the proxy failed: " in str(error)


def test_socks_without_its_library(connect, monkeypatch):
    """Without python-socks the error says what to install."""
    monkeypatch.setitem(sys.modules, "python_socks", None)
    with pytest.raises(UsageError, match=r"pip install exchange_ws\[socks\]"):
        connect("ws://exchange.test", proxy="socks5://127.0.0.1:1080")


@pytest.mark.parametrize(
    "proxy", ["", "ftp://user:hidden@host", "https://user:hidden@host", "http://", "http://host:x", "http://[::1"]
)
def test_invalid_proxy(connect, proxy):
    """A proxy that cannot be used is the caller's error, and its credentials are not in it."""
    with pytest.raises(UsageError, match="proxy: ") as caught:
        connect("ws://exchange.test", proxy=proxy)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("wss://exchange.test", {}, None),
        ("wss://exchange.test", {"https_proxy": "http://a:1", "http_proxy": "http://b:2"}, "http://a:1"),
        ("ws://exchange.test", {"https_proxy": "http://a:1", "http_proxy": "http://b:2"}, "http://b:2"),
        ("ws://exchange.test", {"https_proxy": "http://a:1"}, None),
        ("wss://exchange.test", {"HTTPS_PROXY": "http://a:1"}, "http://a:1"),
        ("wss://exchange.test", {"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2"}, "http://b:2"),
        ("wss://exchange.test", {"ALL_PROXY": "socks5://a:1"}, "socks5://a:1"),
        ("wss://exchange.test", {"all_proxy": "socks5://a:1", "https_proxy": "http://b:2"}, "http://b:2"),
        ("wss://exchange.test", {"https_proxy": "http://a:1", "no_proxy": "other.test, exchange.test"}, None),
        ("wss://api.exchange.test", {"https_proxy": "http://a:1", "NO_PROXY": ".exchange.test"}, None),
        ("wss://api.exchange.test:81", {"https_proxy": "http://a:1", "no_proxy": "exchange.test:82"}, "http://a:1"),
        ("wss://api.exchange.test", {"https_proxy": "http://a:1", "no_proxy": "*"}, None),
        ("wss://notexchange.test", {"https_proxy": "http://a:1", "no_proxy": "exchange.test"}, "http://a:1"),
        ("ws://10.1.2.3:8088", {"http_proxy": "http://a:1", "no_proxy": "10.0.0.0/8"}, None),
        ("ws://11.1.2.3:8088", {"http_proxy": "http://a:1", "no_proxy": "10.0.0.0/8"}, "http://a:1"),
        ("ws://[::1]:8088", {"http_proxy": "http://a:1", "no_proxy": "localhost,::1"}, None),
        ("ws://127.0.0.1:8088", {"http_proxy": "http://a:1"}, "http://a:1"),
    ],
)
def test_environment(monkeypatch, url, environment, proxy):
    """The environment's proxies are those that `requests` would take for https and http."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy == transport._environment_proxy(transport._Target.parse(url))


@pytest.mark.parametrize(
    ("variable", "scheme"),
    [("http_proxy", "http://"), ("http_proxy", ""), ("ALL_PROXY", "socks5h://"), ("http_proxy", "socks5h://")],
)
def test_proxy_of_the_environment(connect, monkeypatch, variable, scheme):
    """The scheme of its URL says of which kind the environment's proxy is, not the variable's name; without one it is HTTP."""
    with Peer(socks_proxy([]) if scheme.startswith("socks") else http_proxy([])) as proxy:
        monkeypatch.setenv(variable, f"{scheme}127.0.0.1:{proxy.port}")
        assert b"hello" == connect("ws://exchange.test").read()


# Secrets


SECRETS = ("in-the-header", "in-the-path", "in-the-query", "in-the-proxy", "in-the-body")


def leak(peer: Connection) -> None:
    """Refuse, and repeat all that was said."""
    request = peer.head()
    peer.send(b"HTTP/1.1 403 %s\r\nX-Repeated: %s\r\n\r\n%s" % ((request.replace(b"\r\n", b" "),) * 3))


def leak_in_acceptance(peer: Connection) -> None:
    request = peer.head()
    repeated = request.replace(b"\r\n", b" ").replace(b":", b" ")
    peer.send(b"HTTP/1.1 101 %s\r\n%s\r\n\r\n" % (repeated, repeated))


@pytest.mark.parametrize(
    "place", ["refusal", "acceptance", "proxy", "socks proxy", "no listener", "no name", "no TLS", "timeout"]
)
def test_no_secret_in_errors(connect, place):
    """Headers, path, query, body and credentials are in no text of an error, nor of what caused it."""
    scripts = {"refusal": leak, "acceptance": leak_in_acceptance, "proxy": leak, "timeout": silent}
    scripts["no TLS"] = lambda peer: (peer.recv(), peer.send(b"HTTP/1.1 400 in-the-body\r\n\r\n"))
    scripts["socks proxy"] = socks_proxy([], password=b"other")
    with Peer(scripts.get(place, leak)) as peer:
        rest = "/in-the-path?key=in-the-query"
        options = {"headers": {"X-Key": "in-the-header"}}
        url = peer.url(rest)
        if place == "proxy":
            options["proxy"] = f"http://in-the-proxy:in-the-proxy@localhost:{peer.port}"
        elif place == "socks proxy":
            options["proxy"] = f"socks5h://in-the-proxy:in-the-proxy@localhost:{peer.port}"
        elif place == "no listener":
            url = f"ws://127.0.0.1:1{rest}"
        elif place == "no name":
            url = f"ws://no-such-host.invalid{rest}"
        elif place == "no TLS":
            url = f"wss://localhost:{peer.port}{rest}"
        error = failure(connect, url, timeout=SHORT_S if place == "timeout" else LIMIT_S, **options)
    texts = []
    cause = error
    while cause is not None:
        texts.append(f"{cause} {cause!r} {vars(cause)}")
        cause = cause.__cause__ or cause.__context__
    texts.append("".join(traceback.format_exception(type(error), error, error.__traceback__)))
    # The traceback shows lines of this file, which name the secrets: those are not of the error.
    own = Path(__file__).read_text("utf-8")
    said = "\n".join(line for line in "\n".join(texts).split("\n") if line.strip() not in own)
    assert [] == [secret for secret in SECRETS if secret in said]


def test_no_secret_in_reprs():
    """What a log may print of a dial holds no path, query or password."""
    target = transport._Target.parse("wss://host/in-the-path?key=in-the-query")
    proxy = transport._Proxy.parse("http://user:in-the-proxy@host")
    said = f"{target!r} {target} {proxy!r} {proxy}"
    assert [] == [secret for secret in SECRETS if secret in said]


# What it costs


def test_import_is_light():
    """Importing this module loads neither the library that dials nor HTTP clients: the first dial does."""
    heavy = {"websocket", "requests", "urllib.request"}
    code = f"import sys, exchange_ws.wire.transport; print(sorted({heavy} & set(sys.modules)))"
    root = Path(transport.__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=True)
    assert "[]" == out.stdout.strip()
