"""What may be asked of a node over MQTT: read strictly, remembered, and held to a rate."""
