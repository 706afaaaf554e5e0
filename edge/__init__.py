"""On-device expression sensing: a camera in, MQTT out."""

import os

__version__ = "0.1.0"

# ONNX Runtime's Linux wheels, from 1.31 on, keep a device id and report to their maker unless this is set
# before they are imported. Nothing here reports to anybody.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
