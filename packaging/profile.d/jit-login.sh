# Says at login what access is live, and how many requests wait for an approval of this person, a line each. Silent where
# there is nothing to say, in shells that nobody sits at, and where jit-login or the daemon is not there: the first line is
# from this account's own files, and the daemon has 0.3 s for the second. Remove this file to be without it.
# shellcheck shell=sh
case $- in
*i*)
    if command -v jit-login >/dev/null 2>&1; then
        jit_login_status=$(jit-login status --short 2>/dev/null)
        if [ -n "$jit_login_status" ]; then
            printf 'access: %s left\n' "$jit_login_status"
        fi
        jit_login_status=$(jit-login status --waiting 2>/dev/null)
        if [ -n "$jit_login_status" ]; then
            printf '%s: jit-login ls\n' "$jit_login_status"
        fi
        unset jit_login_status
    fi
    ;;
esac
