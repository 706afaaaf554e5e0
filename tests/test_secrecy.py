"""Secrets within texts that are shown."""

import pytest

from edge.secrecy import masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:pa:ss@10.0.0.7/s", "rtsp://********@10.0.0.7/s"),
        ("rtsp://admin:p@ss@10.0.0.7/s", "rtsp://********@10.0.0.7/s"),
        ("http://cam/video?user=a&password=b&size=c", "http://cam/video?user=a&password=********&size=c"),
        ("rtspsrc location=rtsp://c user-pw=x ! sink", "rtspsrc location=rtsp://c user-pw=******** ! sink"),
        ("rtsp://10.0.0.7/s", "rtsp://10.0.0.7/s"),
        ("/dev/video0", "/dev/video0"),
    ],
)
def test_an_address_is_shown_without_its_secrets(text: str, shown: str) -> None:
    assert masked(text) == shown
