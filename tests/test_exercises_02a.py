"The graders of notebook 02a reject planted mistakes and accept right answers written anew."
import ipaddress
import re
from collections import Counter
from urllib.parse import urljoin

import pytest

from minillm.exercises.grading import find, verdict


def polite(hosts, delay):
    starts = []
    for i, host in enumerate(hosts):
        earlier = [s + delay for s, h in zip(starts, hosts) if h == host]
        starts.append(max([0, *starts[-1:], *earlier]))
    return starts


def longest(rules, path):
    best, answer = -1, True
    for prefix, allow in rules:
        if path[:len(prefix)] == prefix and (len(prefix) > best or (len(prefix) == best and allow)): best, answer = len(prefix), allow
    return answer


def bits(address):
    value = int(ipaddress.ip_address(address))
    if value >> 112 == 0x2002: four = value >> 80 & 0xffffffff
    elif value >> 32 in (0xffff, 0x64ff9b << 64): four = value & 0xffffffff
    else: return None
    return f"{four >> 24}.{four >> 16 & 255}.{four >> 8 & 255}.{four & 255}"


def chain(url, redirects, most):
    if url not in redirects: return url
    return chain(urljoin(url, redirects[url]), redirects, most - 1) if most else None


def shingles(text, truth, n, words=lambda t: re.findall(r"\w+", t.lower())):
    a, b = ([" ".join(w[i:i + n]) for i in range(len(w) - n + 1)] for w in (words(text), words(truth)))
    common = sum(min(a.count(run), b.count(run)) for run in set(a))
    return 2*common/(len(a) + len(b)) if a or b else 0.0


def sets(text, truth, n):
    a, b = (set(zip(*(w[i:] for i in range(n)))) for w in (re.findall(r"\w+", t.lower()) for t in (text, truth)))
    return 2*len(a & b)/max(1, len(a) + len(b))


def naively(hosts, delay): return [i*delay for i in range(len(hosts))]


def each_alone(hosts, delay):
    seen = Counter()
    starts = []
    for host in hosts: starts.append(seen[host]*delay); seen[host] += 1
    return starts


def waits_after_start(hosts, delay):
    now, starts, seen = 0, [], set()
    for host in hosts:
        if host in seen: now += delay
        seen.add(host); starts.append(now)
    return starts


def first_match(rules, path): return next((allow for prefix, allow in rules if path.startswith(prefix)), True)


def only_mapped(address):
    four = ipaddress.ip_address(address).ipv4_mapped
    return str(four) if four else None


def last_four(address):
    packed = ipaddress.ip_address(address).packed
    return ".".join(map(str, packed[12:])) if bits(address) else None


def any_embedded(address):
    packed = ipaddress.ip_address(address).packed
    return bits(address) or (".".join(map(str, packed[12:])) if not any(packed[:12]) else None)


def unjoined(url, redirects, most):
    for _ in range(most): url = redirects.get(url, url)
    return None if url in redirects else url


def one_too_many(url, redirects, most): return chain(url, redirects, most + 1)


def last_seen(url, redirects, most):
    for _ in range(most): url = urljoin(url, redirects[url]) if url in redirects else url
    return url


RIGHT = {1: polite, 2: longest, 3: bits, 4: chain, 5: shingles}
WRONG = {
    1: [naively,  # every request waits
        each_alone,  # hosts asked side by side
        waits_after_start,  # waits although the time has passed
        lambda hosts, delay: polite(hosts, delay + 1)],  # longer than needed
    2: [first_match,  # as in 1994
        lambda rules, path: all(allow for prefix, allow in rules if path.startswith(prefix)),  # any disallow wins
        lambda rules, path: not max(((len(p), not a) for p, a in rules if path.startswith(p)), default=(0, False))[1],  # disallow in a draw
        lambda rules, path: max(((len(p), a) for p, a in rules if p in path), default=(0, True))[1],  # anywhere in the path
        lambda rules, path: longest(rules, path) if any(path.startswith(p) for p, _ in rules) else False],  # not mentioned: no
    3: [only_mapped, last_four, any_embedded,
        lambda address: bits(address) or ""],  # not None
    4: [unjoined, one_too_many, last_seen,
        lambda url, redirects, most: chain(url, redirects, 99)],  # no limit
    5: [lambda a, b, n: shingles(a, b, 1),  # order does not count
        sets,  # each run once
        lambda a, b, n: shingles(a, b, n, words=str.split),  # capitals and commas
        lambda a, b, n: shingles(a, b, n) or float(a == b)],  # nothing agrees with nothing
}


@pytest.mark.parametrize("number", RIGHT)
def test_a_right_answer_is_accepted(number):
    "An independent solution passes."
    assert verdict(find(f"02a.{number}"), RIGHT[number]) == (True, "right")


@pytest.mark.parametrize("number, index", [(k, i) for k, answers in WRONG.items() for i in range(len(answers))])
def test_a_planted_mistake_is_rejected(number, index):
    "Each plausible mistake fails on some input."
    right, words = verdict(find(f"02a.{number}"), WRONG[number][index])
    assert not right and "expected" in words


@pytest.mark.parametrize("number", RIGHT)
def test_a_grader_has_inputs_and_hints(number):
    "At least twenty inputs, the same at each call, and three hints."
    exercise = find(f"02a.{number}")
    assert len(list(exercise.cases())) >= 20 and list(exercise.cases()) == list(exercise.cases())
    assert len(exercise.hints) == 3


@pytest.mark.parametrize("number", RIGHT)
def test_a_blank_is_not_a_mistake(number):
    "An unsolved exercise says so."
    assert verdict(find(f"02a.{number}"), lambda *_: ...) == (False, "not attempted yet")
