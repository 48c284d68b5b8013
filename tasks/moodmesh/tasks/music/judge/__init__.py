"""The emotion of a piece by machine (`music.judge`), and whether it is music at all (systems S20, evaluation §5)."""
