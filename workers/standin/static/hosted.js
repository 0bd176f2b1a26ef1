// The pay form as a page of its own: always answers by posting to callback_url.
const { key_id: key, ...options } = JSON.parse(document.body.dataset.options);
new Razorpay({ ...options, key, hosted: true }).open();
