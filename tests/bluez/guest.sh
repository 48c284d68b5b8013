#!/bin/sh
# The guest. As process 1 it makes the host's root its own, copied on write; then it starts BlueZ on virtual controllers, and pytest.
if [ $$ = 1 ]; then
    /bin/busybox --install -s /bin
    mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
    while read -r module; do insmod "/modules/$module" || echo "guest: no $module"; done < /modules/order
    options=trans=virtio,version=9p2000.L,msize=524288
    mount -t 9p -o "$options,ro,cache=loose" host /host
    mount -t tmpfs -o size=50% copy /copy; mkdir /copy/new /copy/work
    mount -t overlay -o lowerdir=/host,upperdir=/copy/new,workdir=/copy/work root /root
    for place in proc sys dev; do mount --move /$place /root/$place; done
    mount -t tmpfs run /root/run
    mkdir -p /root/dev/pts /root/dev/shm /root/run/guest
    mount -t tmpfs shm /root/dev/shm; mount -t devpts pts /root/dev/pts
    mount -t 9p -o "$options,cache=none" guest /root/run/guest
    ip link set lo up
    chroot /root /bin/sh /run/guest/guest.sh
    echo "guest: ended with $?"
    sync; poweroff -f
fi

here=/run/guest logs=/run/logs
. $here/environment
up() { echo "guest: $(cut -d' ' -f1 /proc/uptime) s: $*"; }
mkdir -p $logs /run/dbus /var/lib/bluetooth /var/lib/dbus
dbus-daemon --system --nopidfile --fork
for port in /dev/vport*; do
    chrt -f 20 "$PYTHON" -S -E $here/radio.py "$port" >> $logs/radio.log 2>&1 &
    echo $! > "/run/radio-${port##*/}.pid"
done
until [ "$(ls /sys/class/bluetooth | wc -l)" -ge "$CONTROLLERS" ]; do sleep 0.1; done
chrt -f 20 bluetoothd -n > $logs/bluetoothd.log 2>&1 &
echo $! > /run/bluetoothd.pid
while sleep 5; do cp -u $logs/* $here; done & # what is known by then, should this machine be ended
up "bluetoothd $(bluetoothd --version), Linux $(uname -r), $CONTROLLERS controllers"
IFS='
' # the words of the environment have spaces
cd "$CHECKOUT" && "$PYTHON" -m pytest --import-mode=importlib -o addopts= -o filterwarnings= -o cache_dir=/tmp/cache -p pytest_asyncio.plugin \
    -p pytest_timeout -rA --junitxml=$logs/results.xml $WORDS > $logs/pytest.log 2>&1
result=$?
kill $!
cp $logs/* $here
up "pytest ended with $result"
exit $result
