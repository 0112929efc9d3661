"""A line between a client and a server on loopback, which a test can cut, or stop at any byte, in either direction."""

from __future__ import annotations

import contextlib
import math
import socket
import threading

from wire_peers import LIMIT_S

READ_SIZE = 64 * 1024
#: Bytes that a line takes of a client whom it does not carry on: small, so that the client's writes fill up soon.
RECEIVE_BUFFER = 8 * 1024


class _Link:
    """One TCP connection and its twin on the other side of the line. The fields are guarded by the line's condition."""

    def __init__(self, client: socket.socket, server: socket.socket | None, line: Line) -> None:
        self.client = client
        self.server = server  # None: nobody answers here
        self.line = line
        self.passing = math.inf  # bytes of the server's that are still carried
        self.stopped = False  # some of the server's were not
        self.deaf = False  # the client's are not read
        self.ended = False
        self.threads = [threading.Thread(target=self._up, daemon=True)]
        if server is not None:
            self.threads.append(threading.Thread(target=self._down, daemon=True))

    def end(self) -> None:
        """Requires the condition. The end of TCP for both sides, without a word."""
        self.ended = True
        for sock in (self.client, self.server):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        self.line.changed.notify_all()

    def _up(self) -> None:
        """Carry what the client says."""
        with contextlib.suppress(OSError):
            while data := self.client.recv(READ_SIZE):
                with self.line.changed:
                    self.line.changed.wait_for(lambda: self.ended or not self.deaf)
                if self.server is not None:
                    self.server.sendall(data)
        with self.line.changed:
            self.end()

    def _down(self) -> None:
        """Carry what the server says, frame by frame, since the line may be cut after one of them."""
        assert self.server is not None
        frames = _Frames()
        with contextlib.suppress(OSError):
            while data := self.server.recv(READ_SIZE):
                for part in frames.cut(data):
                    self._carry(part)
        with self.line.changed:
            self.end()

    def _carry(self, data: bytes) -> None:
        with self.line.changed:
            if self.ended:
                return  # by what stood before this in the same read
            now = int(min(self.passing, len(data)))
            self.passing -= now
            # Before it is on its way: who gets it may ask for the next cut, which is not this one.
            last = self.line.cuts > 0 and self.line.mark in data
            self.line.cuts -= last
        self.client.sendall(data[:now])
        with self.line.changed:
            if now < len(data):
                self.stopped = True
                self.line.changed.notify_all()
                self.line.changed.wait_for(lambda: self.ended)
            if last and self.line.holds:
                self.passing = 0
            elif last:
                self.end()


class _Frames:
    """Cuts what a server says after each HTTP head and each frame [RFC 6455, section 5.2]; TLS it leaves as it comes."""

    def __init__(self) -> None:
        self._rest = b""
        self._raw: bool | None = None  # not known before the first bytes

    def cut(self, data: bytes) -> list[bytes]:
        self._rest += data
        if self._raw is None:
            self._raw = not self._rest.startswith(b"HTTP")
            if not self._raw and b"\r\n\r\n" not in self._rest:
                self._raw = None
                return []
        if self._raw:
            whole, self._rest = self._rest, b""
            return [whole]
        parts = []
        while size := self._size():
            parts.append(self._rest[:size])
            self._rest = self._rest[size:]
        return parts

    def _size(self) -> int:
        """Bytes of the first head or frame that is there, 0 if it is not whole."""
        rest = self._rest
        if rest.startswith(b"HTTP"):
            return rest.find(b"\r\n\r\n") + 4
        if len(rest) < 2:
            return 0
        length, head = rest[1] & 0x7F, 2
        if length > 125:
            head += 2 if length == 126 else 8
            length = int.from_bytes(rest[2:head], "big")
        return head + length if len(rest) >= head + length else 0


class Line:
    """
    A TCP port whose connections go on to *port* of this machine, plain or TLS.

    Threads: one accepts, two carry each connection. A context manager; at its end all are joined.
    """

    def __init__(self, port: int) -> None:
        self.changed = threading.Condition()  # guards all below, and the links' fields
        self.mark = b""
        self.cuts = 0
        self.holds = False  # a cut only holds back what follows
        self.made = 0  #: connections so far
        self._mute = False
        self._barred = False
        self._links: list[_Link] = []
        self._ending = False
        self._to = port
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name=f"line {self.port}", daemon=True)

    # Faults

    def end(self) -> None:
        """End all connections: TCP's own end, without a close frame."""
        with self.changed:
            for link in self._links:
                link.end()

    def hold(self, after: int) -> None:
        """Let *after* more bytes of the server's pass on each connection, and nothing then: connections made later flow."""
        with self.changed:
            for link in self._links:
                link.passing = after

    def wait_held(self) -> None:
        """Wait until some bytes were held back."""
        with self.changed:
            assert self.changed.wait_for(lambda: any(link.stopped for link in self._links), LIMIT_S), "nothing was held back"

    def deafen(self) -> None:
        """Read no more of what clients say; connections made later flow."""
        with self.changed:
            for link in self._links:
                link.deaf = True

    def mute(self, on: bool = True) -> None:
        """Accept connections, and let nobody answer them; False ends it for those made later."""
        with self.changed:
            self._mute = on

    def bar(self, on: bool = True) -> None:
        """Carry nothing on connections made later; False lets them begin."""
        with self.changed:
            self._barred = on
            self.changed.notify_all()

    def lead_to(self, port: int) -> None:
        """Connections made later go to this *port*."""
        with self.changed:
            self._to = port

    def cut_after(self, mark: bytes, times: int = 1) -> None:
        """End the connection on which the server says *mark*, after the whole frame; so *times*. Not over TLS."""
        with self.changed:
            self.mark, self.cuts, self.holds = mark, times, False

    def hold_after(self, mark: bytes) -> None:
        """Let nothing more pass on the connection on which the server says *mark* next, after the whole frame. Not over TLS."""
        with self.changed:
            self.mark, self.cuts, self.holds = mark, 1, True

    # Life

    def __enter__(self) -> Line:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self._ending = True
            self.changed.notify_all()
        with socket.socket() as knock:  # wakes `accept`, which a close from another thread does not
            knock.settimeout(LIMIT_S)
            knock.connect_ex(("127.0.0.1", self.port))
        self._thread.join(LIMIT_S)
        self._listener.close()
        self.end()
        for link in self._links:
            for thread in link.threads:
                thread.join(LIMIT_S)
                assert not thread.is_alive()
            for sock in (link.client, link.server):
                if sock is not None:
                    sock.close()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            with self.changed:
                self.changed.wait_for(lambda: self._ending or not self._barred)
                if self._ending:
                    client.close()
                    return
                self.made += 1
                mute, port = self._mute, self._to
            server = None
            if not mute:
                try:
                    server = socket.create_connection(("127.0.0.1", port), LIMIT_S)
                    server.settimeout(None)
                except OSError:  # nobody listens there just now
                    client.close()
                    continue
            link = _Link(client, server, self)
            with self.changed:
                self._links.append(link)
            for thread in link.threads:
                thread.start()
