"""The ladder of notebook 02a on real pages: token F1 of four extractors against text that people marked.

`python tools/results_extraction.py` writes nbs/results/extraction.json: five CPU-seconds. The pages are every second one of
Scrapinghub's article-extraction-benchmark; MINILLM_SHARED_DATA names the folder that holds `article_extraction`.
"""
import gzip, json, os, re, statistics, time
from collections import Counter
from pathlib import Path

from course import RESULTS, ROOT, code_fingerprint, commit, machine, read_json, write_json
from minillm.fetch import decode_html, density_extract, extract, strip_tags

OUT = RESULTS / "extraction.json"
PAGES = Path(os.environ.get("MINILLM_SHARED_DATA") or ROOT.parent / "shared" / "data") / "article_extraction"
CODE = [*(f"minillm/fetch.py:{name}" for name in ("_MARKS", "_TEXT", "_MEANT", "_codec", "decode_html", "looks_binary", "_TOKEN", "strip_tags", "_INLINE", "_WORD",
                                                  "text_blocks", "best_run", "density_extract", "Extracted", "_trafilatura", "extract")),
        *(f"tools/results_extraction.py:{name}" for name in ("RUNGS", "token_f1", "pages", "extraction"))]
RUNGS = {  # Each takes the bytes of a page
    "all outside <...>": lambda body: re.sub(r"<[^>]*>", " ", decode_html(body)),
    "strip_tags": lambda body: strip_tags(decode_html(body)),
    "density_extract": lambda body: density_extract(decode_html(body)),
    "extract": lambda body: extract(body).text}


def token_f1(text: str, truth: str) -> float:
    "Agreement of two texts as multisets of lower-case words."
    ours, theirs = (Counter(re.findall(r"\w+", t.lower())) for t in (text, truth))
    return 2 * (ours & theirs).total() / max(1, ours.total() + theirs.total())


def pages() -> list[tuple[bytes, str]]:
    "(page, text of its article), in the order of their names."
    truth = json.loads((PAGES / "ground-truth.json").read_text(encoding="utf-8"))
    return [(gzip.decompress(path.read_bytes()), truth[path.name.partition(".")[0]]["articleBody"])
            for path in sorted((PAGES / "html").glob("*.html.gz"))]


def extraction() -> tuple[str, int, dict]:
    "Command, seed, values: each rung's token F1, page by page and on average."
    found = pages()
    scores = {name: [round(token_f1(rung(body), truth), 4) for body, truth in found] for name, rung in RUNGS.items()}
    return "python tools/results_extraction.py", 0, dict(
        pages=len(found), f1={name: round(statistics.mean(s), 4) for name, s in scores.items()},
        methods=Counter(extract(body).method for body, _ in found), page_f1=scores)


def main() -> None:
    now = code_fingerprint(CODE)
    if OUT.exists() and read_json(OUT)["fingerprint"] == now: return print("extraction: current")
    if not PAGES.exists(): raise SystemExit(f"extraction needs the pages of article-extraction-benchmark in {PAGES}: set MINILLM_SHARED_DATA")
    start = time.process_time()
    command, seed, values = extraction()
    write_json(OUT, dict(name="extraction", command=command, seed=seed, commit=commit(), machine=machine(),
                         cpu_seconds=round(time.process_time() - start, 1), code=CODE, fingerprint=now, values=values))
    print("extraction:", values["f1"])


if __name__ == "__main__": main()
