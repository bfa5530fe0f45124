"""Extraction: minillm.fetch.extract (bytes to text and title) beside trafilatura on the same bytes, pages a CPU-second.

usage: python tools/bench_extract.py [--rounds 9]

One thread, rounds interleaved, median of the rounds. Two peers: trafilatura as it comes, and with the very options that `extract`
gives it, the stricter one, to which the bar is held. The pages are article-extraction-benchmark's; MINILLM_SHARED_DATA names
the folder that holds them.
"""
import argparse, statistics, sys, time

import trafilatura

from course import record_bench
from minillm.fetch import extract
from results_extraction import PAGES, pages

BAR, SAME = 0.9, dict(include_comments=False, favor_precision=True, fast=True)
SIDES = {"extract": lambda body: extract(body).text, "trafilatura": trafilatura.extract,
         "trafilatura, same options": lambda body: trafilatura.extract(body, **SAME)}


def rate(side, bodies: list[bytes]) -> float:
    "Pages a CPU-second."
    start = time.process_time()
    for body in bodies: side(body)
    return len(bodies) / (time.process_time() - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    if not PAGES.exists(): raise SystemExit(f"the pages of article-extraction-benchmark are not in {PAGES}: set MINILLM_SHARED_DATA")
    bodies, rows = [body for body, _ in pages()], []
    for side in SIDES.values(): rate(side, bodies)  # warm-up
    runs = [{name: rate(side, bodies) for name, side in SIDES.items()} for _ in range(rounds)]
    print(f"{len(bodies)} pages, median of {rounds} interleaved rounds")
    for name in list(SIDES)[1:]:
        ours, theirs = (statistics.median(run[side] for run in runs) for side in ("extract", name))
        ratio = statistics.median(run["extract"] / run[name] for run in runs)
        rows.append(dict(what="extraction of articles from pages", peer=name, ours=ours, theirs=theirs, unit="pages/s", ratio=ratio,
                         bar=BAR if name != "trafilatura" else None))
        print(f"extract {ours:.1f} pages/s, {name} {theirs:.1f}: {ratio:.2f}", flush=True)
    return record_bench("extraction", rows)


if __name__ == "__main__": sys.exit(main())
