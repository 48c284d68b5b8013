"""The tests in `inside` run in the guest alone."""

import os

collect_ignore_glob = [] if os.environ.get("BLUEZ_GUEST") else ["inside/*"]
