# shellcheck shell=sh
# $1 is how many versions are there afterwards. With one it was an upgrade: the new daemon takes over, and the sockets
# stay open. With none the configuration, the trail and the account are left, as rpm has no purge.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload >/dev/null 2>&1 || :
    if [ "$1" -ge 1 ]; then
        systemctl try-restart jitd.service jit-gateway.service jit-notify.service jit-frontend.service \
            >/dev/null 2>&1 || :
    fi
fi
