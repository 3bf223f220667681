// Standard library only: this builds in seconds, and again at each edit.
module jitd/tests/controlplane/launch

go 1.25
