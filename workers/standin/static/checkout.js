// The stand-in's `Razorpay`: the constructor, options and events that a shop's page uses.
// The styles are a constructed sheet in a shadow root, which a strict style-src allows.
(() => {
  const origin = new URL(document.currentScript.src).origin;
  const cancelled = {
    code: "BAD_REQUEST_ERROR",
    description: "Payment processing cancelled by user",
    source: "customer",
    step: "payment_authentication",
    reason: "payment_cancelled",
  };

  const css = `
    .veil { position: fixed; inset: 0; z-index: 2147483647; display: grid; place-items: center;
      background: rgb(0 0 0 / 55%); font: 15px/1.45 system-ui, sans-serif; color: #1d2433; }
    .card { box-sizing: border-box; width: min(23rem, calc(100vw - 2rem));
      max-height: calc(100vh - 2rem); overflow: auto; padding: 1.25rem; border-radius: .75rem;
      background: #fff; box-shadow: 0 1rem 3rem rgb(0 0 0 / 35%); }
    header { display: flex; justify-content: space-between; align-items: start; gap: 1rem; }
    h2 { margin: 0; font-size: 1.05rem; } p { margin: .35rem 0 0; color: #5b6478; }
    .amount { font-size: 1.5rem; font-weight: 650; color: #1d2433; }
    .note { font-size: .8rem; } .error { color: #b3261e; } .error:empty { display: none; }
    button { font: inherit; cursor: pointer; border-radius: .5rem; border: 1px solid #c9cfdb;
      background: #fff; padding: .6rem .8rem; color: inherit; }
    button:focus-visible { outline: 3px solid #7aa7ff; outline-offset: 1px; }
    button[disabled] { opacity: .5; cursor: default; }
    .choices { display: grid; gap: .5rem; margin-top: 1rem; }
    .main { background: #0b57d0; border-color: #0b57d0; color: #fff; }
    .close { border: 0; padding: .1rem .5rem; font-size: 1.2rem; line-height: 1.2; }
  `;

  // What the form offers; `data-standin` on each button is the key, for tests and tools.
  const choices = {
    upi: { text: "Pay by UPI", main: true, fields: { method: "upi", vpa: "success@razorpay" } },
    card: { text: "Pay by card", fields: { method: "card", "card[number]": "4100280000001007" } },
    fail: { text: "Let the bank decline", fields: { method: "upi", vpa: "failure@razorpay" } },
    silent: { text: "Let the bank not answer", fields: { method: "upi", vpa: "silent@standin" } },
    vanish: {
      text: "Pay, then close the tab",
      fields: { method: "upi", vpa: "success@razorpay" },
      closesTab: true,
    },
  };

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function postForm(url, fields) {
    const inputs = Object.entries(fields).map(([name, value]) =>
      element("input", { type: "hidden", name, value: value ?? "" }),
    );
    const form = element("form", { method: "post", action: url, hidden: "" }, ...inputs);
    document.body.append(form);
    form.submit();
  }

  function errorFields({ metadata, ...error }) {
    const fields = Object.entries(error).map(([name, value]) => [`error[${name}]`, value]);
    return { ...Object.fromEntries(fields), "error[metadata]": JSON.stringify(metadata ?? {}) };
  }

  const money = (paise, currency) =>
    new Intl.NumberFormat("en-IN", { style: "currency", currency }).format(paise / 100);

  class Razorpay {
    constructor(options) {
      if (!options?.key) throw new Error("No key passed");
      this.options = options;
      this.listeners = {};
    }

    on(event, listener) {
      (this.listeners[event] ??= []).push(listener);
      return this;
    }

    open() {
      const { key, order_id, callback_url, cancel_url, name, description, redirect } = this.options;
      if (redirect && callback_url) {
        const fields = { key_id: key, order_id, callback_url, cancel_url, name, description };
        postForm(`${origin}/v1/checkout/embedded`, fields);
        return;
      }
      if (this.host) return;
      this.draw();
      this.showOrder();
      if (this.options.timeout) {
        this.timer = setTimeout(() => this.close(), this.options.timeout * 1000);
      }
    }

    // As in Razorpay's script, `ondismiss` is called even if the page itself called `close`.
    close() {
      if (!this.host) return;
      this.remove();
      const { hosted, callback_url, cancel_url, order_id, modal } = this.options;
      if (!hosted) modal?.ondismiss?.();
      else if (cancel_url) location.assign(cancel_url);
      else postForm(callback_url, errorFields({ ...cancelled, metadata: { order_id } }));
    }

    remove() {
      clearTimeout(this.timer);
      removeEventListener("keydown", this.onKey);
      this.host.remove();
      this.host = null;
    }

    draw() {
      const { name, description, modal } = this.options;
      this.host = element("div", { "data-standin": "checkout" });
      const root = this.host.attachShadow({ mode: "open" });
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(css);
      root.adoptedStyleSheets = [sheet];

      const close = element("button", { class: "close", "aria-label": "Close" }, "×");
      close.dataset.standin = "dismiss";
      close.addEventListener("click", () => this.dismiss());
      this.amount = element("p", { class: "amount" }, "…");
      this.message = element("p", { class: "error", role: "alert", "data-standin": "error" });
      this.choices = element("div", { class: "choices" });
      for (const [key, choice] of Object.entries(choices)) {
        const button = element("button", { "data-standin": key }, choice.text);
        if (choice.main) button.className = "main";
        button.addEventListener("click", () => this.pay(choice));
        this.choices.append(button);
      }
      const heading = element("div", {}, element("h2", {}, name || "Pay"), description || "");
      this.card = element(
        "div",
        { class: "card", role: "dialog", "aria-modal": "true", "aria-label": "Stand-in payment" },
        element("header", {}, heading, close),
        this.amount,
        element("p", { class: "note" }, "Stand-in Razorpay: no money moves."),
        this.message,
        this.choices,
      );
      const veil = element("div", { class: "veil" }, this.card);
      veil.addEventListener("click", (event) => {
        if (event.target === veil && modal?.backdropclose) this.dismiss();
      });
      this.onKey = (event) => {
        if (event.key === "Escape" && modal?.escape !== false) this.dismiss();
      };
      addEventListener("keydown", this.onKey);
      root.append(veil);
      document.body.append(this.host);
      this.choices.firstChild.focus();
    }

    dismiss() {
      const ask = "Ongoing payment. Are you sure you want to cancel it?";
      if (!this.options.modal?.confirm_close || confirm(ask)) this.close();
    }

    async showOrder() {
      const query = new URLSearchParams({ key_id: this.options.key, order_id: this.options.order_id });
      const reply = await this.fetch(`/v1/checkout/preferences?${query}`);
      if (!this.host) return;
      if (reply.error) this.refuse(reply.error);
      else this.amount.textContent = money(reply.order.amount_due, reply.order.currency);
    }

    async fetch(path, init) {
      try {
        return await (await fetch(origin + path, init)).json();
      } catch (problem) {
        return { error: { ...cancelled, description: `${problem}`, reason: "network_error" } };
      }
    }

    async pay({ fields: payment, closesTab }) {
      this.busy(true);
      const { key, order_id, prefill, notes } = this.options;
      const fields = new URLSearchParams({ key_id: key, order_id, ...payment });
      for (const name of ["email", "contact"]) {
        if (prefill?.[name]) fields.set(name, prefill[name]);
      }
      for (const [name, value] of Object.entries(notes ?? {})) fields.set(`notes[${name}]`, value);
      const init = { method: "POST", body: fields, keepalive: true };
      const reply = await this.fetch("/v1/payments/create/ajax", init);
      if (closesTab) this.vanish();
      else if (!this.host) return; // the form was closed: the page gets no answer
      else if (reply.error) this.failed(reply.error);
      else if (reply.razorpay_signature) this.succeeded(reply);
      else this.message.textContent = "The bank has not answered yet. You may close this.";
    }

    succeeded(fields) {
      this.remove();
      const { callback_url, handler } = this.options;
      if (callback_url) postForm(callback_url, fields);
      else handler?.(fields);
    }

    failed(error) {
      const { hosted, callback_url, retry } = this.options;
      if (hosted && callback_url) {
        postForm(callback_url, errorFields(error));
        return;
      }
      this.message.textContent = error.description;
      if (retry?.enabled !== false) this.busy(false);
      for (const listener of this.listeners["payment.failed"] ?? []) listener({ error });
    }

    refuse(error) {
      this.busy(true);
      this.amount.textContent = "";
      this.message.textContent = error.description;
    }

    // The payment is made and the page gets no answer. A script can close only tabs of scripts.
    vanish() {
      if (!this.host) return;
      this.card.replaceChildren(element("p", {}, "Paid. The page gets no answer, as in a closed tab."));
      this.card.dataset.standin = "vanished";
      window.close();
    }

    busy(is) {
      if (is) this.message.textContent = "";
      for (const button of this.choices.children) button.disabled = is;
    }
  }

  window.Razorpay = Razorpay;
})();
