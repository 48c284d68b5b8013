"""What may be known: the types of mood, and which of them may leave the device."""
