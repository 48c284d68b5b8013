"""Pairing by a short code or QR: SPAKE2 inside a window's own TLS, both ends bound (pairing §5)."""
