"""Masking secrets in displayed text."""

import pytest

from edge.host.redaction import masked, masked_path, without_folders

STARS = "********"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        # who logs in
        ("rtsp://admin:pa:ss@10.0.0.7/s", "rtsp://********@10.0.0.7/s"),
        ("rtsp://admin:p@ss@10.0.0.7/s", "rtsp://********@10.0.0.7/s"),
        ("rtsp://admin@cam:554/s", "rtsp://********@cam:554/s"),
        ("rtsp://admin:a/b?c#d e@cam:554/s", "rtsp://********@cam:554/s"),
        ("rtsp://admin:x ! y@cam/s", "rtsp://********@cam/s"),
        ("admin:pw@broker.lan", "********@broker.lan"),
        ("admin:p w/x@broker.lan:1883", "********@broker.lan:1883"),
        ("broker.lan/mqtt?jwt=abc", "broker.lan/mqtt?jwt=********"),
        # queries
        ("http://cam/video?size=b&profile=c", "http://cam/video?size=********&profile=********"),
        ("http://cam/video?size=c&usr=a&pwd=b&c=d", "http://cam/video?size=********&usr=********"),
        ("http://cam/video?jwt=ab&cd", "http://cam/video?jwt=********&********"),
        ("http://cam/video?abcdef", "http://cam/video?********"),
        ("http://cam?x=1", "http://cam?x=********"),
        ("http://cam/#abc?d=e", "http://cam/#********"),
        # paths
        ("http://cam/a/live.m3u8", "http://cam/a/live.m3u8"),
        ("http://cam/abcdefghij0123456789/s", "http://cam/abcdefghij0123456789/s"),
        ("http://cam/abcdefghij0123456789X/s", "http://cam/********/s"),
        ("http://cam/me:pw/s", "http://cam/********/s"),
        ("rtsp://cam/channel=1/user=me_password=a/b.sdp", "rtsp://cam/channel=********/user=********"),
        ("http://cam/live%3Fjwt%3Dab%26c/s", "http://cam/********/s"),
        ("http://cam/a%20b/s", "http://cam/a%20b/s"),
        ("http://cam/api_key/ab12/s", "http://cam/api_key/********/s"),
        ("rtsp://cam/Token/x", "rtsp://cam/Token/********"),
        ("//admin:pw@cam/s", "********@cam/s"),
        # pipelines, and messages with an address in them
        ("rtspsrc location=rtsp://c user-pw=x y ! sink", "rtspsrc location=rtsp://c user-pw=******** ! sink"),
        ("rtspsrc location=rtsp://u:p w@c/s num=9 ! x", "rtspsrc location=rtsp://********@c/s num=9 ! x"),
        (
            "souphttpsrc location='http://u:p@c/s?t=1' cookies=a,b ! appsink drop=1",
            "souphttpsrc location='http://********@c/s?t=********' cookies=******** ! appsink drop=1",
        ),
        ("[Errno 5] no stream: 'rtsp://u:p@c/s'", "[Errno 5] no stream: 'rtsp://********@c/s'"),
        # nothing secret
        ("rtsp://10.0.0.7:8554/s", "rtsp://10.0.0.7:8554/s"),
        ("http://[fe80::1%25eth0]:80/s", "http://[fe80::1%25eth0]:80/s"),
        ("/dev/video0", "/dev/video0"),
        ("/home/me/a-folder-with-a-long-name-of-its-own/kids@home.mp4",) * 2,
        ("v4l2src device=/dev/video0 ! video/x-raw,width=640 ! appsink emit-signals=true",) * 2,
    ],
)  # fmt: skip
def test_setting_is_shown_without_secrets(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/mqtt", "/mqtt"),
        ("/mqtt?jwt=abc", "/mqtt?jwt=********"),
        ("/ws/token=abc/x", "/ws/token=********"),
        ("/t/eyJhbGciOiJIUzI1NiJ9.e30", "/t/********"),
        ("mqtt?jwt=abc", STARS),
    ],
)
def test_path_of_an_address_is_shown_without_secrets(path: str, shown: str) -> None:
    assert masked_path(path) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ssd (/opt/my models/faces.tflite, faces 1.0, 1 thread)", "ssd (faces.tflite, faces 1.0, 1 thread)"),
        ("haar (/opt/x.xml)", "haar (x.xml)"),
        ('found "/home/o\'neil/m.tflite", the name', 'found "m.tflite", the name'),
        ("/home/me/Videos (old)/m.onnx: gone; try /srv/n.onnx", "m.onnx: gone; try n.onnx"),
        ("~/edge/c.toml:3: mqtt.port: found 0", "c.toml:3: mqtt.port: found 0"),
        ("../me/c.toml: no such file", "c.toml: no such file"),
        ("/dev/video0: busy, 3 images/s",) * 2,
    ],
)
def test_files_are_named_without_folders(text: str, shown: str) -> None:
    assert without_folders(text) == shown
