"Exercises of notebook 02a: pauses, rules, hidden addresses, redirects, and agreement in order."
import ipaddress, random, re
from collections import Counter
from urllib.parse import urljoin

from minillm.exercises.grading import Exercise, agree


def politely(hosts, delay):
    starts, last = [], {}
    for host in hosts:
        last[host] = max(starts[-1] if starts else 0, last[host] + delay if host in last else 0)
        starts.append(last[host])
    return starts


def allowed(rules, path):
    matching = [(len(prefix), allow) for prefix, allow in rules if path.startswith(prefix)]
    return max(matching, default=(0, True))[1]


def hidden_ipv4(address):
    ip = ipaddress.IPv6Address(address)
    if ip in ipaddress.ip_network("64:ff9b::/96"): return str(ipaddress.IPv4Address(ip.packed[12:]))
    found = ip.ipv4_mapped or ip.sixtofour
    return found and str(found)


def follow(url, redirects, most):
    steps = 0
    while url in redirects and steps < most:
        url, steps = urljoin(url, redirects[url]), steps + 1
    return None if url in redirects else url


def shingle_f1(text, truth, n):
    def shingles(t):
        words = re.findall(r"\w+", t.lower())
        return Counter(zip(*(words[i:] for i in range(n))))
    ours, theirs = shingles(text), shingles(truth)
    return 2*(ours & theirs).total()/max(1, ours.total() + theirs.total())


def same_or_none(got, expected) -> bool:
    "None is an answer here, and only None is."
    return got is None if expected is None else agree(got, expected)


def visits():
    rng = random.Random(0)
    yield from ((["a"], 1), (["a", "b"], 1), (["a", "a"], 2), (["a", "b", "a", "b"], 1), (["a", "a", "b", "a", "b"], 3), ([], 1))
    for _ in range(24): yield [rng.choice("abc") for _ in range(rng.randint(3, 9))], rng.choice((0, 1, 2, 0.5))


def rule_sets():
    rng, parts = random.Random(1), ("a", "b", "ab", "a/", "b/")
    yield from (([], "/a"), ([("/a", False)], "/b"), ([("/a", False)], "/ab"), ([("/b", False)], "/a/b"), ([("/", False), ("/a", True)], "/a"),
                ([("/a", True), ("/", False)], "/a"), ([("/a", False), ("/a", True)], "/a"), ([("/a", True), ("/a", False)], "/a/"))
    for _ in range(40):
        path = lambda: "/" + "".join(rng.choice(parts) for _ in range(rng.randint(0, 3)))
        yield [(path(), rng.random() < 0.5) for _ in range(rng.randint(1, 6))], path()


def addresses():
    rng = random.Random(2)
    yield from ((a,) for a in ("::1", "::ffff:127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "2001:db8::1", "::127.0.0.1",
                               "64:ff9b:1::7f00:1", "2002::", "::fffe:7f00:1", "64:ff9b::1:7f00:1"))
    for _ in range(30):
        four, rest = rng.getrandbits(32), rng.getrandbits(80)
        value = rng.choice((0xffff << 32 | four, 0x64ff9b << 96 | four, 0x2002 << 112 | four << 80 | rest, 0x2001 << 112 | four << 80 | rest,
                            0xfe80 << 112 | rest, 0xffff << 48 | four))
        yield (str(ipaddress.IPv6Address(value)),)


def chains():
    rng, home = random.Random(3), "http://a.example/"
    yield from ((home, {}, 0), (home, {}, 5), (home, {home: "/b"}, 1), (home, {home: "/b"}, 0), (home, {home: "/"}, 9),
                (home + "x/y", {home + "x/y": "z", home + "x/z": "../w"}, 2), (home + "x/y", {home + "x/y": "z", home + "x/z": "../w"}, 1))
    for _ in range(30):
        names = [home + name for name in rng.sample(("x/a", "x/b", "y/c", "d", "e", "y/"), 5)]
        table = {a: rng.choice((b, b.removeprefix("http://a.example"))) for a, b in zip(names, names[1:rng.randint(2, 5)])}
        if rng.random() < 0.3: table[list(table.values())[-1] if list(table.values())[-1].startswith("http") else names[len(table)]] = names[0]
        yield names[0], table, rng.randint(0, 6)


def texts():
    rng = random.Random(4)
    yield from (("", "", 1), ("a", "a", 1), ("a", "a", 2), ("a b", "b a", 1), ("a b", "b a", 2), ("A b c", "a, B! d", 2), ("a a a", "a a", 2))
    for _ in range(24):
        words = lambda: " ".join(rng.choice(("the", "sea", "Sea", "is", "wide,", "is")) for _ in range(rng.randint(0, 12)))
        yield words(), words(), rng.randint(1, 4)


EXERCISES = {
    1: Exercise(politely, visits, [
        "Two things hold a request back: the request before it in the list, and the last one to the same host.",
        "Keep a dictionary from host to the moment of its last request; a host that is not in it need not wait.",
        "start = max(now, last[host] + delay); `now` never goes back, since the requests go in the order of the list.",
    ]),
    2: Exercise(allowed, rule_sets, [
        "The order of the rules plays no part; only the length of the prefixes that match does.",
        "Collect (len(prefix), allowed) of the rules that match; what does `max` do with a draw in the first number?",
        "max(..., default=(0, True))[1]: True is greater than False.",
    ], same_or_none),
    3: Exercise(hidden_ipv4, addresses, [
        "Look at the sixteen bytes: which twelve (or two) does each kind begin with?",
        "Mapped: ten zero bytes, then ff ff. The translator: 00 64 ff 9b, then eight zero bytes. 6to4: 20 02.",
        "\".\".join(map(str, packed[12:])) writes the last four bytes; for 6to4 it is packed[2:6].",
    ], same_or_none),
    4: Exercise(follow, chains, [
        "A page that does not redirect is where the chain ends, also when no redirect is left to follow.",
        "A circle needs no memory of its own: it never ends, so it is longer than `most`.",
        "Loop `most` times with url = urljoin(url, redirects[url]); afterwards, if url is in redirects still, the answer is None.",
    ], same_or_none),
    5: Exercise(shingle_f1, texts, [
        "A run of n words begins at every place from which n words are left: how many places are those?",
        "Counter(tuple(words[i:i + n]) for i in range(len(words) - n + 1)); `&` of two Counters takes the smaller counts.",
        "2*common/max(1, runs of the one + runs of the other).",
    ]),
}
