"""Starts the servers, prints one JSON that describes them, and runs until Ctrl-C: `python3 -m servers [NAME...]`."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time

from . import ALL, running


def main() -> None:
    by_name = {kind.name: kind for kind in ALL}
    parser = argparse.ArgumentParser(prog="python3 -m servers", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones (all): {', '.join(by_name)}")
    parser.add_argument("--install", action="store_true", help="download and build only, start nothing")
    wanted = parser.parse_args()
    unknown = sorted(set(wanted.names) - set(by_name))
    if unknown:
        parser.error(f"no server {unknown[0]}; there are {', '.join(by_name)}")
    servers = [by_name[name]() for name in wanted.names or by_name]
    if wanted.install:
        for server in servers:
            began = time.monotonic()
            server.install()
            print(f"{server.name} {server.version}: {time.monotonic() - began:.1f} s", file=sys.stderr)
        return
    # A plain kill ends the servers as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt), running(servers):
        print(json.dumps({server.name: server.describe() for server in servers}, indent=2), flush=True)
        signal.pause()


main()
