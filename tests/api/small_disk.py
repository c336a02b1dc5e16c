"""A PostgreSQL server whose data lie on a small disk, half of which a filler takes: `small_disk.py FOLDER`.

Prints the server's URL; each line on standard input removes the filler and sees that the server runs; ends with its
input. Meant for a mount namespace of its own, so that nothing is left mounted whatever happens.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from threads_agent_dagster.local.postgres import EmbeddedPostgres

DISK_MEGABYTES = 192
FREE_MEGABYTES = 24


def main() -> None:
    folder = Path(sys.argv[1])
    folder.chmod(0o711)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m,mode=755", "tmpfs", folder], check=True)
    filler = folder / "filler"
    server = EmbeddedPostgres(folder / "data")
    with server:
        _say(server.url)
        for line in sys.stdin:
            if line.strip() == "fill":
                free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
                filler.write_bytes(bytes(free - FREE_MEGABYTES * 1024 * 1024))
            else:
                filler.unlink()
                server.start()
            _say("done")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
