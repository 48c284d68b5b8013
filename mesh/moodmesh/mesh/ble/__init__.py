"""Bluetooth LE: what is shown in the air, who is near by it, and streams of bytes to a device that shares no network."""
