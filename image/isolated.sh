#!/bin/sh
# Runs a command in a network of its own: loopback, so that no port of the machine matters, and one address from which no
# answer ever comes. Needs root.
set -eu
[ "${ISOLATED:-}" ] || ISOLATED=1 exec unshare --net "$0" "$@"
ip link set lo up
ip link add hole type veth peer name nowhere
ip link set hole up
ip link set nowhere up
ip address add 192.0.2.1/24 dev hole
ip neighbour add 192.0.2.77 lladdr 02:00:00:00:00:77 dev hole nud permanent
exec "$@"
