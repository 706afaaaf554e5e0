"""Board health, read from copies of real boards' sysfs trees."""

from pathlib import Path

import psutil
import pytest

from edge.host import health


def zone(sys: Path, number: int, kind: str, temp: str) -> None:
    folder = sys / "class" / "thermal" / f"thermal_zone{number}"
    folder.mkdir(parents=True)
    (folder / "type").write_text(f"{kind}\n")
    (folder / "temp").write_text(f"{temp}\n")


def test_resident_memory_matches_psutil() -> None:
    assert health.rss_mib() == pytest.approx(psutil.Process().memory_info().rss / 2**20, rel=0.05)


def test_resident_memory_is_0_without_proc(tmp_path: Path) -> None:
    assert health.rss_mib(tmp_path) == 0.0


def test_temperature_of_a_raspberry_pi(tmp_path: Path) -> None:
    zone(tmp_path, 0, "cpu-thermal", "51540")
    assert health.temperature_c(tmp_path) == 51.54


def test_jetson_temperature_is_its_hottest_sensor_except_the_pmic(tmp_path: Path) -> None:
    zone(tmp_path, 0, "CPU-therm", "43500")
    zone(tmp_path, 1, "PMIC-Die", "100000")
    zone(tmp_path, 2, "soc0-thermal", "44250")
    assert health.temperature_c(tmp_path) == 44.25


def test_sensor_without_reading_is_skipped(tmp_path: Path) -> None:
    zone(tmp_path, 0, "cpu-thermal", "")
    (tmp_path / "class/thermal/thermal_zone1").mkdir()
    assert health.temperature_c(tmp_path) is None


def test_board_without_sensors_has_no_temperature(tmp_path: Path) -> None:
    assert health.temperature_c(tmp_path) is None


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        ("0\n", ()),
        ("50000\n", ()),  # in the past
        ("50005\n", ("under-voltage", "throttled")),
        ("0xa", ("frequency capped", "soft temperature limit")),
    ],
)
def test_raspberry_pi_throttling_reports_current_bits_only(
    tmp_path: Path, bits: str, reasons: tuple[str, ...]
) -> None:
    folder = tmp_path / "devices/platform/soc/soc:firmware"
    folder.mkdir(parents=True)
    (folder / "get_throttled").write_text(bits)
    assert health.throttled(tmp_path) == reasons


def test_other_boards_report_no_throttling(tmp_path: Path) -> None:
    assert health.throttled(tmp_path) is None
