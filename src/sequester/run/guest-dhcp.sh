#!/bin/sh
# What udhcpc calls: set the address, and leave it where the init script reads it.
case $1 in
    deconfig) ip link set "$interface" up ;;
    bound | renew)
        ip address add "$ip/${mask:-24}" dev "$interface"
        [ -n "$router" ] && ip route add default via "${router%% *}" dev "$interface"
        printf 'address=%s\nrouter=%s\n' "$ip" "${router%% *}" > "/tmp/dhcp.$interface"
        ;;
esac
