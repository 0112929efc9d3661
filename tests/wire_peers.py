"""The other end of a connection, on loopback: a listening socket, and a script that says byte for byte what the peer does."""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable

#: Seconds that anything here may wait; reached only when something is broken.
LIMIT_S = 30.0

RFC6455_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Connection:
    """One accepted connection, plain until `start_tls`. Segments are the caller's: each `raw` is one."""

    def __init__(self, sock: socket.socket, ending: threading.Event) -> None:
        sock.settimeout(LIMIT_S)
        self.socket = sock
        self.ending = ending  # set when the test is over
        self._buffer = b""
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Be the server of a TLS handshake."""
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._step(self._tls.do_handshake)
        self.flush()

    def _step(self, call: Callable[..., object], *arguments: object) -> object:
        """Result of a TLS call, with what it wants from the peer."""
        while True:
            try:
                return call(*arguments)
            except ssl.SSLWantReadError:
                self.flush()
                data = self.socket.recv(65536)
                if not data:
                    raise EOFError from None
                self._incoming.write(data)

    def flush(self) -> None:
        """Send what TLS has to say."""
        if self._outgoing.pending:
            self.raw(self._outgoing.read())

    def seal(self, data: bytes) -> bytes:
        """*data* as it goes over the wire: itself, or one TLS record of it for each 16 KiB."""
        if self._tls is None:
            return data
        while data:
            data = data[self._tls.write(data) :]
        return self._outgoing.read()

    def raw(self, data: bytes) -> None:
        """Send *data* as it is."""
        self.socket.sendall(data)

    def send(self, data: bytes) -> None:
        self.raw(self.seal(data))

    def recv(self) -> bytes:
        """Some bytes, `b""` at the end."""
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return data
        if self._tls is None:
            return self.socket.recv(65536)
        try:
            return bytes(self._step(self._tls.read, 65536))
        except EOFError:
            return b""

    def read(self, size: int) -> bytes:
        """*size* bytes."""
        data = b""
        while len(data) < size:
            more = self.recv()
            if not more:
                raise EOFError
            data += more
        data, self._buffer = data[:size], data[size:]
        return data

    def head(self) -> bytes:
        """Head of an HTTP request, with its empty line."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.recv()
            if not more:
                raise EOFError
            data += more
        head, end, self._buffer = data.partition(b"\r\n\r\n")
        return head + end

    def accept(self, after: bytes = b"", headers: Iterable[str] = (), request: bytes | None = None) -> bytes:
        """Accept the WebSocket handshake, with *after* in the same segment. Returns the request."""
        if request is None:
            request = self.head()
        self.send(switching(request, headers) + after)
        return request

    def verify_client(self) -> None:
        """Ask for the client's certificate after the handshake (RFC 8446, section 4.6.2)."""
        assert self._tls is not None
        self._tls.verify_client_post_handshake()

    def end_tls(self) -> None:
        """Say close_notify."""
        assert self._tls is not None
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.flush()

    def hold(self) -> None:
        """Do nothing more until the test is over."""
        self.ending.wait(LIMIT_S)

    def reset(self) -> None:
        """End by a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def switching(request: bytes, headers: Iterable[str] = ()) -> bytes:
    """The 101 that accepts *request*."""
    lines = dict(line.split(b": ", 1) for line in request.split(b"\r\n")[1:] if b": " in line)
    digest = hashlib.sha1(lines[b"Sec-WebSocket-Key"] + RFC6455_GUID).digest()
    answer = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
        *headers,
    ]
    return "\r\n".join([*answer, "", ""]).encode()


class Peer:
    """
    A server that runs *script* on each connection, one after the other, on a thread of its own.

    A context manager. At its end the thread is joined; what a script raised is raised there, but for ends of the connection.
    """

    def __init__(self, script: Callable[[Connection], object], tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(LIMIT_S)
        self.port: int = self._listener.getsockname()[1]
        self.arrived = threading.Event()  # set when a connection has come
        self.ending = threading.Event()
        self._lock = threading.Lock()  # guards the two below
        self._current: socket.socket | None = None
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name=f"peer {self.port}", daemon=True)

    def url(self, rest: str = "/", host: str = "localhost") -> str:
        return f"{'ws' if self._tls is None else 'wss'}://{host}:{self.port}{rest}"

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._current = sock
            if self.ending.is_set():
                sock.close()
                return
            self.arrived.set()
            connection = Connection(sock, self.ending)
            try:
                if self._tls is not None:
                    connection.start_tls(self._tls)
                self._script(connection)
            except (OSError, EOFError):
                pass  # the client's test says what it thinks of that
            except BaseException as error:
                self._errors.append(error)
            finally:
                sock.close()

    def __enter__(self) -> Peer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        with self._lock:
            if self._current is not None:
                try:
                    self._current.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        with socket.socket() as knock:  # wakes `accept`, which a close from another thread does not
            knock.settimeout(LIMIT_S)
            knock.connect_ex(("127.0.0.1", self.port))
        self._thread.join(LIMIT_S)
        self._listener.close()
        assert not self._thread.is_alive()
        if self._errors:
            raise self._errors[0]
