#!/bin/sh
# The first and only program of the test guest. Each line that starts with "sequester-guest:" is read by
# `sequester run`: a word that says what it is about, then key=value pairs.
#
# Kernel command line: sequester.stay = leave a shell on the console; sequester.watch=N = for N seconds say what is
# plugged in. Without them the guest powers off 2 seconds after "ready", or at the first line on the console: time for
# the host to look at the devices while they are used.

export PATH=/bin
say() { echo "sequester-guest: $*"; }

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
dmesg -n 1 # the kernel's messages would cut our lines in two

# load ORDER: insert the modules that the file ORDER names, in its order.
load() {
    [ -f "$1" ] || return 0
    while read -r module; do
        [ -d "/sys/module/$module" ] || insmod "/modules/$module.ko"
    done < "$1"
}

bit() { # bit FEATURES N: the feature bits are one character each, bit 0 first
    echo "$1" | cut -c $(($2 + 1))
}

echo # the firmware or the kernel may have left half a line
say start release="$(uname -r)" machine="$(uname -m)"

# What the kernel itself knows of a protection; "none" in a simulated guest.
protection=$(dmesg | sed -n 's/.*Memory Encryption Features active: *//p' | head -n 1 | tr ' ' ',')
[ "$(cat /sys/firmware/uv/prot_virt_guest 2>/dev/null)" = 1 ] && protection=s390-pv
say protection seen="${protection:-none}"

load /modules/transports.order
for device in /sys/bus/virtio/devices/*; do
    [ -e "$device" ] && load "/modules/virtio-$(cat "$device/device").order"
done

# tell WORD DEVICE: say what a virtio device is and which features were negotiated.
tell() {
    driver=none
    [ -e "$2/driver" ] && driver=$(basename "$(readlink -f "$2/driver")")
    features=$(cat "$2/features")
    access_platform=$(bit "$features" 33)
    say "$1" name="${2##*/}" id="$(($(cat "$2/device")))" driver="$driver" \
        bus="$(basename "$(dirname "$(readlink -f "$2")")")" \
        version_1="$(bit "$features" 32)" access_platform="$access_platform"
}

devices=0
driven=0
protected=0
known=" "
for device in /sys/bus/virtio/devices/*; do
    [ -e "$device" ] || continue
    devices=$((devices + 1))
    [ -e "$device/driver" ] && driven=$((driven + 1))
    tell device "$device"
    protected=$((protected + access_platform))
    known="$known${device##*/} "
done

# try_disk NAME: read the first, the middle and the last sector.
try_disk() {
    sectors=$(cat "/sys/block/$1/size")
    marker=ok
    for sector in 0 $((sectors / 2)) $((sectors - 1)); do
        text=$(dd if="/dev/$1" bs=512 skip="$sector" count=1 2>/dev/null | tr -d '\000' | head -c 64) || marker=unreadable
        [ "$marker" = ok ] && [ "${text%% *}" != "sequester-disk-marker" ] && marker=absent
    done
    say disk name="$1" sectors="$sectors" marker="$marker"
}

# try_network NAME: get an address and reach the gateway.
try_network() {
    address=none
    gateway=none
    if udhcpc -i "$1" -n -q -t 5 -T 1 -s /dhcp.sh >/dev/null 2>&1; then
        . "/tmp/dhcp.$1"
        ping -c 1 -W 2 "$router" >/dev/null 2>&1 && gateway=reached
    fi
    say network name="$1" address="$address" gateway="$gateway"
}

disk=none
for block in /sys/block/vd*; do
    [ -e "$block" ] || continue
    try_disk "${block##*/}"
    [ "$disk" = none ] && disk=$marker
done

network=none
for interface in /sys/class/net/eth* /sys/class/net/en*; do
    [ -e "$interface" ] || continue
    try_network "${interface##*/}"
    [ "$address" != none ] && network=ok
    [ "$network" = none ] && network=failed
done

say ready devices="$devices" driven="$driven" access_platform="$protected" disk="$disk" network="$network"

# plugged DEVICE: load what drives a new device, and use it.
plugged() {
    known="$known${1##*/} "
    load "/modules/virtio-$(cat "$1/device").order"
    tell plugged "$1"
    for block in "$1"/block/*; do
        [ -e "$block" ] && try_disk "${block##*/}"
    done
    for interface in "$1"/net/*; do
        [ -e "$interface" ] && try_network "${interface##*/}"
    done
}

watch=$(sed -n 's/.*sequester.watch=\([0-9]*\).*/\1/p' /proc/cmdline)
while [ "${watch:-0}" -gt 0 ]; do
    for device in /sys/bus/virtio/devices/*; do
        case "$known" in *" ${device##*/} "*) continue ;; esac
        [ -e "$device" ] && plugged "$device"
    done
    watch=$((watch - 1))
    read -r -t 1 _ < /dev/console && break
done

if grep -q -w sequester.stay /proc/cmdline; then
    busybox --install -s /bin
    echo "This guest stays. 'poweroff' ends it."
    setsid cttyhack env ENV=/shell.sh sh -i
else
    read -r -t 2 _ < /dev/console
fi
poweroff -f
