# shellcheck shell=sh
# $1 is how many versions are there afterwards: with none, everything is stopped, the sockets first.
if [ "$1" -eq 0 ] && [ -x /usr/bin/systemctl ]; then
    systemctl --no-reload disable --now jitd-scan.timer jitd-metrics.timer jit-frontend.socket jit-frontend.service \
        jit-gateway.socket jit-gateway.service jitd-frontend.socket jit-notify.service jitd-notify.socket jitd-feed.socket \
        jitd-admin.socket jitd.socket jitd.service >/dev/null 2>&1 || :
fi
