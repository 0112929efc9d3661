"""What logins need, apart from any exchange."""

from __future__ import annotations

import contextlib
import http.server
import logging
import threading
import traceback

import pytest

from exchange_ws import ConnectFailed, UsageError
from exchange_ws.core.auth import Answer, Credentials, ask_token, checked_token, next_nonce, post, redacted, sign

LIMIT_S = 20.0


def test_nonces_never_repeat():
    """Many threads at one millisecond, and a clock that went back: each nonce is another, larger for who asks later."""
    start = next_nonce(0)
    found = [[] for _ in range(8)]

    def ask(mine):
        for _ in range(500):
            mine.append(next_nonce(start - 1))

    threads = [threading.Thread(target=ask, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert all(mine == sorted(mine) for mine in found)
    assert list(range(start + 1, start + 4001)) == sorted(nonce for mine in found for nonce in mine)


def test_nonces_follow_the_clock():
    """A clock that is ahead of the last nonce is the nonce."""
    ahead = next_nonce(0) + 1_000
    assert [ahead, ahead + 1, ahead + 5] == [next_nonce(ahead), next_nonce(ahead), next_nonce(ahead + 5)]


@pytest.mark.parametrize(
    ("digest", "expected"),
    [
        ("sha256", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            "sha512",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
            "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
    ],
)
def test_signatures(digest, expected):
    """HMAC of RFC 4231, test case 2."""
    assert expected == sign("Jefe", b"what do ya want for nothing?", digest)


def test_credentials_are_not_shown():
    """Neither key nor secret is in the repr; and both are there, or neither."""
    credentials = Credentials.of("k3y", "s3cret")
    assert "Credentials()" == repr(credentials)
    assert ("k3y", "s3cret") == (credentials.api_key, credentials.api_secret)
    assert Credentials.of(None, None) is None


@pytest.mark.parametrize("given", [("k3y", None), (None, "s3cret"), ("", "s3cret"), (b"k3y", "s3cret"), ("k3y", "s3crét")])
def test_senseless_credentials(given):
    """Refused by name, not by value."""
    with pytest.raises(UsageError, match="api_") as caught:
        Credentials.of(*given)
    assert not [part for part in ("k3y", "s3cr") if part in str(caught.value)]


def test_tokens():
    """Text as it is, a function's result, nothing else."""
    assert "t" == ask_token(checked_token("t")) == ask_token(checked_token(lambda: "t"))
    assert checked_token(None) is None
    for wrong in ("", 5, b"t"):
        with pytest.raises(UsageError):
            checked_token(wrong)
        with pytest.raises(UsageError, match="the function returned"):
            ask_token(lambda wrong=wrong: wrong)


def test_redacted():
    """Every occurrence goes."""
    assert "(hidden) and (hidden): (hidden)" == redacted("abc and xyz: abc", "abc", "xyz")


@contextlib.contextmanager
def rest(status, body, headers=()):
    """A server that answers every POST so; its address, and the requests that it got."""
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        server.server_close()
        thread.join(LIMIT_S)


def test_post():
    """The very bytes and headers; status and JSON of the answer."""
    with rest(200, b'{"token":"t"}') as (url, got):
        assert Answer(200, {"token": "t"}) == post(url + "/path", b"{}", {"X-Key": "k"}, timeout=LIMIT_S)
    ((path, headers, body),) = got
    assert ("/path", "k", b"{}") == (path, headers["X-Key"], body)


@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"),
    [
        (429, b"", [("Retry-After", "7")], Answer(429, None, 7.0)),
        (503, b"<html>", [("Retry-After", "Sat, 21 Nov 2026 09:00:00 GMT")], Answer(503, None)),
        (302, b"", [("Location", "http://127.0.0.1:9/")], Answer(302, None)),
        (200, b'"' + b"x" * (2**20 + 2**15) + b'"', [], Answer(200, None)),
    ],
    ids=["limited", "html", "redirect", "endless"],
)
def test_post_other_answers(status, body, headers, expected):
    """Whatever comes is an answer; redirects are not followed, endless ones not read."""
    with rest(status, body, headers) as (url, got):
        assert expected == post(url, b"{}", {}, timeout=LIMIT_S)
    assert 1 == len(got)


def test_post_takes_no_netrc(tmp_path, monkeypatch):
    """What a user has in ~/.netrc for that host is not sent."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with rest(200, b"{}") as (url, got):
        post(url, b"{}", {}, timeout=LIMIT_S)
    assert "Authorization" not in got[0][1]


def test_post_without_an_answer(caplog):
    """`ConnectFailed` says where; no cause or context has the request with its headers."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ConnectFailed, match="POST http://127.0.0.1:9/path: ConnectionError") as caught:
        post("http://127.0.0.1:9/path", b"b0dy", {"X-Key": "k3y"}, timeout=LIMIT_S)
    assert (None, None) == (caught.value.__cause__, caught.value.__context__)
    shown = "".join(traceback.format_exception(ConnectFailed, caught.value, None)) + caplog.text
    assert not [part for part in ("k3y", "b0dy") if part in shown]


def test_answers_are_not_shown():
    """An answer may hold a token."""
    assert "t0ken" not in repr(Answer(200, {"token": "t0ken"}))
