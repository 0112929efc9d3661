# ruff: noqa: T201  (a command: its output is the point)
"""
Fuzz the frame reader, the dialects, the engine and the sandboxes for as long as is wanted, and print figures.

    python tests/fuzz/fuzz.py TARGET... --seconds N [--seed N] [--findings DIRECTORY] [--plain]
    python tests/fuzz/fuzz.py TARGET --replay FILE
    python tests/fuzz/fuzz.py --list

TARGET is one of those that ``--list`` names, a part of their names such as ``dialect/``, or ``all``; `tests/fuzz_targets.py`
says what each holds. It needs the extra ``test``. With atheris, which has wheels for some versions of CPython, it is guided by
coverage; that is no dependency of this package, and installed by itself::

    python -m pip install atheris

Without it, and with ``--plain``, documented messages are changed at random, by the same changes. Every target has a process of
its own, N seconds, and one line: inputs run, how many a second, findings, the memory that the process had at its largest. A
finding is told once, the shortest input that shows it is kept in DIRECTORY (a new temporary one if not told), and the run goes
on; ``--replay`` runs such a file once and shows the traceback. It belongs into a test beside those of the module that it was
found in.

The exit code is 0 without findings, 1 with some, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import importlib.util
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

# This checkout is what is fuzzed, not what may be installed.
TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

if TYPE_CHECKING:
    from fuzz_targets import Target

HANG_S = 10.0  # for one input; the slowest take milliseconds
END_S = 300.0  # beyond its seconds, for a process to begin and to end on a busy machine; then all stacks are dumped
FOUND, BROKEN = 3, 4  # exit codes of a target's process: with findings; with an error of these files themselves
MEMORY_MB = 2048  # beyond it atheris ends the process, and prints the input
DEPTH = 8  # changes upon changes, where nothing guides


class Hang(Exception):
    """An input took longer than `HANG_S`."""


class Run:
    """One target's run: what it found, and when it is over."""

    def __init__(self, target: Target, seconds: float, findings: Path) -> None:
        self.target = target
        self.ends = time.monotonic() + seconds
        self.began = time.monotonic()
        self.inputs = 0
        self.found: dict[str, bytes] = {}  # by what is raised, and where: the shortest input
        self._findings = findings

    def one(self, data: bytes) -> None:
        """Run one input; a finding is kept."""
        self.inputs += 1
        try:
            with watched():
                self.target.run(data)
        except Exception as error:
            self._keep(error, data)
        if time.monotonic() >= self.ends:
            self.finish()

    def _keep(self, error: Exception, data: bytes) -> None:
        where = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        name = f"{type(error).__name__} at {where[-1]}"
        known = self.found.get(name)
        if known is None or len(data) < len(known):
            digest = hashlib.sha256(name.encode()).hexdigest()[:8]
            path = self._findings / f"{self.target.name.replace('/', '-')}-{digest}"
            path.write_bytes(data)
            self.found[name] = data
            if known is None:
                print(f"{self.target.name}: FOUND {name}: {str(error)[:300]}\n    {path}", flush=True)

    def finish(self) -> NoReturn:
        """Print the line of figures, and end the process at once: a fuzzer that is told to stop takes its time."""
        took = time.monotonic() - self.began
        largest = f", {peak_mb()} MB" if peak_mb() else ""
        print(
            f"{self.target.name}: {self.inputs} inputs in {took:.0f} s ({self.inputs / took:.0f}/s), "
            f"{len(self.found)} findings{largest}",
            flush=True,
        )
        for what, count in sorted(self.target.seen.items()):
            print(f"    no finding: {what}: {count}", flush=True)
        os._exit(FOUND if self.found else 0)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """`Hang` where this takes too long; not where there are no such timers."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def _hang(number: int, frame: Any) -> NoReturn:
    raise Hang(f"it took more than {HANG_S:.0f} s")


def peak_mb() -> int:
    """The largest memory of this process so far; 0 where that cannot be known."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak // (2**20 if sys.platform == "darwin" else 2**10))


class Formatting(logging.Handler):
    """Makes the text of each record, which must not raise either, and shows it to nobody."""

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage().encode("utf-8", "backslashreplace")


def load(guided: bool) -> dict[str, Target]:
    """The targets; *guided*: instrumented."""
    logger = logging.getLogger("exchange_ws")
    logger.addHandler(Formatting())
    logger.propagate = False
    logger.setLevel(logging.INFO)
    if guided:
        import atheris

        with atheris.instrument_imports(include=["exchange_ws"]):
            from fuzz_targets import targets

            return targets()
    from fuzz_targets import targets

    return targets()


def run_plain(run: Run, seed: int) -> NoReturn:
    """Changes at random, of documented inputs and of what was made of them."""
    random = Random(seed)
    seeds = list(run.target.seeds)
    for data in seeds:
        run.one(data)
    while True:
        data = random.choice(seeds)
        for _ in range(random.randrange(1, DEPTH)):
            data = run.target.mutate(data, random, seeds)
            run.one(data)


def run_guided(run: Run, seed: int) -> NoReturn:
    """Changes of whatever reached something new; one in four is of the fuzzer's own, of bytes."""
    import atheris

    seeds = list(run.target.seeds)
    corpus = Path(tempfile.mkdtemp(prefix="fuzz-"))
    for number, data in enumerate(seeds):
        (corpus / f"{number:05d}").write_bytes(data)

    def mutate(data: bytes, most: int, number: int) -> bytes:
        random = Random(number)
        try:
            if random.random() < 0.25:
                return bytes(atheris.Mutate(data, most))
            return run.target.mutate(data, random, seeds)[:most]
        except BaseException:
            # The fuzzer would end the interpreter first, and then wait for it without end.
            traceback.print_exc()
            os._exit(BROKEN)

    options = ["-max_len=65536", "-timeout=0", f"-rss_limit_mb={MEMORY_MB}", f"-seed={seed}", "-verbosity=0"]
    atheris.Setup([sys.argv[0], str(corpus), *options], run.one, custom_mutator=mutate)
    atheris.Fuzz()
    os._exit(BROKEN)


def chosen(names: list[str], known: dict[str, Target]) -> list[str]:
    """The targets that *names* mean."""
    found = [name for name in known if any(word in ("all", name) or word in name for word in names)]
    missing = [word for word in names if word != "all" and not any(word in name for name in known)]
    if missing or not found:
        raise SystemExit(f"no target {', '.join(missing) or 'named'}: takes all, or parts of {', '.join(known)}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the frame reader, the dialects, the engine and the sandboxes.")
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target; 60 if not told")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same inputs (without atheris)")
    parser.add_argument("--findings", type=Path, help="directory for the inputs that show a finding")
    parser.add_argument("--plain", action="store_true", help="without atheris, even if it is installed")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input, and show what it raises")
    parser.add_argument("--list", action="store_true", help="name the targets")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # the process of one target
    options = parser.parse_args()
    guided = not options.plain and importlib.util.find_spec("atheris") is not None
    known = load(guided and options.alone)
    if options.list:
        print(*known, sep="\n")
        return 0
    try:
        names = chosen(options.targets, known)
    except SystemExit as error:
        print(error, file=sys.stderr)
        return 2
    if options.replay is not None:
        for name in names:
            known[name].run(options.replay.read_bytes())
        print("nothing was raised")
        return 0
    findings = options.findings or Path(tempfile.mkdtemp(prefix="fuzz-findings-"))
    findings.mkdir(parents=True, exist_ok=True)
    if options.alone:
        if hasattr(signal, "SIGALRM"):
            signal.signal(signal.SIGALRM, _hang)
        faulthandler.dump_traceback_later(options.seconds + END_S, exit=True)
        run = Run(known[names[0]], options.seconds, findings)
        (run_guided if guided else run_plain)(run, options.seed)
    print(f"{'guided by atheris' if guided else 'at random'}; findings go to {findings}", flush=True)
    failed = 0
    for name in names:
        command = [sys.executable, __file__, name, "--alone", "--findings", str(findings), "--seed", str(options.seed)]
        command += ["--seconds", str(options.seconds), *(["--plain"] if options.plain else [])]
        # What libFuzzer says of itself goes to stderr, and is of use only where the process ends in another way than ours.
        done = subprocess.run(command, stderr=subprocess.PIPE, check=False)
        if done.returncode not in (0, FOUND):
            print(f"{name}: ended with {done.returncode}\n{done.stderr.decode('utf-8', 'replace')[-4000:]}", flush=True)
        failed += done.returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
