"""
The admin: everything to be seen, and mended by hand. What the pipeline owns is read-only: rows move
by steps, and people through `shop.operations.actions`, which leaves an entry in the trail.
"""

from django.contrib import admin

from shop.admin import audit_log, catalogue, checkouts, heartbeats, inbox, money

__all__ = ["audit_log", "catalogue", "checkouts", "heartbeats", "inbox", "money"]

admin.site.site_header = admin.site.site_title = "Pakka"
admin.site.index_title = "The shop"
admin.site.enable_nav_sidebar = False  # the lists need its room
