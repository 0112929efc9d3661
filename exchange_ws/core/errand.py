"""A call that must not be made where it is asked for, made on a thread of its own."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable, Collection

from exchange_ws.clock import Deadline

__all__ = ["Errand", "join", "start"]

LOOK_S = 0.02  # at who is closing: it matters only where a callback closes what another thread is closing already


def start(thread: threading.Thread) -> bool:
    """Start *thread*; False where none may begin any more as the interpreter ends: from 3.12 on, in functions of atexit too."""
    try:
        thread.start()
    except RuntimeError as error:
        if "shutdown" not in str(error):  # the system gives no further thread
            raise
        return False
    return True


def join(thread: threading.Thread, timeout: float, closing: Collection[threading.Thread] = ()) -> bool:
    """
    Wait at most *timeout* seconds for *thread*, unless it is this one; whether it has ended, or need not be waited for.

    Those of *closing* need not: they are calling the same close, and wait for it. More may come to be among them meanwhile.
    """
    end = time.monotonic() + timeout
    while thread.ident is not None and thread is not threading.current_thread() and thread not in closing:
        left = max(0.0, end - time.monotonic())
        thread.join(min(left, LOOK_S) if closing else left)
        if not thread.is_alive():
            break
        if not left:
            return False
    return True


class Errand:
    """
    *call* on a thread of its own, begun without taking a lock.

    So it may be begun where the present thread may hold any lock: in ``__del__``, which the garbage collector calls in the
    middle of anything, and in a signal's function, which is called in the middle of what the main thread is at. `call` then
    waits for that lock, and who began it does not have to.

    It is in the set *among* before it begins, for who is interrupted before he has it in his hands; it is begun then too.

    Raises
    ------
    RuntimeError
        There is no thread to be had: the system's limit is reached, or the interpreter is exiting.
    """

    def __init__(self, call: Callable[[], object], name: str, among: set[Errand] | None = None) -> None:
        self._call = call
        self._error: BaseException | None = None  # the thread's, until it has ended
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        # `Thread.start` takes a lock of its module, which this thread may have in its hands. A bare thread does without, but
        # becomes a `Thread` of unknown origin, for ever, once anything asks for `current_thread`, as logging does. So the bare
        # one starts the other.
        self._first = threading.Lock()  # taken for good by the one that does
        among = set() if among is None else among
        try:
            among.add(self)
            _thread.start_new_thread(self._begin, ())
        except RuntimeError:
            among.discard(self)
            raise
        except BaseException:  # Ctrl-C, before or after each of them; to do both once more does no harm
            among.add(self)
            _thread.start_new_thread(self._begin, ())
            raise

    def _begin(self) -> None:
        if not self._first.acquire(blocking=False):
            return
        try:
            start(self._thread)
        except RuntimeError as error:
            self._error = error
        self._begun.set()

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self._error = error

    def wait(self, deadline: Deadline) -> bool:
        """Wait until the call has ended; raises what it raised. False at *deadline*: it goes on."""
        if not self._begun.wait(deadline.remaining()):
            return False
        if self._thread.ident is not None:
            self._thread.join(deadline.remaining())
            if self._thread.is_alive():
                return False
        error, self._error = self._error, None
        if error is not None:
            raise error
        return True
