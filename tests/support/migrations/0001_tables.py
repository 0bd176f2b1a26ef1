"""The shop's own first migration: `migrate` finds it applied."""

from importlib import import_module

Migration = import_module("shop.migrations.0001_tables").Migration
