#!/usr/bin/env bash
exec bash "$(dirname "$0")/../python.sh" -m experiments dg_test --method DePT "$@"
