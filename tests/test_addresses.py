"""Addresses with passwords as people paste them."""

import pytest

from edge.host.addresses import standard, taken_apart
from edge.host.redaction import masked
from edge.types import EdgeError


@pytest.mark.parametrize(
    ("written", "escaped"),
    [
        ("rtsp://10.0.0.7/s", "rtsp://10.0.0.7/s"),
        ("http://cam.lan:8080/v?size=big#1", "http://cam.lan:8080/v?size=big#1"),
        ("rtsp://admin@cam/s", "rtsp://admin@cam/s"),
        ("rtsp://admin:plain-1@cam:554/s", "rtsp://admin:plain-1@cam:554/s"),
        ("rtsp://admin:a b\"c'd@cam/s", "rtsp://admin:a%20b%22c'd@cam/s"),
        ("rtsp://admin:p@ss:w@cam/s", "rtsp://admin:p%40ss%3Aw@cam/s"),
        ("rtsp://admin:a/b?c#d@cam:554/s", "rtsp://admin:a%2Fb%3Fc%23d@cam:554/s"),
        ("rtsp://admin:x ! y@cam/s", "rtsp://admin:x%20!%20y@cam/s"),
        ("rtsp://admin:100%@cam/s", "rtsp://admin:100%25@cam/s"),
        ("rtsp://admin:a%40b@cam/s", "rtsp://admin:a%40b@cam/s"),
        ("rtsp://jörg:größe@cam/s", "rtsp://j%C3%B6rg:gr%C3%B6%C3%9Fe@cam/s"),
        (
            "rtsp://admin:a[b]{c}@[fe80::1%25eth0]:554/s",
            "rtsp://admin:a%5Bb%5D%7Bc%7D@[fe80::1%25eth0]:554/s",
        ),
        # An @ after an unambiguous host does not belong to a password.
        ("http://cam/v?mail=a@b", "http://cam/v?mail=a@b"),
        ("http://me:pw@10.0.0.7:80/v?mail=a@b", "http://me:pw@10.0.0.7:80/v?mail=a@b"),
        ("http://me:p/w@[::1]:80/v", "http://me:p%2Fw@[::1]:80/v"),
    ],
)
def test_raw_password_in_address_is_escaped(written: str, escaped: str) -> None:
    assert standard(written) == escaped
    assert standard(escaped) == escaped


@pytest.mark.parametrize(
    "written",
    [
        "rtsp://admin:12/S3cret@cam/live",  # or port 12 of the host admin
        "http://me:pw@cam/v?S3cret=a@b",
        "rtsp://me:p@S3cret/w@cam/s",
        "rtsp://S3cret cam/s",
        "rtsp:///S3cret",
        "rtsp://",
        "rtsp://[S3cret/s",
    ],
)
def test_ambiguous_host_is_rejected_without_revealing_the_address(written: str) -> None:
    assert taken_apart(written) is None
    assert masked(written) == f"{written.partition(':')[0]}://********"
    with pytest.raises(EdgeError, match=r"unclear where its host is; write @ : / .* as %40 %3A %2F") as error:
        standard(written)
    assert "S3cret" not in str(error.value)


def test_non_url_has_no_parts() -> None:
    assert taken_apart("/dev/video0") is None
    assert taken_apart("v4l2src ! videoconvert ! appsink") is None


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_out_of_range_port_is_rejected_without_secrets(port: str) -> None:
    with pytest.raises(EdgeError, match=rf"^rtsp://…: port {port} is out of range; expected 1 to 65535$"):
        standard(f"rtsp://user:secret@camera:{port}/live")
    assert standard("rtsp://camera:65535/live") == "rtsp://camera:65535/live"
