"""The audit log, for all staff to read."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from shop.admin.widgets import Listing, ReadOnly, checkout_link, choice_filter
from shop.operations.audit_log import Action, AuditEntry


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly, Listing):
    list_display = ("at", "actor", "action", "reason", "outcome", "checkout", "subject")
    list_display_links = None
    list_filter = (choice_filter("action", Action),)
    search_fields = ("subject__icontains", "reason__icontains", "actor__email__startswith")
    search_help_text = "Subject, reason, beginning of an e-mail address"
    list_select_related = ("actor",)

    @admin.display(empty_value="–")
    def checkout(self, entry: AuditEntry) -> SafeString | None:
        if entry.checkout_id is None:
            return None
        return checkout_link(entry.checkout_id)
