"""Forms are read without being taken apart, and changed in one word only."""

from __future__ import annotations

import email
import email.policy
from time import process_time

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ownkey.errors import RequestError
from ownkey.providers.side_operations.forms import Pieces, read_form

SOUND = b"RIFF\r\n--\r\n\x00\xff" * 40


def form(fields: dict[str, str], files: dict[str, tuple[str, bytes]] | None = None) -> tuple[bytes, str]:
    """A body and its content type, by somebody else's hand."""
    request = httpx2.Request("POST", "http://x.test", data=fields, files=files or {"file": ("a.wav", SOUND)})
    return request.read(), request.headers["content-type"]


def parts(body: bytes, content_type: str) -> list[tuple[str | None, bytes]]:
    """What Python's own parser finds: the names and the contents, in order."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    return [
        (part.get_param("name", header="content-disposition"), part.get_payload(decode=True))  # type: ignore[misc]
        for part in message.iter_parts()  # type: ignore[attr-defined]
    ]


def joined(pieces: Pieces) -> bytes:
    return b"".join(bytes(piece) for piece in pieces)


def test_a_field_is_read_and_replaced_and_everything_else_keeps_its_bytes() -> None:
    body, kind = form({"model": "task:dictation", "language": "de", "prompt": "Grüße"})
    read = read_form(body, kind)

    assert read.value("model") == "task:dictation"
    assert read.value("prompt") == "Grüße"
    assert read.value("temperature") is None
    changed = joined(read.replace("model", "whisper-large-v3"))
    assert changed == body.replace(b"task:dictation", b"whisper-large-v3")
    assert dict(parts(changed, kind))["file"] == dict(parts(body, kind))["file"]


def test_the_file_is_not_copied() -> None:
    body, kind = form({"model": "a"})
    pieces = read_form(body, kind).replace("model", "b")

    assert {piece.obj for piece in pieces if isinstance(piece, memoryview)} == {body}


def test_a_form_without_the_field_gets_one() -> None:
    body, kind = form({"language": "de"})
    changed = joined(read_form(body, kind).replace("model", "whisper-1"))

    assert [name for name, _ in parts(changed, kind)] == ["language", "file", "model"]
    assert dict(parts(changed, kind))["model"] == b"whisper-1"


@given(
    fields=st.dictionaries(
        st.from_regex(r"[a-z_\[\]]{1,12}", fullmatch=True),
        st.text(max_size=30).map(lambda text: text.strip()),
        max_size=5,
    ),
    content=st.binary(max_size=300),
    model=st.from_regex(r"[a-z0-9./:-]{1,30}", fullmatch=True),
)
def test_any_form_of_a_client_keeps_its_parts(fields: dict[str, str], content: bytes, model: str) -> None:
    body, kind = form({**fields, "model": "before"}, {"file": ("sound.mp3", content)})
    changed = joined(read_form(body, kind).replace("model", model))

    expected = [(name, model.encode() if name == "model" else value) for name, value in parts(body, kind)]
    assert parts(changed, kind) == expected


@given(st.binary(max_size=200), st.text(max_size=60))
def test_no_bytes_break_the_reader(body: bytes, kind: str) -> None:
    for content_type in (kind, "multipart/form-data; boundary=x"):
        try:
            read = read_form(body, content_type)
        except RequestError as error:
            assert error.status == 400
        else:
            assert joined(read.replace("model", "m"))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "application/json"),
        (b"", "multipart/form-data"),
        (b"", "multipart/form-data; boundary=x"),
        (b"--\xe9\r\n\r\n\r\n--\xe9--", "multipart/form-data; boundary=\xe9"),
        (b"--x--", "multipart/form-data; boundary=x; y=\r\nz"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nm', "multipart/form-data; boundary=x"),
        (b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--y--', "multipart/form-data; boundary=x"),
        (b"--x\r\n" * 300 + b"--x--", "multipart/form-data; boundary=x"),
    ],
)
def test_what_is_no_complete_form_is_refused(body: bytes, kind: str) -> None:
    with pytest.raises(RequestError):
        read_form(body, kind)


def test_a_name_inside_a_file_is_not_a_field() -> None:
    inner = b'content-disposition: form-data; name="model"\r\n\r\nstolen'
    body, kind = form({"model": "mine"}, {"file": ("a.txt", inner)})

    assert read_form(body, kind).value("model") == "mine"


def test_a_quoted_boundary_and_a_field_that_is_not_utf8() -> None:
    body = b"preamble\r\n--a b\r\nContent-Disposition: form-data; name=model\r\n\r\n\xff\r\n--a b--\r\n"
    read = read_form(body, 'multipart/form-data; charset=utf-8; boundary="a b"')

    with pytest.raises(RequestError) as caught:
        read.value("model")
    assert caught.value.param == "model"


MODEL = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nallowed\r\n'


def part(head: bytes, value: bytes = b"other") -> bytes:
    return b"--x\r\n" + head + b"\r\n\r\n" + value + b"\r\n"


@pytest.mark.parametrize(
    "other",
    [
        part(b'Content-Disposition: form-data; name="model"'),
        part(b"content-disposition:form-data;name=model"),
        part(b'Content-Disposition: form-data; name="model"; filename="a"'),
        part(b'Content-Disposition: form-data; name="model"', b"other" * 300),
        part(b'Content-Disposition: form-data;\r\n name="model"'),
        part(b'Content-Disposition: form-data; name="a"\nContent-Disposition: form-data; name="model"'),
        part(b'Content-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="model"'),
        part(b'Content-Disposition: form-data; name="mod\\el"'),
        part(b"Content-Disposition: form-data; name=\"a\"; name*=utf-8''model"),
        part(b'Content-Disposition: form-data; name="a"; name="model"'),
        part(b'Content-Disposition : form-data; name="model"'),
        part(b"Content-Type: text/plain"),
        part(b'Content-Disposition: attachment; name="model"'),
        part(
            b'Content-Disposition: form-data; name="a"', b'--x\nContent-Disposition: form-data; name="model"\n\nother'
        ),
        part(b'Content-Disposition: form-data; name="a"', b"a\n--x\n"),
        b'--xy\r\nContent-Disposition: form-data; name="model"\r\n\r\nother\r\n',
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_form_that_a_provider_could_read_in_another_way_is_refused(other: bytes, first: bool) -> None:
    """What decides here where a form goes, and for which model, must be what the provider reads."""
    body = (other + MODEL if first else MODEL + other) + b"--x--\r\n"

    with pytest.raises(RequestError):
        read_form(body, "multipart/form-data; boundary=x").replace("model", "upstream")


@pytest.mark.parametrize("after", [b"--x--\r\n" + MODEL + b"--x--\r\n", b"--x--\r\n--x\r\n"])
def test_a_form_behind_the_end_of_a_form_is_refused(after: bytes) -> None:
    with pytest.raises(RequestError):
        read_form(MODEL + after, "multipart/form-data; boundary=x")


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data; boundary=y; boundary=x",
        "multipart/form-data; boundary=x; boundary=y",
        "multipart/form-data; x-boundary=x; boundary=y",
        "multipart/form-data; a=boundary=x",
        'multipart/form-data; a="; boundary=x',
        "multipart/form-data, boundary=x",
        "multipart/form-data; boundary=x, multipart/form-data; boundary=y",
        "multipart/form-data; boundary*=utf-8''x",
    ],
)
def test_a_boundary_that_could_be_another_is_refused(kind: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_form(MODEL + b"--x--\r\n", kind)

    assert caught.value.param is None or caught.value.param == "Content-Type"


def test_the_type_of_a_form_says_its_boundary_and_nothing_else() -> None:
    plain = read_form(MODEL + b"--x--\r\n", 'Multipart/Form-Data ;charset=utf-8; Boundary="x"')
    spaced = read_form(MODEL.replace(b"--x", b"--a b") + b"--a b--\r\n", 'multipart/form-data; boundary="a b"')

    assert plain.content_type == "multipart/form-data; boundary=x"
    assert spaced.content_type == 'multipart/form-data; boundary="a b"'


def test_a_field_that_nobody_asks_for_may_be_there_twice() -> None:
    twice = part(b'Content-Disposition: form-data; name="timestamp_granularities[]"', b"word") * 2
    read = read_form(MODEL + twice + b"--x--\r\n", "multipart/form-data; boundary=x")

    assert read.value("model") == "allowed"
    assert joined(read.replace("model", "m")).count(b"word") == 2


def test_heads_full_of_blanks_take_no_time() -> None:
    head = b'Content-Disposition: form-data; name="a"' + b" " * 8_000 + b"!"
    begun = process_time()
    with pytest.raises(RequestError):
        read_form(part(head) * 150 + b"--x--\r\n", "multipart/form-data; boundary=x")
    blank = part(b'Content-Disposition: form-data; name="a"' + b" ;" * 3_900)
    with pytest.raises(RequestError):
        read_form(blank * 150 + b"--x--\r\n", "multipart/form-data; boundary=x")

    assert process_time() - begun < 0.5
