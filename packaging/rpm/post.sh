# shellcheck shell=sh
# $1 is how many versions are there afterwards. Nothing is started at the first installation.
systemd-sysusers jitd.conf >/dev/null 2>&1 || :
systemd-tmpfiles --create jitd.conf >/dev/null 2>&1 || :
if command -v aa-enabled >/dev/null && aa-enabled --quiet 2>/dev/null; then
    apparmor_parser --replace --write-cache --skip-bad-cache /etc/apparmor.d/jitd >/dev/null 2>&1 || :
fi
if [ "$1" -eq 1 ] && [ -x /usr/bin/systemctl ]; then
    # What 90-jitd.preset says: off.
    systemctl --no-reload preset jitd.service jitd.socket jitd-admin.socket jitd-feed.socket jit-gateway.service \
        jit-gateway.socket jitd-notify.socket jit-notify.service jitd-frontend.socket \
        jit-frontend.service jit-frontend.socket jitd-metrics.timer jitd-scan.timer >/dev/null 2>&1 || :
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
fi
