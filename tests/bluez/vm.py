"""A virtual machine with Debian's own kernel and BlueZ on virtual controllers, in which tests run: no radio, no root.

Its root is the host's, read-only under a copy in memory, so that it has this checkout and its environment as they are. What it
needs: the packages of `PACKAGES`, and on the first run their archive, for a kernel; that is kept in the user's cache.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from zlib import crc32

import platformdirs

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
PACKAGES = "qemu-system-x86 busybox-static cpio kmod bluez dbus"
PROGRAMS = (
    "qemu-system-x86_64",
    "busybox",
    "cpio",
    "modprobe",
    "depmod",
    "bluetoothd",
    "dbus-daemon",
    "apt-get",
    "dpkg-deb",
)
NO_GUEST = f"needs an x86-64 Debian with {PACKAGES}"
MODULES = (
    "virtio_pci 9pnet_virtio 9p overlay virtio_rng "  # its root
    "virtio_console "  # the lines of its radios
    "bluetooth hci_vhci cmac ecb aes_generic algif_hash algif_skcipher drbg ecdh_generic"  # what bluetoothd asks of the kernel
)
IMPORTED = (
    "moodmesh.nodes.cli.main, moodmesh.nodes.daemon, moodmesh.nodes.pool.worker, moodmesh.tasks.emotion.text.runner, "
    "moodmesh.mesh.ble.bluez, moodmesh.mesh.ble.central, moodmesh.nodes.bench.ble.bench, "
    "numpy, pytest, pytest_asyncio, pytest_timeout"
)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Ran:
    """What came of a run: the tests that failed with what they said, those that passed, and where the logs are."""

    failed: dict[str, str]
    passed: frozenset[str]
    logs: Path


def missing() -> bool:
    """Whether no guest can be made here."""
    return os.uname().machine != "x86_64" or any(shutil.which(name, path=SYSTEM_PATH) is None for name in PROGRAMS)


def run(modules: list[Path], logs: Path, controllers: int = 3, limit_s: float = 420) -> Ran:
    """Boot a guest, run test modules in it, and read what came of it."""
    kernel = _kernel()
    layers = os.pathsep.join(str(CHECKOUT / layer) for layer in ("nodes", "mesh", "privacy", "tasks", "configs"))
    # Bytecode of all that is imported is made here: there each process would spend half a minute on it.
    subprocess.run([sys.executable, "-c", f"import {IMPORTED}"], env={"PYTHONPATH": layers}, check=True)
    environment = {
        "PATH": SYSTEM_PATH,
        "HOME": "/root",
        "PYTHON": sys.executable,
        "PYTHONPATH": layers,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "BLUEZ_GUEST": "1",
        "CHECKOUT": str(CHECKOUT),
        "CONTROLLERS": str(controllers),
        "WORDS": "\n".join((*shlex.split(os.environ.get("BLUEZ_GUEST_OPTIONS", "")), *map(str, modules))),
    }
    (logs / "environment").write_text("".join(f"export {name}='{value}'\n" for name, value in environment.items()))
    for name in ("guest.sh", "radio.py"):
        shutil.copy(HERE / name, logs)
    _initramfs(kernel, logs / "initramfs")
    air = logs / "air"
    command = [
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072"),
        *("-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio", "-net", "none", "-device", "virtio-rng-pci"),
        *("-kernel", str(kernel / "vmlinuz"), "-initrd", str(logs / "initramfs")),
        *("-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on"),
        *_shared("host", "path=/,readonly=on"),
        *_shared("guest", f"path={logs}"),
        *("-device", "virtio-serial-pci"),
        *(word for number in range(controllers) for word in _radio(number, air)),
    ]
    with (logs / "console.log").open("wb") as console, _air(air):
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, timeout=limit_s, check=False)
        except subprocess.TimeoutExpired:
            console.write(f"host: ended after {limit_s:.0f} s\n".encode())
    (logs / "initramfs").unlink()
    return _read(logs)


def _shared(name: str, what: str) -> tuple[str, ...]:
    shared = f"local,id={name},{what},security_model=none,multidevs=remap"
    return "-fsdev", shared, "-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}"


def _radio(number: int, air: Path) -> tuple[str, ...]:
    return "-chardev", f"socket,id=radio{number},path={air}", "-device", f"virtserialport,chardev=radio{number}"


@contextlib.contextmanager
def _air(path: Path) -> Iterator[None]:
    """Where the guest's radios meet, at a socket of the host."""
    command = [sys.executable, "-m", "moodmesh.nodes.bench.ble.air", str(path), "plain"]
    with path.with_suffix(".log").open("wb") as log:
        air = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        try:
            assert air.stdout is not None
            air.stdout.readline()
            yield
        finally:
            air.kill()
            air.communicate()


def _kernel() -> Path:
    """A folder with Debian's newest kernel and the modules that the guest needs, in their order; made once a version."""
    depends = _said("apt-cache", "depends", "linux-image-amd64")
    package = next(line.split()[1] for line in depends.splitlines() if "Depends: linux-image" in line)
    ready = Path(platformdirs.user_cache_dir("moodmesh-tests")) / f"{package}-{crc32(MODULES.encode()):08x}"
    if ready.is_dir():
        return ready
    ready.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ready.parent) as name:
        work, made = Path(name), Path(name) / "made"
        _said("apt-get", "download", package, where=work)
        _said("dpkg-deb", "-x", str(next(work.glob("*.deb"))), str(work / "all"))
        (version,) = (path.name for path in (work / "all/lib/modules").iterdir())
        _said("depmod", "-b", str(work / "all"), version)
        (made / "modules").mkdir(parents=True)
        shutil.copy(work / f"all/boot/vmlinuz-{version}", made / "vmlinuz")
        order: dict[str, Path] = {}
        for module in MODULES.split():
            for line in _said("modprobe", "-d", str(work / "all"), "-S", version, "--show-depends", module).splitlines():
                if line.startswith("insmod"):
                    order[Path(line.split()[1]).name] = Path(line.split()[1])
        for path in order.values():
            shutil.copy(path, made / "modules")
        (made / "modules/order").write_text("".join(f"{name}\n" for name in order))
        made.rename(ready)
    return ready


def _initramfs(kernel: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder in ("bin", "proc", "sys", "dev", "host", "copy", "root"):
            (root / folder).mkdir()
        shutil.copytree(kernel / "modules", root / "modules")
        busybox = shutil.which("busybox", path=SYSTEM_PATH)
        assert busybox is not None
        shutil.copy(busybox, root / "bin/busybox")
        (root / "bin/sh").symlink_to("busybox")
        shutil.copy(HERE / "guest.sh", root / "init")
        (root / "init").chmod(0o755)
        names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
        archive = subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"],
            cwd=root,
            input=names.encode(),
            capture_output=True,
            check=True,
        )
        target.write_bytes(gzip.compress(archive.stdout, 1))


def _read(logs: Path) -> Ran:
    results = logs / "results.xml"
    if not results.exists() or ElementTree.parse(results).find(".//testcase") is None:
        files = (logs / name for name in ("console.log", "pytest.log"))
        ends = "\n".join(path.read_text(errors="replace")[-2000:] for path in files if path.exists())
        return Ran({"the guest": f"made no results\n{ends}"}, frozenset(), logs)
    failed, passed = {}, set()
    for case in ElementTree.parse(results).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        wrong = [what for what in case if what.tag in ("failure", "error", "skipped") and what.get("type") != "pytest.xfail"]
        if wrong:
            failed[name] = "\n".join(what.text or what.get("message", "") for what in wrong)
        else:
            passed.add(name)
    return Ran(failed, frozenset(passed), logs)


def _said(*command: str, where: Path | None = None) -> str:
    environment = {**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C"}
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=True).stdout
