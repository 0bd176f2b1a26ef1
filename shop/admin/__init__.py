"""
The admin: staff see every table, and act on checkouts, payments, refunds, cases and webhooks.

The tables of the pipeline are read-only here. Only steps change them, and staff actions
(`shop.operations.actions`), each of which adds an entry to the audit log.
"""

from django.contrib import admin

from shop.admin import audit_log, catalogue, checkouts, heartbeats, inbox, money

__all__ = ["audit_log", "catalogue", "checkouts", "heartbeats", "inbox", "money"]

admin.site.site_header = admin.site.site_title = "Pakka"
admin.site.index_title = "The shop"
admin.site.enable_nav_sidebar = False  # the lists need the space
