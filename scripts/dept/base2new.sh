#!/usr/bin/env bash
exec bash "$(dirname "$0")/../python.sh" -m experiments base2new --method DePT "$@"
