"""README.md from nbs/index.ipynb through nbconvert; its tables come from nbs/results/weeks.json and bench.json.

usage: python tools/readme.py
"""
import sys

import nbformat

from course import NBS, RESULTS, ROOT, read_json


def weeks_table() -> str:
    "Week, notebook and promise, minutes and memory, as measured."
    measured = read_json(RESULTS / "weeks.json")
    rows = ["| week | notebook | what it gives | minutes | memory |", "|---|---|---|---|---|"]
    for stem, m in measured["weeks"].items():
        rows.append(f"| {int(stem[:2])} | [{m['title']}](nbs/{stem}.ipynb) | {m['promise']} | {m['cpu_s'] / 60:.1f} | {m['peak_mb'] / 1000:.1f} GB |")
    machine = measured["machine"]
    return "\n".join(rows) + (f"\n\nMinutes are of one core. Measured by `make measure` on {measured['date']}: {machine['cores']} cores ({machine['cpu']}), "
                              f"Python {machine['python']}, torch {machine['torch']}.")


def bench_table() -> str:
    "What was compared, with whom, both rates and their ratio, as measured."
    measured = read_json(RESULTS / "bench.json")
    rows = ["| what | beside | ours | theirs | ratio | bar |", "|---|---|---|---|---|---|"]
    for name in (n for n in ("training", "minigpt", "lora", "decoding", "extraction", "duplicates", "tokenizer") if n in measured):
        for r in measured[name]["rows"]:
            bar = f"{r['bar']:.2f}{' (not met)' * (r['ratio'] < r['bar'])}" if r["bar"] else ""
            rows.append(f"| {r['what']} | {r['peer']} | {number(r['ours'])} {r['unit']} | {number(r['theirs'])} {r['unit']} | {r['ratio']:.2f} | {bar} |")
    machine = measured["training"]["machine"]
    return "\n".join(rows) + f"\n\nMeasured by `make bench` on {measured['training']['date']} ({machine['cpu']}, Python {machine['python']}, torch {machine['torch']})."


def number(value: float) -> str: return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


TABLES = {"weeks-table": weeks_table, "bench-table": bench_table}  # Tag of the cell that shows it


def convert() -> str:
    "The README's text."
    from nbconvert import MarkdownExporter
    from traitlets.config import Config
    config = Config()
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_input_tags = {"remove-input"}
    config.MarkdownExporter.preprocessors = ["nbconvert.preprocessors.TagRemovePreprocessor"]
    nb = nbformat.read(NBS / "index.ipynb", as_version=4)
    return MarkdownExporter(config=config).from_notebook_node(nb)[0].strip() + "\n"


def main() -> int:
    "Put the measured tables into the index's outputs, then convert."
    path = NBS / "index.ipynb"
    nb = nbformat.read(path, as_version=4)
    for cell in nb.cells:
        for tag in TABLES.keys() & set(cell.metadata.get("tags", [])):
            cell.outputs = [nbformat.v4.new_output("display_data", {"text/markdown": TABLES[tag](), "text/plain": tag})]
    nbformat.write(nb, path)
    (ROOT / "README.md").write_text(convert(), encoding="utf-8")
    return 0


if __name__ == "__main__": sys.exit(main())
