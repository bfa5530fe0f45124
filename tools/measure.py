"""Minutes and memory of every notebook, one at a time, into nbs/results/weeks.json.

usage: python tools/measure.py [--check] [NOTEBOOK...]    (--check writes nothing and fails when a notebook takes over 90 s;
with names only those are measured, the others keep their figures)
"""
import os, subprocess, sys, time
from datetime import date
from pathlib import Path

from course import RESULTS, commit, machine, notebooks, read_json, write_json

LIMIT_S = 90  # A notebook runs in this time on 2 cores


def run(path: Path) -> dict:
    "Wall and CPU seconds and peak memory of one notebook under nbdev-test; the peak is that of its largest process."
    code = ("import resource, subprocess, sys; done = subprocess.run(sys.argv[1:]); use = resource.getrusage(resource.RUSAGE_CHILDREN); "
            "print('used', use.ru_utime + use.ru_stime, use.ru_maxrss); sys.exit(done.returncode)")
    command = [Path(sys.executable).with_name("nbdev-test"), "--n-workers", "0", path]
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1", "MINILLM_STRICT": "1"})
    if done.returncode: raise SystemExit(f"{path.stem} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    _, cpu_s, peak = next(line for line in done.stdout.splitlines() if line.startswith("used")).split()
    return dict(wall_s=round(time.monotonic() - start, 1), cpu_s=round(float(cpu_s), 1), peak_mb=round(int(peak) / (2**20 if sys.platform == "darwin" else 2**10)))


def title(path: Path) -> tuple[str, str]:
    "Heading and promise of a notebook's first cell."
    lines = "".join(read_json(path)["cells"][0]["source"]).splitlines()
    return lines[0].removeprefix("# "), next(line[2:] for line in lines if line.startswith("> "))


def main() -> int:
    weeks, slow, chosen = {}, [], [a for a in sys.argv[1:] if not a.startswith("--")]
    before = read_json(RESULTS / "weeks.json")["weeks"] if chosen else {}
    for path in notebooks():
        heading, promise = title(path)
        kept = chosen and path.stem not in chosen
        if kept and path.stem not in before: continue
        weeks[path.stem] = dict(before[path.stem] if kept else run(path), title=heading, promise=promise)
        if kept: continue
        print(f"{path.stem:18} {weeks[path.stem]['wall_s']:6.1f} s wall {weeks[path.stem]['cpu_s']:6.1f} s CPU "
              f"{weeks[path.stem]['peak_mb']:6} MB", flush=True)
        if weeks[path.stem]["cpu_s"] > LIMIT_S: slow.append(path.stem)
    if "--check" not in sys.argv:
        write_json(RESULTS / "weeks.json", dict(command="make measure", date=str(date.today()), commit=commit(),
                                                machine=machine(), weeks=weeks))
    if slow: print(f"over {LIMIT_S} s: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__": sys.exit(main())
