"""A member of staff who uses the admin in a browser."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from tests.browser.user import PATIENCE_MS, BrowserUser, NewUser

DESKTOP = {"width": 1280, "height": 900}
REASON = "checked by phone"


class StaffMember:
    """Signed in as one of the users that `manage.py seed` creates."""

    def __init__(self, user: BrowserUser, role: str) -> None:
        self.user = user
        self.role = role
        user.open("/admin/login/?next=/admin/")
        self.page.get_by_label("Email").fill(f"{role}@pakka.local")
        self.page.get_by_label("Password").fill(
            user.running_shop.stack.environment["ADMIN_PASSWORD"]
        )
        self.page.get_by_role("button", name="Log in").click()
        expect(self.page.get_by_role("link", name="Checkouts", exact=True).first).to_be_visible()

    @classmethod
    def arrive(cls, new_user: NewUser, role: str, **options: object) -> StaffMember:
        return cls(new_user(**({"viewport": DESKTOP} | options)), role)

    @property
    def page(self) -> Page:
        return self.user.page

    def find(self, checkout_id: str, **filters: str) -> Locator:
        """The row of the checkout in the list that these filters give."""
        query = "&".join(f"{name}={value}" for name, value in filters.items())
        self.user.open(f"/admin/shop/checkoutjob/?{query}")
        return self.page.get_by_role("row").filter(
            has=self.page.get_by_role("link", name=checkout_id[:8])
        )

    def open_checkout(self, checkout_id: str) -> None:
        self.user.open(f"/admin/shop/checkoutjob/{checkout_id}/change/")

    def button(self, label: str) -> Locator:
        return self.page.locator("a.action").get_by_text(label, exact=True)

    def press(self, label: str, **fields: str) -> None:
        """Press a button, give a reason, and wait for the message of success."""
        self.button(label).first.click()
        for field, value in fields.items():
            self.page.get_by_label(field).fill(value)
        self.page.get_by_label("Reason").fill(REASON)
        self.page.locator(".submit-row").get_by_role("button", name=label).click()
        expect(self.page.locator(".messagelist .success")).to_contain_text(label)

    def sees_entry(self, action: str) -> None:
        """The checkout's page shows the action with the user's name and reason."""
        section = self.page.locator("section").filter(has_text="Staff actions")
        row = section.get_by_role("row").filter(has_text=action).first
        expect(row).to_contain_text(f"{self.role}@pakka.local")
        expect(row).to_contain_text(REASON)

    def sees_state(self, state: str) -> None:
        """Reload the page until it shows this state."""
        now = self.page.locator(".detail .now .badge").first
        expect(now).to_be_visible()
        for _ in range(PATIENCE_MS // 250):
            if now.inner_text() == state:
                return
            self.page.wait_for_timeout(250)
            self.page.reload()
        expect(now).to_have_text(state)
