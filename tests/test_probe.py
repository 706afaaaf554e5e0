"""`emotion-edge probe`: the hardware and software of a machine in one table."""

import argparse
import json
from pathlib import Path

import pytest

from edge.commands import probe
from edge.commands.probe import Finding
from tests.edgetpu_stub import Stub, stub, write_compiled_model  # noqa: F401


def usb_device(root: Path, name: str, vendor: str, product: str) -> None:
    folder = root / "sys/bus/usb/devices" / name
    folder.mkdir(parents=True)
    (folder / "idVendor").write_text(f"{vendor}\n")
    (folder / "idProduct").write_text(f"{product}\n")


def accelerators(root: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in probe.accelerators(root)}


def test_bare_machine_has_no_accelerator_and_lists_what_was_searched(tmp_path: Path) -> None:
    found = accelerators(tmp_path)
    assert found["Coral USB"] == Finding(
        "accelerator", "Coral USB", False, "no USB device 1a6e:089a or 18d1:9302; plug it in"
    )
    assert found["Coral PCIe"].detail == "no /dev/apex_*; a card needs Coral's gasket driver"
    assert found["Jetson"].detail == "no /etc/nv_tegra_release, no /dev/nvhost*"


def test_coral_stick_is_found_under_both_usb_ids(tmp_path: Path) -> None:
    usb_device(tmp_path, "1-1", "046d", "0825")
    usb_device(tmp_path, "1-2", "1a6e", "089a")
    usb_device(tmp_path, "2-1", "18d1", "9302")
    (tmp_path / "sys/bus/usb/devices/1-0:1.0").mkdir()  # an interface has no ids
    coral = accelerators(tmp_path)["Coral USB"]
    assert coral.found
    assert not coral.used
    assert coral.detail.startswith("before its firmware is loaded (1a6e:089a), ready (18d1:9302); ")


def test_missing_edge_tpu_parts_are_named_with_the_next_step(
    tmp_path: Path,
    stub: Stub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usb_device(tmp_path, "1-2", "1a6e", "089a")
    ready = "taken first with a model whose card lists a .edgetpu.tflite file"
    found = accelerators(tmp_path)
    assert found["Coral USB"].detail == f"before its firmware is loaded (1a6e:089a); {ready}"
    assert found["libedgetpu.so.1"].detail == ready
    assert found["emotion.edgetpu.tflite"] == Finding(
        "accelerator", "emotion.edgetpu.tflite", False,
        "not shipped (Coral's compiler runs on x86-64 only); make yours: "
        "`quantize MODEL.keras --data D --out DIR --target coral`",
    )  # fmt: skip
    assert accelerators(tmp_path / "bare")["libedgetpu.so.1"].detail == "loads; plug a Coral in"
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    found = accelerators(tmp_path)
    if found["libedgetpu.so.1"].found:
        pytest.skip("this machine has libedgetpu.so.1")
    step = "install libedgetpu1-std (coral.ai/software)"
    assert found["libedgetpu.so.1"].detail == f"not found; {step}"
    assert found["Coral USB"].detail.endswith(f"; libedgetpu.so.1 is missing or does not load; {step}")


def test_coral_card_and_jetson_are_found_by_their_files(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "etc").mkdir()
    for node in ("apex_0", "nvhost-ctrl", "video0"):
        (tmp_path / "dev" / node).touch()
    assert accelerators(tmp_path)["Coral PCIe"].detail.startswith("/dev/apex_0; ")
    assert accelerators(tmp_path)["Jetson"].detail.startswith("/dev/nvhost-ctrl; ")
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3\nmore\n")
    jetson = accelerators(tmp_path)["Jetson"]
    assert jetson.found
    assert jetson.detail == (
        "R36 (release), REVISION: 4.3; its ONNX Runtime has only cpu; install onnxruntime-gpu (on a Jetson "
        "the wheel that NVIDIA makes for its JetPack)"
    )


def test_gpu_is_found_by_its_device_node(tmp_path: Path) -> None:
    missing = accelerators(tmp_path)["NVIDIA GPU"]
    assert (missing.found, missing.detail) == (False, "no /dev/nvidia0; an NVIDIA GPU needs NVIDIA's driver")
    (tmp_path / "dev").mkdir()
    for node in ("nvidia0", "nvidia1", "nvidiactl"):
        (tmp_path / "dev" / node).touch()
    found = accelerators(tmp_path)["NVIDIA GPU"]
    assert found.found
    assert found.detail.startswith("/dev/nvidia0, /dev/nvidia1; its ONNX Runtime has only cpu; install onnx")


@pytest.mark.usefixtures("stub")
def test_missing_configured_accelerators_are_named(tmp_path: Path) -> None:
    write_compiled_model(tmp_path)
    config = tmp_path / "config.toml"
    config.write_text(f'[model]\nfile = "{tmp_path}/emotion.tflite"\nruntime = "edgetpu"\n')
    (found,) = probe.configured(config)
    if found.found:
        pytest.skip("this machine has a Coral")
    assert found == Finding(
        "configured",
        "model: edgetpu",
        False,
        "no Coral found: no USB device 1a6e:089a or 18d1:9302; plug it in",
    )
    config.write_text('[detector]\nruntime = "onnx"\n')
    (found,) = probe.configured(config)
    assert "faces.tflite: no .onnx file in its card; `quantize --target jetson` makes one" in found.detail
    config.write_text("[mqtt]\nport = 0\n")
    (found,) = probe.configured(config)
    assert "mqtt.port: found 0" in found.detail


def test_raspberry_pi_codecs_are_listed_and_never_opened(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for node in ("video0", "video10", "video31", "video9"):
        (tmp_path / "dev" / node).touch()
    assert list(probe.codecs(tmp_path)) == []  # on other boards these may be cameras
    model = tmp_path / "proc/device-tree/model"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"Raspberry Pi 4 Model B Rev 1.4\0")
    (found,) = probe.codecs(tmp_path)
    assert not found.found
    assert found.detail == "/dev/video10, /dev/video31: codecs, not cameras; auto never opens them"


def test_missing_memory_cgroup_is_reported_with_a_fix(tmp_path: Path) -> None:
    (bare,) = probe.service(tmp_path)
    assert (bare.name, bare.found) == ("MemoryMax", False)
    assert bare.detail.startswith("the memory cgroup is off, so the unit's MemoryMax has no effect; add ")
    assert "cgroup_enable=memory" in bare.detail
    (tmp_path / "proc").mkdir()
    for enabled in (False, True):
        lines = f"#subsys_name hierarchy num_cgroups enabled\nmemory\t4\t1\t{enabled:d}\n"
        (tmp_path / "proc/cgroups").write_text(lines)
        assert next(probe.service(tmp_path)).found is enabled
    (tmp_path / "proc/cgroups").unlink()
    unified = tmp_path / "sys/fs/cgroup/cgroup.controllers"
    unified.parent.mkdir(parents=True)
    for controllers, found in (("cpuset cpu io pids", False), ("cpu memory pids", True)):
        unified.write_text(f"{controllers}\n")
        assert next(probe.service(tmp_path)).found is found


def test_table_distinguishes_used_found_and_missing() -> None:
    findings = [
        Finding("camera", "/dev/video0", True, "HD Webcam", used=True),
        Finding("camera", "portraits", True, "built in"),
        Finding("model", "x.tflite", False, "no such file"),
    ]
    assert probe.table(findings) == (
        "camera\n"
        "  > /dev/video0  HD Webcam\n"
        "  + portraits    built in\n"
        "\n"
        "model\n"
        "  - x.tflite     no such file\n"
        "\n"
        "> would be used   + found   - not found"
    )


def test_probe_finds_interpreter_detector_and_portraits_here(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert probe.run(argparse.Namespace(json=True, config=None)) == 0
    findings = {(found["part"], found["name"]): found for found in json.loads(capsys.readouterr().out)}
    assert {part for part, _ in findings} == {
        "model", "runtime", "detector", "camera", "opencv", "accelerator", "service"
    }  # fmt: skip
    assert findings["runtime", "ai-edge-litert"]["used"]
    assert findings["runtime", "onnxruntime"]["detail"].endswith("cpu, for ONNX files")
    assert findings["detector", "haar"]["found"]
    assert findings["camera", "portraits"]["found"]
    assert findings["opencv", "version"]["detail"].startswith("4.")
    # "auto" takes one of each at most.
    for part in ("runtime", "detector", "camera"):
        assert sum(found["used"] for (of, _), found in findings.items() if of == part) <= 1
