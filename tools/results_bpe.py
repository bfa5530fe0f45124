"The experiment of notebook 03b: vocabularies of every size on code, English and Spanish, and what seventy languages pay; run by results.py."
import gzip, json, os, sysconfig, tarfile, time
from pathlib import Path

from course import ROOT


def tokenizer_curve() -> tuple[str, int, dict]:
    "One vocabulary of 50,000 on code, English and Spanish, and all the smaller ones in it, on held-out texts; what 70 languages pay."
    from minillm.bpe import SPECIAL_TOKENS, train_bpe
    from minillm.pydocs import documents, page, source_files, split_of
    from minillm.tokenizer import measure, shrink, token_counts, visible
    data = Path(os.environ.get("MINILLM_SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not data.exists(): raise SystemExit("tokenizer needs ../shared/data (quijote, constitucion_es, tinystories, wikitext2, xquad, langid): set MINILLM_SHARED_DATA")
    read = lambda name: (data / name).read_text(encoding="utf-8")
    gz = lambda name: gzip.decompress((data / name).read_bytes()).decode()
    code = {"train": [], "val": []}
    for name, file in source_files(Path(sysconfig.get_path("stdlib"))):
        try: text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError: continue
        if (split := split_of(name)) in code: code[split].append(text)
    pages = [page(d) for d in documents() if d.split == "train" and d.source in ("stdlib", "topics")]
    english = [read("tinystories/tinystories_944k.txt"), gz("wikitext2/valid.txt.gz"), gz("wikitext2/test.txt.gz"), read("tinyshakespeare/input.txt")]
    with tarfile.open(data / "constitucion_es/constitucion_md.tar.gz") as tar:
        members = sorted((m for m in tar.getmembers() if m.isfile()), key=lambda m: m.name)
        spanish = [read("quijote/quijote.txt"), *(tar.extractfile(m).read().decode() for m in members)]
    held = {"code": code["val"]}
    for language in ("en", "es"): # the same paragraphs in both
        held[language] = [p["context"] for article in json.loads(read(f"xquad/xquad.{language}.json"))["data"] for p in article["paragraphs"]]
    train = [*code["train"], *pages, *english, *spanish]
    start = time.process_time()
    large = train_bpe(train, 50_000, SPECIAL_TOKENS)
    seconds, curve = time.process_time() - start, []
    for n in (512, 1024, 2048, 4096, 8192, 16_384, 32_768, 50_000):
        tokenizer = shrink(large, n)
        bills = {name: measure(tokenizer, texts) for name, texts in held.items()}
        counts = token_counts(tokenizer, train)
        curve.append(dict(vocab_size=n, unused=counts.count(0), under_100=sum(c < 100 for c in counts),
                          spanish_tax=round(bills["es"]["tokens"] / bills["en"]["tokens"], 4),
                          **{key: {name: round(bill[key], 4) for name, bill in bills.items()} for key in ("bytes_per_token", "fertility", "coverage", "whole")}))
    no_spanish = train_bpe([*code["train"], *pages, *english], 50_000, SPECIAL_TOKENS)
    without = {name: measure(no_spanish, texts) for name, texts in held.items()}
    languages = {}
    for line in filter(None, gz("langid/lingua_sentences_200.tsv.gz").split("\n")):
        language, _, sentence = line.partition("\t")
        languages.setdefault(language, []).append(sentence)
    by_language = {language: {key: round(value, 3) for key, value in measure(large, texts).items() if key in ("bytes_per_token", "fertility", "coverage")}
                   for language, texts in sorted(languages.items())}
    return ("make results (tools/results.py tokenizer)", 0, dict(
        training_bytes=sum(len(text.encode()) for text in train), merges=len(large.merges), train_cpu_seconds=round(seconds, 1), curve=curve,
        spanish_tax_without_spanish=round(without["es"]["tokens"] / without["en"]["tokens"], 4), languages=by_language,
        longest=[visible(token)[:80] for token in sorted(large.vocab, key=len)[-10:]]))


CODE = [*(f"minillm/bpe.py:{name}" for name in ("PATTERNS", "BYTE_ORDER", "SPECIAL_TOKENS", "pretokenize", "learn_merges", "merge_piece", "Tokenizer", "train_bpe")),
        *(f"minillm/tokenizer.py:{name}" for name in ("measure", "token_counts", "shrink")), "minillm/pydocs.py:page", "tools/results_bpe.py:tokenizer_curve"]
