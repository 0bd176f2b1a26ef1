// The pay form as a separate page, which always posts its result to callback_url.
const { key_id: key, ...options } = JSON.parse(document.body.dataset.options);
new Razorpay({ ...options, key, hosted: true }).open();
