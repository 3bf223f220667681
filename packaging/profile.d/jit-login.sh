# Says at login what access is live, in one line. Silent where there is none, in shells that nobody sits at, and
# where jit-login is not there; it reads this account's own files and asks nobody. Remove this file to be without it.
# shellcheck shell=sh
case $- in
*i*)
    if command -v jit-login >/dev/null 2>&1; then
        jit_login_status=$(jit-login status --short 2>/dev/null)
        if [ -n "$jit_login_status" ]; then
            printf 'access: %s left\n' "$jit_login_status"
        fi
        unset jit_login_status
    fi
    ;;
esac
