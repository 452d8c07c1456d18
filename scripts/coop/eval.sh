#!/usr/bin/env bash
exec bash "$(dirname "$0")/../python.sh" -m experiments eval --method CoOp "$@"
