"""`pairsift serve` under load: many clients, some of whose requests are malformed.

    python -m benchmarks.serve --requests 1000 --clients 32 --malformed 0.05

Starts the command on a free port of the loopback address and scores the demo's photographs. Every
answer is checked: scores must equal those of the same scorer without a server, and each malformed
request must get the right status. The exit code says whether there was no 5xx, no lost
or wrong answer, a mean batch above 4 and no more memory than the limits allow.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.support.serve_load import (
    MAX_BODY_MIB,
    MEMORY_MIB,
    Memory,
    ask,
    good_requests,
    mean_batch,
    mixed,
    read_metrics,
    running_command,
)


def main() -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--malformed", type=float, default=0.05)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    good = good_requests()
    requests = mixed(options.requests, options.malformed, good)
    server_options = ("--max-body-mib", str(MAX_BODY_MIB), "--max-memory-mib", "128")
    with running_command(*server_options, "--workers", str(options.workers)) as (url, process):
        warm_up = ask(url, good[:4], 1)
        before = read_metrics(url)
        with Memory(process.pid) as memory:
            start = memory.peak
            begin = time.perf_counter()
            outcome = ask(url, requests, options.clients)
            seconds = time.perf_counter() - begin
        after = read_metrics(url)
    wrong = warm_up.wrong + outcome.wrong
    found: dict[str, Any] = {
        "requests": len(requests),
        "malformed": sum(request.kind != "good" for request in requests),
        "clients": options.clients,
        "answers": dict(sorted(outcome.codes.items())),
        "wrong_or_lost": len(wrong),
        "first_wrong": wrong[:3],
        "mean_batch": round(mean_batch(before, after), 2),
        "seconds": round(seconds, 1),
        "requests_per_second": round(len(requests) / seconds, 2),
        "slowest_seconds": round(max(outcome.seconds), 2),
        "start_mib": start // 2**20,
        "added_mib": (memory.peak - start) // 2**20,
    }
    print(json.dumps(found, indent=1))
    checks: dict[str, Callable[[], bool]] = {
        "no 5xx": lambda: not any(code.startswith("5") for code in outcome.codes),
        "no lost or wrong answer": lambda: not wrong,
        "mean batch above 4": lambda: found["mean_batch"] > 4,
        f"less than {MEMORY_MIB} MiB added": lambda: found["added_mib"] < MEMORY_MIB,
    }
    failed = [name for name, holds in checks.items() if not holds()]
    print("failed: " + ", ".join(failed) if failed else "all hold", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
