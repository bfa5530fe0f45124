"stub"
import codecs, hashlib, http.client, io, ipaddress, json, os, re, socket, ssl, string, tempfile, time, zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from html import unescape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit
from xml.parsers import expat

from minillm import __version__

@dataclass(frozen=True)
class FetchConfig:
    "How politely, how patiently and how carefully pages are fetched."
    user_agent:str = f"minillm/{__version__} (+https://github.com/minillm/minillm)" # First word: our name in robots.txt
    delay_s:float = 1.0 # Pause between two requests to one host; a longer Crawl-delay is kept
    timeout_s:float = 30.0 # For one whole answer, from the first packet to the last
    max_bytes:int = 10_000_000 # Of one body, packed and unpacked
    retries:int = 3 # After a busy answer (429, 5xx) or a broken connection
    backoff_s:float = 1.0 # Wait before the first retry, doubled for each further one
    max_wait_s:float = 60.0 # A site that asks for longer pauses is left alone
    redirects:int = 5 # Followed at most
    content_types:tuple[str, ...] = ("text/html", "application/xhtml+xml", "text/plain")
    allow_private:bool = False # Also addresses and ports that are not the public web's: tests, intranets
    cache:Path|None = None # Folder of fetched pages; a second run goes on where the first one stopped

    def __post_init__(self):
        if not re.fullmatch(r"[A-Za-z][\w-]*(/[!-~]+)?( [ -~]+)?", self.user_agent, re.A):
            raise ValueError(f"user_agent ({self.user_agent!r}) must be a name and a way to reach you; "
                             "try 'mybot/1.0 (+https://example.org/bot)'")
        for name, least in dict(delay_s=0, timeout_s=0.001, max_bytes=1, retries=0, backoff_s=0, redirects=0).items():
            if not (value := getattr(self, name)) >= least: raise ValueError(f"{name} ({value}) must be at least {least}")

@dataclass(frozen=True)
class Page:
    "What came back for a URL, or the reason why nothing did."
    url:str # As it was asked for
    status:int = 0 # HTTP status of the last answer; 0 where there was none
    content_type:str = "" # As the server declared it
    body:bytes = b"" # Unpacked; empty where there is a reason
    reason:str = "" # Why the page cannot be had, e.g. "content type (image/png)"; empty for a good page
    final_url:str = "" # Where redirects led

_PLAIN = string.ascii_letters + string.digits + "-._~"

def _canonical_path(path):
    "One spelling: escapes only where they are needed, no dot segments."
    spell = lambda m: c if (c := chr(int(m[1], 16))) in _PLAIN else m[0].upper()
    path = re.sub("%([0-9A-Fa-f]{2})", spell, quote(path, "/?:@!$&'()*+,;=~%"))
    path, mark, query = path.partition("?")
    kept, parts = [], path.split("/")[1:]
    for part in parts:
        if part == "..": kept = kept[:-1]
        elif part != ".": kept.append(part)
    return "/" + "/".join(kept + [""]*(parts[-1:] in (["."], [".."]))) + mark + query

_PORTS, _WEB_PORTS = dict(http=80, https=443), (80, 443, 8080, 8443)

class Target(NamedTuple):
    "Where a URL leads, taken apart once: what was checked is what is asked."
    origin:str # "https://example.org", with the port where it is not the usual one
    host:str # Lower case, ASCII, without a dot at the end
    port:int
    path:str # Begins with "/", query included, fragment left out

def parse_url(
    url:str, # From anywhere: a list, a sitemap, a redirect
    allow_private:bool=False, # Any port
)->Target:
    "Raises: ValueError with the reason why a URL is not asked."
    if len(url) > 8_000: raise ValueError(f"bad URL ({len(url):,} characters)")
    try:
        parts = urlsplit(url.strip())
        host, port, scheme = (parts.hostname or "").rstrip("."), parts.port, parts.scheme
        if not host.isascii(): host = host.encode("idna").decode()
        path = _canonical_path(parts.path + (f"?{parts.query}" if parts.query else ""))
    except ValueError as e: raise ValueError(f"bad URL ({e})") from None # a UnicodeError is one too
    if scheme not in _PORTS: raise ValueError(f"not http(s) ({scheme or url[:20]})")
    if "@" in parts.netloc: raise ValueError("bad URL (a user name before the host)")
    if not re.fullmatch(r"[a-z0-9_.-]+|[0-9a-f:.]+", host): raise ValueError("bad URL (host)")
    port = _PORTS[scheme] if port is None else port
    if not allow_private and port not in _WEB_PORTS: raise ValueError(f"not a web port ({port})")
    shown = f"[{host}]" if ":" in host else host
    return Target(f"{scheme}://{shown}" + (f":{port}" if port != _PORTS[scheme] else ""), host, port, path)

def is_public(address:str)->bool: # Numeric, as a resolver gives it; an IPv6 scope ("%eth0") may follow
    "Does it belong to the public internet, also when it hides an IPv4 address? Source: [@cotton2013rfc6890]."
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.version == 6 and (ip not in ipaddress.ip_network("2000::/3") or ip.sixtofour): return False
    return ip.is_global and not ip.is_multicast

def resolve(
    host:str, # A name, or an address in any notation that the system understands
    port:int,
    allow_private:bool=False, # Do not check
    lookup:Callable|None=None, # Instead of the system's `socket.getaddrinfo`
)->list[str]: # Numeric addresses to connect to, without asking again
    "Asks once, checks all. Raises: ValueError for unknown names and private addresses, OSError if nobody could say."
    try: found = (lookup or socket.getaddrinfo)(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as e:
        if e.errno == socket.EAI_AGAIN: raise
        raise ValueError(f"unknown host ({host})") from None
    addresses = list(dict.fromkeys(info[4][0] for info in found))
    private = [] if allow_private else [a for a in addresses if not is_public(a)]
    if private: raise ValueError(f"private address ({host} is {private[0]})")
    return addresses

def _left(until):
    "Seconds until a moment. Raises: TimeoutError if it has passed."
    if (left := until - time.monotonic()) <= 0: raise TimeoutError("deadline")
    return left

class _Until(io.RawIOBase):
    "Reads from a socket until a moment, however slowly it drips."
    def __init__(self, sock, until): self.sock, self.until = sock, until
    def makefile(self, mode): return io.BufferedReader(self)
    def readable(self): return True
    def readinto(self, buffer):
        self.sock.settimeout(_left(self.until))
        return self.sock.recv_into(buffer)

def _read_body(response, cfg, types):
    "All of it. Raises: ValueError for what is not wanted, IncompleteRead for what ends early."
    header = lambda name: response.headers.get(name, "").partition(";")[0].strip().lower()[:80]
    kind, packing, length = map(header, ("Content-Type", "Content-Encoding", "Content-Length"))
    length = int(length) if re.fullmatch("[0-9]{1,18}", length) and not response.chunked else 0
    if types and kind and kind not in types: raise ValueError(f"content type ({kind})")
    if packing not in ("", "identity", "gzip", "x-gzip"): raise ValueError(f"content encoding ({packing})")
    inflate = zlib.decompressobj(31) if "gzip" in packing else None # 31: gzip with its header
    body, size, most = bytearray(), 0, cfg.max_bytes
    while max(length, size, len(body)) <= most and (chunk := response.read1(65_536)):
        size += len(chunk)
        body += inflate.decompress(chunk, most + 1 - len(body)) if inflate else chunk
    if max(length, size, len(body)) > most: raise ValueError(f"too large (over {most:,} bytes)")
    if size < length or (inflate and size and not inflate.eof): raise http.client.IncompleteRead(b"")
    return bytes(body)

@cache
def _tls(): return ssl.create_default_context() # loading the certificates of all authorities takes a while

def _connect(target, cfg, until):
    "A socket to the first checked address that answers."
    problem = OSError("no address")
    for address in resolve(target.host, target.port, cfg.allow_private):
        try: sock = socket.create_connection((address, target.port), _left(until))
        except OSError as e: problem = e; continue
        if target.origin.startswith("http:"): return sock
        try: return _tls().wrap_socket(sock, server_hostname=target.host)
        except BaseException: sock.close(); raise
    raise problem

def _request(target, cfg, types):
    "(status, headers, body, reason) of one request. Raises: ValueError, OSError, HTTPException."
    until, name = time.monotonic() + cfg.timeout_s, target.origin.partition("//")[2]
    with _connect(target, cfg, until) as sock:
        sock.settimeout(_left(until))
        sock.sendall(f"GET {target.path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: {cfg.user_agent}\r\n"
                     "Accept: text/html,*/*;q=0.5\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n".encode("ascii"))
        response = http.client.HTTPResponse(_Until(sock, until), method="GET")
        response.begin()
        status, body, reason = response.status, b"", f"status {response.status}"
        try: body, reason = (_read_body(response, cfg, types), "") if status == 200 else (b"", reason)
        except ValueError as e: reason = str(e)
        return status, response.headers, body, reason

def looks_binary(body:bytes)->bool: # Its first 4,096 bytes are looked at
    "Is it a picture, an archive, a PDF, rather than text in any encoding?"
    head = body[:4096]
    if head.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)): return False
    control = len(re.findall(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]", head)) # without tab, line ends, escape
    return head.startswith((b"%PDF-", b"\x1f\x8b", b"PK\x03\x04")) or b"\0" in head or control > len(head)/20

def _matches(pattern, path):
    "Does a rule's pattern match the beginning of a path? `*` is anything, a final `$` the end."
    anchored, (first, *rest) = pattern.endswith("$"), pattern.removesuffix("$").split("*")
    if not path.startswith(first): return False
    at = len(first)
    for piece in rest:
        if (found := path.find(piece, at)) < 0: return False
        at = found + len(piece)
    return not anchored or (path.endswith(rest[-1]) if rest else at == len(path))

@dataclass(frozen=True)
class Robots:
    "What a site's robots.txt tells one crawler."
    rules:tuple[tuple[str, bool], ...] = () # (pattern, allowed?)
    delay_s:float = 0.0 # Its Crawl-delay
    problem:str = "" # Why the file could not be had; then nothing is allowed

    def allows(self, path:str)->bool: # In the spelling of `parse_url`, with its query
        "The longest rule that matches wins, `allow` in a draw. Source: [@koster2022rfc9309], 2.2.2."
        found = [(len(pattern), allowed) for pattern, allowed in self.rules if _matches(pattern, path)]
        return not self.problem and max(found, default=(0, True))[1]

def parse_robots(
    text:str, # The file; nothing in it is an error
    user_agent:str, # Its first word is looked for
)->Robots:
    "All groups that name us, else all groups for `*`. Source: [@koster2022rfc9309], 2.2.1."
    token = lambda name: re.match(r"\*|[\w-]*", name)[0].lower()
    groups, heads, in_head = {}, [], False
    lines = re.findall(r"(?im)^[ \t\ufeff]*(user-agent|allow|disallow|crawl-delay)[ \t]*:([^#\n]*)", text[:512_000])
    for key, value in lines:
        if key.lower() == "user-agent":
            heads, in_head = [*(heads if in_head else []), groups.setdefault(token(value.strip()), [])], True
            continue
        in_head = False
        for group in heads: group.append((key.lower(), value.strip()))
    mine = groups.get(token(user_agent), groups.get("*", []))
    delays = [float(v) for key, v in mine if key == "crawl-delay" and re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", v)]
    rules = [(_canonical_path("/" + v.removeprefix("/")).removeprefix("/"*(v[0] == "*")), key == "allow")
             for key, v in mine if key != "crawl-delay" and v.startswith(("/", "*"))]
    return Robots(tuple(rules), max(delays, default=0.0))

def backoff(
    attempt:int, # 0 after the first failure
    retry_after:str="", # The header, if there was one: seconds or an HTTP date
    first_s:float=1.0, # Wait after the first failure, doubled after each further one
)->float: # Seconds to wait before the next attempt, not bounded
    "The longer of our own doubling wait and what the server asks for. Source: [@fielding2022rfc9110], 10.2.3."
    try: asked = parsedate_to_datetime(retry_after).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError, IndexError): # not a date
        asked = float(retry_after) if re.fullmatch(r"\s*[0-9]{1,9}\s*", retry_after) else 0.0
    return max(first_s*2.0**attempt, asked)

class _Crawl:
    "One crawl's memory: when each host may be asked again, and what its robots.txt said."
    def __init__(self, cfg): self.cfg, self.robots, self.ready = cfg, {}, {}

    def pause(self, target, wait_s=0.0):
        wait_s = max(wait_s, self.cfg.delay_s, self.robots.get(target.origin, Robots()).delay_s)
        self.ready[target.host] = time.monotonic() + wait_s

    def ask(self, url, target, types):
        "(page, where it redirects to): one address, asked until it answers or patience ends."
        cfg, again, attempt = self.cfg, True, -1
        while again and (attempt := attempt + 1) <= cfg.retries:
            time.sleep(max(0.0, self.ready.get(target.host, 0.0) - time.monotonic()))
            status, headers, body = 0, {}, b""
            try: status, headers, body, reason = _request(target, cfg, types)
            except TimeoutError: reason = f"timeout ({cfg.timeout_s:g} s)"
            except ValueError as e: reason, again = str(e)[:200], False # a wrong certificate is one too
            except (OSError, http.client.HTTPException, zlib.error) as e:
                reason = f"connection ({type(e).__name__}: {str(e)[:200]})"
            again = again and status in (0, 429, 500, 502, 503, 504)
            wait_s = backoff(attempt, headers.get("Retry-After", ""), cfg.backoff_s) if again else 0.0
            if wait_s > cfg.max_wait_s: reason, again = f"{reason} (to wait {wait_s:.0f} s)", False
            self.pause(target, wait_s*again)
        if types and looks_binary(body): body, reason = b"", "binary file"
        there = headers.get("Location", "") if status in (301, 302, 303, 307, 308) else ""
        page = Page(url, status, headers.get("Content-Type", ""), body, reason, target.origin + target.path)
        return page, there.encode("latin-1", "replace").decode("utf-8", "replace")

    def refusal(self, target):
        "Why this site may not be asked for this path; empty if it may."
        if target.origin not in self.robots:
            page, robots = self.get(target.origin + "/robots.txt", (), obey=False), Robots()
            if page.status == 200 and not page.reason:
                robots = parse_robots(page.body.decode("utf-8", "replace"), self.cfg.user_agent)
            elif page.status == 429 or not 400 <= page.status < 500:
                robots = Robots(problem=f"robots.txt unavailable ({page.reason})" if page.status else page.reason)
            self.robots[target.origin] = robots
            self.pause(target)
        robots = self.robots[target.origin]
        if robots.delay_s > self.cfg.max_wait_s: return f"robots.txt asks for pauses ({robots.delay_s:g} s)"
        return robots.problem or ("" if robots.allows(target.path) else "robots.txt disallows")

    def get(self, url, types, obey=True):
        "A page; redirects are followed, and each is checked like a new URL."
        at, there = url, url
        for _ in range(self.cfg.redirects + 1):
            try: target = parse_url(urljoin(at, there), self.cfg.allow_private)
            except ValueError as e: return Page(url, reason=str(e))
            at = target.origin + target.path
            if obey and (reason := self.refusal(target)): return Page(url, reason=reason, final_url=at)
            page, there = self.ask(url, target, types)
            if not there: return page
        return Page(url, reason=f"too many redirects ({self.cfg.redirects})", final_url=at)

def _load_page(file, url):
    "None if there is no such file, or if it is not as it was written."
    try:
        head, _, body = file.read_bytes().partition(b"\n")
        about = json.loads(head)
        if about.pop("size") == len(body) and about["url"] == url: return Page(**about, body=body)
    except (OSError, ValueError, TypeError, KeyError, AttributeError): return None

def _save_page(file, page):
    "All of it or nothing."
    about = {name: value for name, value in asdict(page).items() if name != "body"} | {"size": len(page.body)}
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=file.parent, suffix=".part")
    try:
        with open(handle, "wb") as f: f.write(json.dumps(about).encode() + b"\n" + page.body)
        os.replace(part, file)
    finally: Path(part).unlink(missing_ok=True) # nothing is left of a failure

def fetch_pages(
    urls:Iterable[str], # One after the other; alternate hosts to wait less
    cfg:FetchConfig,
)->Iterator[Page]: # One for each URL, in order; what cannot be had comes with its reason
    "Pages fetched politely and safely. Raises: OSError if the cache cannot be written."
    crawl = _Crawl(cfg)
    for url in urls:
        name = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()
        file = cfg.cache/name[:2]/f"{name}.page" if cfg.cache else None
        if not (page := file and _load_page(file, url)):
            page = crawl.get(url, cfg.content_types)
            if file and (not page.reason or page.status in (404, 410)): _save_page(file, page)
        yield page

def _read_sitemap(body, most):
    "(is it an index?, its addresses). Raises: ValueError if it is no sitemap, or a bomb."
    if body.startswith(b"\x1f\x8b"): body = zlib.decompressobj(31).decompress(body, most + 1)
    if len(body) > most: raise ValueError(f"too large (over {most:,} bytes)")
    path, found, parser = [], [], expat.ParserCreate(namespace_separator=" ")
    def refuse(*_): raise ValueError("bad sitemap (a document type)")
    def start(name, _):
        path.append(name.rpartition(" ")[2])
        if path[0] not in ("urlset", "sitemapindex"): raise ValueError(f"bad sitemap ({path[0][:80]})")
        if path[1:] in (["url", "loc"], ["sitemap", "loc"]): found.append((path[1] == "sitemap", []))
    def text(data):
        if path[1:] in (["url", "loc"], ["sitemap", "loc"]): found[-1][1].append(data)
    parser.StartDoctypeDeclHandler, parser.StartElementHandler = refuse, start
    parser.CharacterDataHandler, parser.EndElementHandler = text, lambda _: path.pop()
    try: parser.Parse(body, True)
    except expat.ExpatError as e: raise ValueError(f"bad sitemap ({e})") from None
    return [(is_index, "".join(pieces).strip()) for is_index, pieces in found]

def sitemap_urls(
    url:str, # Of a sitemap or of an index, gzipped or not
    cfg:FetchConfig,
    max_urls:int=50_000, # Of pages and of sitemaps, each
)->tuple[list[str], list[tuple[str, str]]]: # Pages, each once; problems as (URL, reason)
    "The pages that a site lists, through two levels of indexes. Source: [@sitemaps2016protocol]."
    crawl, todo, seen, urls, problems = _Crawl(cfg), deque([(url, 0)]), {url}, {}, []
    while todo:
        at, level = todo.popleft()
        try:
            if (page := crawl.get(at, ())).reason: raise ValueError(page.reason)
            for is_index, loc in _read_sitemap(page.body, cfg.max_bytes):
                if urlsplit(loc).netloc.lower() != urlsplit(url).netloc.lower(): problems.append((loc, "other host"))
                elif is_index and level == 2: problems.append((loc, "too many levels (2)"))
                elif max(len(urls), len(seen)) >= max_urls: raise ValueError(f"too many ({max_urls:,})")
                elif not is_index: urls[loc] = None
                elif loc not in seen: seen.add(loc); todo.append((loc, level + 1))
        except (ValueError, zlib.error) as e: problems.append((at, str(e)))
    return list(urls), problems

_TEXT = re.compile("utf-16(-[bl]e)?|cp(125[0-8]|866|874|932|949|950)|iso8859-[0-9]+|koi8-[ru]|gb18030"
                   "|big5(hkscs)?|euc_jp|iso2022_jp|mac-(roman|cyrillic)")
_MEANT = {"ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "gb2312": "gb18030", "gbk": "gb18030",
          "shift_jis": "cp932", "euc_kr": "cp949"} # what browsers take a name for

def _codec(label):
    "Python's name of a declared encoding; None for UTF-8 and for what is no encoding of text."
    try: name = codecs.lookup(label).name
    except (LookupError, ValueError): return None
    return name if _TEXT.fullmatch(name := _MEANT.get(name, name)) else None

def decode_html(
    body:bytes,
    content_type:str="", # The header, e.g. "text/html; charset=iso-8859-1"
)->str: # Without a byte order mark; what cannot be read is U+FFFD
    "Text of a page whose encoding is declared, wrongly declared or not declared. Source: [@whatwg2014encoding]."
    for mark, name in ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if body.startswith(mark): return body[len(mark):].decode(name, "replace")
    tags = re.findall(r"(?is)<(?:meta|\?xml)\b[^>]*", body[:4096].decode("ascii", "replace"))
    labels = re.findall(r"""(?i)(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]{1,40})""", " ".join([content_type, *tags]))
    declared = [name for label in labels if (name := _codec(label))]
    if declared and declared[0].startswith(("utf-16", "iso2022")): return body.decode(declared[0], "replace")
    text = body.decode("utf-8", "replace")
    bad = text.count("\ufffd")
    if bad == 0 or len(re.findall(r"[^\0-\x7f]", text)) > 2*bad: return text # UTF-8, perhaps with some broken letters
    for name in declared:
        try: return body.decode(name)
        except UnicodeDecodeError: continue
    return body.decode(declared[0] if declared else "cp1252", "replace")

_HIDDEN = "script|style|noscript|template|svg|iframe|textarea|select|title|object|button"
_TOKEN = re.compile(rf"""<!--.*?(?:-->|\Z)|<({_HIDDEN})\b.*?(?:</\1\s*>|\Z)|([^<]+|<(?![a-z!?/]))
    |<(/?)([a-z][^\s/>]*)(?:"[^"]*"|'[^']*'|[^>])*(?:>|\Z)|<[!?/][^>]*(?:>|\Z)""", re.S | re.I | re.X)

def strip_tags(html:str)->str: # Broken or hostile HTML too: the time is linear in its length
    "All text outside tags, comments, scripts and styles: the article and its furniture."
    return " ".join(unescape("".join(m[2] or " " for m in _TOKEN.finditer(html))).split())

_INLINE = frozenset("""a abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd label mark
    q s samp small span strike strong sub sup time tt u var wbr""".split())

def text_blocks(html:str)->list[tuple[str, int, int]]: # (text, words, words inside links), in order
    "Pieces of a page between line-breaking tags, without empty ones. Source: [@kohlschutter2010boilerplate]."
    blocks, pieces, words, linked, in_link = [], [], 0, 0, False
    for _, data, closing, tag in [*_TOKEN.findall(html), ("", "", "", "p")]:
        if data:
            pieces.append(data)
            words, linked = words + (n := len(data.split())), linked + n*in_link
        elif (tag := tag.lower()) == "a": in_link = not closing
        elif tag and tag not in _INLINE:
            if words: blocks.append((" ".join(unescape("".join(pieces)).split()), words, linked))
            pieces, words, linked = [], 0, 0
    return blocks

def best_run(scores:list[float])->tuple[int, int]: # (start, end), end exclusive; (0, 0) if no score is above 0
    "The run of neighbours with the largest sum, in one pass. Source: [@bentley1984pearls]."
    total, begin, best, run = 0.0, 0, 0.0, (0, 0)
    for i, score in enumerate(scores):
        if total <= 0: total, begin = 0.0, i
        total += score
        if total > best: best, run = total, (begin, i + 1)
    return run

def density_extract(
    html:str,
    toll:float=8.0, # Words that a block must have to be worth its while
)->str: # A line for each block
    "The run of blocks with most unlinked words, without those that are mostly links."
    blocks = text_blocks(html)
    start, end = best_run([words - 2*linked - toll for _, words, linked in blocks])
    return "\n".join(text for text, words, linked in blocks[start:end] if 2*linked <= words)

_MOST_CHARS = 10_000_000 # a page longer than that is a dump of something

class Extracted(NamedTuple):
    "What was found in a page."
    text:str = "" # A line for each paragraph
    title:str = "" # Of its <title>
    method:str = "" # "trafilatura", "density" or "plain"; empty where there is a reason
    reason:str = "" # Why there is no text; empty if there is

def _trafilatura(html):
    try: from trafilatura import extract
    except ImportError as e:
        reason = str(e).splitlines()[0]
        raise ImportError(f'extraction needs trafilatura ({reason}): pip install ".[corpus]"') from None
    return extract(html, include_comments=False, favor_precision=True, fast=True) or ""

def extract(
    page:str|bytes, # HTML; bytes are looked at and decoded first
    content_type:str="", # As the server declared it; text/plain is kept as it is
    min_words:int=25, # With fewer, the density extractor is asked too
)->Extracted:
    "The main text of a page. Raises: ImportError if trafilatura is not installed."
    if isinstance(page, bytes):
        if looks_binary(page): return Extracted(reason="binary file")
        page = decode_html(page[:4*_MOST_CHARS + 1], content_type)
    if len(page) > _MOST_CHARS: return Extracted(reason=f"too large (over {_MOST_CHARS:,} characters)")
    if not page.strip(): return Extracted(reason="empty page")
    if content_type.lower().startswith("text/plain"): return Extracted(page, "", "plain")
    title = re.search(r"(?is)<title[^>]{0,200}>(.{0,1000}?)</title", page)
    title = " ".join(unescape(title[1]).split()) if title else ""
    text, method = _trafilatura(page), "trafilatura"
    if len(text.split()) < min_words and len(other := density_extract(page)) > len(text): text, method = other, "density"
    return Extracted(text, title, method) if text.strip() else Extracted("", title, "", "no text found")
