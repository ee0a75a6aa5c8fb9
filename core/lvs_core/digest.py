"""The digest by which a director says which state of its group's slices it acted on."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from lvs_core.cluster_view import Slice


class SliceVersion(NamedTuple):
    """One state of one slice: its uid never returns and its generation only grows."""

    uid: str
    generation: int


def view_digest(versions: Iterable[SliceVersion]) -> str:
    """SHA-256, in hex, over the sorted versions of all slices of one director group.

    A director reports the digest of the view that its last complete round acted on and verified. Slices of services
    that it could not program, or of which it still holds something that the view no longer has, count as acted on:
    the report names those services in `exceptions` with `programmed: false`, so that one service in trouble does not
    keep the director from speaking about all others.
    """
    digest = hashlib.sha256()
    for uid, generation in sorted(versions):
        digest.update(f"{uid} {generation}\n".encode())
    return digest.hexdigest()


def slices_digest(slices: Iterable[Slice]) -> str:
    """The digest of these slices; the caller picks those of one group."""
    return view_digest(SliceVersion(one.meta.uid, one.meta.generation) for one in slices)
