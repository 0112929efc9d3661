"""
Bytes to and from one peer: the socket, TLS, the proxy and the dial that makes them.

websocket-client makes the WebSocket handshake over a socket of ours. Everything before it (name lookup, TCP, proxy, TLS) is
made here, so that one deadline and one waker cover all steps; everything after it belongs to the frame reader.

What the environment says about proxies is read as `requests` reads it: `https_proxy` for wss and `http_proxy` for ws, then
`all_proxy`, none of them for a host that `no_proxy` names (networks as 10.0.0.0/8 too). The scheme of the proxy's URL says its
kind, not the variable's name. Loopback is no exception: name it in `no_proxy`.
"""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Callable, Generic, Protocol, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

import attrs

from exchange_ws.clock import Deadline, SystemClock
from exchange_ws.errors import ConnectFailed, ConnectionClosed, UsageError

__all__ = ["Transport", "Waker", "dial"]

READ_SIZE = 64 * 1024  # larger reads are slower: the backlog of one read falls out of the processor's cache
RECORD_SIZE = 16 * 1024  # the most plaintext that one TLS record holds (RFC 8446, section 5.1): one read takes it whole
BUSY_SIZE = 4 * 1024  # a read of so much has several messages, which came while its reader was at others: there may be more
HEAD_LIMIT = 64 * 1024  # bytes of an HTTP response head: real ones have 1 or 2 KiB

# An idle link is probed after 5 s and given up after three probes 2 s apart; unacknowledged data gives it up after 5 s. The
# pong deadline is what finds every half-open link; these find most of them sooner.
KEEPALIVE_IDLE_S = 5
KEEPALIVE_INTERVAL_S = 2
KEEPALIVE_PROBES = 3
UNACKNOWLEDGED_LIMIT_MS = 5000

LONGEST_WAIT_S = 86400.0  # poll counts milliseconds in a C int; who waits looks at the time again
SEND_FLAGS = getattr(socket, "MSG_NOSIGNAL", 0)  # an application may have given SIGPIPE its deadly default back
CONNECTING = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY})

T = TypeVar("T")


class Transport(Protocol):
    """
    The byte stream to one peer, after the WebSocket handshake.

    One thread, the reader, calls `read` and `close`; one thread at a time, any, calls `write`; any thread calls `abort`.
    """

    def read(self) -> bytes | None:
        """
        Wait for bytes, the end or the waker.

        Returns
        -------
        All that one read of the socket gives (TLS: all records of it together); `b""` at the end of the stream; None while the
        waker is set, which this does not clear.

        Raises
        ------
        OSError
            The link is dead: reset, timed out by the kernel, or not TLS any more.
        """

    def write(self, data: bytes, timeout: float) -> bool:
        """
        Take *data*, and send as much of what is unsent as goes within *timeout* seconds; 0 never waits.

        Returns whether nothing is left unsent. What is left goes first in the next write (`b""` will do).

        Raises
        ------
        OSError
            The link is dead, or `abort` or `close` was called.
        """

    @property
    def unsent(self) -> int:
        """Bytes that were taken, or that TLS has to say by itself, and that are not yet with the kernel. Any thread."""

    def abort(self) -> None:
        """End reads and writes at once, those under way too. Any thread; idempotent."""

    def close(self) -> None:
        """Give the descriptor back, `abort` included. Reader only; idempotent."""


class Waker:
    """Ends another thread's wait on a socket: set until it is cleared, however often it was set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the state below and the descriptors' life; the calls inside never wait
        self._set = False  # written under _lock, read without: True while one byte is in the pair
        self._closed = False
        self._end, self._peer = socket.socketpair()
        self._end.setblocking(False)
        self._peer.setblocking(False)

    @property
    def is_set(self) -> bool:
        """Whether `wake` was called since the last `clear`."""
        return self._set

    def fileno(self) -> int:
        """Descriptor that is readable while this is set."""
        return self._end.fileno()

    def wake(self) -> None:
        """Set it. Any thread; never waits; does nothing after `close`."""
        with self._lock:
            if not self._set and not self._closed:
                self._set = True
                self._peer.send(b"\0")

    def clear(self) -> None:
        """Unset it. The reader's, before it looks at what it may have been woken for: what comes later wakes it again."""
        with self._lock:
            if self._set and not self._closed:
                self._end.recv(1)
                self._set = False

    def forked(self) -> None:
        """This is a child of a fork, where a thread that did not come along may have held the lock."""
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give the descriptors back. For the thread that waits on it."""
        with self._lock:
            self._closed = True
            self._end.close()
            self._peer.close()


def _poll(sock: socket.socket | Waker, events: int, waker: Waker | None) -> select.poll:
    """What waits for *events* of *sock*, and for *waker*."""
    poll = select.poll()
    poll.register(sock, events)
    if waker is not None:
        poll.register(waker, select.POLLIN)
    return poll


def _wait(sock: socket.socket | Waker, timeout: float | None, *, write: bool = False, waker: Waker | None = None) -> bool:
    """Wait until *sock* is ready (or dead), *waker* is set or *timeout* seconds are over, or for less. Whether *sock* is."""
    if timeout is not None:
        timeout = min(timeout, LONGEST_WAIT_S)
    if hasattr(select, "poll"):
        poll = _poll(sock, select.POLLOUT if write else select.POLLIN, waker)
        # Rounded up, or the last millisecond would be waited for in a busy loop.
        found = poll.poll(None if timeout is None else math.ceil(timeout * 1000))
        return any(number == sock.fileno() for number, _ in found)
    # Windows: its select takes any descriptor number, and tells a failed connect among the exceptional.
    readers = [] if waker is None else [waker.fileno()]
    readers += [] if write else [sock.fileno()]
    writers = [sock.fileno()] if write else []
    return any(sock.fileno() in ready for ready in select.select(readers, writers, writers, timeout))


class _Tls:
    """
    A TLS client between memory buffers: no call waits, so one small lock makes it safe for a reader and a writer.

    An `SSLSocket` would take two system calls a record, and is not safe for two threads in every version of CPython.
    """

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._io = threading.Lock()  # guards the three below; a leaf, never held while the kernel waits
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def handshake(self, ciphertext: bytes) -> tuple[bool, bytes]:
        """Go on with the handshake: whether it is done, and what has to be sent."""
        with self._io:
            self._incoming.write(ciphertext)
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                return False, self._outgoing.read()
            return True, self._outgoing.read()

    def decrypt(self, ciphertext: bytes) -> tuple[bytes, bool]:
        """Plaintext of all records that are complete now, and whether the peer has ended the stream."""
        parts: list[bytes] = []
        with self._io:
            self._incoming.write(ciphertext)
            try:
                while self._incoming.pending:  # hot path: once a record
                    part = self._object.read(RECORD_SIZE)
                    if not part:
                        return b"".join(parts), True  # close_notify
                    parts.append(part)
            except ssl.SSLWantReadError:
                pass  # the rest of a record is still under way
            except ssl.SSLError:
                if not parts:
                    raise
                return b"".join(parts), True  # what came before the broken record is whole, and not lost with it
        return b"".join(parts), False

    def encrypt(self, data: bytes) -> bytes:
        """Ciphertext of *data*, after what TLS itself had to say (answers to key updates come up while decrypting)."""
        with self._io:
            rest = memoryview(data)
            while rest:
                rest = rest[self._object.write(rest) :]
            return self._outgoing.read()

    @property
    def pending(self) -> int:
        """Bytes that TLS has to say by itself."""
        with self._io:
            return self._outgoing.pending


class _SocketTransport:
    """A connected socket that never blocks, with or without TLS."""

    def __init__(self, sock: socket.socket, waker: Waker) -> None:
        self._socket = sock
        self._waker = waker
        self._tls: _Tls | None = None  # set once, before a second thread knows this object
        self._ahead = b""  # reader only: bytes that came with the end of the handshake
        self._ended = False  # reader only: the peer has ended the stream
        self._more = True  # reader only: something to read may be there already
        self._readable = _poll(sock, select.POLLIN, waker) if hasattr(select, "poll") else None  # reader only
        self._unsent = bytearray()  # the writer's; its length may be read by anyone
        self._state = threading.Lock()  # guards the three below; the calls inside never wait
        self._dead = False  # set under _state, read without: abort or close was called
        self._closed = False  # the reader has no more use for the descriptor
        self._writing = False  # a writer uses the descriptor

    def read(self) -> bytes | None:
        while not self._waker.is_set:
            # hot path: where messages come one by one, asking first wakes once and gives the GIL away twice for each. A read
            # that finds nothing is a third time, just when the consumer that was given the last message begins with it.
            if not (self._more or self._ahead or self._dead or self._ended):
                self._wait()
            data = self._take()
            if data is not None:
                return data
        return None

    def _wait(self) -> None:
        """Until something is there to read, the end, or the waker is set. Reader only."""
        if self._readable is None:
            _wait(self._socket, None, waker=self._waker)
        else:
            self._readable.poll()

    def _take(self) -> bytes | None:
        """What is there now: bytes, `b""` at the end, None if nothing is. Reader only."""
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        # Asked here because the kernel hands out what it had received even after a shutdown, for as long as more comes.
        if self._dead or self._ended:
            return b""
        try:
            data = self._socket.recv(READ_SIZE)  # hot path
        except BlockingIOError:
            self._more = False
            return None
        # Then the next read does not ask whether something is there: a busy reader gives the GIL away once a read, not twice.
        self._more = len(data) >= BUSY_SIZE
        if self._tls is None:
            return data
        if not data:
            self._ended = True  # without close_notify: cut off or not, the frames above tell a whole message from a part
            return b""
        data, self._ended = self._tls.decrypt(data)
        return data if data or self._ended else None

    def write(self, data: bytes, timeout: float) -> bool:
        # The descriptor is closed by whichever of reader and writer lets go of it last. Otherwise: we are about to send, the
        # reader closes, another thread opens a file that gets the same number, and our frame is written into it.
        with self._state:
            if self._dead:
                raise ConnectionAbortedError(errno.ECONNABORTED, "the link was closed on our side")
            self._writing = True
        try:
            return self._send(data, timeout)
        finally:
            with self._state:
                self._writing = False
                ours_to_close = self._closed
            if ours_to_close:
                self._socket.close()

    def _send(self, data: bytes, timeout: float) -> bool:
        """The writer's part of `write`, with the descriptor held."""
        unsent = self._unsent
        if self._tls is not None:
            data = self._tls.encrypt(data)
        if data and not unsent:  # hot path: nearly always, all of it goes at once, and is not copied
            try:
                sent = self._socket.send(data, SEND_FLAGS)
            except BlockingIOError:
                sent = 0
            if sent == len(data):
                return True
            data = data[sent:]
        unsent += data
        until = time.monotonic() + timeout
        while unsent:
            try:
                with memoryview(unsent) as view:
                    sent = self._socket.send(view, SEND_FLAGS)
            except BlockingIOError:
                sent = 0
            del unsent[:sent]
            if unsent:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                _wait(self._socket, left, write=True)
        return True

    @property
    def unsent(self) -> int:
        return len(self._unsent) + (0 if self._tls is None else self._tls.pending)

    def abort(self) -> None:
        with self._state:
            self._shut()

    def close(self) -> None:
        with self._state:
            if self._closed:
                return
            self._closed = True
            self._shut()
            if not self._writing:
                self._socket.close()

    def _shut(self) -> None:
        """Requires `_state`."""
        assert self._state.locked()
        if not self._dead:
            self._dead = True
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the peer was quicker

    def put_back(self, data: bytes) -> None:
        """Let the next read begin with *data*. During the dial only."""
        self._ahead = data

    def start_tls(self, tls: _Tls) -> None:
        """Speak *tls* from here on. During the dial only."""
        self._ahead, self._ended = tls.decrypt(b"")
        self._tls = tls


def dial(
    url: str,
    *,
    timeout: float,
    waker: Waker,
    headers: Sequence[str] | Mapping[str, str] = (),
    proxy: str | None = None,
    context: ssl.SSLContext | None = None,
) -> Transport:
    """
    Connect to a WebSocket server: name lookup, TCP, proxy, TLS and handshake.

    A name lookup and a SOCKS proxy's handshake cannot be interrupted, so each has a thread of its own, which may live on for as
    long as the system's resolver (or *timeout*) lets it when the dial has ended without it.

    Parameters
    ----------
    url
        `ws://` or `wss://`, host, optionally port, path and query.
    timeout
        Seconds for all steps together, positive and finite.
    waker
        Ends the dial when set, and later each `Transport.read`.
    headers
        For the handshake, "Name: value" or a mapping.
    proxy
        `http://`, `socks4://`, `socks4a://`, `socks5://` or `socks5h://` with `[user:password@]host[:port]`; with `socks4a` and
        `socks5h` the proxy looks names up. None takes the environment's.
    context
        For TLS; None is `ssl.create_default_context()`, which checks certificates.

    Raises
    ------
    ConnectFailed
        Some step failed; `.status` and `.retry_after_s` are set when the server refused the handshake. No text, nor that of its
        cause, holds headers, the path or query of *url*, or credentials of the proxy.
    ConnectionClosed
        *waker* was set.
    UsageError
        A parameter cannot be right, or a SOCKS proxy is asked for without the extra `socks`.
    """
    target = _Target.parse(url)
    lines = _header_lines(headers)
    given = proxy if proxy is not None else _environment_proxy(target)
    via = None if given is None else _Proxy.parse(given)
    return _Dial(target, via, timeout, waker).run(lines, context)


def _bracketed(host: str) -> str:
    """*host* as it stands before a port."""
    return f"[{host}]" if ":" in host else host


def _host_and_port(parts: SplitResult, default_port: int) -> tuple[str, int] | None:
    """Host (ASCII) and port of a URL; None if they cannot be right."""
    try:
        host, port = parts.hostname, parts.port
        if not host or port == 0:
            return None
        # The codec also refuses what no resolver would take: empty labels, and labels of more than 63 characters.
        ascii_host = host if ":" in host else host.encode("idna").decode("ascii")
    except ValueError:
        return None
    if not ascii_host.isprintable() or " " in ascii_host:
        return None
    return ascii_host, default_port if port is None else port


@attrs.frozen
class _Target:
    """The server, taken from its URL. Prints without path and query, which may hold a token."""

    secure: bool
    host: str
    port: int
    resource: str = attrs.field(repr=False)

    @classmethod
    def parse(cls, url: str) -> _Target:
        takes = "takes ws:// or wss://, a host, and optionally port, path and query"
        try:
            parts = urlsplit(url)
        except ValueError:
            raise UsageError(f"url: not a URL; {takes}") from None
        if parts.scheme not in ("ws", "wss"):
            raise UsageError(f"url: the scheme is {parts.scheme!r}; {takes}")
        secure = parts.scheme == "wss"
        where = _host_and_port(parts, 443 if secure else 80)
        if where is None:
            raise UsageError(f"url: no usable host and port; {takes}")
        if "@" in parts.netloc or parts.fragment:
            raise UsageError(f"url of {where[0]}: has a user or a #fragment; {takes}")
        resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not all("!" <= character <= "~" for character in resource):
            raise UsageError(f"url of {where[0]}: path or query has characters that must be percent-encoded")
        return cls(secure, *where, resource)

    @property
    def authority(self) -> str:
        """Host and port as a Host header says them."""
        usual = self.port == (443 if self.secure else 80)
        return _bracketed(self.host) if usual else f"{_bracketed(self.host)}:{self.port}"

    def __str__(self) -> str:
        return f"{'wss' if self.secure else 'ws'}://{self.authority}"


@attrs.frozen
class _Proxy:
    """A proxy, taken from its URL. Prints without user and password."""

    kind: str
    host: str
    port: int
    user: str | None = attrs.field(repr=False)
    password: str = attrs.field(repr=False)

    @classmethod
    def parse(cls, url: str) -> _Proxy:
        takes = "takes http://, socks4://, socks4a://, socks5:// or socks5h:// and [user:password@]host[:port]"
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
        except ValueError:
            raise UsageError(f"proxy: not a URL; {takes}") from None
        if parts.scheme not in ("http", "socks4", "socks4a", "socks5", "socks5h"):
            raise UsageError(f"proxy: the scheme is {parts.scheme!r}; {takes}")
        where = _host_and_port(parts, 80 if parts.scheme == "http" else 1080)
        if where is None:
            raise UsageError(f"proxy: no usable host and port; {takes}")
        user = None if parts.username is None else unquote(parts.username)
        return cls(parts.scheme, *where, user, unquote(parts.password or ""))

    def __str__(self) -> str:
        return f"{self.kind}://{_bracketed(self.host)}:{self.port}"


def _header_lines(headers: Sequence[str] | Mapping[str, str]) -> list[str]:
    """*headers* as lines, with our name unless they have one."""
    lines = [f"{name}: {value}" for name, value in headers.items()] if isinstance(headers, Mapping) else list(headers)
    for line in lines:
        name, colon, _ = line.partition(":")
        if not colon or not name or not name.isprintable() or " " in name:
            raise UsageError("headers: takes a mapping, or lines of the form 'Name: value'")
        if not line.replace("\t", " ").isprintable():
            raise UsageError(f"headers: the value of {name} has a character that no header may have")
    if not any(line.lower().startswith("user-agent:") for line in lines):
        lines.append("User-Agent: exchange-ws")
    return lines


def _environment_proxy(target: _Target) -> str | None:
    """URL of the proxy that the environment (or the system's settings) has for *target*, or None."""
    from urllib import request  # here, for it costs a third of this package's import

    proxies = request.getproxies()
    proxy = proxies.get("https" if target.secure else "http") or proxies.get("all")
    if not proxy or request.proxy_bypass(f"{_bracketed(target.host)}:{target.port}"):
        return None
    return None if _in_networks(target.host, proxies.get("no", "")) else proxy


def _in_networks(host: str, networks: str) -> bool:
    """Whether *host* is an address in one of *networks*, separated by commas; what is no network is passed over."""
    import ipaddress

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for network in networks.split(","):
        try:
            if address in ipaddress.ip_network(network.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False


class _Aside(Generic[T]):
    """A call that cannot be interrupted, on a thread of its own, so that who asked need not wait for its end."""

    def __init__(self, call: Callable[[], T], discard: Callable[[T], object]) -> None:
        self.done = Waker()  # set when the call has ended; closed by who asked
        self._call = call
        self._discard = discard  # for a result that nobody waits for any more
        self._lock = threading.Lock()  # guards the two below
        self._outcome: tuple[T | None, Exception | None] | None = None
        self._abandoned = False
        threading.Thread(target=self._run, name="exchange-ws dial", daemon=True).start()

    def _run(self) -> None:
        value: T | None = None
        error: Exception | None = None
        try:
            value = self._call()
        except Exception as caught:
            error = caught
        with self._lock:
            self._outcome = value, error
            abandoned = self._abandoned
        if abandoned and value is not None:
            self._discard(value)
        self.done.wake()

    def abandon(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            self._abandoned = True
            outcome = self._outcome
        if outcome is not None and outcome[0] is not None:
            self._discard(outcome[0])

    def result(self) -> T:
        """What the call returned or raised; only when `done`."""
        assert self._outcome is not None
        value, error = self._outcome
        self._outcome = None  # or the error, its traceback and this object would hold each other
        if error is not None:
            raise error
        return value  # type: ignore[return-value]


class _Dial:
    """One dial: its one deadline, its one waker, and the step it is in, for what an error says."""

    def __init__(self, target: _Target, proxy: _Proxy | None, timeout: float, waker: Waker) -> None:
        self._target = target
        self._proxy = proxy
        self._timeout = timeout
        self._deadline = Deadline(SystemClock(), timeout)
        self._waker = waker
        self._step = "name lookup"
        self._name = str(target) if proxy is None else f"{target} through the proxy {proxy}"
        self._link: _SocketTransport | None = None  # set when TCP stands

    def run(self, headers: list[str], context: ssl.SSLContext | None) -> _SocketTransport:
        """The connected transport."""
        try:
            sock = self._connected_socket()
            self._link = link = _SocketTransport(sock, self._waker)
            _tune(sock)
            if self._proxy is not None and self._proxy.kind == "http":
                self._ask_proxy(self._proxy)
            if self._target.secure:
                self._secure(link, context)
            self._upgrade(headers)
        except BaseException as error:
            if self._link is not None:
                self._link.close()
            if isinstance(error, OSError):
                # Texts of the operating system and of OpenSSL: they tell no header, and no part of the URL but its host.
                raise self._failed(f"the {self._step} failed: {_reason(error)}") from error
            raise
        return link

    def _failed(self, text: str, *, status: int | None = None, retry_after_s: float | None = None) -> ConnectFailed:
        return ConnectFailed(f"{self._name}: {text}", status=status, retry_after_s=retry_after_s)

    def _check(self) -> float:
        """Seconds left; raises when there are none, or when the dial is not wanted any more."""
        if self._waker.is_set:
            raise ConnectionClosed(f"{self._name}: closed during the {self._step}")
        left = self._deadline.remaining()
        assert left is not None
        if left <= 0:
            raise self._overdue()
        return left

    def _overdue(self) -> ConnectFailed:
        return self._failed(f"the {self._step} timed out: the dial may take {self._timeout:g} s in all")

    def _aside(self, call: Callable[[], T], discard: Callable[[T], object]) -> T:
        """Result of *call*, if it comes in time."""
        aside = _Aside(call, discard)
        try:
            while not aside.done.is_set:
                _wait(aside.done, self._check(), waker=self._waker)
        except BaseException:
            aside.abandon()
            raise
        finally:
            aside.done.close()
        return aside.result()

    def _connected_socket(self) -> socket.socket:
        if self._proxy is None:
            return self._connect(self._target.host, self._target.port)
        if self._proxy.kind == "http":
            return self._connect(self._proxy.host, self._proxy.port)
        return self._socks(self._proxy)

    def _connect(self, host: str, port: int) -> socket.socket:
        """A TCP connection, by the first address that gives one."""
        try:
            try:
                addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
            except socket.gaierror:  # a name, and not an address: this may take long
                addresses = self._aside(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), lambda found: None)
        except socket.gaierror as error:
            raise self._failed(f"no address is known for {host}: {error.strerror}") from error
        self._step = "TCP connect"
        problem = errno.EADDRNOTAVAIL
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            # A black hole among several addresses (often the IPv6 one) must leave time for the others.
            share = Deadline(SystemClock(), self._check() / (len(addresses) - index))
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as error:  # a family that this machine has not
                problem = error.errno or problem
                continue
            connected = False
            try:
                problem = self._connect_one(sock, address, share)
                connected = problem == 0
            finally:
                if not connected:
                    sock.close()
            if connected:
                return sock
        if problem == errno.ETIMEDOUT:
            raise self._failed(f"the TCP connect timed out: nothing answers at {_bracketed(host)}:{port}")
        raise OSError(problem, os.strerror(problem))

    def _connect_one(self, sock: socket.socket, address: Any, share: Deadline) -> int:
        """Connect *sock*: 0, or the number of the error."""
        sock.setblocking(False)
        problem = sock.connect_ex(address)
        while problem in CONNECTING:
            self._check()
            if share.over:
                return errno.ETIMEDOUT
            if _wait(sock, share.remaining(), write=True, waker=self._waker):
                problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return problem

    def _receive(self) -> bytes:
        """Some bytes, `b""` at the end."""
        assert self._link is not None
        while True:
            left = self._check()
            data = self._link._take()
            if data is not None:
                return data
            _wait(self._link._socket, left, waker=self._waker)

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        assert self._link is not None
        self._check()
        done = self._link.write(data, 0.0)
        while not done:
            _wait(self._link._socket, self._check(), write=True, waker=self._waker)
            done = self._link.write(b"", 0.0)

    def head(self) -> bytes:
        """Head of an HTTP response, up to and with the empty line; what follows stays for the next read."""
        assert self._link is not None
        buffer = bytearray()
        seen = 0
        while (end := buffer.find(b"\r\n\r\n", seen)) < 0 and len(buffer) <= HEAD_LIMIT:
            seen = max(0, len(buffer) - 3)
            data = self._receive()
            if not data:
                raise self._failed(f"the peer closed the connection during the {self._step}")
            buffer += data
        if end < 0 or end > HEAD_LIMIT:
            raise self._failed(f"the answer's head in the {self._step} has more than {HEAD_LIMIT:,} bytes")
        self._link.put_back(bytes(buffer[end + 4 :]))
        return bytes(buffer[: end + 4])

    def status(self, head: bytes) -> int:
        """Status of an HTTP response."""
        version, _, rest = head.partition(b" ")
        code = rest[:3]
        if version not in (b"HTTP/1.1", b"HTTP/1.0") or not code.isdigit() or len(code) != 3:
            raise self._failed(f"the peer's answer in the {self._step} is not HTTP")
        return int(code)

    def _ask_proxy(self, proxy: _Proxy) -> None:
        """Have an HTTP proxy connect us."""
        self._step = "CONNECT through the proxy"
        where = f"{_bracketed(self._target.host)}:{self._target.port}"
        request = f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n"
        if proxy.user is not None:
            credentials = b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
            request += f"Proxy-Authorization: Basic {credentials}\r\n"
        self.send(f"{request}\r\n".encode())
        status = self.status(self.head())
        if not 200 <= status < 300:
            wants = ": it wants other credentials" if status == 407 else ""
            # Not as the error's status: that is the server's own.
            raise self._failed(f"the proxy refused with HTTP {_status_text(status)}{wants}")

    def _socks(self, proxy: _Proxy) -> socket.socket:
        """A TCP connection through a SOCKS proxy."""
        try:
            from python_socks import ProxyError, ProxyTimeoutError, ProxyType
            from python_socks.sync import Proxy
        except ImportError:
            raise UsageError("proxy: a SOCKS proxy needs python-socks: pip install exchange_ws[socks]") from None
        self._step = "handshake with the proxy"
        socks = Proxy(
            ProxyType.SOCKS4 if proxy.kind.startswith("socks4") else ProxyType.SOCKS5,
            proxy.host,
            proxy.port,
            username=proxy.user,
            password=None if proxy.user is None else proxy.password,
            rdns=proxy.kind in ("socks4a", "socks5h"),
        )
        left = self._check()
        try:
            # python-socks waits *timeout* for each of its reads; the deadline for all of them is that of the wait outside.
            sock = self._aside(lambda: socks.connect(self._target.host, self._target.port, timeout=left), socket.socket.close)
        except ProxyTimeoutError:
            raise self._overdue() from None
        except ProxyError as error:
            # Its texts are a table of the protocol's answers. No password is in them; this holds for later releases too.
            problem = str(error) if not proxy.password or proxy.password not in str(error) else "refused"
        else:
            sock.setblocking(False)
            return sock
        raise self._failed(f"the {self._step} failed: {problem}")

    def _secure(self, link: _SocketTransport, context: ssl.SSLContext | None) -> None:
        """Make the TLS handshake."""
        self._step = "TLS handshake"
        try:
            tls = _Tls(context if context is not None else ssl.create_default_context(), self._target.host)
            done, answer = tls.handshake(b"")
            while True:
                self.send(answer)
                if done:
                    break
                data = self._receive()
                if not data:
                    raise self._failed(f"the peer closed the connection during the {self._step}")
                done, answer = tls.handshake(data)
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message.rstrip(".")
            raise self._failed(f"the server's TLS certificate was refused: {reason}") from error
        link.start_tls(tls)

    def _upgrade(self, headers: list[str]) -> None:
        """Have websocket-client make the WebSocket handshake."""
        import websocket  # here, for it costs a third of this package's import

        library: Any = websocket  # which of its functions have types differs between its releases
        self._step = "WebSocket handshake"
        try:
            # The library keeps one cookie jar for all connections of a process, asked by the URL's host. A host that nobody
            # can own keeps its cookies out of our request; the real one is in the Host header.
            library.WebSocket(enable_multithread=False).connect(
                f"ws://exchange-ws.invalid{self._target.resource}",
                socket=_HandshakeSocket(self),
                host=self._target.authority,
                header=headers,
                suppress_origin=True,
                redirect_limit=0,
            )
            return
        except (websocket.WebSocketException, ValueError):
            pass  # left behind, and not chained: its text may hold what the server said
        raise self._failed("the server answered 101, but not as RFC 6455 asks (Upgrade, Connection, Sec-WebSocket-Accept)")

    def accepted_head(self) -> bytes:
        """Head of the server's answer to the WebSocket handshake, if it is a 101."""
        head = self.head()
        status = self.status(head)
        if status != 101:
            # Here, for the library would read the body (of any length), and follow redirects with our headers.
            hint = " (redirects are not followed)" if 300 <= status < 400 else ""
            raise self._failed(
                f"the server refused the handshake with HTTP {_status_text(status)}{hint}",
                status=status,
                retry_after_s=_retry_after_s(head),
            )
        return head


class _HandshakeSocket:
    """What websocket-client takes for its socket during the handshake: its request goes out, and one response head comes in."""

    def __init__(self, dialling: _Dial) -> None:
        self._dial = dialling
        self._bytes: Iterator[int] | None = None

    def gettimeout(self) -> float:
        # To the library this means that we never ask it to wait: it calls `recv` and `send` and nothing else.
        return 0.0

    def send(self, data: bytes) -> int:
        self._dial.send(data)
        return len(data)

    def recv(self, size: int) -> bytes:
        """The next byte. The library asks for single ones, so that it takes none of the first frame's."""
        if self._bytes is None:
            lines = self._dial.accepted_head().split(b"\r\n")
            # Cookies would be kept in the library's own jar, and sent by other connections of this process.
            self._bytes = iter(b"\r\n".join(line for line in lines if not line.lower().startswith(b"set-cookie:")))
        return bytes(islice(self._bytes, size))

    def close(self) -> None:
        """The dial's to do."""


def _reason(error: OSError) -> str:
    """What *error* says, in words."""
    if isinstance(error, ssl.SSLError):
        # "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)": the reason alone is for people.
        return (error.reason or "TLS error").replace("_", " ").lower()
    return error.strerror or type(error).__name__


def _status_text(status: int) -> str:
    """*status* with the words that the standard has for it; the server's own may say anything."""
    from http import HTTPStatus

    try:
        return f"{status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return str(status)


def _retry_after_s(head: bytes) -> float | None:
    """Seconds that the `Retry-After` of a response asks us to wait, 0 or more, or None (RFC 9110, section 10.2.3)."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"retry-after":
            text = value.strip().decode("latin-1")
            # Ten digits are 300 years; more is not meant.
            if text.isascii() and text.isdigit():
                return float(text) if len(text) <= 10 else None
            from email.utils import parsedate_to_datetime

            try:
                return max(0.0, parsedate_to_datetime(text).timestamp() - SystemClock().time_ns() / 1e9)
            except (TypeError, ValueError, OverflowError):  # TypeError: Python 3.9's word for text that is no date
                return None
    return None


def _tune(sock: socket.socket) -> None:
    """Send small frames at once, and let the kernel look for a dead peer where it can."""
    wanted = (
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        (socket.IPPROTO_TCP, "TCP_KEEPALIVE", KEEPALIVE_IDLE_S),  # macOS
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", KEEPALIVE_PROBES),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", UNACKNOWLEDGED_LIMIT_MS),  # Linux
    )
    for level, name, value in wanted:
        if hasattr(socket, name):
            try:
                sock.setsockopt(level, getattr(socket, name), value)
            except OSError:
                pass  # a help, not a promise: the pong deadline works without
