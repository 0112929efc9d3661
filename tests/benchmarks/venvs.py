"""Virtual environments of the clients that `peers.py` runs, each with one of them and what it needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

#: What is installed; whoever writes another version here gets another environment.
REQUIREMENTS = {
    "websocket-client": ("websocket-client==1.9.2",),
    "websockets": ("websockets==17.4", "orjson"),
    "picows": ("picows==2.3.1", "orjson"),
    "pybit": ("pybit==5.17.0",),
    "ccxt": ("ccxt==4.5.90", "orjson"),
    "cryptofeed": ("cryptofeed==2.4.1",),
}
LIMIT_S = 900.0  # of one installation


def python_of(name: str, folder: Path) -> Path:
    """
    The Python of *name*'s environment below *folder*, made if there is none of these versions.

    Raises
    ------
    subprocess.CalledProcessError
        It cannot be installed here; its output is pip's last line.
    """
    place = folder / name
    python = place / "bin" / "python"
    wanted = "\n".join([sys.version, *REQUIREMENTS[name]])
    made = place / "made"  # written last: half an environment has none
    if not (made.exists() and made.read_text() == wanted):
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, timeout=LIMIT_S)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS[name]],
            check=True,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        made.write_text(wanted)
    return python
