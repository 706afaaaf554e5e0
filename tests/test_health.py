"""What the board says of itself, read from trees like those of real boards."""

from pathlib import Path

import psutil
import pytest

from edge.host import health


def zone(sys: Path, number: int, kind: str, temp: str) -> None:
    folder = sys / "class" / "thermal" / f"thermal_zone{number}"
    folder.mkdir(parents=True)
    (folder / "type").write_text(f"{kind}\n")
    (folder / "temp").write_text(f"{temp}\n")


def test_resident_memory_is_what_psutil_says() -> None:
    assert health.rss_mib() == pytest.approx(psutil.Process().memory_info().rss / 2**20, rel=0.05)


def test_without_proc_resident_memory_is_0(tmp_path: Path) -> None:
    assert health.rss_mib(tmp_path) == 0.0


def test_temperature_of_a_raspberry_pi(tmp_path: Path) -> None:
    zone(tmp_path, 0, "cpu-thermal", "51540")
    assert health.temperature_c(tmp_path) == 51.54


def test_temperature_of_a_jetson_is_its_hottest_processor_sensor_not_its_pmic(tmp_path: Path) -> None:
    zone(tmp_path, 0, "CPU-therm", "43500")
    zone(tmp_path, 1, "PMIC-Die", "100000")
    zone(tmp_path, 2, "soc0-thermal", "44250")
    assert health.temperature_c(tmp_path) == 44.25


def test_a_sensor_that_gives_nothing_is_passed_over(tmp_path: Path) -> None:
    zone(tmp_path, 0, "cpu-thermal", "")
    (tmp_path / "class/thermal/thermal_zone1").mkdir()
    assert health.temperature_c(tmp_path) is None


def test_a_board_without_sensors_has_no_temperature(tmp_path: Path) -> None:
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
def test_throttling_of_a_raspberry_pi_is_that_of_now(
    tmp_path: Path, bits: str, reasons: tuple[str, ...]
) -> None:
    folder = tmp_path / "devices/platform/soc/soc:firmware"
    folder.mkdir(parents=True)
    (folder / "get_throttled").write_text(bits)
    assert health.throttled(tmp_path) == reasons


def test_other_boards_report_no_throttling(tmp_path: Path) -> None:
    assert health.throttled(tmp_path) is None
