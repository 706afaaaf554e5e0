"""On-device expression sensing: a camera in, MQTT out."""

__version__ = "0.1.0"
