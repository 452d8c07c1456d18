#!/usr/bin/env bash
exec bash "$(dirname "$0")/../python.sh" -m experiments few_shot --method DePT "$@"
