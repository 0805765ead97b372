#!/bin/sh
# First process of a guest: lays a scratch layer over the host's read-only files and changes over to them.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
while read -r module; do insmod "/modules/$module" || echo "cannot load $module"; done </modules/order
options=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o $options,cache=loose,ro host /lower || echo "cannot mount the host's files"
mount -t tmpfs -o size=75% scratch /overlay
mkdir -p /overlay/upper /overlay/work
mount -t overlay -o lowerdir=/lower,upperdir=/overlay/upper,workdir=/overlay/work root /new
mkdir -p /new/job
mount -t 9p -o $options job /new/job || echo "cannot mount the job"
mount -t proc proc /new/proc
mount -t sysfs sysfs /new/sys
mount -t devtmpfs dev /new/dev
exec switch_root /new /bin/bash /job/run.sh
