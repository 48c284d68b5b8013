"""`moodmesh bench ble`, and Bluetooth without a radio: virtual controllers (Bumble) under the code that drives real ones."""
