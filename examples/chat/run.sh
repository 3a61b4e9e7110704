#!/bin/sh
# The relay and the page, until Ctrl-C; ../run.sh has the details.
exec "$(dirname "$0")/../run.sh" chat "$@"
