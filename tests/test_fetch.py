"Fetching against hostile servers, robots.txt against the standard, extraction against text that people marked."
import gzip
import ipaddress
import json
import os
import random
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm import fetch
from minillm.fetch import (FetchConfig, Page, Robots, backoff, best_run, decode_html, density_extract, extract, fetch_pages, is_public,
                           looks_binary, parse_robots, parse_url, resolve, sitemap_urls, strip_tags, text_blocks)

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("MINILLM_SHARED_DATA") or ROOT.parent / "shared" / "data")
BOE = ROOT / "nbs" / "data" / "boe"
FAST = FetchConfig(delay_s=0, timeout_s=0.4, max_bytes=200_000, retries=1, backoff_s=0.01, max_wait_s=5, allow_private=True)
PROPERTY = settings(deadline=None, derandomize=True, max_examples=150)
ARTICLE = "".join(f"<p>The lighthouse number {i} of Cabo Alba is closed, while its lens is taken down, cleaned and set again.</p>" for i in range(9))


def ok(body=b"<p>hello", kind="text/html", status="200 OK", headers=""):
    "A whole answer in bytes."
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


class Server:
    "Answers each path with given bytes, or hands the connection to a function that misbehaves."

    def __init__(self):
        self.site, self.log, self.socket = {}, [], socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.home = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try: sock, _ = self.socket.accept()
            except OSError: return
            threading.Thread(target=self.answer, args=(sock,), daemon=True).start()

    def answer(self, sock):
        with sock:
            try:
                head = b""
                while b"\r\n\r\n" not in head and (got := sock.recv(4096)): head += got
                path = head.split(b" ")[1].decode() if b" " in head else ""
                self.log.append((time.monotonic(), path, head))
                answer = self.site.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                if callable(answer): answer(sock)
                else: sock.sendall(answer)
            except OSError: pass  # the client has had enough

    def asked(self): return [path for _, path, _ in self.log]


@pytest.fixture
def server():
    server = Server()
    yield server
    server.socket.close()


def get(server, *paths, **changes):
    "The pages of some paths; in a list where there are several."
    pages = list(fetch_pages([server.home + path for path in paths], replace(FAST, **changes)))
    return pages if len(paths) > 1 else pages[0]


# ---- URLs and addresses --------------------------------------------------------------------------------------------

REFUSED = ["", "x", "file:///etc/passwd", "ftp://example.org/", "javascript:alert(1)", "data:text/html,x", "http://", "http:///x", "http://user:pw@example.org/",
           "http://example.org@127.0.0.1/", "http://example.org\\@127.0.0.1/", "http://127.0.0.1\\.example.org/", "http://[::1/", "http://[fe80::1%25eth0]/",
           "http://example.org:22/", "http://example.org:0/", "http://example.org:99999/", "http://exa mple.org/", "http://exam\0ple.org/", "http://ex%61mple.org/",
           "http://example.org/\ud800", "http://" + "a" * 9_000, "gopher://x", "http://ex\u2100mple.org/", "//example.org/", "http://./"]


@pytest.mark.parametrize("url", REFUSED, ids=range(len(REFUSED)))
def test_odd_urls_are_refused(url):
    "A URL that is not plainly http(s) on a web port has a one-line reason."
    with pytest.raises(ValueError) as e: parse_url(url)
    assert str(e.value) and "\n" not in str(e.value)


@PROPERTY
@given(st.one_of(st.text(), st.text("ht:/p.@[]%\\#?0123456789abc\r\n\t ñ"), st.text().map(lambda t: "http://example.org/" + t)))
def test_any_text_is_a_target_or_a_reason(text):
    "Whatever stands for a URL, it is refused by ValueError or becomes clean ASCII that parses to itself."
    try: target = parse_url(text)
    except ValueError: return
    assert re.fullmatch(r"https?://[!-~]+", target.origin) and re.fullmatch(r"/[!-~]*", target.path) and target.port in (80, 443, 8080, 8443)
    assert parse_url(target.origin + target.path) == target
    assert (urlsplit(target.origin).hostname, urlsplit(target.origin).username) == (target.host, None)


def test_private_addresses_in_every_dress():
    "No special address is public, in IPv4 or inside any IPv6 form that carries one; ordinary ones are."
    rng, four = random.Random(0), lambda n: str(ipaddress.IPv4Address(n))
    nets = "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.2.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"
    for net in map(ipaddress.ip_network, nets.split()):
        for n in (int(net[0]), int(net[-1]), rng.randint(int(net[0]), int(net[-1]))):
            assert not is_public(four(n)) and not is_public(f"::ffff:{four(n)}"), four(n)
    for _ in range(200):
        n = rng.getrandbits(32)
        assert is_public(f"::ffff:{four(n)}") == is_public(four(n))
        high = f"{n >> 16:x}:{n & 65535:x}"
        assert not any(map(is_public, (f"::{high}", f"2002:{high}::1", f"64:ff9b::{high}", f"fe80::{high}%eth0", f"fd00::{high}", f"ff02::{high}", f"2001:db8::{high}")))
    assert all(map(is_public, ("8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "2a00:1450:4003::1")))


def answers(*addresses): return lambda host, port, **kw: [(0, 0, 0, "", (address, port)) for address in addresses]


def test_one_private_answer_among_public_ones_is_enough():
    "A name is refused if any of its addresses is private, wherever it stands in the answer."
    public, private = ("93.184.216.34", "8.8.8.8"), "192.168.1.1"
    assert resolve("x.example", 80, lookup=answers(*public, *public)) == list(public)
    for i in range(3):
        with pytest.raises(ValueError, match="private address"): resolve("x.example", 80, lookup=answers(*public[:i], private, *public[i:]))
    assert resolve("x.example", 80, True, answers(private)) == [private]


def test_unknown_names_are_final_and_silent_resolvers_are_not(monkeypatch):
    "A name that does not exist is a reason at once; a resolver that does not answer is asked again."
    asked = []
    def lookup(errno):
        def ask(host, port, **kw): asked.append(host); raise socket.gaierror(errno, "no")
        return ask
    url = "http://nowhere.example/"
    for errno, reason, times in ((socket.EAI_NONAME, "unknown host (nowhere.example)", 1), (socket.EAI_AGAIN, "connection (gaierror)", 2)):
        asked.clear()
        monkeypatch.setattr(socket, "getaddrinfo", lookup(errno))
        page = next(fetch_pages([url], FAST))
        assert (page.reason, len(asked)) == (reason, times)


class Internet:
    "Names with public addresses that lead to one loopback server; everything else is as it is, and written down."

    def __init__(self, monkeypatch, server):
        self.names, self.asked, self.connected = {}, [], []
        self.real = socket.getaddrinfo, socket.create_connection
        self.server = server
        monkeypatch.setattr(socket, "getaddrinfo", self.lookup)
        monkeypatch.setattr(socket, "create_connection", self.connect)

    def lookup(self, host, port, *args, **kw):
        self.asked.append(host)
        if host not in self.names: return self.real[0](host, port, *args, **kw)
        found = self.names[host]
        return answers(found.pop(0) if len(found) > 1 else found[0])(host, port)

    def connect(self, address, timeout=None, **kw):
        self.connected.append(address[0])
        public = address[0].startswith("93.184.216.")
        if not public and not ipaddress.ip_address(address[0]).is_loopback: raise OSError("nobody there")
        return self.real[1](("127.0.0.1", self.server.port) if public else address, timeout)


@pytest.fixture
def internet(monkeypatch, server):
    net = Internet(monkeypatch, server)
    net.names |= {"good.example": ["93.184.216.34"], "other.example": ["93.184.216.35"]}
    return net


def strict(urls, **changes): return list(fetch_pages(urls, replace(FAST, allow_private=False, **changes)))


def test_rebinding_gets_no_second_question(internet):
    "A name that is public when it is checked and private afterwards is asked once, and the checked number is connected to."
    internet.server.site["/"] = ok()
    internet.names["evil.example"] = ["93.184.216.66", "127.0.0.1"]
    target = parse_url("http://evil.example/")
    assert fetch._request(target, replace(FAST, allow_private=False), ())[2] == b"<p>hello"
    assert internet.asked.count("evil.example") == 1 and internet.connected == ["93.184.216.66"]
    assert b"Host: evil.example\r\n" in internet.server.log[0][2]


def secrets(server):
    "Redirects of a public page into the crawler's own network, in many spellings."
    p = server.port
    return ["http://127.0.0.1/secret", f"http://127.0.0.1:{p}/secret", "http://169.254.169.254/latest/meta-data/", "http://[::1]/secret", "http://[::ffff:127.0.0.1]/secret",
            "http://2130706433/secret", "http://0x7f000001/secret", "http://0177.0.0.1/secret", "http://127.1/secret", "http://0/secret", "http://localhost/secret",
            "http://10.0.0.1/secret", "//127.0.0.1/secret", "///127.0.0.1/secret", "http:\\\\127.0.0.1/secret", "file:///etc/passwd", "ftp://127.0.0.1/secret", "http://good.example:22/secret",
            f"http://good.example:{p}/secret", "http://good.example@127.0.0.1/secret", "http://rebound.example/secret", "http://127。0。0。1/secret", "\thttp://127.0.0.1/secret", "gopher://127.0.0.1:25/"]


def leaks(internet):
    "Redirects that reached something which is not public, one crawl for each."
    leaked, server = [], internet.server
    for there in secrets(server):
        server.site["/start"] = b"HTTP/1.1 302 Found\r\nLocation: " + there.encode() + b"\r\nContent-Length: 0\r\n\r\n"
        server.site["/secret"], server.site["/latest/meta-data/"] = ok(b"<p>password"), ok(b"<p>password")
        internet.names["rebound.example"] = ["127.0.0.1"]
        server.log.clear(); internet.connected.clear()
        page = strict(["http://good.example/start"], retries=0)[0]
        if b"password" in page.body or not page.reason or any(not a.startswith("93.") for a in internet.connected): leaked.append((there, page.reason))
    return leaked


def test_no_redirect_leads_into_the_own_network(internet):
    "A public page cannot send the crawler to a private address, another scheme or another service, however it is spelled."
    assert leaks(internet) == []
    internet.server.site["/start"] = ok()
    assert strict(["http://good.example/start"])[0].body == b"<p>hello"


@pytest.mark.parametrize("name, mistake", [("is_public", lambda address: True), ("resolve", lambda host, port, private=False, lookup=None: [host])])
def test_planted_a_missing_check_of_addresses_is_noticed(internet, monkeypatch, name, mistake):
    "Planted: without the check of addresses, or connecting by name, redirects do lead inside."
    monkeypatch.setattr(fetch, name, mistake)
    assert len(leaks(internet)) > 3


def test_robots_of_the_new_host_is_asked(internet):
    "A redirect to another host obeys that host's robots.txt, and robots.txt itself cannot redirect inside."
    site = internet.server.site
    site["/start"] = b"HTTP/1.1 301 Moved\r\nLocation: http://other.example/page\r\nContent-Length: 0\r\n\r\n"
    site["/page"] = ok()
    site["/robots.txt"] = lambda sock: sock.sendall(ok(b"User-agent: *\nDisallow: /page" if b"other.example" in internet.server.log[-1][2] else b""))
    assert strict(["http://good.example/start"])[0].reason == "robots.txt disallows" and "/page" not in internet.server.asked()
    site["/robots.txt"] = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    page = strict(["http://good.example/page"])[0]
    assert page.reason.startswith("private address") and "169.254.169.254" not in internet.connected


# ---- hostile answers -----------------------------------------------------------------------------------------------

def drip(head, piece=b".", pause=0.05):
    "Sends a beginning, then a little now and then, for ever."
    def send(sock):
        sock.sendall(head)
        while True: sock.sendall(piece); time.sleep(pause)
    return send


def hold(answer):
    "Sends an answer and keeps the connection open, whatever was asked."
    def send(sock): sock.sendall(answer); time.sleep(5)
    return send


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
PACKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n\r\n"
HOSTILE = {  # name: (answer, beginning of the reason)
    "silence": (hold(b""), "timeout"),
    "drip of the status line": (drip(b"HTTP", b"/"), "timeout"),
    "drip of headers": (drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), "timeout"),
    "drip of the body": (drip(HEAD + b"\r\n"), "timeout"),
    "drip of chunks": (drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), "timeout"),
    "drip of gzip": (drip(PACKED + gzip.compress(b"x")[:10], b""), "timeout"),
    "only interim answers": (drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.02), "timeout"),
    "endless body": (drip(HEAD + b"\r\n", b"x" * 50_000, 0), "too large"),
    "endless chunks": (drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"5000\r\n" + b"x" * 0x5000 + b"\r\n", 0), "too large"),
    "endless header line": (drip(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 50_000, 0), "connection (LineTooLong)"),
    "endless headers": (drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 99, 0), "connection (HTTPException)"),
    "endless status line": (drip(b"HTTP/1.1 200 ", b"x" * 50_000, 0), "connection (LineTooLong)"),
    "gzip bomb": (PACKED + gzip.compress(bytes(30_000_000)), "too large"),
    "gzip bomb in gzip": (PACKED + gzip.compress(gzip.compress(bytes(90_000_000))), "binary file"),
    "broken gzip": (PACKED + gzip.compress(b"<p>hello" * 99)[:-30], "connection (IncompleteRead)"),
    "gzip that is none": (PACKED + b"<p>hello", "connection (error)"),
    "gzip, then more": (PACKED + gzip.compress(b"<p>hello") * 2, "content encoding"),
    "brotli": (ok(headers="Content-Encoding: br\r\n"), "content encoding (br)"),
    "longer than said": (hold(ok(b"<p>hello") + b"more"), ""),
    "kept open": (hold(ok(b"<p>hello")), ""),
    "shorter than said": (HEAD + b"Content-Length: 50\r\n\r\n<p>hello", "connection (IncompleteRead)"),
    "huge length": (HEAD + b"Content-Length: 99999999999\r\n\r\n<p>hello", "too large"),
    "negative length": (HEAD + b"Content-Length: -5\r\n\r\n<p>hello", ""),
    "length of letters": (HEAD + b"Content-Length: many\r\n\r\n<p>hello", ""),
    "chunk of negative size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n<p>hello", "connection"),
    "chunk of letters": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n<p>hello", "connection"),
    "chunk that ends early": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n50\r\n<p>hello", "connection"),
    "nothing": (b"", "connection"),
    "no HTTP": (b"<p>hello\r\n\r\n", "connection (BadStatusLine)"),
    "odd status": (b"HTTP/1.1 -1 Odd\r\n\r\n", "connection"),
    "status 999": (b"HTTP/1.1 999 Odd\r\n\r\n", "status 999"),
    "binary as a page": (ok(bytes(range(256))), "binary file"),
    "picture": (ok(b"\x89PNG", "image/png"), "content type (image/png)"),
    "PDF as a page": (ok(b"%PDF-1.7"), "binary file"),
    "UTF-16 page": (ok("<p>hello".encode("utf-16")), ""),
    "no type": (b"HTTP/1.1 200 OK\r\n\r\n<p>hello", ""),
    "capital type": (ok(kind="TEXT/HTML; Charset=UTF-8"), ""),
    "redirect to itself": (b"HTTP/1.1 302 Found\r\nLocation: ?\r\n\r\n", "too many redirects"),
    "redirect to nowhere": (b"HTTP/1.1 302 Found\r\n\r\n", "status 302"),
    "redirect with bytes": (b"HTTP/1.1 302 Found\r\nLocation: /\xff\xfe\r\n\r\n", "status 404"),
    "redirect to a bad URL": (b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n", "bad URL"),
    "redirect that grows": (lambda sock: sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: /" + b"x" * 9_000 + b"\r\n\r\n"), "bad URL"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_is_a_page_or_a_reason(server, name):
    "Whatever a server answers, there is a page or a reason, within the deadline and in little memory."
    server.site["/x"], expected = HOSTILE[name]
    tracemalloc.start()
    start = time.monotonic()
    page = get(server, "/x", retries=0)
    seconds, (_, most) = time.monotonic() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert page.reason.startswith(expected) and bool(page.reason) == bool(expected), page.reason
    assert bool(page.body) == (not page.reason)
    assert seconds < 2*FAST.timeout_s + 0.5 and most < 12_000_000, (seconds, most)


def test_planted_a_timeout_of_silence_is_no_deadline(server, monkeypatch):
    "Planted: with a socket's timeout alone, a drip holds the crawler for as long as it lasts."
    def send(sock):
        sock.sendall(HEAD + b"\r\n")
        for _ in range(16): sock.sendall(b"."); time.sleep(0.05)
    server.site["/x"] = send
    monkeypatch.setattr(fetch, "_left", lambda until: 0.4)
    start = time.monotonic()
    assert get(server, "/x", retries=0).reason == "" and time.monotonic() - start > 0.7


def test_random_answers_never_crash(server):
    "Four hundred answers of random bytes, and of an answer with random damage, all become pages or reasons."
    rng, whole = random.Random(0), ok(gzip.compress(b"<p>hello" * 50), headers="Content-Encoding: gzip\r\nLocation: /y\r\nRetry-After: 9\r\n")
    seen = Counter()
    for i in range(400):
        damaged = bytearray(whole if i % 2 else b"HTTP/1.1 200 OK\r\n" + rng.randbytes(rng.randint(0, 300)))
        for _ in range(rng.randint(1, 6)): damaged[rng.randrange(len(damaged))] = rng.choice(b"\0\r\n :;-0\xff%x")
        server.site["/x"] = bytes(damaged)
        page = get(server, "/x", retries=0, max_wait_s=0)
        assert isinstance(page, Page) and bool(page.reason) + bool(page.body) <= 1
        seen[page.reason.partition(" (")[0]] += 1
    print(dict(seen))
    assert len(seen) > 3


def test_what_is_asked(server):
    "The request names host and port, the project and its address, and asks for one answer."
    server.site["/a%20b?q=%C3%B1"] = ok()
    assert get(server, "/a b?q=ñ#top").body == b"<p>hello"
    head = server.log[-1][2].decode()
    assert head.startswith("GET /a%20b?q=%C3%B1 HTTP/1.1\r\n") and f"\r\nHost: 127.0.0.1:{server.port}\r\n" in head
    assert re.search(r"\r\nUser-Agent: minillm/\S+ \(\+https://\S+\)\r\n", head) and "\r\nConnection: close\r\n" in head


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificate")
def test_a_wrong_certificate_is_final(tmp_path):
    "A server that cannot prove its name is refused at once, with the reason."
    made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path/"key.pem", "-out", tmp_path/"cert.pem", "-days", "2", "-subj", "/CN=localhost"],
                          capture_output=True)
    assert made.returncode == 0
    context, server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Server()
    context.load_cert_chain(tmp_path/"cert.pem", tmp_path/"key.pem")
    plain, tries = server.answer, []
    def answer(sock):
        tries.append(1)
        try: plain(context.wrap_socket(sock, server_side=True))
        except OSError: sock.close()
    server.answer = answer
    page = next(fetch_pages([f"https://127.0.0.1:{server.port}/"], FAST))
    assert page.reason.startswith("certificate (") and len(tries) == 1
    server.socket.close()


def test_bad_config_is_one_line():
    "A setting that makes no sense names itself, its value and the rule."
    for changes, words in ((dict(user_agent=""), "user_agent"), (dict(user_agent="x\r\nHost: y"), "user_agent"), (dict(delay_s=-1), "delay_s (-1)"),
                           (dict(timeout_s=0), "timeout_s"), (dict(max_bytes=0), "max_bytes"), (dict(retries=-1), "retries"), (dict(delay_s=float("nan")), "delay_s")):
        with pytest.raises(ValueError) as e: FetchConfig(**changes)
        assert words in str(e.value) and "\n" not in str(e.value)


# ---- manners -------------------------------------------------------------------------------------------------------

def test_pauses_between_all_requests_to_a_host(server):
    "Between any two requests to one host lies the pause, for robots.txt, redirects and retries too."
    server.site |= {"/robots.txt": ok(b"User-agent: *\nCrawl-delay: 0.15"), "/a": ok(), "/old": b"HTTP/1.1 301 Moved\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n",
                    "/bad": ok(status="500 Oops")}
    get(server, "/a", "/old", "/bad", "/a", delay_s=0.1)
    moments = [t for t, _, _ in server.log]
    assert server.asked() == ["/robots.txt", "/a", "/old", "/a", "/bad", "/bad", "/a"]
    assert min(b - a for a, b in zip(moments, moments[1:])) >= 0.149


def test_two_hosts_do_not_wait_for_each_other(internet):
    "A pause for one host does not hold up another."
    internet.server.site["/a"] = ok()
    pages = strict(["http://good.example/a", "http://other.example/a"], delay_s=0.5)
    first, second, third, fourth = (t for t, _, _ in internet.server.log)  # each host: robots.txt, then the page
    assert not any(p.reason for p in pages) and second - first >= 0.5 > third - second and fourth - third >= 0.5


def test_retries(server):
    "Busy and broken servers are asked again, as often as said; what is final is asked once."
    busy = iter(["503 Busy", "500 Oops", "200 OK"])
    server.site |= {"/busy": lambda sock: sock.sendall(ok(status=next(busy))), "/down": ok(status="502 Bad"), "/gone": ok(status="410 Gone"), "/off": hold(b"")}
    pages = get(server, "/busy", "/down", "/gone", "/off", retries=2, timeout_s=0.15)
    assert [p.reason for p in pages] == ["", "status 502", "status 410", "timeout (0.15 s)"]
    assert Counter(server.asked()) == {"/robots.txt": 1, "/busy": 3, "/down": 3, "/gone": 1, "/off": 3}


@pytest.mark.parametrize("asked", ["3600", "Wed, 21 Oct 2099 07:28:00 GMT", "99999999999999999999"])
def test_who_asks_for_an_hour_is_left_alone(server, asked):
    "After a Retry-After beyond our patience the host is asked for nothing else, and each page says so."
    server.site |= {"/a": ok(status="429 Slow down", headers=f"Retry-After: {asked}\r\n"), "/b": ok()}
    pages = get(server, "/a", "/b", "/b")
    if asked.startswith("9999"): assert [p.reason for p in pages] == ["status 429", "", ""]; return  # no number of seconds: not a wish
    assert pages[0].reason.startswith("status 429 (to wait ") and all(p.reason.startswith("busy host (to wait ") for p in pages[1:])
    assert server.asked() == ["/robots.txt", "/a"]


def test_a_wish_within_our_patience_is_kept(server):
    "A server that asks for a second gets a second."
    first = iter(["503 Busy"])
    server.site["/a"] = lambda sock: sock.sendall(ok(status=next(first, "200 OK"), headers="Retry-After: 1\r\n"))
    assert get(server, "/a").reason == ""
    moments = [t for t, _, _ in server.log]
    assert moments[-1] - moments[-2] >= 1


def test_a_dead_host_is_not_asked_ten_thousand_times():
    "Failures count per host: soon its pages are not asked for at all."
    dead = socket.create_server(("127.0.0.1", 0))
    port = dead.getsockname()[1]
    dead.close()
    start = time.monotonic()
    pages = list(fetch_pages([f"http://127.0.0.1:{port}/{i}" for i in range(500)], replace(FAST, retries=2, backoff_s=0.1, max_wait_s=0.3)))
    assert len(pages) == 500 and all(p.reason for p in pages) and time.monotonic() - start < 2
    crawl = fetch._Crawl(replace(FAST, backoff_s=0.1, max_wait_s=0.3))
    crawl.robots[f"http://127.0.0.1:{port}"] = Robots()
    reasons = Counter(crawl.get(f"http://127.0.0.1:{port}/{i}", ()).reason.partition(" (")[0] for i in range(50))
    assert reasons["busy host"] >= 45 and reasons["connection"] >= 1


def test_backoff_properties():
    "Waits never shrink with failures, keep what is asked for, and nothing in a header breaks them."
    waits = [backoff(n) for n in range(2_000)]
    assert waits == sorted(waits) and waits[:4] == [1, 2, 4, 8]
    assert backoff(0, "7") == 7 and backoff(5, "7") == 32 and backoff(3, first_s=0.5) == 4
    rng = random.Random(0)
    for _ in range(500): assert backoff(0, "".join(rng.choice("0123456789 -:,GMTWedOct\xff²٣") for _ in range(rng.randint(0, 40)))) >= 1


# ---- robots.txt ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("answer, reason", [
    (ok(status="404 Not Found"), ""), (ok(status="403 Forbidden"), ""), (ok(b"<html>no file"), ""), (ok(b"", "text/plain"), ""), (ok(bytes(range(256)) * 9), ""),
    (ok(status="500 Oops"), "robots.txt unavailable (status 500)"), (ok(status="429 Busy"), "robots.txt unavailable"), (hold(b""), "timeout"), (b"junk", "connection"),
    (ok(b"#" * 300_000), "robots.txt unavailable (too large"), (PACKED + gzip.compress(bytes(9_000_000)), "robots.txt unavailable (too large"),
    (ok(b"User-agent: *\nDisallow: /"), "robots.txt disallows"), (ok(b"User-Agent:minillm\rDisallow:/\r"), "robots.txt disallows"),
    (ok(b"\xef\xbb\xbfuser-agent: MINILLM # us\r\ndisallow: /x"), "robots.txt disallows"), (ok(b"User-agent: *\nCrawl-delay: 900"), "robots.txt asks for pauses (900 s)"),
    (b"HTTP/1.1 302 Found\r\nLocation: /robots.txt\r\n\r\n", "too many redirects"), (ok(b"User-agent: *\nDisallow: /y\nCrawl-delay: nan"), "")])
def test_robots_in_every_state(server, answer, reason):
    "No file means no wishes; a file that cannot be had means no."
    server.site |= {"/robots.txt": answer, "/x": ok()}
    page = get(server, "/x", retries=0)
    assert page.reason.startswith(reason) and bool(page.reason) == bool(reason), page.reason
    assert ("/x" in server.asked()) == (not reason)


EXAMPLES = [  # pattern, matching paths, others: after RFC 9309 and the examples that search engines publish
    ("/", ["/", "/fish"], []), ("/fish", ["/fish", "/fish.html", "/fishheads/y.html", "/fish.php?id=1"], ["/Fish.asp", "/catfish", "/?id=fish"]),
    ("/fish*", ["/fish", "/fishheads", "/fish.php?id=x"], ["/Fish.asp", "/catfish"]), ("/fish/", ["/fish/", "/fish/?id=1", "/fish/salmon.htm"], ["/fish", "/fish.html"]),
    ("/*.php", ["/index.php", "/folder/a.php?x", "/folder/any.php.file.html", "/filename.php/"], ["/", "/windows.PHP"]),
    ("/*.php$", ["/filename.php", "/folder/filename.php"], ["/filename.php?x", "/filename.php/", "/filename.php5", "/windows.PHP"]),
    ("/fish*.php", ["/fish.php", "/fishheads/catfish.php?x"], ["/Fish.PHP"]), ("/*", ["/", "/x"], []), ("/$", ["/"], ["/x"]), ("*/x", ["/x", "/a/x"], ["/a"]),
    ("/a**b", ["/ab", "/acb"], ["/a"]), ("/a*b*$", ["/ab", "/abc"], ["/a"]), ("/a*a$", ["/aa", "/aba"], ["/a", "/aab"])]


@pytest.mark.parametrize("pattern, yes, no", EXAMPLES)
def test_patterns_of_the_standard(pattern, yes, no):
    "Stars and a final dollar mean what RFC 9309 says."
    assert [fetch._matches(pattern, p) for p in yes + no] == [True]*len(yes) + [False]*len(no)


@PROPERTY
@given(st.text("/ab*$", min_size=1, max_size=9), st.text("/ab", max_size=12))
def test_patterns_equal_regular_expressions(pattern, path):
    "The linear matcher gives what the regular expression gives, which a stranger could make run for ages."
    body, end = (pattern[:-1], r"\Z") if pattern.endswith("$") else (pattern, "")
    assert fetch._matches(pattern, path) == bool(re.match(".*".join(map(re.escape, body.split("*"))) + end, path, re.S))


@PROPERTY
@given(st.lists(st.tuples(st.sampled_from(("minillm", "*", "greedybot")), st.lists(st.text("/ab", max_size=4), min_size=1, max_size=4)), max_size=3, unique_by=lambda g: g[0]), st.text("/ab", max_size=5))
def test_robots_equal_the_standard_library(groups, path):
    "On files of disallowed prefixes, one group a crawler, the answers are urllib.robotparser's."
    text = "\n\n".join("\n".join([f"User-agent: {name}", *(f"Disallow: /{rule.replace('//', '/').lstrip('/')}" for rule in rules)]) for name, rules in groups)
    theirs, path = RobotFileParser(), "/" + path.lstrip("/")
    theirs.parse(text.splitlines())
    assert parse_robots(text, "minillm/1.0 (+https://x)").allows(path) == theirs.can_fetch("minillm", path)


def test_an_empty_line_ends_no_group():
    "Crawlers named one after the other share the rules that follow, whatever stands between the names."
    text = "User-agent: minillm\n\n# and\nUser-agent: x\nDisallow: /a\n\nDisallow: /b\nUser-agent: y\nDisallow: /c\nUser-agent: x\nDisallow: /d"
    assert [parse_robots(text, name).rules for name in ("minillm", "x", "z")] == [(("/a", False), ("/b", False)), (("/a", False), ("/b", False), ("/d", False)), ()]


def test_hostile_robots_are_read_in_linear_time():
    "Half a megabyte of rules, agents or stars takes a moment, and what nobody understands is no rule."
    start = time.process_time()
    many = parse_robots("User-agent: *\n" + "Disallow: /a*b*c*d\n"*25_000, "minillm")
    assert len(many.rules) == 25_000 and many.allows("/x" * 1_000)
    stars = Robots((("/" + "*a"*100_000 + "b", False),))
    assert stars.allows("/" + "a"*100_000)
    assert parse_robots("User-agent: x\n"*30_000 + "Disallow: /", "x").rules == (("/", False),)
    agents = "".join(f"User-agent: {name}{i}\n" for i in range(9_000) for name in ("x", "*"))
    assert len(parse_robots(agents + "Disallow: /\n"*15_000, "x1").rules) == 15_000
    assert parse_robots("Disallow: /\nnonsense\n\0\ud800: x\nUser-agent:\nDisallow: /", "minillm").allows("/a")
    assert time.process_time() - start < 5


# ---- cache ---------------------------------------------------------------------------------------------------------

def test_cached_pages_are_not_asked_for_again(server, tmp_path):
    "A second run asks for nothing that is settled, and gives equal pages."
    server.site |= {"/a": ok(bytes(range(32, 256)), "text/plain; charset=latin-1"), "/b": ok(b""), "/old": b"HTTP/1.1 301 Moved\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n"}
    paths = ["/a", "/b", "/old", "/missing"]
    first = get(server, *paths, cache=tmp_path)
    n = len(server.log)
    assert get(server, *paths, cache=tmp_path) == first and len(server.log) == n
    assert get(server, *paths, cache=str(tmp_path)) == first and first[0].body == bytes(range(32, 256))
    assert [p.reason for p in first] == ["", "", "", "status 404"] and not list(tmp_path.rglob("*.part"))


def test_what_may_change_is_asked_again(server, tmp_path):
    "A timeout, a busy server or a refusal by robots.txt is never kept."
    server.site |= {"/x": ok(status="503 Busy"), "/robots.txt": ok(b"User-agent: *\nDisallow: /y")}
    get(server, "/x", "/y", cache=tmp_path, retries=0)
    server.site |= {"/x": ok(), "/y": ok(), "/robots.txt": ok(b"")}
    assert [p.reason for p in get(server, "/x", "/y", cache=tmp_path)] == ["", ""]


def test_damaged_cache_files_are_fetched_again(server, tmp_path):
    "A cut, flipped, empty or foreign cache file counts as none."
    server.site["/a"] = ok()
    good = get(server, "/a", cache=tmp_path)
    file, = tmp_path.rglob("*.page")
    whole, rng = file.read_bytes(), random.Random(0)
    damages = [whole[:n] for n in range(0, len(whole), 7)] + [b"{}", b"null\n", zlib.compress(b"[1]"), zlib.compress(b'{"url": 1}'), zlib.compress(b'"x"'), zlib.compress(b"{}")]
    for _ in range(40):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        damages.append(bytes(flipped))
    for damaged in damages:
        file.write_bytes(damaged)
        page = get(server, "/a", cache=tmp_path)
        assert page == good
    other = zlib.compress(json.dumps(dict(url="http://other/", body="x")).encode())
    file.write_bytes(other)
    assert get(server, "/a", cache=tmp_path) == good


def test_a_killed_crawl_goes_on(server, tmp_path):
    "A crawl that is killed between or within pages leaves whole pages; the next run asks only for the others."
    for i in range(12): server.site[f"/{i}"] = ok(f"<p>page {i}".encode() * 2_000)
    urls = [f"{server.home}/{i}" for i in range(12)]
    code = ("import sys; from pathlib import Path; from minillm.fetch import *; "
            f"[print(p.url, flush=True) for p in fetch_pages({urls!r}, FetchConfig(delay_s=0.05, allow_private=True, cache=Path({str(tmp_path)!r})))]")
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    for _ in range(5): child.stdout.readline()
    child.kill(); child.wait()
    child.stdout.close()
    before = set(server.asked()) - {"/robots.txt"}
    kept = len(list(tmp_path.rglob("*.page")))
    server.log.clear()
    pages = get(server, *(f"/{i}" for i in range(12)), cache=tmp_path)
    assert [p.body[:9] for p in pages] == [f"<p>page {i}".encode()[:9] for i in range(12)]
    assert 5 <= kept < 12 and len(set(server.asked()) - {"/robots.txt"}) == 12 - kept and len(before) - kept in (0, 1)


def test_an_unwritable_cache_is_an_error(server, tmp_path):
    "A cache folder that cannot be written stops the crawl instead of being forgotten."
    server.site["/a"] = ok()
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError): get(server, "/a", cache=tmp_path / "file")


# ---- sitemaps ------------------------------------------------------------------------------------------------------

def urlset(*locs): return ("<urlset>" + "".join(f"<url><loc>{loc}</loc></url>" for loc in locs) + "</urlset>").encode()


def test_sitemaps(server):
    "Indexes, gzip, entities and CDATA are read; loops, other hosts, bombs and damage are reported, and the rest goes on."
    h = server.home
    server.site |= {
        "/index.xml": ok(f"<?xml version='1.0'?><sitemapindex>{''.join(f'<sitemap><loc>{h}/{n}</loc></sitemap>' for n in ('index.xml', 'a.xml', 'b.xml.gz', 'bomb.xml', 'cut.gz', 'huge.gz', 'page.html', 'gone.xml', 'busy.xml'))}</sitemapindex>".encode()),
        "/a.xml": ok(urlset(f"{h}/1", f"\n {h}/2?a=1&amp;b=2 \n", f"<![CDATA[{h}/3]]>", f"{h}/1", "http://elsewhere.example/", "http://[", "/relative", "file:///etc/passwd")),
        "/b.xml.gz": ok(gzip.compress(urlset(f"{h}/4"))), "/cut.gz": ok(gzip.compress(urlset(*(f"{h}/{i}" for i in range(99))))[:-20]),
        "/bomb.xml": ok(b"<!DOCTYPE x [<!ENTITY a 'ha'>]><urlset><url><loc>&a;</loc></url></urlset>"), "/huge.gz": ok(gzip.compress(bytes(3_000_000))), "/page.html": ok(),
        "/busy.xml": ok(status="503 Busy")}
    urls, problems = sitemap_urls(h + "/index.xml", replace(FAST, retries=0))
    assert urls == [f"{h}/1", f"{h}/2?a=1&b=2", f"{h}/3", f"{h}/4"]
    reasons = Counter(reason.partition(" (")[0] for _, reason in problems)
    print(reasons)
    assert reasons == {"other host": 1, "bad URL": 1, "not http(s)": 2, "bad sitemap": 4, "status 404": 1, "status 503": 1}
    assert sum(path == "/index.xml" for path in server.asked()) == 1


def test_sitemaps_equal_an_xml_parser(server):
    "On a well-formed sitemap the addresses are those of xml.etree."
    import xml.etree.ElementTree as ET
    rng = random.Random(0)
    names = ["".join(rng.choice("abc&é?=/ñ") for _ in range(8)) for _ in range(200)]
    text = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">' + "".join(
        f"\n <url>\n  <loc> {server.home}/{n.replace('&', '&amp;')}\n</loc><lastmod>2026-01-01</lastmod></url>" for n in names) + "</urlset>"
    server.site["/s.xml"] = ok(text.encode())
    theirs = [e.text.strip() for e in ET.fromstring(text).iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")]
    assert sitemap_urls(server.home + "/s.xml", FAST) == (list(dict.fromkeys(theirs)), [])


def test_a_sitemap_that_never_ends(server):
    "More than 50,000 addresses are cut off, with a line that says so."
    server.site["/s.xml"] = ok(gzip.compress(urlset(*(f"{server.home}/{i}" for i in range(50_010)))))
    urls, problems = sitemap_urls(server.home + "/s.xml", replace(FAST, max_bytes=10_000_000, timeout_s=10))
    assert len(urls) == 50_000 and [reason for _, reason in problems] == ["too many (50,000)"]


# ---- letters -------------------------------------------------------------------------------------------------------

SPANISH = "<p>El niño dijo: “¿Qué pasó en Cádiz?” — señora, ¡cuánto café!"
LABELS = ["", "utf-8", "UTF8", "iso-8859-1", "latin1", "windows-1252", "koi8-r", "utf-16", "utf-7", "ascii", "zlib", "rot13", "unicode_escape", "idna", "no such", "'", "\ud800", "x" * 60]


@pytest.mark.parametrize("label", LABELS, ids=range(len(LABELS)))
def test_utf8_is_utf8_whatever_it_says(label):
    "Bytes that are valid UTF-8 are read so under any declaration, in the header or in the page."
    assert decode_html(SPANISH.encode(), f"text/html; charset={label}") == SPANISH
    page = f"<meta charset={label}>{SPANISH}".encode("utf-8", "replace")
    assert decode_html(page) == page.decode()


def test_declared_encodings():
    "Names of encodings mean what browsers take them for; marks at the beginning win."
    for name, label, text in (("cp1252", "iso-8859-1", SPANISH), ("cp1252", "", SPANISH), ("cp1254", "ISO-8859-9", "İstanbul’da ışık"), ("cp1251", "windows-1251", "маяк закрыт"), ("koi8-r", "koi8-r", "маяк закрыт"),
                              ("cp932", "Shift_JIS", "灯台は閉まっています"), ("gb18030", "gb2312", "灯塔关闭"), ("big5", "big5", "燈塔關閉"), ("euc_jp", "euc-jp", "灯台"), ("cp949", "euc-kr", "등대가 닫혔다"), ("iso2022_jp", "iso-2022-jp", "灯台")):
        for content_type, body in ((f"text/html; charset={label}", text.encode(name)), ("", f"<meta charset='{label}'>{text}".encode(name))):
            assert decode_html(body, content_type).endswith(text), (name, label)
    for mark, name in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")): assert decode_html(mark + SPANISH.encode(name), "text/html; charset=koi8-r") == SPANISH
    assert decode_html(SPANISH.encode("utf-16-le"), "text/html; charset=utf-16") == SPANISH
    assert decode_html(SPANISH.encode()[:-1] + b"\xff", "text/html; charset=cp1251") == SPANISH[:-1] + "\ufffd"  # one broken letter


@PROPERTY
@given(st.binary(max_size=300), st.one_of(st.text(max_size=40), st.sampled_from([f"text/html; charset={c}" for c in ("utf-16", "gb18030", "koi8-r", "iso-2022-jp", "big5", "cp037", "hz")])))
def test_any_bytes_become_text(body, content_type):
    "No bytes and no declaration make the decoder fail, and its text can be stored as UTF-8."
    decode_html(body, content_type).encode("utf-8")
    assert looks_binary(body) in (True, False)


# ---- extraction ----------------------------------------------------------------------------------------------------

@PROPERTY
@given(st.one_of(st.text(), st.text("<>/!-'\"= apdivscrt&;\n\0"), st.lists(st.sampled_from(["<p>", "</p>", "<div class='x", "<!--", "-->", "<script>", "</script", "a b c ", "&amp", "&#55296;", "&#0;", "<a href=", "'", '"', ">", "<", "<title>", "\ud800"]), max_size=40).map("".join)))
def test_any_text_can_be_extracted_from(html):
    "No page breaks a rung of the ladder; there is text or a reason."
    strip_tags(html), density_extract(html)
    assert all(0 <= linked <= words for _, words, linked in text_blocks(html))
    pytest.importorskip("trafilatura")
    found = extract(html)
    assert bool(found.text.strip()) != bool(found.reason) and bool(found.method) != bool(found.reason)


@PROPERTY
@given(st.lists(st.integers(-9, 9), max_size=15))
def test_best_run_is_the_best(scores):
    "No run of neighbours has a larger sum, and an empty run stands for none above zero."
    start, end = best_run(scores)
    sums = [sum(scores[i:j]) for i in range(len(scores)) for j in range(i + 1, len(scores) + 1)]
    assert sum(scores[start:end]) == max([0, *sums]) and (max([0, *sums]) > 0 or (start, end) == (0, 0))


HOSTILE_PIECES = ["<!--", "<script>", "<script", "<a '", '<a b="', "<a b='", "<", "</", "</script ", "<div>", "<a =", "<p>x ", "<title>", "&lt;", "<![CDATA[", "<a b= ", "='", "<b"]


@pytest.mark.parametrize("piece", HOSTILE_PIECES)
def test_tags_are_stripped_in_linear_time(piece):
    "A page of a million characters of one broken piece takes a few seconds at most."
    page = piece * (1_000_000 // len(piece))
    start = time.process_time()
    strip_tags(page), text_blocks(page)
    assert time.process_time() - start < 4


@pytest.mark.parametrize("entity", ["&#" + "1"*5_000 + ";", "&#x" + "f"*9_000 + ";", "&#" + "9"*98 + ";", "&" + "a"*9_000 + ";", "&#xd800;", "&#0;", "&#1114112;", "&" * 9_000])
def test_hostile_entities(entity):
    "References of thousands of digits, to no letter, or to half a letter neither break a rung nor its output."
    page = f"<title>{entity}</title>{ARTICLE}<p>The quick brown fox {entity} jumps over the lazy dog, and over the fence behind it.</p>"
    for text in (strip_tags(page), density_extract(page)): assert "brown fox" in text and "lazy dog" in text and text.encode("utf-8")
    pytest.importorskip("trafilatura")
    assert all(part.encode("utf-8") or part == "" for part in extract(page)) and "number 3" in extract(page).text


def test_strip_tags_by_hand():
    "Comments, scripts, quoted angle brackets, apostrophes in odd places and entities."
    for html, text in (("a<b>c</b>d", "a c d"), ("<p title='>'>x", "x"), ("<p title=it's>x</p> it's", "x it's"), ("1 < 2 & 3 > 2", "1 < 2 & 3 > 2"), ("a<!-- <p> --!> b -->c", "a c"),
                       ("<SCRIPT>if (a</b) x()</Script >y", "y"), ("<style>p{}</style><p>&ntilde;&#241;&#xf1;", "ñññ"), ("x<br/>y", "x y"), ("<p", ""), ("a <!DOCTYPE b> c", "a c"), ("<a href=x>y</a>", "y")):
        assert strip_tags(html) == text, html


@pytest.fixture(scope="module")
def benchmark_pages():
    root = DATA / "article_extraction"
    if not root.exists(): pytest.skip("the pages of article-extraction-benchmark are not in ../shared/data")
    truth = json.loads((root / "ground-truth.json").read_text(encoding="utf-8"))
    return [(gzip.decompress(path.read_bytes()), truth[path.name.partition(".")[0]]["articleBody"]) for path in sorted((root / "html").glob("*.gz"))]


def words(text): return Counter(re.findall(r"\w+", text.lower()))
def f1(a, b): return 2*(a & b).total()/max(1, a.total() + b.total())


def test_the_ladder_on_real_pages(benchmark_pages):
    "On 91 pages with marked articles each rung beats the one below, and the pipeline reaches a token F1 of 0.95."
    pytest.importorskip("trafilatura")
    rungs = {"tags stripped": lambda b: strip_tags(decode_html(b)), "density": lambda b: density_extract(decode_html(b)), "extract": lambda b: extract(b).text}
    scores = {name: statistics.mean(f1(words(rung(body)), words(truth)) for body, truth in benchmark_pages) for name, rung in rungs.items()}
    print(len(benchmark_pages), {name: round(score, 4) for name, score in scores.items()})
    assert len(benchmark_pages) == 91 and scores["tags stripped"] > 0.6 and scores["density"] > 0.85 and scores["extract"] >= 0.95


def test_strip_tags_agrees_with_lxml(benchmark_pages):
    "On real pages the words outside tags are those of lxml's tree, within 1 % on average."
    lxml = pytest.importorskip("lxml.html")
    dropped = "script style noscript template svg iframe textarea select title object button".split()
    scores = []
    for body, _ in benchmark_pages:
        html = decode_html(body)
        tree = lxml.fromstring(html.encode("utf-8"), parser=lxml.HTMLParser(encoding="utf-8", remove_comments=True))
        for node in [n for tag in dropped for n in tree.iter(tag)]:
            if node.getparent() is not None: node.drop_tree()
        theirs = words(" ".join(tree.itertext()))
        scores.append(f1(words(strip_tags(html)), theirs))
    print("strip_tags against lxml: mean", round(statistics.mean(scores), 4), "worst", round(min(scores), 4))
    assert statistics.mean(scores) > 0.99


def boe_scores(folder, year, parts):
    body = (folder / f"rd_{year}.html").read_bytes()
    copied = [line.strip() for part in parts for line in (folder / f"{year.replace('_', '-')}-{part}.txt").read_text(encoding="utf-8").splitlines() if line.strip()]
    rungs = {"density": density_extract(decode_html(body)), "extract": extract(body).text}
    return len(copied), {name: sum(line in text for line in copied) for name, text in rungs.items()}, rungs


@pytest.mark.parametrize("year", ["405_2023", "686_2010"])
@pytest.mark.parametrize("whole", [False, True], ids=["excerpt", "whole"])
def test_boe(year, whole):
    "Every line that a person copied out of a decree is in its extraction, one heading at most apart, and no menu is."
    pytest.importorskip("trafilatura")
    if whole and not (DATA / "boe").exists(): pytest.skip("the whole decrees are not in ../shared/data")
    n, found, rungs = boe_scores(DATA / "boe" if whole else BOE, year, ("OG", "RA", "CB") if whole else ("OG",))
    print(year, n, found)
    assert found["density"] == n and found["extract"] >= n - 1
    assert all("Ir a contenido" not in text and "Puede seleccionar otro idioma" not in text and "ñ" in text and "\ufffd" not in text for text in rungs.values())


def test_damaged_pages_never_crash():
    "Sixty decrees with pieces cut, doubled, scrambled or broken open have a text or a reason."
    pytest.importorskip("trafilatura")
    rng, whole = random.Random(0), (BOE / "rd_686_2010.html").read_bytes()
    found = Counter()
    for _ in range(60):
        body = bytearray(whole[:rng.randint(100, len(whole))])
        for _ in range(rng.randint(1, 30)):
            i, piece = rng.randrange(len(body)), rng.choice((b"", b"<", b">", b"</", b"<!--", b"\xff", b"\xed\xa0\x80", b"<svg>", b"<table>", b"<![CDATA[", b"&#xD800;", b"<frameset>", b"</html>", body[-200:] * 3))
            body[i:i + rng.randint(0, 2_000)*(rng.random() < 0.5)] = piece
        result = extract(bytes(body) or b"x")
        assert bool(result.text.strip()) != bool(result.reason)
        found[result.method or result.reason] += 1
    print(dict(found))


def test_bad_pages_have_reasons():
    "Empty, binary, huge, menu-only and unreadable pages say why they have no text; nested, cut and mislabelled ones give theirs."
    pytest.importorskip("trafilatura")
    start = time.process_time()
    for page, reason in ((b"", "empty page"), (b" \n\t", "empty page"), (b"<html></html>", "no text found"), (b"<a href=/>Home</a>", "no text found"), (gzip.compress(b"x"), "binary file"),
                         (b"%PDF-1.7", "binary file"), (b"\0" * 99, "binary file"), (b"<p>x " * 10_000_000, "too large"), ("<p>x " * 2_000_000, "too large"), (b"<!--" + b"x" * 99, "no text found")):
        assert extract(page).reason.startswith(reason) and not extract(page).text
    assert time.process_time() - start < 3
    deep, cut = "<div>" * 50_000 + ARTICLE, f"<html><body>{ARTICLE}<p>and this one is cut in the midd"
    for page in (deep, cut, ARTICLE.encode("utf-16"), ("<blockquote><ul><li><table><tr><td>" * 5_000) + ARTICLE, "\0" + ARTICLE, "\ud800" + ARTICLE, ARTICLE * 50):
        found = extract(page, "text/html; charset=iso-2022-kr")
        assert "lighthouse number 3 of Cabo Alba" in found.text and found.method, found
    wrong = "<html lang=es><body>" + ARTICLE.replace("lighthouse", "señalización de Cádiz")
    for name, label in (("utf-8", "iso-8859-1"), ("cp1252", "utf-8"), ("cp1252", "iso-8859-1"), ("utf-16", "utf-8")):
        assert "La señalización"[3:] in extract(wrong.encode(name), f"text/html; charset={label}").text, (name, label)


def test_words_without_spaces():
    "Chinese and Japanese sentences weigh as much as others, so an article in them is found, and no second opinion is asked for it."
    article = "".join(f"<p>{i}番目の灯台は、レンズを外して掃除し、また元に戻すまでの間、船には西の浮標を目印にして進むように求めている。</p>" for i in range(9))
    page = f"<html><body><div><a href=/>ホーム</a> <a href=/b>船の時刻表</a></div>{article}<div><a href=/c>お問い合わせ</a></div></body></html>"
    assert density_extract(page).count("灯台") == 9 and "ホーム" not in density_extract(page)
    pytest.importorskip("trafilatura")
    assert extract(page).method == "trafilatura"


def test_extract_keeps_plain_text_and_titles():
    "Plain text is not parsed, a title has its entities read, and the second opinion says that it is one."
    pytest.importorskip("trafilatura")
    assert extract("1 < 2 <b>", "Text/Plain; charset=utf-8") == ("1 < 2 <b>", "", "plain", "")
    assert extract(f"<title>\n Ma&ntilde;ana &amp; more</title>{ARTICLE}").title == "Mañana & more"
    assert extract("<div>" * 9_000 + ARTICLE).method == "density"


def test_without_trafilatura(monkeypatch):
    "One line names the missing package and the command that adds it."
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    with pytest.raises(ImportError, match=r'^extraction needs trafilatura \(.*\): pip install "\.\[corpus\]"$'): extract(ARTICLE)


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["<p>word word word ", "<a href=x>link</a> ", "<br>", "<table><tr><td>x", "<b>x", "<", "word ", "<ul><li>a"])
def test_the_largest_page_is_done_in_a_minute(piece):
    "Five million characters of one piece take a minute and a gigabyte at most."
    import resource
    start = time.process_time()
    found = extract(piece * (5_000_000 // len(piece)))
    seconds, gigabytes = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(piece, found.method or found.reason, round(seconds, 1), "s,", round(gigabytes, 2), "GB so far")
    assert seconds < 60 and gigabytes < 1.5


def test_importing_is_light():
    "The module brings no torch, no trafilatura and no lxml."
    code = "import minillm.fetch, sys; print([m for m in ('torch', 'numpy', 'trafilatura', 'lxml', 'requests') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"
