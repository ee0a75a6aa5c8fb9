#!/bin/sh
# The last step of an image's root file system: removes what a finished image does not need.
set -eu

# Removes those of the named packages that are here, whatever depends on them; says why only where that fails.
purge() {
  # shellcheck disable=SC2046  # a list of package names
  dpkg --purge --force-depends --force-remove-essential --force-remove-protected \
    $(dpkg-query --show --showformat '${Package}\n' "$@" 2> /dev/null) > /purge.log 2>&1 || { cat /purge.log; exit 1; }
}

# keepalived links net-snmp's agent library, and that links libperl; neither runs any Perl, so the modules can go.
purge apt sqv passwd tzdata perl-modules-5.40 libsnmp-base pci.ids readline-common \
  'libapt-pkg*' 'libgdbm-compat*'
purge debconf perl-base

# gconv: converters for iconv(3), which nothing here calls.
rm -rf /usr/lib/*/gconv /usr/lib/*/perl /usr/share/perl /usr/share/perl5
cd /usr/lib/python3.13
rm -rf ensurepip pydoc_data idlelib lib2to3 tkinter turtledemo test turtle.py /usr/share/python3
# Bytecode of Debian's packages names the time of its source, and the image has other times.
find /usr/lib/python3* -name __pycache__ -prune -exec rm -rf {} +
PYTHONDONTWRITEBYTECODE=1 python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3.13
find /usr/share/doc -type f ! -name copyright -delete
find /usr/share/doc -type d -empty -delete
rm -rf /var/lib/apt /var/cache/* /var/log/* /var/lib/dpkg/info /var/lib/dpkg/*-old /usr/share/man /usr/share/locale \
  /usr/share/bash-completion /usr/share/lintian /usr/share/info /etc/apt /tmp/* /root/.cache /purge.log "$0"
# What packages kept of users as they were a moment ago.
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid-
chmod 755 /usr/local/bin/*
