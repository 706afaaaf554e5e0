"""`emotion-edge bench`: its output, not the speed of this machine."""

import json

import pytest

from edge.__main__ import main


def test_bench_json_reports_every_stage_of_every_frame(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--source", "portraits", "--frames", "30", "--detector", "haar", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["frames"], report["size"], report["detector"]) == (30, [640, 480], "haar")
    stages = report["stages_ms"]
    calls = {name: row["calls"] for name, row in stages.items()}
    assert 60 < calls.pop("bare classify") <= 120  # twice a face (mirror); Haar may miss one of the two
    assert set(calls) == {"read", "bare detect", "announce", "whole", "detect", "track", "classify", "report"}
    assert set(calls.values()) == {30}
    assert stages["bare detect"]["p50"] <= stages["detect"]["p50"] <= stages["whole"]["p50"]
    assert report["frames_per_s"] > 0
    assert report["cpu_ms_per_frame"] > 0
    assert 20 < report["rss_peak_mib"] < 4096
    assert 0 < report["around_bare_calls"] < 10


def test_bench_text_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--source", "portraits", "--frames", "3", "--detector", "haar"]) == 0
    reported = capsys.readouterr().out
    assert "portraits  640x480, 3 frames" in reported
    assert "bare classify" in reported


def test_bench_startup_times_the_first_messages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--startup", "--json"]) == 0
    reported = json.loads(capsys.readouterr().out)
    assert 0 < reported["first_message_s"] <= reported["first_state_s"] <= reported["first_event_s"]


def test_bench_invalid_source_gets_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--source", "missing.mp4"]) == 1
    assert capsys.readouterr().err.startswith("source 'missing.mp4': no such file")
    for source in ("http://127.0.0.1:9/s?jwt=hunter2", "rtsp://me:hunter 2@127.0.0.1:9/s"):
        assert main(["bench", "--source", source]) == 1
        message = capsys.readouterr().err
        assert "127.0.0.1:9/s" in message
        assert "hunter" not in message
