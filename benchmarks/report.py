"""Sections of docs/results.md: each program owns the text between its own pair of markers and leaves the rest alone."""

import datetime
import os
import platform
import subprocess
from pathlib import Path

HEAD = """# Results

Every figure on this page was written by a program under `benchmarks/`, which stands above its table together with the
date, the commit and the machine. Run the program again to check it.
"""


def write_section(path: Path, name: str, body: str) -> None:
    """Put `body` between the markers of section `name` in the page at `path`; create page or section if absent."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    page = path.read_text(encoding="utf-8") if path.exists() else HEAD
    section = f"{begin}\n{body.strip()}\n{end}"
    if begin in page:
        before, rest = page.split(begin, 1)
        _, after = rest.split(end, 1)
        page = before + section + after
    else:
        page = page.rstrip() + "\n\n" + section + "\n"
    temporary = path.with_suffix(".md.part")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)


def provenance(command: str) -> str:
    """One line: the command, today's date, the commit (marked when the tree differs from it) and the machine."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    altered = " with uncommitted changes" if _git("status", "--porcelain", "--untracked-files=no") else ""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return f"`{command}`, {today}, commit {commit}{altered}, {machine()}."


def machine() -> str:
    """Processor, usable cores, memory and Python; no host name and no path."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {memory_gib:.0f} GiB, "
        f"{platform.system()}, Python {platform.python_version()}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True).stdout.strip()
