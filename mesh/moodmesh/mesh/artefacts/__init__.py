"""Content-addressed files: what they are (`manifest`), where they lie (`store`), how they cross a link (`transfers`)."""
