"""Prometheus' part in a lab run: pages of metrics fetched at a steady pace, and kept as Prometheus would store them."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from lvs_lab.exec_channel import socket_in
from lvs_lab.waiting import wait_for
from support.promql import Json

INTERVAL_SECONDS: Final = 2
"""What the kernel's counters are summed up in; a run of minutes shows more of itself than by a minute's scrapes."""
_ANSWER_SECONDS: Final = 1.5
_Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is scraped, and the labels that Prometheus gives to all of it."""

    labels: Mapping[str, str]
    fetch: Callable[[], str]
    """The page. Raises OSError or HTTPException where nobody gives it."""


@dataclass(kw_only=True)
class Scrapes:
    """All series of a run, by their labels; moments in milliseconds since its beginning."""

    series: dict[_Labels, list[tuple[int, float | None]]] = field(default_factory=dict)
    """None: the series was there at the scrape before and is no more."""
    last: dict[str, set[_Labels]] = field(default_factory=dict)
    """What each target, by its instance, had at its last scrape."""
    rounds: int = 0
    """How often all targets were asked."""

    def keep(self, target: Mapping[str, str], milliseconds: int, page: str | None) -> None:
        """One scrape; None is one that failed. A page's own labels stay as they are (`honor_labels: true`)."""
        found = {} if page is None else _samples(page, target)
        found[_labels("up", target)] = float(page is not None)
        for gone in self.last.get(target["instance"], set()) - found.keys():
            self.series[gone].append((milliseconds, None))
        for labels, value in found.items():
            self.series.setdefault(labels, []).append((milliseconds, value))
        self.last[target["instance"]] = set(found)

    def told(self) -> list[Json]:
        """The series as `promql.evaluate` reads them."""
        return [
            {"labels": dict(labels), "points": [{"ms": ms, "value": value} for ms, value in points]}
            for labels, points in self.series.items()
        ]

    @property
    def seconds(self) -> int:
        """How long the run was."""
        return max((points[-1][0] for points in self.series.values()), default=0) // 1000


def _labels(name: str, *parts: Mapping[str, str]) -> _Labels:
    return frozenset({key: value for part in parts for key, value in part.items() if value}.items()) | {
        ("__name__", name)
    }


def _samples(page: str, target: Mapping[str, str]) -> dict[_Labels, float]:
    return {
        _labels(sample.name, target, sample.labels): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def page_in(namespace: str, address: str, port: int) -> str:
    """The page of metrics at an address, as seen from a network namespace. Raises OSError, HTTPException."""
    connection = HTTPConnection(address, port, timeout=_ANSWER_SECONDS)
    connection.sock = socket_in(namespace, socket.AF_INET)
    try:
        connection.sock.settimeout(_ANSWER_SECONDS)
        connection.sock.connect((address, port))
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        page = response.read().decode()
    finally:
        connection.close()
    if response.status != 200:
        raise HTTPException(f"{address}:{port} says {response.status}")
    return page


class Scraper:
    """Keeps what targets say, and can be waited for."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = targets
        self._started = time.monotonic()
        self._end = threading.Event()
        self.scrapes = Scrapes()

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._started

    def wait_rounds(self, count: int) -> None:
        """Wait until all targets were asked so often again."""
        wanted = self.scrapes.rounds + count
        seconds = 3 * count * INTERVAL_SECONDS + _ANSWER_SECONDS
        wait_for(lambda: self.scrapes.rounds >= wanted, seconds, f"{count} rounds of scrapes", interval=0.1)

    def run(self) -> None:
        """Ask all targets at each interval until the end."""
        with ThreadPoolExecutor(len(self._targets)) as pool:
            while not self._end.wait(max(0.0, self.scrapes.rounds * INTERVAL_SECONDS - self.now)):
                moment = int(self.now * 1000)
                for target, page in zip(self._targets, pool.map(_page, self._targets), strict=True):
                    self.scrapes.keep(target.labels, moment, page)
                self.scrapes.rounds += 1

    def stop(self) -> None:
        """End after the scrapes that are under way."""
        self._end.set()


def _page(target: Target) -> str | None:
    try:
        return target.fetch()
    except (OSError, HTTPException):
        return None


@contextmanager
def scraping(targets: Sequence[Target]) -> Iterator[Scraper]:
    """Scrape for as long as the context lasts."""
    scraper = Scraper(targets)
    thread = threading.Thread(target=scraper.run, name="scrapes", daemon=True)
    thread.start()
    try:
        yield scraper
    finally:
        scraper.stop()
        thread.join(10 * _ANSWER_SECONDS)
        assert not thread.is_alive(), "the scrapes do not end"
