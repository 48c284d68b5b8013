"""`python -m moodmesh.nodes.cli`: the command line without its installed script."""

from moodmesh.nodes.cli.main import main

main()
