"""Runs the parts of `make test` or `make verify`, prints minutes per part, and fails by name.

usage: python tools/parts.py test|verify
"""
import os, re, signal, subprocess, sys, threading, time
from datetime import date
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
CLOSING = re.compile(r"^.*\d+ (passed|failed|error).* in [\d.:]+.*$", re.M)  # pytest's last line


class Part(NamedTuple):
    "One command line, run by bash from the root, and the minutes it may take."
    name: str
    command: str
    minutes: float


TEST = [
    Part("export", "nbdev-export && nbdev-clean && python tools/unchanged.py nbs minillm", 1),
    Part("lint", "ruff check minillm tests tools setup.py && python tools/spelling.py", 1),
    Part("notebooks", "MINILLM_STRICT=1 nbdev-test nbs --n-workers 2 --do-print --timing", 15),
    Part("tests", "python -m pytest -rs", 12),
]
OLDER = ".venv-transformers4"  # An environment of its own, for what must open under the last transformers 4 too
VERIFY = [
    Part("transformers 4", f"test -x {OLDER}/ready || (rm -rf {OLDER} && python -m venv {OLDER} && {OLDER}/bin/pip install --quiet transformers==4.57.6 jinja2 "
                           f"hypothesis && ln -s bin/python {OLDER}/ready)", 8),
    Part("slow tests", f"TRANSFORMERS_457=$PWD/{OLDER}/bin/python python -m pytest -rs -m 'slow and not gpu' -k 'not other_pythons'", 35),
    Part("other pythons", "python -m pytest -m 'slow and not gpu' -k other_pythons", 10),
    Part("bench", "python tools/bench.py", 30),
    Part("measure", "python tools/measure.py --check", 15),
]


def run(part: Part) -> tuple[float, str, str]:
    "Run one part, passing its output through; minutes, what went wrong (or nothing), pytest's closing line."
    print(f"\n== {part.name}: {part.command}", flush=True)
    start, lines = time.monotonic(), []
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(["bash", "-c", part.command], cwd=ROOT, env=env, text=True, encoding="utf-8",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
        hang = threading.Timer(2 * 60 * part.minutes, lambda: os.killpg(process.pid, signal.SIGKILL))  # twice its budget
        hang.start()
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
        hang.cancel()
    minutes = (time.monotonic() - start) / 60
    closing = CLOSING.findall("".join(lines)) and [m[0] for m in CLOSING.finditer("".join(lines))][-1]
    wrong = f"exit code {process.returncode}" if process.returncode else (
        f"took {minutes:.1f} of {part.minutes:g} minutes" if minutes > part.minutes else "")
    return minutes, wrong, closing or ""


def log(rows: list) -> None:
    "Append what was verified to LOG.md."
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    with open(ROOT / "LOG.md", "a", encoding="utf-8") as f:
        f.write(f"\n## {date.today()} make verify at {commit}\n")
        f.writelines(f"- {part.name}: {minutes:.1f} min, {wrong or 'passed'}\n" for part, minutes, wrong, _ in rows)


def main() -> int:
    if sys.argv[1:] not in (["test"], ["verify"]): raise SystemExit("usage: python tools/parts.py test|verify")
    kind = sys.argv[1]
    rows = [(part, *run(part)) for part in (TEST if kind == "test" else VERIFY)]
    if kind == "verify": log(rows)
    print(f"\n{'part':14}{'minutes':>8}  budget  result")
    for part, minutes, wrong, _ in rows: print(f"{part.name:14}{minutes:8.1f}{part.minutes:8g}  {wrong or 'ok'}")
    failed = [part.name for part, _, wrong, _ in rows if wrong]
    if failed: print(f"failed: {', '.join(failed)}")
    for *_, closing in rows:
        if closing: print(closing)
    return 1 if failed else 0


if __name__ == "__main__": sys.exit(main())
