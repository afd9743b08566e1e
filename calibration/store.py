"""What replications brought, one line of JSON each, in a file for every engine and study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

OUT = Path("out/calibration")
RECOVERY = "recovery-"
"""Begins the folder of fixed truths, which an engine's name ends."""


def path(engine: str, name: str) -> Path:
    """Return the file of one study."""
    return OUT / engine / f"{name.replace(' ', '-')}.jsonl"


def read(engine: str, name: str) -> list[dict[str, Any]]:
    """Return the replications there are, in order; a line that was cut off while it was written is left out."""
    file = path(engine, name)
    if not file.exists():
        return []
    found = {}
    for line in file.read_text().splitlines():
        try:
            one = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[one["index"]] = one
    return [found[index] for index in sorted(found)]


def append(engine: str, name: str, one: dict[str, Any]) -> None:
    """Write one replication down."""
    file = path(engine, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as out:
        out.write(json.dumps(one) + "\n")
