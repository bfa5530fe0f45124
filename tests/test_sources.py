"sources: every coat gives the same document, hostile input gives a reason, nothing grows without limit."
import bz2
import csv
import gzip
import io
import json
import os
import random
import re
import subprocess
import sys
import textwrap
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minillm import sources
from minillm.fetch import FetchConfig
from minillm.pydocs import Document, documents, page
from minillm.sources import (READERS, REASONS, Item, ReadConfig, decode_text, files_below, read_documents, read_file, read_items,
                             read_pieces, to_document, why)

ROOT = Path(__file__).resolve().parent.parent
SHARED = [p / "shared" / "data" for p in ROOT.parents if (p / "shared" / "data").is_dir()]  # beside the repository, or above a git worktree
DATA = Path(os.environ.get("MINILLM_SHARED_DATA") or [*SHARED, ROOT.parent / "shared" / "data"][0])
TOY = "A heap is a list that keeps its smallest item first."
SPANISH = "Un montículo guarda primero el elemento más pequeño."
EASY = settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
GROWTH_MB = 80  # Of a reader's memory, while it reads 96 MB


def shared(name):
    if not (DATA / name).exists(): pytest.skip(f"{name} is not in ../shared/data")
    return str(DATA / name)


def read(path, cfg=None): return list(read_documents([str(path)], cfg))
def texts(results): return [r.text for r in results if isinstance(r, Document)]
def reasons(results): return [r.reason for r in results if isinstance(r, Item)]


def sound(results):
    "Every result is a document with text or an item with a known reason, and all of it can be written down."
    assert results, "silence"
    for r in results:
        assert r.text.strip() if isinstance(r, Document) else r.reason in REASONS
        for value in (r.url, *r.meta.values(), r.text if isinstance(r, Document) else r.detail): value.encode("utf-8")
    return True


def parquet(**columns):
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>" + TOY.encode() + b"</p>"


def warc(body=ANSWER, kind="response", declared="application/http; msgtype=response", url="https://example.org/a"):
    return (f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nContent-Type: {declared}\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body + b"\r\n\r\n"


def wiki(*pages, head=""):
    made = "".join(f"<page><title>{t}</title><ns>{ns}</ns>{extra}<revision><text>{text}</text></revision></page>" for t, text, ns, extra in pages)
    return f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/">{head}{made}</mediawiki>'.encode()


SEEDS = {".txt": TOY.encode() * 30, ".md": TOY.encode(), ".html": f"<html><title>x</title><p>{TOY}</p></html>".encode(),
         ".json": json.dumps([dict(text=TOY, title="a")] * 5).encode(), ".jsonl": (json.dumps(dict(text=TOY, url="https://x")) + "\n").encode() * 5,
         ".csv": f'id,text\n1,"{TOY}"\n2,"{TOY}"\n'.encode(), ".tsv": f"id\ttext\n1\t{TOY}\n".encode(), ".parquet": parquet(text=[TOY] * 20),
         ".warc": warc() * 3, ".wet": warc(TOY.encode(), "conversion", "text/plain"), ".xml": wiki(*[(f"T{i}", f"{TOY} [[a|b]] {{{{c}}}}", 0, "") for i in range(4)])}
PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress}


# ---- one sentence, all coats --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("suffix", SEEDS)
def test_every_coat_gives_the_sentence(tmp_path, suffix, pack):
    "A text comes back from every format, packed or not; only Parquet, which is packed inside, is not packed again."
    path = tmp_path / f"heap{suffix}{pack}"
    path.write_bytes(PACK[pack](SEEDS[suffix]))
    results = read(path)
    if suffix == ".parquet" and pack: assert reasons(results) == ["damaged file"]
    else: assert not reasons(results) and all(TOY in text for text in texts(results))


def test_the_table_of_readers_is_tested():
    "Each suffix that has a reader shares it with one that is tested here."
    tested = {str(READERS[suffix]) for suffix in SEEDS}
    assert {str(reader) for reader in READERS.values()} == tested


clean = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)


@EASY
@given(rows=st.lists(clean.filter(str.strip), min_size=1, max_size=5), bom=st.booleans())
def test_records_come_back_as_they_were(tmp_path, rows, bom):
    "Whatever text a record holds, JSON, JSON lines, CSV, TSV and Parquet give it back to the character."
    table = [dict(id=str(n), text=row) for n, row in enumerate(rows)]
    made = {"a.json": json.dumps(table), "b.json": json.dumps(table, ensure_ascii=False, indent=1), "c.json": "\n".join(map(json.dumps, table)),
            "a.jsonl": "\r\n".join(map(json.dumps, table)), "b.jsonl": "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in table)}
    for name, dialect in (("a.csv", "excel"), ("a.tsv", "excel-tab")):
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, ["id", "text"], dialect=dialect)
        writer.writeheader()
        writer.writerows(table)
        made[name] = out.getvalue()
    for name, text in made.items():
        (tmp_path / name).write_bytes(text.encode("utf-8-sig" if bom else "utf-8"))
        assert [i.body for i in read_items(str(tmp_path / name), ReadConfig())] == rows, name
        (tmp_path / name).write_bytes(text.encode("utf-16"))
        assert [i.body for i in read_items(str(tmp_path / name), ReadConfig())] == rows, name
    (tmp_path / "a.parquet").write_bytes(parquet(text=rows))
    assert [i.body for i in read_items(str(tmp_path / "a.parquet"), ReadConfig())] == rows


@EASY
@given(text=st.text(st.sampled_from("a ñ山𝛑\n\r\t"), max_size=300), size=st.integers(1, 40), encoding=st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]))
def test_pieces_lose_nothing(tmp_path, text, size, encoding):
    "The pieces of a text file, joined, are the file; no letter is cut, and no piece is much larger than asked."
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    pieces = [i.body.decode("utf-8") for i in read_pieces(tmp_path / "a.txt", ReadConfig(piece_bytes=size))]
    assert "".join(pieces) == text and max(map(len, pieces)) < 3 * size + 1


@EASY
@given(body=st.binary(max_size=300), size=st.integers(1, 40))
def test_pieces_of_bytes_lose_nothing(tmp_path, body, size):
    "Also a file in no known encoding comes out byte for byte, unless it is binary."
    body = b"x" + body  # no byte order mark
    (tmp_path / "a.txt").write_bytes(body)
    made = b"".join(i.body for i in read_pieces(tmp_path / "a.txt", ReadConfig(piece_bytes=size)))
    assert made == body or (sources.looks_binary(made) and body.startswith(made))


def test_paragraphs_stay_whole(tmp_path):
    "A long text is cut at empty lines only, with either line end."
    for end in ("\n", "\r\n"):
        (tmp_path / "a.txt").write_bytes(f"{end}{end}".join([TOY] * 500).encode())
        pieces = texts(read(tmp_path / "a.txt", ReadConfig(piece_bytes=2_000)))
        assert len(pieces) > 5 and all(p.strip().startswith("A heap") and p.strip().endswith("first.") for p in pieces)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "cp1252"])
def test_encodings(tmp_path, encoding):
    "A text is read right in each encoding that marks itself, in UTF-8, and in cp1252 as the last resort, in plain text, CSV and JSON lines."
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    for name, text in (("a.txt", SPANISH), ("a.md", SPANISH), ("a.csv", f"text\n{SPANISH}\n"), ("a.jsonl", json.dumps(dict(text=SPANISH), ensure_ascii=False))):
        if encoding == "utf-32" and name != "a.md": continue  # nobody writes tables so
        (tmp_path / name).write_bytes((mark + text).encode(encoding))
        assert texts(read(tmp_path / name)) == [SPANISH], (name, encoding)


def test_a_few_broken_bytes_do_not_change_the_encoding():
    "A book in UTF-8 with one broken byte is still read as UTF-8."
    assert decode_text((SPANISH * 9).encode() + b"\xff") == SPANISH * 9 + "\ufffd"


def test_plain_text_about_encodings_is_plain_text():
    "A text that quotes a declaration is not decoded by it."
    text = '<meta charset="utf-16"> says so'
    assert decode_text(text.encode()) == text


def test_ids():
    "An id says source, address and text: equal for the same three, different if one differs."
    make = lambda **k: to_document(Item(**dict(url="a", source="file", body=TOY) | k)).id
    assert make() == make(body=TOY.encode()) and re.fullmatch("[0-9a-f]{12}", make())
    assert len({make(), make(url="b"), make(source="code"), make(body=SPANISH)}) == 4


def test_duplicates_are_told_apart_by_their_place(tmp_path):
    "The same record twice in a file gives two ids, unless the record itself names one address."
    (tmp_path / "a.jsonl").write_text((json.dumps(dict(text=TOY)) + "\n") * 2 + (json.dumps(dict(text=TOY, url="https://x")) + "\n") * 2)
    ids = [d.id for d in read(tmp_path / "a.jsonl")]
    assert len(ids) == 4 and len(set(ids)) == 3


def test_provenance(tmp_path):
    "Address, title, licence and language of a record are kept, and so is the wiki's own address of an article."
    row = dict(text=TOY, url="https://x/1", title="Heap", license="MIT", language="en", other=1)
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    (document,) = read(tmp_path / "a.jsonl")
    assert (document.url, document.meta) == ("https://x/1", dict(title="Heap", license="MIT", language="en"))
    (tmp_path / "a.xml").write_bytes(wiki(("Binary heap", TOY, 0, ""), head="<siteinfo><base>https://en.wikipedia.org/wiki/Main_Page</base></siteinfo>"))
    assert read(tmp_path / "a.xml")[0].url == "https://en.wikipedia.org/wiki/Binary_heap"


def test_embedded_documents():
    "The embedded documentation is all there, with its side of the split."
    ours, theirs = list(read_documents(["docs"])), list(documents())
    assert [d.text for d in ours] == [page(d).rstrip() for d in theirs] and [d.split for d in ours] == [d.split for d in theirs]


# ---- hostile input ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("suffix", SEEDS)
@EASY
@given(body=st.binary(max_size=400), pack=st.sampled_from(list(PACK)), code=st.booleans())
def test_random_bytes(tmp_path, suffix, body, pack, code):
    "Any bytes under any name give results, never an exception and never nothing."
    path = tmp_path / f"a{suffix}{pack}"
    for data in (body, PACK[pack](body)):
        path.write_bytes(data)
        assert sound(list(map(to_document, read_items(f"{'code:' * code}{path}", ReadConfig(max_bytes=10_000)))))


PARTS = [b"\0", b"\xff", b"\n", b"\r", b'"', b"{", b"[", b"<", b"<!--", b"]]>", b"&#0;", b"&a;", b"\xed\xa0\x80", b"\\ud800", b"9" * 30, b"\xff\xfe", b"\xef\xbb\xbf",
         b"\r\n\r\n", b"Content-Length: -5\r\n", b"Content-Length: 99999999999\r\n", b"{{", b"[[", b"<ref>", b"WARC/1.0\r\n", b"<page>", b"</mediawiki>", b"\x1f\x8b", b"BZh9"]


@pytest.mark.parametrize("suffix", SEEDS)
def test_damaged_files(tmp_path, suffix):
    "A good file that is cut, flipped, doubled or has something put into it gives results, packed too, damaged before or after packing."
    rng = random.Random(suffix)
    for n in range(120):
        body = bytearray(SEEDS[suffix])
        pack = rng.choice(list(PACK))
        for inside in rng.choice([(True,), (False,), (True, False)]):
            if not inside: body = bytearray(PACK[pack](bytes(body)))
            match rng.randrange(4):
                case 0: del body[rng.randrange(len(body) + 1):]
                case 1:
                    for _ in range(min(len(body), 5)): body[rng.randrange(len(body))] = rng.randrange(256)
                case 2:
                    at = rng.randrange(len(body) + 1)
                    body[at:at] = rng.choice(PARTS) * rng.choice([1, 1, 40])
                case 3:
                    a, b = sorted(rng.randrange(len(body) + 1) for _ in "ab")
                    body[a:b] = body[a:b] * rng.choice([0, 2])
        path = tmp_path / f"a{suffix}{pack}"
        path.write_bytes(bytes(body))
        assert sound(read(path, ReadConfig(max_bytes=10_000, piece_bytes=200))), n


BAD = {
    "cut.jsonl": (b'{"text": "good"}\n{"text": "cut o', ["bad line"]), "deep.json": (b'{"a":' * 100_000, ["bad line"]), "deep.jsonl": (b"[" * 100_000, ["bad line"]),
    "number.jsonl": (b"9" * 10_000, ["bad line"]), "list.jsonl": (b'["text"]', ["bad line"]), "null.jsonl": (b'{"text": null}', ["no text"]),
    "list.json": (b'{"text": ["a", "b"]}', ["no text"]), "none.json": (b"[]", ["empty"]), "none.jsonl": (b"\n\n", ["empty"]), "none.csv": (b"", ["empty"]), "head.csv": (b"id,text\n", ["empty"]),
    "none.txt": (b"", ["empty"]), "white.txt": (b" \n\t\n ", ["empty"]), "none.xml": (b"", ["damaged file"]), "rss.xml": (b"<rss/>", ["damaged file"]), "empty.html": (b"<html><body> </body></html>", ["empty"]),
    "picture.txt": (bytes(range(256)) * 40, ["binary"]), "picture.html": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ["binary"]), "paper.md": (b"%PDF-1.7\n", ["binary"]), "a.docx": (b"PK\3\4", ["unknown format"]),
    "README": (b"text", ["unknown format"]), "torn.csv": (f'id,text\n1,{TOY}\n2,"{TOY}\n3,{TOY}\n'.encode(), ["bad line"]), "nul.csv": (b"id,text\n1,a\0b\n", []), "other.csv": (b"id,body\n1,a\n2,b\n", ["no text column"]),
    "no.jsonl.gz": (b"no gzip", ["broken archive"]), "cut.txt.gz": (gzip.compress(TOY.encode())[:-9], ["broken archive"]), "cut.txt.bz2": (bz2.compress(TOY.encode())[:-9], ["broken archive"]),
    "cut.warc": (warc()[:-30], ["broken archive"]), "junk.warc": (b"junk\r\n" + warc(), ["damaged file"]), "lie.warc": (warc().replace(b"Length: ", b"Length: 9"), ["broken archive"]), "minus.warc": (warc().replace(b"Length: ", b"Length: -"), ["damaged file"]),
    "picture.warc": (warc(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n\x89PNG"), ["unknown format"]), "gone.warc": (warc(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\r\n<p>no"), ["not fetched"]),
    "no.parquet": (b"PAR1 no", ["damaged file"]), "null.parquet": (parquet(text=pa.array([None], pa.string())), ["no text"]), "bytes.parquet": (parquet(text=[b"a"]), ["no text"]), "other.parquet": (parquet(body=[TOY] * 3), ["no text column"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_has_its_reason(tmp_path, name):
    "Each kind of broken input is told by the right reason."
    body, expected = BAD[name]
    (tmp_path / name).write_bytes(body)
    results = read(tmp_path / name)
    assert sound(results) and reasons(results) == expected


def test_what_comes_before_the_damage_is_kept(tmp_path):
    "Records before a torn place are documents all the same, in each format."
    for name, body in {"a.jsonl": SEEDS[".jsonl"][:-9], "a.json": SEEDS[".json"][:-9], "a.csv": SEEDS[".csv"][:-9], "a.xml": SEEDS[".xml"][:-9], "b.xml": SEEDS[".xml"].replace(b"T3", b"<x></y>"),
                       "a.warc": SEEDS[".warc"][:-99], "a.jsonl.gz": gzip.compress(b"".join(json.dumps(dict(text=os.urandom(99).hex())).encode() + b"\n" for _ in range(9_000)))[:-2_000]}.items():
        (tmp_path / name).write_bytes(body)
        results = read(tmp_path / name)
        assert len(reasons(results)) == 1 and texts(results) and isinstance(results[-1], Item), name


def test_missing_columns_are_named(tmp_path):
    "A missing text column is told once, with the columns that are there and the flag that mends it, in CSV and Parquet; a datum's own flag finds it."
    (tmp_path / "a.parquet").write_bytes(parquet(id=[1, 2], question=[TOY, TOY]))
    (tmp_path / "a.csv").write_text(f"id,question\n1,{TOY}\n2,{TOY}\n")
    for name in ("a.parquet", "a.csv"):
        (item,) = read(tmp_path / name)
        assert "id, question" in item.detail and "--text-column" in item.detail
        assert texts(read(tmp_path / name, ReadConfig(text_column="question"))) == [TOY] * 2


def test_columns_without_end(tmp_path):
    "Ten thousand columns, or a column with a name of a megabyte, make no endless message."
    (tmp_path / "a.csv").write_text(",".join(f"c{i}" for i in range(10_000)) + "\n" + "," * 9_999)
    (tmp_path / "b.json").write_text(json.dumps({"x" * 1_000_000: 1}))
    assert all(len(r.detail) <= 300 for name in ("a.csv", "b.json") for r in read(tmp_path / name))


def test_too_large(tmp_path):
    "A page of 50 MB, a record, a field or a line over the limit is left out with a reason, and the ones beside it are kept."
    with open(tmp_path / "a.html", "wb") as f: f.truncate(50_000_000)
    assert reasons(read(tmp_path / "a.html")) == ["too large"]
    cfg, long = ReadConfig(max_bytes=1_000), "x" * 200_000
    for name, body in {"a.jsonl": f'{{"text": "a"}}\n{{"text": "{long}"}}\n{{"text": "b"}}\n', "a.csv": f"text\na\n{long}\nb\n", "b.csv": f'text\na\n"{(long[:300] + chr(10))*9}"\nb\n'}.items():
        (tmp_path / name).write_text(body)
        results = read(tmp_path / name, cfg)
        assert texts(results) == ["a", "b"] and reasons(results) == ["too large"], name
    (tmp_path / "a.json").write_text(f'[{{"text": "a"}}, {{"text": "{long}"}}, {{"text": "b"}}]')
    assert texts(read(tmp_path / "a.json", cfg)) == ["a"] and reasons(read(tmp_path / "a.json", cfg)) == ["too large"]
    (tmp_path / "a.xml").write_bytes(wiki(("A", TOY, 0, ""), ("B", long, 0, ""), ("C", TOY, 0, "")))
    assert len(texts(read(tmp_path / "a.xml", cfg))) == 2 and reasons(read(tmp_path / "a.xml", cfg)) == ["too large"]
    (tmp_path / "a.warc").write_bytes(warc() + warc(long.encode(), "conversion", "text/plain") + warc())
    assert len(texts(read(tmp_path / "a.warc", cfg))) == 2 and reasons(read(tmp_path / "a.warc", cfg)) == ["too large"]


def test_bombs(tmp_path):
    "A file that unpacks to far more than text can is stopped early, in either packing."
    (tmp_path / "a.jsonl.bz2").write_bytes(bz2.compress(bytes(2_000_000)) * 5_000)  # 10 GB
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress((b"a b " * 999 + b"\n") * 4_000) * 40)  # 640 MB
    for name in ("a.jsonl.bz2", "a.txt.gz"): assert reasons(read(tmp_path / name)) == ["too large"]


def test_entity_bombs(tmp_path):
    "Billion laughs, its quadratic cousin and external entities are refused at the document type, also in UTF-16 and behind a megabyte of remarks."
    laughs = "<!DOCTYPE m [<!ENTITY a 'ha'>" + "".join(f"<!ENTITY {b} '{f'&{a};' * 10}'>" for a, b in zip("abcdefgh", "bcdefghi")) + "]>"
    cousin = f"<!DOCTYPE m [<!ENTITY i '{'x' * 50_000}'>]>"
    outside = f"<!DOCTYPE m [<!ENTITY i SYSTEM 'file://{tmp_path}/secret'>]>"
    body = wiki(("Joke", "&i;" * 1_000, 0, "")).decode()
    for n, head in enumerate((laughs, cousin, outside, "<!-- x -->" * 100_000 + laughs, "<!DOCTYPE m SYSTEM 'http://127.0.0.1:1/a.dtd'>")):
        for encoding in ("utf-8", "utf-16"):
            (tmp_path / f"{n}.xml").write_bytes((head + body).encode(encoding))
            (item,) = read(tmp_path / f"{n}.xml")
            assert item.reason == "damaged file" and "document type" in item.detail


def test_markup_that_never_closes(tmp_path):
    "Wikitext that opens for ever gets a reason in a moment, instead of hours of looking for the end."
    for mark in ("<ref>", "{|\n", "[http://a ", "{{a|[[b|", "<!--", "[[File:a|", "<div>"):
        item = to_document(Item("a", "wiki", mark * 100_000, "wikitext"))
        assert item.reason == "failed" and "never closed" in item.detail
    assert to_document(Item("a", "wiki", f"{TOY}<ref>x</ref> " * 9_000, "wikitext")).text.count("heap") == 9_000


def test_mediawiki_takes_articles_only(tmp_path):
    "Talk pages and redirects are left out; a page with several revisions gives its last one; old dumps without name spaces are read."
    pages = [("A", TOY, 0, ""), ("Talk:A", "x", 1, ""), ("B", "x", 0, '<redirect title="A"/>'), ("C", "old</text></revision><revision><text>" + SPANISH, 0, "")]
    (tmp_path / "a.xml").write_bytes(wiki(*pages))
    assert [(d.meta["title"], d.text) for d in read(tmp_path / "a.xml")] == [("A", TOY), ("C", SPANISH)]
    (tmp_path / "b.xml").write_bytes(wiki(*pages[:1]).replace(b"<ns>0</ns>", b""))
    assert texts(read(tmp_path / "b.xml")) == [TOY]


def test_multistream_bzip2(tmp_path):
    "A dump made of many bzip2 streams, as Wikipedia packs it, is one dump."
    body = SEEDS[".xml"]
    (tmp_path / "a.xml.bz2").write_bytes(b"".join(bz2.compress(body[i:i + 100]) for i in range(0, len(body), 100)))
    assert len(texts(read(tmp_path / "a.xml.bz2"))) == 4


def test_wikitext_against_expectations():
    "Templates, references, tables, galleries and files go, their prose stays."
    text = "'''A heap'''<ref name=a>x {{b}}</ref> is<ref name=a/> a [[list|lists]].{{stub|{{a}}}}\n{| class=x\n| a || b\n|}\n[[File:x.png|thumb|A [[tree]]]][[Archivo:s.png|hola]]\n<gallery>\na.png|b\n</gallery>\n== Uses ==\nSorting."
    assert to_document(Item("a", "wiki", text, "wikitext")).text.split() == "A heap is a lists. Uses Sorting.".split()


# ---- the parities -------------------------------------------------------------------------------------------------------------

def test_warc_like_warcio(tmp_path, capsys):
    "Of an archive written by warcio (chunked, compressed, several kinds of records), each page and text is what warcio reads, whole-file gzip too."
    warcio = pytest.importorskip("warcio")
    from warcio.statusandheaders import StatusAndHeaders
    out = io.BytesIO()
    writer = warcio.warcwriter.WARCWriter(out, gzip=True) if hasattr(warcio, "warcwriter") else __import__("warcio.warcwriter", fromlist=["WARCWriter"]).WARCWriter(out, gzip=True)
    html = f"<html><p>{SPANISH}</p></html>".encode()
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(html), html)
    for n, (extra, body) in enumerate((([], html), ([("Transfer-Encoding", "chunked")], chunked), ([("Content-Encoding", "gzip")], gzip.compress(html)))):
        headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8"), *extra], protocol="HTTP/1.1")
        writer.write_record(writer.create_warc_record(f"https://example.org/{n}", "response", payload=io.BytesIO(body), http_headers=headers))
        writer.write_record(writer.create_warc_record(f"https://example.org/{n}", "request", payload=io.BytesIO(b""), http_headers=StatusAndHeaders("GET / HTTP/1.1", [], is_http_request=True)))
    writer.write_record(writer.create_warc_record("https://example.org/t", "conversion", payload=io.BytesIO(SPANISH.encode()), warc_content_type="text/plain"))
    writer.write_record(writer.create_warc_record("dns:example.org", "response", payload=io.BytesIO(b"1.2.3.4"), warc_content_type="text/dns"))
    (tmp_path / "a.warc.gz").write_bytes(out.getvalue())
    (tmp_path / "b.warc").write_bytes(gzip.decompress(out.getvalue()))
    (tmp_path / "c.warc.gz").write_bytes(gzip.compress(gzip.decompress(out.getvalue())))
    from warcio.archiveiterator import ArchiveIterator
    kinds = ("response", "conversion")
    theirs = [(r.rec_headers.get_header("WARC-Target-URI"), r.content_stream().read()) for r in ArchiveIterator(io.BytesIO(out.getvalue())) if r.rec_type in kinds][:4]
    for name in ("a.warc.gz", "b.warc", "c.warc.gz"):
        assert [(i.url, i.body) for i in read_items(str(tmp_path / name), ReadConfig())] == theirs
        assert texts(read(tmp_path / name)) == [SPANISH] * 4
    with capsys.disabled(): print(f"\nsources beside warcio: {len(theirs)} records in 3 packings, 0 differences")


def test_tables_like_datasets(tmp_path, capsys):
    "JSON lines, CSV and Parquet give the texts that `datasets` gives, row for row; so does a folder by name."
    load = pytest.importorskip("datasets").load_dataset
    rows = [f"{SPANISH} {n}\n\"{TOY}\", and" for n in range(300)]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(dict(text=r)) for r in rows))
    (tmp_path / "a.parquet").write_bytes(parquet(text=rows, n=list(range(300))))
    with open(tmp_path / "a.csv", "w", newline="", encoding="utf-8") as f: csv.writer(f).writerows([["text"], *[[r] for r in rows]])
    for builder, name in (("json", "a.jsonl"), ("csv", "a.csv"), ("parquet", "a.parquet")):
        theirs = [r["text"] for r in load(builder, data_files=str(tmp_path / name), split="train", streaming=True)]
        assert [i.body for i in read_file(tmp_path / name, ReadConfig())] == theirs == rows
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "test.parquet").write_bytes(parquet(text=rows, n=list(range(300))))
    assert [i.body for i in read_items(f"hf:{tmp_path / 'set'}@test", ReadConfig())] == rows
    (item,) = read_items(f"hf:{tmp_path / 'set'}@test", ReadConfig(text_column="body"))
    assert item.reason == "no text column" and "text, n" in item.detail
    with pytest.raises(ValueError, match="cannot be opened"): read_items(f"hf:{tmp_path / 'set'}@validation", ReadConfig())
    with pytest.raises(ValueError, match="cannot be opened"): read_items(f"hf:{tmp_path / 'nowhere'}", ReadConfig())
    with capsys.disabled(): print(f"\nsources beside datasets: {len(rows)} rows in 4 forms, 0 differences")


# ---- folders, names, the door -------------------------------------------------------------------------------------------------

@pytest.mark.posix
def test_strange_folders(tmp_path):
    "Circles of links, pipes, devices, files without end, names that are no text: each is a result, and nothing hangs."
    (tmp_path / "good.txt").write_text(TOY)
    for n in range(4): (tmp_path / f"circle{n}").symlink_to(tmp_path)
    for name, target in {"self.txt": "self.txt", "zero.txt": "/dev/zero", "memory.txt": "/proc/self/mem", "gone.txt": "nowhere", "link.txt": "good.txt"}.items(): (tmp_path / name).symlink_to(target)
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "line\nend.txt").write_text(TOY)
    (tmp_path / os.fsdecode(b"\xf1u.txt")).write_text(TOY)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.txt").write_text("hidden")
    results = read(tmp_path)
    assert sound(results) and len(results) == 13 and len(texts(results)) == 4 and set(reasons(results)) == {"unreadable"}
    assert any(r.url.endswith("ñu.txt") for r in results)
    assert sorted(texts(read(tmp_path / "**" / "*.txt"))) == sorted(texts(results))
    for bad in ("zero.txt", "pipe.txt", "gone.txt", "self.txt"):
        with pytest.raises(ValueError, match="no file"): read(tmp_path / bad)


@pytest.mark.posix
def test_closed_folders(tmp_path):
    "A folder that may not be listed is a reason."
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "a.txt").write_text(TOY)
    (tmp_path / "b.txt").write_text(TOY)
    os.chmod(tmp_path / "closed", 0)
    try:
        if os.access(tmp_path / "closed", os.R_OK): pytest.skip("this user may read everything")
        assert reasons(read(tmp_path)) == ["unreadable"] and texts(read(tmp_path)) == [TOY]
    finally: os.chmod(tmp_path / "closed", 0o700)


def test_listing_errors_are_kept(tmp_path, monkeypatch):
    "An error while a folder is listed names the folder."
    def walk(folder, onerror): onerror(PermissionError(13, "no", str(tmp_path / "closed"))); return iter([])
    monkeypatch.setattr(sources.os, "walk", walk)
    assert list(files_below(tmp_path)) == [tmp_path / "closed"] and reasons(read(tmp_path)) == ["unreadable"]


@pytest.mark.slow
def test_deep_trees(tmp_path):
    "A tree deeper than Python's stack is a reason or a document, and no crash."
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1_100):
            os.mkdir("d")
            os.chdir("d")
        Path("a.txt").write_text(TOY)
    finally: os.chdir(here)
    assert sound(read(tmp_path))
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=False)


def test_the_order_is_always_the_same(tmp_path):
    "Two folders with the same files give the same stream, whatever the order in which they were written."
    for folder, names in (("a", "cab"), ("b", "bca")):
        for name in names:
            (tmp_path / folder / name).mkdir(parents=True)
            for n in "21": (tmp_path / folder / name / f"{n}.txt").write_text(name + n)
    assert texts(read(tmp_path / "a")) == texts(read(tmp_path / "b")) == ["a1", "a2", "b1", "b2", "c1", "c2"]
    assert texts(read(tmp_path / "a" / "*" / "1.txt")) == ["a1", "b1", "c1"]


@pytest.mark.parametrize("source", ["nowhere.txt", "", "code:", "code:nowhere", "urls:nowhere", "*.nothing", "[", "**x", "a\0b", "hf:", "ftp://example.org/", "file:///etc/hosts"])
def test_sources_that_do_not_exist(source):
    "A name that fits nothing stops at once, in one line."
    with pytest.raises(ValueError) as error: read_items(source, ReadConfig())
    assert "\n" not in str(error.value) and (source.startswith("hf:") or "sources are" in str(error.value))


def test_an_empty_folder_says_so(tmp_path):
    "A folder with nothing in it is a reason, too."
    assert reasons(read(tmp_path)) == ["empty"]


def test_code_and_files_differ(tmp_path):
    "A source tree gives sources whole, with their language; the same folder without `code:` gives its texts."
    for name, text in {"a.py": "x = 1\n", "b.txt": TOY, "c.so": "\0", "__pycache__/a.py": "no"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    code = list(read_documents([f"code:{tmp_path}"]))
    assert [(d.source, d.meta.get("language")) for d in code if isinstance(d, Document)] == [("code", "Python"), ("code", "Text")]
    assert reasons(code) == ["unknown format"] and texts(read(tmp_path)) == [TOY]


def test_limits_of_the_config():
    "Limits below one are refused in one line."
    for name in ("max_bytes", "piece_bytes"):
        with pytest.raises(ValueError, match=rf"{name} \(0\) must be 1 or more; try 1"): ReadConfig(**{name: 0})


def test_missing_libraries_stop_the_run(tmp_path, monkeypatch):
    "A library that is not installed is no property of the data: one line names the extra."
    monkeypatch.setitem(sys.modules, "warcio.archiveiterator", None)
    monkeypatch.setitem(sys.modules, "mwparserfromhell", None)
    (tmp_path / "a.warc").write_bytes(warc())
    (tmp_path / "a.xml").write_bytes(SEEDS[".xml"])
    for name, package in (("a.warc", "warcio"), ("a.xml", "mwparserfromhell")):
        with pytest.raises(ImportError, match=rf'need {package}: pip install "\.\[corpus\]"'): read(tmp_path / name)


def test_failures_of_libraries_are_reasons(monkeypatch):
    "Whatever a library raises on one text, the item says it and the next one is read."
    def fails(*_): raise RuntimeError("odd")
    monkeypatch.setattr(sources, "extract", fails)
    item = to_document(Item("a", "web", b"<p>x", "html"))
    assert (item.reason, item.detail) == ("failed", "RuntimeError: odd")


@pytest.mark.parametrize("error, reason", [(EOFError(), "broken archive"), (gzip.BadGzipFile("x"), "broken archive"), (OSError("Invalid data stream"), "broken archive"), (PermissionError(13, "x"), "unreadable"),
                                           (OSError(5, "x"), "unreadable"), (OSError(27, "x"), "too large"), (ConnectionError("x"), "unreadable"), (ValueError("x"), "damaged file")])
def test_why(error, reason):
    "An exception says what is wrong with the input."
    assert why(error) == reason


@pytest.fixture
def site(tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_): pass
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_web_sources(tmp_path, site):
    "An address, a list of addresses with remarks and a sitemap give the same page; what cannot be had has a reason."
    cfg = ReadConfig(fetch=FetchConfig(allow_private=True, delay_s=0, retries=0))
    (tmp_path / "a.html").write_text(f"<html><title>Heap</title><p>{TOY}</p></html>")
    (tmp_path / "list.txt").write_bytes(f"\ufeff# pages\r\n{site}/a.html\r\n\r\n  {site}/gone.html\r\nftp://example.org/\r\n".encode())
    (tmp_path / "map.xml").write_text(f"<urlset><url><loc>{site}/a.html</loc></url><url><loc>https://example.org/</loc></url></urlset>")
    (one,) = read_documents([f"{site}/a.html"], cfg)
    assert (one.text, one.source, one.meta["title"]) == (TOY, "web", "Heap")
    listed = list(read_documents([f"urls:{tmp_path / 'list.txt'}"], cfg))
    assert texts(listed) == [TOY] and reasons(listed) == ["not fetched"] * 2 and listed[0].id == one.id
    mapped = list(read_documents([f"sitemap:{site}/map.xml"], cfg))
    assert texts(mapped) == [TOY] and reasons(mapped) == ["not fetched"]
    assert reasons(read_documents([f"sitemap:{site}/a.html"], cfg)) == ["not fetched"] and reasons(read_documents([f"{site}/a.html"])) == ["not fetched"]
    (tmp_path / "none.txt").write_bytes(b"# nothing\n")
    assert reasons(read_documents([f"urls:{tmp_path / 'none.txt'}"], cfg)) == ["empty"]


# ---- memory, in a child process -----------------------------------------------------------------------------------------------

CHILD = textwrap.dedent("""
    import re, sys
    from minillm.sources import *
    import pyarrow.parquet, warcio.archiveiterator, mwparserfromhell
    mb = lambda key: int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read())[1])/1024
    list(read_items(sys.argv[2], ReadConfig()))
    before = mb("VmRSS")
    if sys.argv[3] == "keep": kept = list(read_items(sys.argv[1], ReadConfig()))
    else: n = sum(len(i.body) for i in read_items(sys.argv[1], ReadConfig()))
    print(mb("VmHWM") - before)
""")


def growth(path, small, mode="stream"):
    "MB by which a fresh process grows while it reads a file, beyond a small file of the same form."
    env = os.environ | dict(PYTHONPATH=str(ROOT))
    done = subprocess.run([sys.executable, "-c", CHILD, str(path), str(small), mode], capture_output=True, text=True, env=env, check=True)
    return float(done.stdout)


def large(tmp_path, suffix, mb):
    "A file of so many MB of varied text, and a small one."
    words = [f"{random.Random(n).getrandbits(40):x}" for n in range(2_000)]
    texts = [" ".join(random.Random(n).choices(words, k=1_000)) for n in range(60)]
    total = mb * 1_000_000 // len(texts[0])
    rows = [texts[n % 60][n % 97:] for n in range(total)]
    for name, some in (("large", rows), ("small", rows[:3])):
        path = tmp_path / f"{name}{suffix}"
        match suffix:
            case ".txt.gz" | ".txt": body = "\n\n".join(some).encode()
            case ".jsonl": body = "\n".join(json.dumps(dict(text=r)) for r in some).encode()
            case ".json": body = json.dumps([dict(text=r) for r in some]).encode()
            case ".csv": body = ("text\n" + "\n".join(some)).encode()
            case ".parquet": body = parquet(text=some)
            case ".warc": body = b"".join(warc(r.encode(), "conversion", "text/plain") for r in some)
            case ".xml": body = wiki(*[("T", r, 0, "") for r in some])
        path.write_bytes(gzip.compress(body, 1) if suffix.endswith(".gz") else body)
    return tmp_path / f"large{suffix}", tmp_path / f"small{suffix}"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("suffix", [".json", ".parquet", *(pytest.param(s, marks=pytest.mark.slow) for s in (".txt", ".txt.gz", ".jsonl", ".csv", ".warc", ".xml"))])
def test_memory_stays_flat(tmp_path, suffix, capsys):
    "A file larger than the limit of growth streams through a child process."
    grown = growth(*large(tmp_path, suffix, 96))
    with capsys.disabled(): print(f"\nreading 96 MB of {suffix}: +{grown:.0f} MB (limit {GROWTH_MB})")
    assert grown < GROWTH_MB


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_that_is_kept_is_seen(tmp_path):
    "Planted: a reader that keeps what it has read is caught by the same limit."
    assert growth(*large(tmp_path, ".jsonl", 96), mode="keep") > GROWTH_MB


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
@pytest.mark.parametrize("name, head, block", [
    ("a.txt", b"", b"abc "), ("a.jsonl", b'{"text": "', b"abc "), ("a.json", b'[{"text": "', b"abc "), ("a.csv", b'text\n"', b"abc " * 5_000 + b"\n"), ("b.csv", b"text\n", b"abc,"),
    ("a.warc", b"WARC/1.0\r\nA: ", b"abc "), ("b.warc", b"WARC/1.0\r\n", b"A: b\r\n"), ("c.warc", b"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Length: 90000000\r\n\r\n", b"abc "),
    ("a.xml", b"<mediawiki><page><text>", b"abc "), ("b.xml", b"<mediawiki>", b"<a>"), ("c.xml", b"<mediawiki><!--", b"abc "), ("d.xml", b'<mediawiki a="', b"abc ")])
def test_memory_without_an_end(tmp_path, name, head, block):
    "A line, a string, a header, a text, a tag or a remark that does not end takes a bounded amount of memory, and has its reason."
    with open(tmp_path / name, "wb") as f:
        f.write(head)
        for _ in range(96): f.write(block * (1_000_000 // len(block)))
    (tmp_path / "small.txt").write_text(TOY)
    assert growth(tmp_path / name, tmp_path / "small.txt") < GROWTH_MB + 10
    if not name.endswith((".txt", "csv")): assert any(i.reason for i in read_items(str(tmp_path / name), ReadConfig()))


# ---- real data ----------------------------------------------------------------------------------------------------------------

def test_real_pages():
    "All 91 real pages, packed, are documents with a text."
    results = list(read_documents([shared("article_extraction/html")]))
    assert len(texts(results)) == 91 and not reasons(results)


def test_real_spanish_pages():
    "Saved pages of the official gazette keep their accents."
    found = {Path(d.url).name: d for d in read(shared("boe")) if isinstance(d, Document)}
    assert all("Educación" in d.text and "enseñanzas mínimas" in d.meta["title"] and len(d.text) > 20_000 for name, d in found.items() if name.endswith("html"))
    assert len(found) == 9 and not any("\ufffd" in d.text or "Ã" in d.text for d in found.values())


def test_real_records():
    "Real JSON and JSON lines by their columns: as many documents as the standard library reads records, with equal texts."
    for name, column in (("gsm8k/test.jsonl", "question"), ("self_instruct/seed_tasks.jsonl", "instruction"), ("instruct_rasbt/instruction-data.json", "output")):
        raw = Path(shared(name)).read_text(encoding="utf-8")
        rows = json.loads(raw) if name.endswith("json") else [json.loads(line) for line in raw.splitlines()]
        assert texts(read(shared(name), ReadConfig(text_column=column))) == [r[column] for r in rows if r[column].strip()]
    (item,) = read(shared("xquad/xquad.es.json"))
    assert item.reason == "no text column" and "data" in item.detail


def test_real_texts():
    "Real plain texts, in bzip2, in gzip and bare, come out whole."
    for name, opener in (("hellaswag/hellaswag_val_full.txt.bz2", bz2.open), ("wikitext2/test.txt.gz", gzip.open), ("quijote/quijote.txt", open)):
        with opener(shared(name), "rb") as f: whole = f.read().decode("utf-8-sig")
        assert "".join(texts(read(shared(name), ReadConfig(piece_bytes=100_000)))) == whole


def test_real_table_without_a_header():
    "A real table whose first line is no header names what it took for one; an archive of files is told by its name."
    (item,) = read(shared("langid/lingua_sentences_200.tsv.gz"))
    assert item.reason == "no text column" and "it has af" in item.detail
    assert "unknown format" in reasons(read(shared("constitucion_es")))


def test_real_source_tree():
    "An installed package is read as a source tree: every Python file that is not empty is a document, equal to what Python reads."
    import numpy
    tree = Path(numpy.__file__).parent / "lib"
    found = {d.url: d.text for d in read_documents([f"code:{tree}"]) if isinstance(d, Document)}
    expected = {str(p): p.read_bytes().decode("utf-8") for p in tree.rglob("*.py") if p.stat().st_size}
    assert {u: t for u, t in found.items() if u.endswith(".py")} == expected
