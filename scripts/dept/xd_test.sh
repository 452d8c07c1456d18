#!/usr/bin/env bash
exec bash "$(dirname "$0")/../python.sh" -m experiments xd_test --method DePT "$@"
