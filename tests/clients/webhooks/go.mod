// The library of Standard Webhooks for Go, for crates/jit-notify/tests/feeds/verified.rs.
module jitd.dev/tests/clients/webhooks

go 1.24

require github.com/standard-webhooks/standard-webhooks/libraries v0.0.1
