"""Reading answers: one that was cut is none."""

import io

import pytest

from support.traffic import cut_or_refused, read_answer

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX-Received: 0\r\n\r\nserver-1\n"


def test_a_whole_answer_and_no_more_is_read() -> None:
    stream = io.BytesIO(WHOLE + WHOLE.replace(b"server-1", b"server-2"))
    assert [read_answer(stream), read_answer(stream)] == ["server-1", "server-2"]


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_an_answer_that_is_cut_anywhere_is_none(length: int) -> None:
    with pytest.raises(EOFError, match="closed") as caught:
        read_answer(io.BytesIO(WHOLE[:length]))
    assert cut_or_refused(f"after 1.000 s: {caught.value!r}")


@pytest.mark.parametrize(
    "answer", [WHOLE.replace(b"200 OK", b"503 Lab"), WHOLE.replace(b"Content-Length", b"Length")], ids=["503", "length"]
)
def test_another_status_or_an_answer_without_length_is_told(answer: bytes) -> None:
    with pytest.raises(AssertionError, match=r"answered b'HTTP/1\.1"):
        read_answer(io.BytesIO(answer))
